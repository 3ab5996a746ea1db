"""A training state is there whole or not at all, and is loaded as it was written or not at all."""

import errno
import json
import os
import pickle
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from finelab.callbacks.state_io import StateIO
from finelab.contracts import state_folder
from finelab.contracts.disk import DiskError
from finelab.contracts.errors import UserError
from finelab.contracts.files import whole_folder, write_through
from finelab.contracts.state_folder import (
    MANIFEST,
    TENSORS,
    latest_state,
    read_manifest,
    state_name,
    states,
    sweep,
    verify,
    write_manifest,
)

from .faulty_disk import FaultyDisk, Killed

REFUSALS = ("ENOSPC", "EIO", "EACCES", "EROFS", "EDQUOT")


def tree(step):
    weights = torch.full((40,), float(step))
    said = {"module": {"base": "tiny://bert"}, "events": {"events.out.tfevents.1": 17}}
    return {
        "global_step": step,
        "state_dict": {"w": weights, "b": weights[:3].bfloat16()},
        "loops": {},
        "pytorch-lightning_version": "2",
        "finelab": said,
    }


class Run:
    """A run directory whose states are saved as ``TrainingState`` does: the new one, then the former ones go."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.io = StateIO(folder / "checkpoints" / "best")

    def improve(self, content: str) -> None:
        with whole_folder(self.folder / "checkpoints" / "best") as scratch:
            digest = write_through(scratch / "adapter_model.safetensors", [content.encode() * 100])
            manifest = json.dumps({"files": {"adapter_model.safetensors": digest}})
            write_through(scratch / "finelab.json", [manifest.encode()])

    def save(self, step: int) -> None:
        former = states(self.folder)
        target = self.folder / "checkpoints" / state_name(step)
        self.io.save_checkpoint(tree(step), target)
        for old in former:
            if old != target:
                self.io.remove_checkpoint(old)

    def load(self) -> int:
        """The step of the state from which a resume would go on; everything in it is as it was saved."""
        state = latest_state(self.folder)
        assert state is not None
        found = self.io.load_checkpoint(state)
        step = found["global_step"]
        expected = tree(step)
        assert found["finelab"]["module"] == expected["finelab"]["module"]
        assert torch.equal(found["state_dict"]["w"], expected["state_dict"]["w"])
        assert torch.equal(found["state_dict"]["b"], expected["state_dict"]["b"])
        return step

    def names(self) -> list[str]:
        return sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file())


@pytest.fixture
def run(tmp_path):
    run = Run(tmp_path / "run")
    run.improve("first")
    run.save(1)
    return run


def whole(step):
    files = ("best/adapter_model.safetensors", "best/finelab.json", MANIFEST, TENSORS)
    inner = [f"checkpoints/{state_name(step)}/{name}" for name in files]
    return ["checkpoints/best/adapter_model.safetensors", "checkpoints/best/finelab.json", *inner]


def copy(run, tmp_path) -> Run:
    shutil.rmtree(tmp_path / "copy", ignore_errors=True)
    shutil.copytree(run.folder, tmp_path / "copy")
    return Run(tmp_path / "copy")


def calls_of(action, monkeypatch):
    with FaultyDisk()(monkeypatch) as disk:
        action()
    return disk.trace


def calls_of_save(step, run, tmp_path, monkeypatch):
    own = copy(run, tmp_path)
    return len(calls_of(lambda: own.save(step), monkeypatch))


# ---- what is written


def test_only_the_newest_state_stays_with_the_best_weights_of_its_time(run):
    run.save(2)
    assert run.load() == 2 and run.names() == whole(2)
    inner = run.folder / "checkpoints" / state_name(2) / "best" / "adapter_model.safetensors"
    assert inner.stat().st_nlink == 2
    run.improve("second")
    assert inner.read_text().startswith("first") and verify(inner.parents[1])["step"] == 2


def test_best_weights_are_not_digested_again_where_they_are_the_same_files(run, monkeypatch):
    read = []
    former = state_folder.file_digest
    monkeypatch.setattr(state_folder, "file_digest", lambda path: read.append(path.name) or former(path))
    run.save(2)
    assert read == ["finelab.json", TENSORS] and run.load() == 2
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no links here")))
        run.save(3)
    assert read[2:] == ["adapter_model.safetensors", "finelab.json", TENSORS] and run.load() == 3


def test_without_hard_links_the_best_weights_are_copied(run, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no links here")))
        run.save(2)
    assert run.load() == 2 and run.names() == whole(2)


def test_what_a_manifest_says_is_sealed_as_it_is_read(run):
    """JSON gives back text for a key that was a number, and a list for a tuple."""
    tree_with = tree(2)
    tree_with["finelab"] |= {"counts": {2: "b", 10: "a"}, "pair": (1, 2)}
    target = run.folder / "checkpoints" / state_name(2)
    run.io.save_checkpoint(tree_with, target)
    found = run.io.load_checkpoint(target)["finelab"]
    assert found["counts"] == {"2": "b", "10": "a"} and found["pair"] == [1, 2]


def test_a_state_of_the_same_step_is_replaced(run):
    run.save(1)
    assert run.load() == 1 and run.names() == whole(1)


def test_nothing_is_written_of_a_state_that_cannot_be(run, monkeypatch):
    with FaultyDisk()(monkeypatch) as disk, pytest.raises(UserError, match="callbacks.Mine is a builtins.object"):
        run.io.save_checkpoint({"callbacks": {"Mine": object()}}, run.folder / "checkpoints" / state_name(2))
    assert disk.trace == [] and run.load() == 1


# ---- deaths


@pytest.mark.parametrize("fault", ["kill", "torn", "power"])
def test_a_death_at_every_call_leaves_a_readable_state(fault, run, tmp_path, monkeypatch):
    total = calls_of_save(2, run, tmp_path, monkeypatch)
    found = []
    for at in range(total):
        own = copy(run, tmp_path)
        with FaultyDisk(at, fault)(monkeypatch), pytest.raises(Killed):
            own.save(2)
        sweep(own.folder)  # as a resume starts
        found.append(own.load())
        assert set(own.names()) in ({*whole(1)}, {*whole(2)}, {*whole(1), *whole(2)})
        own.save(3)
        assert own.load() == 3 and own.names() == whole(3)
    assert total >= 20 and set(found) == {1, 2} and sorted(found) == found


def test_a_death_while_a_state_replaces_its_namesake(run, tmp_path, monkeypatch):
    for at in range(calls_of_save(1, run, tmp_path, monkeypatch)):
        own = copy(run, tmp_path)
        with FaultyDisk(at, "power")(monkeypatch), pytest.raises(Killed):
            own.save(1)
        sweep(own.folder)
        assert own.load() == 1 and own.names() == whole(1)


def test_the_former_state_goes_only_after_the_new_one_is_on_the_disk(run, monkeypatch):
    trace = calls_of(lambda: run.save(2), monkeypatch)
    flat = [(name, os.path.basename(place)) for name, place in trace]
    named = max(i for i, (name, place) in enumerate(flat) if name == "rename" and place.startswith(".state-00000002"))
    flushed = named + flat[named:].index(("fsync", "checkpoints"))
    gone = flat.index(("rename", "state-00000001"))
    assert named < flushed < gone
    assert all(("fsync", place) in flat[i:named] for i, (name, place) in enumerate(flat) if name == "write")


# ---- a disk that refuses


@pytest.mark.parametrize("number", REFUSALS)
@pytest.mark.filterwarnings("ignore:.*is no longer needed")
def test_a_refusal_at_every_call_leaves_the_former_state(number, run, tmp_path, monkeypatch):
    refused, total = 0, calls_of_save(2, run, tmp_path, monkeypatch)
    for at in range(total):
        own = copy(run, tmp_path)
        with FaultyDisk(at, getattr(errno, number))(monkeypatch) as disk:
            try:
                own.save(2)
            except DiskError as error:
                refused += 1
                text = str(error)
                assert str(own.folder / "checkpoints" / state_name(2)) in text and number in text
                assert "bytes" in text and "\n" not in text
                assert own.load() == 1 or ("rename" in dict(disk.trace) and own.load() == 2)
                assert not any(".part-" in name for name in own.names())
            else:
                assert own.load() == 2
        sweep(own.folder)
        assert own.load() in (1, 2)
    assert refused >= 20


@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_the_bytes_needed_are_those_of_the_state(call, run, monkeypatch):
    with FaultyDisk(0, errno.ENOSPC, only=(call,))(monkeypatch), pytest.raises(DiskError) as refused:
        run.save(2)
    size = (run.folder / "checkpoints" / state_name(1) / TENSORS).stat().st_size
    assert f"It needs {size:,} bytes" in str(refused.value) and "Free that much" in str(refused.value)
    assert run.load() == 1 and run.names() == whole(1)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_that_cannot_be_written(run):
    (run.folder / "checkpoints").chmod(0o555)
    with pytest.raises(DiskError, match="EACCES.*writable"):
        run.save(2)
    (run.folder / "checkpoints").chmod(0o755)
    assert run.load() == 1


def test_a_disk_that_gives_back_something_else(run, monkeypatch):
    real = StateIO._fill

    def spoiled(self, scratch, state, said):
        def write(path):
            digest = type(state).write(state, path)
            with path.open("r+b") as stream:
                stream.seek(-1, os.SEEK_END)
                stream.write(b"\x7f")
            return digest

        object.__setattr__(state, "write", write)
        real(self, scratch, state, said)

    monkeypatch.setattr(StateIO, "_fill", spoiled)
    with pytest.raises(DiskError, match="read back is not what was written"):
        run.save(2)
    assert run.load() == 1 and run.names() == whole(1)


def test_a_former_state_that_cannot_be_removed_is_left_with_a_warning(run, monkeypatch):
    at = next(i for i, (name, _) in enumerate(calls_of(lambda: run.save(2), monkeypatch)) if name == "unlink") - 1
    with FaultyDisk(at, errno.EIO)(monkeypatch), pytest.warns(match="state-00000002 is no longer needed"):
        run.save(3)
    assert run.load() == 3


# ---- damage


def damaged(run, file, change):
    path = run.folder / "checkpoints" / state_name(1) / file
    content = bytearray(path.read_bytes())
    path.unlink()  # of a hard link, the other name stays as it is
    path.write_bytes(change(content))
    with pytest.raises(UserError) as refused:
        run.io.load_checkpoint(path.parents[file.count("/")])
    path.write_bytes(content)
    text = str(refused.value)
    assert str(path.parents[file.count("/")]) in text and "\n" not in text
    return text


FILES = (TENSORS, MANIFEST, "best/adapter_model.safetensors", "best/finelab.json")


@pytest.mark.parametrize("file", FILES)
def test_a_file_of_any_shorter_length_is_refused(file, run):
    length = (run.folder / "checkpoints" / state_name(1) / file).stat().st_size
    for kept in {*range(0, length, max(1, length // 40)), length - 1}:
        if json_is_whole(file, run, kept):
            continue
        damaged(run, file, lambda content, kept=kept: content[:kept])


def json_is_whole(file, run, kept):
    content = (run.folder / "checkpoints" / state_name(1) / file).read_bytes()
    return file == MANIFEST and content[:kept].strip() == content.strip()


@pytest.mark.parametrize("file", FILES)
def test_a_bit_that_has_flipped_is_found(file, run):
    """In every region: length, header and tensors of the state, every value of the manifest, the best weights."""
    content = (run.folder / "checkpoints" / state_name(1) / file).read_bytes()
    where = range(0, len(content), max(1, len(content) // 400))
    blank = {place for place in where if file == MANIFEST and chr(content[place]).isspace()}  # says nothing
    for place in set(where) - blank:

        def flip(found, place=place):
            found[place] ^= 1
            return found

        text = damaged(run, file, flip)
        assert "damaged" in text or "format" in text


def test_a_file_that_is_missing(run):
    for file in FILES:
        path = run.folder / "checkpoints" / state_name(1) / file
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(UserError, match="is missing|cannot be read: No such file"):
            run.io.load_checkpoint(run.folder / "checkpoints" / state_name(1))
        path.write_bytes(content)
    assert run.load() == 1


# ---- what was never ours


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (os.mkdir, (str(self.mark),))


def a_file(path, mark):
    torch.save({"state_dict": {}, "x": Bomb(mark)}, path)


def a_plain_pickle(path, mark):
    path.write_bytes(pickle.dumps(Bomb(mark)))


def a_folder_with_a_pickle(path, mark):
    path.mkdir()
    (path / TENSORS).write_bytes(pickle.dumps(Bomb(mark)))
    write_manifest(path, {"step": 1})


def a_folder_with_a_torch_file(path, mark):
    path.mkdir()
    torch.save(Bomb(mark), path / TENSORS)
    write_manifest(path, {"step": 1})


def a_zip(path, mark):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../escaped", "x")


def an_empty_file(path, mark):
    path.write_bytes(b"")


def an_empty_folder(path, mark):
    path.mkdir()


def weights_only(path, mark):
    path.mkdir()
    (path / "finelab.json").write_text("{}")


def a_bomb_of_lists(path, mark):
    path.mkdir()
    (path / MANIFEST).write_text("[" * 1_000_000)


def a_huge_manifest(path, mark):
    path.mkdir()
    with (path / MANIFEST).open("wb") as stream:
        stream.truncate(2**40)  # a hole: takes no space


def a_manifest_of_another_kind(path, mark):
    path.mkdir()
    (path / MANIFEST).write_text("[1, 2]")


def a_later_format(path, mark):
    path.mkdir()
    write_manifest(path, {"step": 1})
    content = json.loads((path / MANIFEST).read_text())
    (path / MANIFEST).write_text(json.dumps(content | {"format": 99}))


def bytes_that_are_no_text(path, mark):
    path.mkdir()
    (path / MANIFEST).write_bytes(b"\xff\xfe{}")


def a_manifest_without_the_state(path, mark):
    path.mkdir()
    write_manifest(path, {"step": 1})


def a_pipe(path, mark):
    path.mkdir()
    write_manifest(path, {"step": 1})
    os.mkfifo(path / TENSORS)


FOREIGN = {
    a_file: "is a file.*pickles .*never read",
    a_plain_pickle: "is a file.*pickles .*never read",
    a_folder_with_a_pickle: "cannot be read as a training state",
    a_folder_with_a_torch_file: "cannot be read as a training state",
    a_zip: "is a file",
    an_empty_file: "is a file",
    an_empty_folder: "manifest.json cannot be read",
    weights_only: "manifest.json cannot be read",
    a_bomb_of_lists: "is damaged",
    a_huge_manifest: "is damaged .*1,099,511,627,776 bytes",
    a_manifest_of_another_kind: "has format",
    a_later_format: "has format '99'",
    bytes_that_are_no_text: "is damaged",
    a_manifest_without_the_state: "state.safetensors is missing",
    a_pipe: "state.safetensors is missing",
}


@pytest.mark.parametrize("make", FOREIGN, ids=lambda make: make.__name__)
def test_a_foreign_checkpoint_is_refused_and_runs_nothing(make, tmp_path):
    path, mark = tmp_path / "given", tmp_path / "executed"
    make(path, mark)
    with pytest.raises(UserError, match=FOREIGN[make]) as refused:
        StateIO().load_checkpoint(path)
    assert str(path) in str(refused.value) and len(str(refused.value)) < 700 and "\n" not in str(refused.value)
    assert not mark.exists()


def test_nothing_there(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        StateIO().load_checkpoint(tmp_path / "state-00000001")


def listed_elsewhere(run, name, make=None):
    folder = run.folder / "checkpoints" / state_name(1)
    content = read_manifest(folder)
    files = content.pop("files") | {name: "0" * 64}
    (folder / MANIFEST).unlink()
    if make:
        make(folder / name)
    from finelab.contracts.state_folder import FORMAT, SEAL, sealed

    whole = {**content, "format": FORMAT, "files": files}
    (folder / MANIFEST).write_text(json.dumps(whole | {SEAL: sealed(whole)}))
    with pytest.raises(UserError) as refused:
        run.io.load_checkpoint(folder)
    return str(refused.value)


@pytest.mark.parametrize("name", ["../../../outside", "/etc/hostname", "best/../../x", ".."])
def test_a_manifest_that_names_files_elsewhere(name, run):
    assert "lies outside of its folder" in listed_elsewhere(run, name)


def test_a_link_is_not_followed(run, tmp_path):
    (tmp_path / "outside").write_text("secret")
    assert "is a link" in listed_elsewhere(run, "inner", lambda path: path.symlink_to(tmp_path / "outside"))


def test_a_linked_folder_is_not_followed(run, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a").write_text("secret")
    assert "is a link" in listed_elsewhere(run, "in/a", lambda path: path.parent.symlink_to(tmp_path / "outside"))


def test_nothing_is_swept_behind_a_link(run, tmp_path):
    (run.folder / "checkpoints").rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / ".best.part-12345678").mkdir()
    (run.folder / "checkpoints").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is a link to"):
        sweep(run.folder)
    assert (tmp_path / "elsewhere" / ".best.part-12345678").exists()


def test_a_file_that_the_manifest_does_not_list(run, tmp_path):
    best = run.folder / "checkpoints" / state_name(1) / "best"
    (best / "adapter_model.bin").write_bytes(b"pickle")
    with pytest.raises(UserError, match="adapter_model.bin is not the file that was written"):
        run.load()
    (best / "adapter_model.bin").unlink()
    (tmp_path / "secret").write_text("x")
    (best / "secret").symlink_to(tmp_path / "secret")
    with pytest.raises(UserError, match="secret is a link"):
        run.load()


def test_an_event_file_that_is_a_link_is_not_cut_behind_it(tmp_path):
    from finelab.callbacks.event_files import cut_back

    (tmp_path / "kept").write_text("of somebody else")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "events.out.tfevents.1").symlink_to(tmp_path / "kept")
    sizes = {"events.out.tfevents.1": 0, "../kept": 0}
    cut_back(tmp_path / "run", sizes, among=sizes)
    assert (tmp_path / "kept").read_text() == "of somebody else"


def test_a_tree_that_is_no_checkpoint(run):
    run.io.save_checkpoint({"global_step": 2}, run.folder / "checkpoints" / state_name(2))
    with pytest.raises(UserError, match="lacks loops, pytorch-lightning_version, state_dict"):
        run.load()
