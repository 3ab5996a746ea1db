"""What the simulator says is true of a run, against runs of many rows."""

from dataclasses import replace

import numpy as np
import pytest
from verdict_curves import FAMILIES, Noise, covariance, draw, paired_variance, simulate


def joined(series):
    nll = np.concatenate([series.a.nll, series.b.nll], 1).astype(float)
    return nll, np.concatenate([series.a.tokens, series.b.tokens])


def test_what_rows_show_scatters_around_the_truth_as_much_as_it_says():
    """The difference between the last evaluation and the best one, in units of the closed form's standard error."""
    found = []
    for index in range(250):
        run = simulate(index, seed=3)
        if run.truth.effect > 0:
            nll, tokens = joined(run.series)
            seen = (nll[-1] - nll[run.truth.best]).sum() / tokens.sum()
            found.append((seen - run.truth.lost) / (run.truth.lost / run.truth.effect))
    assert len(found) > 100
    assert abs(np.mean(found)) < 3 / np.sqrt(len(found))
    assert np.std(found) == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("tokens", [1, 256])
def test_rows_have_the_mean_that_was_asked_for(tokens):
    random = np.random.default_rng(5)
    noise = Noise(0.6, 0.2, 0.1, 0.5, 0.1 if tokens > 1 else 0.0, 1, tokens)
    tau, rise = np.array([0.0, 0.5, 1.0]), np.array([0.0, 0.0, 0.3])
    rows, _ = draw(random, np.array([2.0, 1.0, 0.8]), noise, tau, rise, 40_000, 0)
    variance = paired_variance(np.array([1.0, 0.8]), covariance(noise, tau, rise)[1:, 1:])
    assert rows.mean == pytest.approx([1.0, 0.8], rel=0.03)
    per_token = rows.nll / rows.tokens
    assert np.var(per_token[1] - per_token[0]) == pytest.approx(variance, rel=0.1)


def test_families_are_what_they_are_called():
    runs = {family: [simulate(i, 4, family) for i in range(20)] for family in FAMILIES}
    assert all(run.truth.overfits for family in ("rising late", "rising early") for run in runs[family])
    assert not any(run.truth.material for family in ("flat", "falling") for run in runs[family])
    assert any(run.truth.underfits for run in runs["falling"])
    late, early = (np.mean([r.truth.best / len(r.series) for r in runs[f]]) for f in ("rising late", "rising early"))
    assert early < late


def test_a_run_is_the_same_whenever_it_is_asked_for():
    one, other = simulate(11), simulate(11)
    assert replace(one.truth) == other.truth
    assert np.array_equal(one.series.b.nll, other.series.b.nll)
    assert not np.array_equal(one.series.b.nll[:, :50], simulate(11, seed=2).series.b.nll[:, :50])


def test_pairing_is_decisive():
    """Neighbouring evaluations of the same rows: methods.md 3.4 has a tenth."""
    ratios = []
    for index in range(60):
        run = simulate(index, 6, "falling")
        if len(run.series) > 8:
            own = run.series.a.nll / run.series.a.tokens
            ratios.append(np.std(own[-1] - own[-2]) / np.std(own[-1]) / np.sqrt(2))
    assert 0.003 < np.median(ratios) < 0.2
