"""What counts as done."""

import dataclasses

from finelab.contracts.record import write_record
from finelab.studies.results import read_results

from .made_up import a_record, planted


def test_only_valid_finished_records_of_this_content_count(tmp_path) -> None:
    made = planted(tmp_path, {"none": 0.0, "rdrop": 0.3}, replicates=3, rows=20)
    assert [found.cell for found in made.results] == made.cells and len(made.results) == 6
    first, second, third, fourth, *_ = made.results
    (first.directory / "record.json").write_text("{")
    (second.directory / "record.json").unlink()
    other = dataclasses.replace(third.record, config_digest="another")
    (third.directory / "record.json").unlink()
    write_record(other, third.directory)
    write_record(dataclasses.replace(fourth.record, seeds={"data": 9, "init": 9, "train": 9}), fourth.directory)
    assert [found.cell for found in made.results] == made.cells[4:]
    failed = dataclasses.replace(
        a_record(made.cells[4], {"accuracy": 1.0}, 1), status="failed: nonfinite", error={"type": "x", "message": "y"}
    )
    write_record(failed, made.results[0].directory)
    assert len(made.results) == 1


def test_there_are_none_in_no_folder(tmp_path) -> None:
    made = planted(tmp_path, {"none": 0.0, "rdrop": 0.3}, replicates=2, rows=4)
    assert read_results(tmp_path / "nothing", made.cells) == []
