import dataclasses
import json
import os
from pathlib import Path

import pytest

from finelab.contracts.errors import UserError
from finelab.contracts.files import replace_folder, write_atomically
from finelab.contracts.record import Best, Cost, Record, SplitResult, read_record, write_record


def a_record(**changes: object) -> Record:
    record = Record(
        status="finished",
        started="2026-11-22T07:00:00+00:00",
        command=["finelab", "fit"],
        seeds={"data": 1, "init": 2, "train": 3},
        config_digest="ab",
        base="tiny://bert",
        parameters={"trainable": 10, "total": 1000},
        adapter={"name": "Bottleneck", "merges": False, "base_is": "off"},
        data={"fingerprint": "cd", "rows": {"train": 4}},
        metrics={"validation": SplitResult(4, {"probe": {"nll": 0.7}}, {"nll": 0.5})},
        best=Best("accuracy", "max", 0.9, 20),
        history=[{"step": 20.0, "nll": 0.5}],
        examples={"validation-after": "predictions/validation-after.parquet"},
        test_read=False,
        order_digest="00ff",
        cost=Cost(10.0, 8.0, 20, 0, 40, 40, 400, 1 << 20),
        versions={"python": "3.12"},
        hardware={"cores": 2},
    )
    return dataclasses.replace(record, **changes)


def edited(directory: Path, change) -> None:
    write_record(a_record(), directory)
    content = json.loads((directory / "record.json").read_text())
    change(content)
    (directory / "record.json").write_text(json.dumps(content))


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = a_record(notes=["no probe"], best=None)
    write_record(record, tmp_path)
    assert read_record(tmp_path) == record
    assert os.listdir(tmp_path) == ["record.json"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda c: c.pop("seeds"), "record.seeds is missing"),
        (lambda c: c.update(extra=1), "record.extra is not a key"),
        (lambda c: c.update(status="done"), "record.status has to be one of"),
        (lambda c: c["cost"].update(steps="20"), "record.cost.steps has to be int"),
        (lambda c: c["cost"].update(steps=True), "record.cost.steps has to be int"),
        (lambda c: c["metrics"]["validation"]["after"].update(nll=float("nan")), "after.nll has to be a finite"),
        (lambda c: c["metrics"]["validation"]["before"]["probe"].update(nll=None), "probe.nll has to be a finite"),
        (lambda c: c["data"].update(a={"b": [1, float("inf")]}), r"record.data.a.b\[1\] has to be a finite"),
        (lambda c: c["hardware"].update(load=float("nan")), "record.hardware.load has to be a finite"),
        (lambda c: c.update(metrics={}), "metrics is empty"),
        (lambda c: c.update(status="failed: error"), "error has to name"),
        (lambda c: c.update(schema_version=99), "schema_version is 99"),
        (lambda c: c["command"].append(3), r"record.command\[2\] has to be str"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change, named: str) -> None:
    edited(tmp_path, change)
    with pytest.raises(UserError, match=named):
        read_record(tmp_path)


def test_a_record_of_another_schema_is_refused_by_its_version(tmp_path: Path) -> None:
    """The first had no ``adapter``; which key differs is of no use to who reads it."""
    edited(tmp_path, lambda content: (content.pop("adapter"), content.update(schema_version=1)))
    with pytest.raises(UserError, match="schema_version is 1 and this version of finelab reads 4") as refused:
        read_record(tmp_path)
    assert "done" not in str(refused.value)


def test_no_record_and_half_a_record_are_not_done(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no record.json"):
        read_record(tmp_path)
    write_record(a_record(), tmp_path)
    whole = (tmp_path / "record.json").read_text()
    for cut in (0, 1, len(whole) // 2, len(whole) - 2):
        (tmp_path / "record.json").write_text(whole[:cut])
        with pytest.raises(UserError, match="is not JSON"):
            read_record(tmp_path)
    (tmp_path / "record.json").write_text("[]")
    with pytest.raises(UserError, match="record has to be an object"):
        read_record(tmp_path)


def test_an_invalid_record_is_not_written(tmp_path: Path) -> None:
    write_record(a_record(), tmp_path)
    infinite = {"validation": SplitResult(1, {}, {"nll": float("inf")})}
    with pytest.raises(UserError, match="finite"):
        write_record(a_record(metrics=infinite), tmp_path)
    assert read_record(tmp_path) == a_record()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a.json", "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(tmp_path / "a.json", "\ud800")
    assert (tmp_path / "a.json").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    for content in ("first", "second"):
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "weights").write_text(content)
        replace_folder(tmp_path / "new", tmp_path / "best")
        assert (tmp_path / "best" / "weights").read_text() == content
    assert os.listdir(tmp_path) == ["best"]


def test_the_contracts_import_neither_torch_nor_lightning() -> None:
    import subprocess
    import sys

    code = (
        "import sys, finelab.contracts.record, finelab.contracts.data; print({'torch', 'lightning'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_row_of_a_table_is_a_line(tmp_path: Path) -> None:
    """A matrix of a hundred classes would be ten thousand lines otherwise."""
    counts = [list(range(100)) for _ in range(100)]
    tables = {"counts": counts, "f1": [0.5, None, 1e-7], "said": "[\n1,\n2]", "empty": []}
    result = SplitResult(3, {}, {}, {}, tables)
    path = write_record(a_record(metrics={"test": result}), tmp_path)
    assert read_record(tmp_path).metrics["test"].tables == tables
    assert len(path.read_text().splitlines()) < 300
