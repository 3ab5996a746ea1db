"""The ledger: a cache that readers see whole or not at all."""

import dataclasses
import sqlite3

import pytest

from finelab.studies.entry import Entry
from finelab.studies.history import History
from finelab.studies.ledger import LEDGER_FILE, Ledger, integrity, journal_for, read_ledger

from .running import a_cell


def entry(number: int, **changes) -> Entry:
    return dataclasses.replace(Entry.of(a_cell(number), f"folder-{number}", History()), **changes)


def test_rows_come_back_as_they_were(tmp_path):
    ledger = Ledger(tmp_path)
    rows = [entry(1), entry(2, state="failed", reason="memory", message="so", seconds=1.5, started=2.0, task="t")]
    ledger.replace(rows)
    assert read_ledger(tmp_path) == rows, "while it is open for writing"
    ledger.put([dataclasses.replace(rows[0], state="done")])
    assert {found.id: found.state for found in read_ledger(tmp_path)} == {rows[0].id: "done", rows[1].id: "failed"}
    ledger.replace(rows[:1])
    assert read_ledger(tmp_path) == rows[:1]
    ledger.close()
    connection = sqlite3.connect(tmp_path / LEDGER_FILE)
    assert integrity(connection) == "ok"
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


@pytest.mark.parametrize("engine", ["ray", "slurm"])
def test_hosts_that_share_a_file_system_share_no_memory(engine, tmp_path):
    Ledger(tmp_path).close()  # of a study that was first run here
    ledger = Ledger(tmp_path, journal_for(engine))
    ledger.replace([entry(1)])
    assert read_ledger(tmp_path) == [entry(1)], "while it is open for writing"
    assert [path.name for path in tmp_path.iterdir()] == [LEDGER_FILE]
    ledger.close()


def test_what_fails_halfway_has_not_happened(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.replace([entry(1)])
    with pytest.raises(sqlite3.Error):
        ledger.put([entry(2), entry(3, state=object())])
    with pytest.raises(sqlite3.Error):
        ledger.replace([entry(3, state=object())])
    assert read_ledger(tmp_path) == [entry(1)]
    ledger.put([entry(2)])
    assert len(read_ledger(tmp_path)) == 2
    ledger.close()


def test_a_full_disk_is_told_and_the_rows_stand(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.replace([entry(1)])
    ledger._connection.execute(f"PRAGMA max_page_count={ledger._connection.execute('PRAGMA page_count').fetchone()[0]}")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        ledger.put([entry(number, message="x" * 5000) for number in range(2, 10)])
    assert read_ledger(tmp_path) == [entry(1)]
    ledger.close()


def test_there_is_nothing_in_none(tmp_path):
    assert read_ledger(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
