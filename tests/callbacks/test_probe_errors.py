"""What the rows of the probes say about an evaluation's noise, and what stopping makes of it."""

import functools
import math

import numpy as np
import pytest

from finelab.callbacks.evidence.probe_series import ProbeSeries, ProbeSet
from finelab.callbacks.probe_errors import ProbeErrors
from finelab.callbacks.stopping import Curve, Patience

T = 40


def probe_set(nll, tokens=None, right=None, groups=None) -> ProbeSet:
    rows = nll.shape[1]
    return ProbeSet(
        nll, np.ones(rows) if tokens is None else tokens, right, np.arange(rows) if groups is None else groups
    )


def series(a: ProbeSet, b: ProbeSet, train: ProbeSet | None = None) -> ProbeSeries:
    count = len(a.nll)
    return ProbeSeries(np.arange(1, count + 1) * 10, np.arange(count) * 1e-3, train, a, b, {}, count)


def test_the_noise_is_two_paired_standard_errors_of_all_rows() -> None:
    generator = np.random.default_rng(1)
    nll = generator.gamma(2, size=(1, 60)) + 0.05 * generator.normal(size=(3, 60))
    groups = np.arange(60)
    errors = ProbeErrors(
        series(probe_set(nll[:, :25], groups=groups[:25]), probe_set(nll[:, 25:], groups=groups[25:])), "val/nll"
    )
    change = nll[2] - nll[0]
    assert errors.noise(30, 10) == pytest.approx(2 * change.std(ddof=1) / math.sqrt(60))
    unpaired = 2 * math.hypot(nll[2].std(ddof=1), nll[0].std(ddof=1)) / math.sqrt(60)
    assert errors.noise(30, 10) < unpaired / 5
    assert errors.noise(30, 10) == pytest.approx(errors.noise(10, 30))


def test_rows_of_a_document_are_not_independent() -> None:
    generator = np.random.default_rng(2)
    once = generator.gamma(2, size=(2, 30)) + generator.normal(size=(2, 30))
    apart = ProbeErrors(
        series(probe_set(once[:, :15], groups=np.arange(15)), probe_set(once[:, 15:], groups=np.arange(15, 30))),
        "val/nll",
    )
    four = np.repeat(once, 4, axis=1)
    groups = np.repeat(np.arange(30), 4)
    copies = ProbeErrors(
        series(probe_set(four[:, :60], groups=groups[:60]), probe_set(four[:, 60:], groups=groups[60:])), "val/nll"
    )
    assert copies.noise(20, 10) == pytest.approx(apart.noise(20, 10)), "copies of a row say nothing new"


def test_errors_are_means_over_tokens() -> None:
    nll, tokens = np.array([[3.0, 4.0], [1.0, 1.0]]), np.array([1.0, 6.0])
    right = np.array([[1.0, 0.5], [0.0, 1.0]])
    rows = probe_set(nll, tokens, right)
    watched = series(rows, probe_set(nll, tokens, right, np.array([2, 3])), rows)
    assert [ProbeErrors(watched, "val/nll").train(step) for step in (10, 20)] == [1, pytest.approx(2 / 7)]
    assert [ProbeErrors(watched, "val/accuracy").train(step) for step in (10, 20)] == pytest.approx([3 / 7, 1 / 7])


def made(generator: np.random.Generator, truth: np.ndarray, rows: int = 400) -> ProbeErrors:
    """Rows of their own difficulty whose losses wander: each keeps 0.7 of its deviation to the next evaluation."""
    wander = generator.normal(size=(len(truth), rows))
    for t in range(1, len(truth)):
        wander[t] = 0.7 * wander[t - 1] + math.sqrt(1 - 0.7**2) * wander[t]
    nll = truth[:, None] * generator.gamma(1.5, 1 / 1.5, rows) + 0.25 * wander
    half, groups = rows // 2, np.arange(rows)
    return ProbeErrors(
        series(probe_set(nll[:, :half], groups=groups[:half]), probe_set(nll[:, half:], groups=groups[half:])),
        "val/nll",
    )


def outcomes(truth: np.ndarray, patience: int) -> dict[str, tuple[float, float]]:
    """Share of runs stopped before the end, and true loss given away, with and without ``min_delta: auto``."""
    generator = np.random.default_rng(3)
    stops: dict[str, list[int]] = {"plain": [], "auto": []}
    given: dict[str, list[float]] = {"plain": [], "auto": []}
    for _ in range(40):
        rows = made(generator, truth)
        seen = [(rows.series.a.mean[t] + rows.series.b.mean[t]) / 2 for t in range(T)]
        for name in stops:
            noise = functools.cache(lambda newer, older, at=rows.noise: at(10 * newer + 10, 10 * older + 10))
            noise = noise if name == "auto" else None
            ends = (t for t in range(1, T) if Patience(patience).judge(Curve(seen[:t], noise=noise)).stops)
            stops[name].append(next(ends, T))
            given[name].append(truth[int(np.argmin(seen[: stops[name][-1]]))] - truth.min())
    return {name: (float(np.mean(np.array(stops[name]) < T)), float(np.mean(given[name]))) for name in stops}


def test_patience_survives_the_noise_and_still_sees_a_rise() -> None:
    """Why ``min_delta: auto`` takes two standard errors, and why a change within them counts for nothing."""
    x = np.arange(T) / (T - 1)
    flat = outcomes(np.ones(T), 3)
    assert flat["plain"][0] == 1 and flat["auto"][0] < 0.6, "on a flat curve patience always stops"
    slow = outcomes(1.1 - 0.1 * x, 3)
    assert slow["plain"][1] > 0.08 and slow["auto"][1] < 0.012, "of 0.1 nats; the end would give away 0.005"
    falling = outcomes(1 + 0.3 * np.exp(-3 * x), 3)
    assert falling["plain"][0] > 0.9 and falling["auto"][0] < 0.05, "premature, all of them"
    rising = outcomes(1 + 0.3 * np.exp(-6 * x) + 0.15 * np.clip(x - 0.4, 0, None), 3)
    assert rising["plain"][0] == rising["auto"][0] == 1
    assert rising["auto"][1] < rising["plain"][1]
