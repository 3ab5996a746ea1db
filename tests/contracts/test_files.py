"""Whatever is written is wholly there or not there at all, at whichever call to the system a process dies."""

import errno
import os
import shutil
from contextlib import suppress

import pytest

from finelab.contracts.disk import DiskError, disk_faults
from finelab.contracts.files import (
    remove_folder,
    replace_folder,
    sweep,
    whole_folder,
    write_atomically,
    write_through,
)

from ..callbacks.faulty_disk import FaultyDisk, Killed

DEATHS = ("kill", "torn", "power")


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def made(folder, content):
    with whole_folder(folder) as scratch:
        (scratch / "inner").mkdir()
        for name in ("weights", "inner/more"):
            write_through(scratch / name, [content.encode() * 50])


def content_of(folder):
    found = {(folder / name).read_text() for name in ("weights", "inner/more")}
    assert len(found) == 1
    return found.pop()[:3]


def calls(action, monkeypatch):
    with FaultyDisk()(monkeypatch) as disk:
        action()
    return len(disk.trace)


def test_a_text_file_survives_every_death(tmp_path, monkeypatch):
    file = tmp_path / "record.json"
    write_atomically(file, "old")
    total = calls(lambda: write_atomically(file, "old"), monkeypatch)
    for at in range(total):
        for fault in DEATHS:
            with FaultyDisk(at, fault)(monkeypatch), pytest.raises(Killed):
                write_atomically(file, "new and longer")
            assert file.read_text() in ("old", "new and longer")
            sweep(tmp_path)
            assert names(tmp_path) == ["record.json"]
            write_atomically(file, "old")
    assert total >= 5


def test_a_folder_survives_every_death(tmp_path, monkeypatch):
    best = tmp_path / "best"
    made(best, "old")
    total = calls(lambda: made(best, "old"), monkeypatch)
    seen = set()
    for at in range(total):
        for fault in DEATHS:
            with FaultyDisk(at, fault)(monkeypatch), pytest.raises(Killed):
                made(best, "new")
            was_there = best.exists()
            sweep(tmp_path)
            seen.add((content_of(best), was_there))
            assert names(tmp_path) == ["best", "best/inner", "best/inner/more", "best/weights"]
            made(best, "old")
    assert total >= 20 and seen == {("old", True), ("old", False), ("new", True)}


def test_a_writer_goes_on_after_a_death_without_a_sweep(tmp_path, monkeypatch):
    """The next one to write keeps what the dead one has left, until its own is in place."""
    best = tmp_path / "best"
    made(best, "old")
    for first in range(calls(lambda: made(best, "old"), monkeypatch)):
        with FaultyDisk(first)(monkeypatch), pytest.raises(Killed):
            made(best, "new")
        for second in range(0, 30, 3):
            with FaultyDisk(second)(monkeypatch), suppress(Killed):
                made(best, "two")
            left = best if best.exists() else tmp_path / ".best.old"
            assert content_of(left) in ("old", "new", "two")
        made(best, "old")
        sweep(tmp_path)
        assert len(names(tmp_path)) == 4


def test_a_sweep_survives_every_death(tmp_path, monkeypatch):
    origin = tmp_path / "origin"
    made(origin / "best", "old")
    with FaultyDisk(1, only=("rename",))(monkeypatch), pytest.raises(Killed):  # between the two renames
        made(origin / "best", "new")
    (origin / ".record.json.part-12345678").write_text("half")
    (origin / ".gitignore").write_text("the user's")
    (origin / ".state-00000001.old").mkdir()
    (origin / "state-00000001").mkdir()
    for at in range(20):
        for fault in ("kill", "power"):
            work = tmp_path / "work"
            shutil.copytree(origin, work)
            try:
                with FaultyDisk(at, fault)(monkeypatch):
                    sweep(work)
            except Killed:
                sweep(work)
            assert content_of(work / "best") == "old"
            assert [name for name in names(work) if "best" not in name] == [".gitignore", "state-00000001"]
            shutil.rmtree(work)


