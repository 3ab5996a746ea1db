"""A run's directory: never shared, never overwritten."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from finelab.contracts.errors import UserError
from finelab.contracts.run import create_run


def test_default_names_never_collide(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: create_run(tmp_path, None, "quickstart"), range(40)))
    assert len(set(made)) == 40
    assert all(path.is_dir() and path.name.startswith("quickstart-20") for path in made)


def test_a_named_run_is_made_once(tmp_path):
    (create_run(tmp_path / "runs", "first", "x") / "record.json").write_text("kept")
    with pytest.raises(UserError, match=r"runs/first exists already and is never overwritten"):
        create_run(tmp_path / "runs", "first", "x")
    assert (tmp_path / "runs" / "first" / "record.json").read_text() == "kept"


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "x" * 65, "new\nline"])
def test_names_that_are_no_folder_names(tmp_path, name):
    with pytest.raises(UserError, match=r"run\.name"):
        create_run(tmp_path / "runs", name, "x")
    assert not (tmp_path / "runs").exists()


def test_a_strange_stem_still_gives_a_folder_name(tmp_path):
    assert create_run(tmp_path, None, "my config, v2").name.startswith("my-config-v2-")


def test_a_root_that_is_a_file(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(UserError, match=r"run\.root"):
        create_run(tmp_path / "runs", None, "x")
