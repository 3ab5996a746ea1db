"""The criteria side by side: what is counted, on curves whose outcome is known and on a few simulated ones."""

import json

import numpy as np
import pytest
from stopping import CRITERIA, RESULTS, Run, evaluations, main, outcome, paired_errors, stops
from verdict_curves import simulate

from finelab.callbacks.evidence.half import Half
from finelab.callbacks.probe_errors import ProbeErrors
from finelab.callbacks.stopping import Patience

TRUTH = np.array([2.0, 1.0, 1.2, 1.1, 0.5, 0.8])


def run(noise: float = 0.0) -> Run:
    """What is seen is the truth but for the last evaluation, which looks best."""
    return Run("made", TRUTH, [2.0, 1.0, 1.2, 1.1, 0.5, 0.4], [1.0] * 6, np.full((6, 6), noise))


def test_stopping_and_its_outcome():
    assert evaluations(run(), Patience(2).judge) == 4
    assert outcome(run(), 4) == {
        "given away, nats": 0.5,
        "given away, percent": 100.0,
        "steps used, percent": pytest.approx(100 * 4 / 6),
        "premature, percent": 100.0,
    }
    assert evaluations(run(0.15), Patience(2).judge, auto=True) == 6, "1.1 cannot be told from 1.0"
    at_the_end = outcome(run(), 6)
    assert at_the_end["premature, percent"] == 0 and at_the_end["given away, nats"] == pytest.approx(0.3)
    assert stops(run())["to the end"] == 6


def test_the_noise_is_that_of_a_run():
    series = simulate(3).series
    made = Run.of("made", series, np.ones(len(series)))
    errors = ProbeErrors(series, "val/nll")
    steps = series.steps.tolist()
    for newer, older in ((2, 0), (1, 2), (len(steps) - 1, 0)):
        assert made.noise[newer, older] == pytest.approx(errors.noise(steps[newer], steps[older]), rel=1e-6)
    rows = Half.of(series.a, series.a.groups, "nll")
    assert np.allclose(np.diag(paired_errors(rows)), 0)


def test_a_few_simulated_runs(tmp_path, capsys):
    file = tmp_path / "stopping.json"
    content = main(["--simulate", "10", "--output", str(file)])
    assert json.loads(file.read_text()) == content
    found = content["simulated"]
    assert found["runs"] == 10 == sum(group["runs"] for group in found["by group"].values())
    ways = found["all"]
    assert set(ways) >= {"to the end", *CRITERIA, *(f"{name}, auto" for name in CRITERIA)}
    assert ways["to the end"]["steps used, percent"] == 100 and ways["to the end"]["premature, percent"] == 0
    for name in CRITERIA:
        assert ways[f"{name}, auto"]["steps used, percent"] >= ways[name]["steps used, percent"]
    assert "| patience 3, auto |" in capsys.readouterr().out


def test_the_results_kept_are_of_these_criteria():
    content = json.loads(RESULTS.read_text())
    for part in ("simulated", "real"):
        assert set(CRITERIA) < set(content[part]["all"])
