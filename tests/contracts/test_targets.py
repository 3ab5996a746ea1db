import importlib
import inspect
import pkgutil

import pytest

import finelab.data
import finelab.models
from finelab.contracts.errors import UserError
from finelab.contracts.targets import MEANINGS, require_match
from finelab.data.template import Template
from finelab.models.target import Target


@pytest.mark.parametrize(
    ("package", "base", "side"),
    [(finelab.models, Target, "models"), (finelab.data, Template, "templates")],
    ids=["models", "templates"],
)
def test_every_template_and_model_of_ours_stands_in_the_message(package, base, side):
    found = set()
    for module in pkgutil.iter_modules(package.__path__):
        for _, value in inspect.getmembers(
            importlib.import_module(f"{package.__name__}.{module.name}"), inspect.isclass
        ):
            if issubclass(value, base) and value.target_kind is not None and value.__module__.endswith(module.name):
                found.add((value.target_kind, value.__name__))
    listed = {(kind, name) for kind, meaning in MEANINGS.items() for name in getattr(meaning, side)}
    assert found - {("tokens", "Conversation")} == listed  # the base of the three conversations


def test_kinds_must_match_where_both_are_known():
    for learns, gives in (("class", "class"), (None, "class"), ("class", None)):
        require_match("M", learns, "T", gives)
    with pytest.raises(
        UserError, match=r"(?s)model M learns .* beside .*template T gives the next tokens.*TextToText.*Ca"
    ):
        require_match("M", "text", "T", "tokens")
