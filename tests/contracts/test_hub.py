"""Without a network the hub is asked once, not for half a minute per file."""

import socket
import time

import pytest
from huggingface_hub import constants

from finelab.contracts.errors import UserError
from finelab.contracts.hub import go_offline_without_hub
from finelab.data.sources import as_source
from finelab.data.tokenizer import load_tokenizer


@pytest.fixture
def asked(monkeypatch):
    """Hosts and ports that were asked, none of which answers; waiting is an error."""

    def refuse(address, timeout):
        found.append(address)
        raise socket.gaierror(-2, "Name or service not known")

    found = []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.invalid")
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr("finelab.contracts.hub.getproxies", dict)
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail(f"waited {seconds} s"))
    go_offline_without_hub.cache_clear()
    yield found
    go_offline_without_hub.cache_clear()


def test_a_base_and_data_that_only_the_hub_could_have(asked):
    with pytest.raises(UserError, match="'nowhere/none' gave no tokenizer"):
        load_tokenizer("nowhere/none")
    with pytest.raises(UserError, match="no file or folder here .* and the hub gave no data set"):
        as_source("nowhere/nothing").splits()
    assert asked == [("hub.invalid", 443)] and constants.is_offline_mode()


def test_behind_a_proxy_and_offline_by_choice_nothing_is_asked(asked, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("finelab.contracts.hub.getproxies", lambda: {"https": "http://proxy"})
        go_offline_without_hub()
        assert not constants.is_offline_mode()
    go_offline_without_hub.cache_clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    go_offline_without_hub()
    assert asked == []
