import multiprocessing
import os
import time
from pathlib import Path

import pytest

from finelab.data.cache import MANIFEST, open_or_build

CALLS = "calls"


def build(folder: Path) -> dict[str, int]:
    with (folder.parent.parent / CALLS).open("a") as stream:
        stream.write("x")
    time.sleep(0.1)
    (folder / "part").mkdir()
    (folder / "part" / "a.bin").write_bytes(b"content")
    return {"rows": 3}


def calls(root: Path) -> int:
    return len((root / CALLS).read_text())


def test_an_entry_is_built_once(tmp_path):
    first, second = open_or_build(tmp_path, "k", build), open_or_build(tmp_path, "k", build)
    assert (first.state, second.state) == ("built", "cached")
    assert first.meta == second.meta == {"rows": 3}
    assert calls(tmp_path) == 1
    assert open_or_build(tmp_path, "other", build).state == "built"


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("part/a.bin", b"Content", "part/a.bin had changed"),
        ("part/a.bin", b"", "part/a.bin had changed"),
        ("part/a.bin", None, "a.bin was missing"),
        (MANIFEST, b"{", "manifest.json was unreadable"),
        (MANIFEST, b"[]", "manifest.json was unreadable"),
        (MANIFEST, b'{"content": "{}", "digest": "0"}', "manifest.json had changed"),
        (MANIFEST, None, "manifest.json was missing"),
    ],
)
def test_a_damaged_entry_is_rebuilt_and_said_to_be(tmp_path, name, content, why):
    file = open_or_build(tmp_path, "k", build).folder / name
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    entry = open_or_build(tmp_path, "k", build)
    assert entry.state.startswith("rebuilt: ")
    assert why in entry.state
    assert (entry.folder / "part" / "a.bin").read_bytes() == b"content"
    assert open_or_build(tmp_path, "k", build).state == "cached"


def test_a_build_that_fails_leaves_nothing(tmp_path):
    def fail(folder: Path) -> dict[str, int]:
        (folder / "half").write_text("x")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        open_or_build(tmp_path, "k", fail)
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


def test_of_several_processes_one_builds(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=open_or_build, args=(tmp_path, "k", build)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0] * 4
    assert calls(tmp_path) == 1
    assert not [name for name in os.listdir(tmp_path) if name.startswith("k.") and name != "k.lock"]
