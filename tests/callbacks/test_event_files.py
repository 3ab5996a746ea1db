from pathlib import Path

from finelab.callbacks.event_files import cut_back, event_sizes


def test_files_are_cut_to_what_they_held_and_later_ones_go(tmp_path: Path) -> None:
    first, second, other = (tmp_path / f"events.out.tfevents.{name}" for name in ("1.a", "2.b", "3.c"))
    record = tmp_path / "record.json"
    first.write_bytes(b"12345")
    second.write_bytes(b"")
    record.write_text("{}")
    sizes = event_sizes(tmp_path)
    assert sizes == {first.name: 5, second.name: 0}
    first.write_bytes(b"12345678")
    second.write_bytes(b"9")
    other.write_bytes(b"later")
    own = tmp_path / "events.out.tfevents.4.d"
    own.write_bytes(b"new")
    former = {first.name, second.name, other.name}
    cut_back(tmp_path, sizes, among=former)
    assert own.read_bytes() == b"new", "of the process that goes on"
    assert (first.read_bytes(), second.read_bytes()) == (b"12345", b"")
    assert not other.exists() and record.exists()
    first.write_bytes(b"123")
    cut_back(tmp_path, sizes, among=former)
    assert first.read_bytes() == b"123", "never filled up with zeros"
