"""Running a study, with children that stand in for runs."""

from finelab.studies.ledger import read_ledger

from .running import Running, a_cell


def test_everything_is_run_once_and_never_again(tmp_path):
    cells = [a_cell(number) for number in range(5)]
    study = Running(tmp_path, cells)
    outcome = study.run()
    assert (outcome.complete, outcome.ran, outcome.failed, outcome.exit_code) == (True, 5, (), 0)
    assert study.count("start") == study.count("done") == dict.fromkeys([cell.id for cell in cells], 1)
    rows = {entry.id: entry for entry in read_ledger(study.folder)}
    assert {entry.state for entry in rows.values()} == {"done"} and rows.keys() == {cell.id for cell in cells}
    again = study.run()
    assert (again.complete, again.ran) == (True, 0)
    assert sum(study.count("start").values()) == 5
