"""What a controller costs beyond its children; figures are printed, bounds are generous."""

import json
import subprocess
import time

import pytest

from finelab.studies.books import Books
from finelab.studies.cell_folder import write_cell
from finelab.studies.engines.engine import Job
from finelab.studies.entries import entries_of
from finelab.studies.event_log import event
from finelab.studies.ledger import LEDGER_FILE

from .running import Running, a_cell, stand_in


@pytest.mark.slow
def test_a_controller_costs_hundredths_of_a_second_a_cell(tmp_path):
    count = 200
    cells = [a_cell(number) for number in range(count)]
    bare = Running(tmp_path / "bare", cells)
    for cell in cells:
        write_cell(bare.place(cell), cell)
    begun = time.perf_counter()
    for cell in cells:
        subprocess.run(stand_in(Job(bare.place(cell), "")), check=True, stdin=subprocess.DEVNULL)
    alone = time.perf_counter() - begun
    figures = {"alone_ms": 1000 * alone / count}
    for slots in (1, 2):
        study = Running(tmp_path / str(slots), cells)
        begun, busy = time.perf_counter(), time.process_time()
        assert study.run(slots=slots).ran == count
        figures[f"processor_ms_{slots}"] = 1000 * (time.process_time() - busy) / count
        figures[f"overhead_ms_{slots}"] = 1000 * (time.perf_counter() - begun - alone / slots) / count
    print(json.dumps(figures))
    assert figures["overhead_ms_1"] < 200


@pytest.mark.slow
def test_slots_are_kept_busy(tmp_path):
    """Children that sleep, so that it does not matter what else the machine does."""
    figures = {}
    for slots in (1, 2):
        study = Running(tmp_path / str(slots), [a_cell(number, seconds=1.0) for number in range(20)])
        begun = time.perf_counter()
        study.run(slots=slots)
        figures[slots] = 20.0 / slots / (time.perf_counter() - begun)
    print(json.dumps(figures))
    assert min(figures.values()) > 0.7


@pytest.mark.slow
def test_a_thousand_cells_in_the_books(tmp_path):
    cells = [a_cell(number) for number in range(1000)]
    study = Running(tmp_path, cells)
    study.folder.mkdir()
    books, begun, busy = Books(study.folder), time.perf_counter(), time.process_time()
    books.expect(cells)
    for cell in cells:
        books.write([event("start", cell=cell.id, host="a")])
        books.write([event("done", cell=cell.id, seconds=1.0, host="a")])
    figures = {"writes_s": time.perf_counter() - begun, "processor_s": time.process_time() - busy}
    books.close()
    for cell in cells:
        write_cell(study.place(cell), cell)
        run = study.place(cell) / "run"
        run.mkdir()
        record = cell.config["child"]["record"] | {"config_digest": cell.config_digest}
        (run / "record.json").write_text(json.dumps(record))
    begun = time.perf_counter()
    again = Books(study.folder)
    figures["open_s"] = time.perf_counter() - begun
    assert len(again.finished) == 1000
    again.close()
    begun = time.perf_counter()
    assert {entry.state for entry in entries_of(study.folder)} == {"done"}
    figures["status_s"] = time.perf_counter() - begun
    figures["ledger_MB"] = (study.folder / LEDGER_FILE).stat().st_size / 1e6
    figures["events_MB"] = (study.folder / "events.jsonl").stat().st_size / 1e6
    print(json.dumps(figures))
    assert figures["writes_s"] < 60 and figures["ledger_MB"] < 2 and figures["events_MB"] < 2
