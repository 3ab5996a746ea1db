"""One small study with real runs, from its file to its report."""

import pytest
import yaml

from finelab.scripts.cli import main
from finelab.studies.cell_file import read_cell
from finelab.studies.plan import Plan
from finelab.studies.results import read_results


@pytest.mark.slow
def test_two_arms_and_two_seeds_from_file_to_report(config, here, capsys):
    base = yaml.safe_load(config("max_epochs: 1", "max_steps: 2").read_text())
    del base["model"]["init_args"]["regularizers"]
    (here / "small.yaml").write_text(yaml.safe_dump(base, sort_keys=False))
    study = {
        "study": "small",
        "base": "small.yaml",
        "factors": {"adapter": {"lora": {}, "full": {"model.adapter": {"class_path": "finelab.models.adapters.Full"}}}},
        "baseline": {"adapter": "lora"},
        "replicates": 2,
        "metric": "test/accuracy",
        "secondary": ["test/nll"],
        "engine": {"name": "local", "slots": 1},
    }
    (here / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    assert main(["study", "run", "study.yaml"]) == 0, capsys.readouterr()
    printed = capsys.readouterr().out
    assert "[4/4] done" in printed and "report: runs/small/report/report.html" in printed
    folder = here / "runs" / "small"
    results = read_results(folder, [read_cell(cell) for cell in (folder / "cells").iterdir()])
    assert len(results) == 4 and Plan.load(folder).study.name == "small"
    orders = {(found.cell.replicate, found.record.order_digest) for found in results}
    assert len(orders) == 2, "both arms see each replicate's rows in the same order"
    assert "Not powered" in (folder / "report" / "report.html").read_text()