@pytest.mark.parametrize("number", ["ENOSPC", "EIO", "EACCES", "EROFS", "EDQUOT"])
def test_a_disk_that_refuses_leaves_the_old_and_nothing_else(number, tmp_path, monkeypatch):
    best, file = tmp_path / "best", tmp_path / "record.json"
    for action, read in (
        (lambda text: made(best, text), lambda: content_of(best)),
        (lambda text: write_atomically(file, text), file.read_text),
    ):
        action("old")
        for at in range(calls(lambda action=action: action("old"), monkeypatch)):
            with FaultyDisk(at, getattr(errno, number))(monkeypatch) as disk:
                try:
                    action("new")
                except OSError as error:
                    assert error.errno == getattr(errno, number)
            assert read() in ("old", "new")
            renamed = [name for name, _ in disk.trace if name in ("rename", "replace")]
            assert read() == "old" or renamed, disk.trace
            sweep(tmp_path)
            action("old")
    assert names(tmp_path) == ["best", "best/inner", "best/inner/more", "best/weights", "record.json"]


def test_a_refused_rename_puts_the_old_back_at_once(tmp_path, monkeypatch):
    made(tmp_path / "best", "old")
    with FaultyDisk(1, errno.EIO, only=("rename",))(monkeypatch), pytest.raises(OSError, match="Input/output"):
        made(tmp_path / "best", "new")
    assert content_of(tmp_path / "best") == "old" and len(names(tmp_path)) == 4


def test_what_is_taken_away_loses_its_name_first(tmp_path, monkeypatch):
    for at in range(10):
        made(tmp_path / "state-00000001", "old")
        try:
            with FaultyDisk(at)(monkeypatch):
                remove_folder(tmp_path / "state-00000001")
        except Killed:
            assert at == 0 or not (tmp_path / "state-00000001").exists()
        sweep(tmp_path)
        assert not (tmp_path / "state-00000001").exists() or at == 0
        shutil.rmtree(tmp_path / "state-00000001", ignore_errors=True)
    assert names(tmp_path) == []


def test_every_byte_is_flushed_before_the_rename_and_the_rename_before_the_old_goes(tmp_path, monkeypatch):
    made(tmp_path / "best", "old")
    with FaultyDisk()(monkeypatch) as disk:
        made(tmp_path / "best", "new")
    calls = [(name, os.path.basename(place)) for name, place in disk.trace]
    last_rename = max(i for i, (name, _) in enumerate(calls) if name == "rename")
    for i, (name, place) in enumerate(calls):
        if name == "write":
            assert ("fsync", place) in calls[i:last_rename]
    flushed = last_rename + calls[last_rename:].index(("fsync", tmp_path.name))
    assert all(i > flushed for i, (name, _) in enumerate(calls) if name in ("unlink", "rmdir"))


def test_a_link_is_swept_and_not_followed(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("x")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".best.part-00000000").symlink_to(tmp_path / "kept")
    sweep(tmp_path / "run")
    assert names(tmp_path) == ["kept", "kept/file", "run"]


def test_other_hidden_files_are_the_users(tmp_path):
    for name in (".gitignore", ".DS_Store", ".lock", ".nfs0001", ".part-1", "a.part-1", "x.old"):
        (tmp_path / name).write_text("")
    sweep(tmp_path)
    assert len(names(tmp_path)) == 7


def test_an_existing_part_is_never_written_into(tmp_path):
    (tmp_path / "file").write_text("other")
    with pytest.raises(FileExistsError):
        write_through(tmp_path / "file", [b"mine"])
    assert (tmp_path / "file").read_text() == "other"


@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.ENOSPC, "Free that much"),
        (errno.EDQUOT, "quota"),
        (errno.EACCES, "writable"),
        (errno.EROFS, "writable"),
        (errno.EIO, "See to the disk"),
    ],
)
def test_the_paragraph_names_path_bytes_and_cure(number, cure, tmp_path):
    with pytest.raises(DiskError) as refused, disk_faults(tmp_path / "deep" / "state", 1_234_567):
        raise OSError(number, os.strerror(number))
    text = str(refused.value)
    for part in (
        str(tmp_path / "deep" / "state"),
        "1,234,567 bytes",
        cure,
        errno.errorcode[number],
        "free",
        "run.root",
    ):
        assert part in text
    assert "\n" not in text


def test_what_safetensors_says_of_a_full_disk_is_understood():
    from pathlib import Path

    from safetensors import SafetensorError

    with pytest.raises(DiskError, match="ENOSPC.*Free that much"), disk_faults(Path("/x/y"), 5):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


def test_a_folder_is_replaced_by_one_that_was_made_beside_it(tmp_path):
    for text in ("first", "second"):
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "weights").write_text(text)
        replace_folder(tmp_path / "new", tmp_path / "best")
        assert (tmp_path / "best" / "weights").read_text() == text
    assert os.listdir(tmp_path) == ["best"]
