"""What is true of the real runs: measured on rows that neither trained nor judged them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from verdict_curves import SHORT, THERE, TRIFLE

from finelab.callbacks.evidence.probe_series import Floats, ProbeSeries, ProbeSet
from finelab.callbacks.halves import Halves


@dataclass(frozen=True)
class RealTruth:
    """What the large untouched set says.

    Args:
        overfits: the last weights lose more than two standard errors, paired by row (by document), against the best
            checkpoint on this set.
        material: and more than ``TRIFLE`` of its loss.
        best: the evaluation with the lowest loss.
        lost: nats per token given away by the last weights.
        error: standard error of that difference.
        underfits: the end is more than ``SHORT`` above the best of its healthy twin, and it does not overfit.
        learned: it is less than ``THERE`` above that; the twin itself is.
        short: by what share of the loss; None without a twin.
    """

    overfits: bool
    material: bool
    best: int
    lost: float
    error: float
    underfits: bool
    learned: bool
    short: float | None


@dataclass(frozen=True)
class RealRun:
    """One file: the recipe, what the probes would have recorded, and the mean loss of the untouched set."""

    name: str
    group: str
    data: str
    twin: str
    seed: int
    series: ProbeSeries
    start: float
    large: ProbeSet
    accuracy_lost: float


def load(file: Path) -> RealRun:
    kept = np.load(file)
    recipe = json.loads(str(kept["recipe"]))
    sets = {name: probe_set(kept, name) for name in ("train", "validation", "large")}
    validation = sets["validation"]
    ids = np.arange(len(validation.groups))
    first = Halves(ids, validation.groups, recipe["seed"]).first(ids)
    a, b = (only(validation, rows) for rows in (first, ~first))
    lm = recipe["data"] == "grimm_tales"
    base = {"train": kept["base_train"], "a": kept["base_validation"][first], "b": kept["base_validation"][~first]}
    series = ProbeSeries(
        steps=kept["steps"],
        travelled=kept["travelled"],
        train=sets["train"],
        a=a,
        b=b,
        base=base if lm else {},
        planned=len(kept["steps"]),
    )
    right = sets["large"].right
    assert right is not None
    hits = right.sum(1) / sets["large"].tokens.sum()
    return RealRun(
        name=recipe["name"],
        group=recipe["group"],
        data=recipe["data"],
        twin=recipe["twin"],
        seed=recipe["seed"],
        series=series,
        start=float(kept["base_validation"].sum() / kept["tokens_validation"].sum()),
        large=sets["large"],
        accuracy_lost=float(hits.max() - hits[-1]),
    )


def probe_set(kept: Any, name: str) -> ProbeSet:
    tokens = kept[f"tokens_{name}"].astype(float)
    return ProbeSet(kept[f"nll_{name}"], tokens, kept[f"right_{name}"] / tokens, kept[f"groups_{name}"])


def only(whole: ProbeSet, rows: np.ndarray) -> ProbeSet:
    assert whole.right is not None
    return ProbeSet(whole.nll[:, rows], whole.tokens[rows], whole.right[:, rows], whole.groups[rows])


def truth_of(run: RealRun, runs: dict[str, RealRun]) -> RealTruth:
    mean = run.large.mean
    best, last = int(np.argmin(mean)), len(mean) - 1
    lost = float(mean[last] - mean[best])
    error = paired_error(run.large, last, best)
    twin = runs.get(run.twin) if run.twin else (run if run.group == "healthy twin" else None)
    reached = None if twin is None else float(twin.large.mean.min())
    short = None if reached is None else float(mean[last]) / reached - 1
    overfits = best != last and lost > 2 * error
    return RealTruth(
        overfits=overfits,
        material=overfits and lost > TRIFLE * float(mean[best]),
        best=best,
        lost=lost,
        error=error,
        underfits=short is not None and short > SHORT and not overfits,
        learned=short is not None and short < THERE,
        short=short,
    )


def paired_error(rows: ProbeSet, now: int, then: int) -> float:
    """Standard error of the difference of mean losses, by document (a ratio of sums, linearised)."""
    difference: Floats = rows.nll[now].astype(float) - rows.nll[then]
    total = rows.tokens.sum()
    residual = difference - difference.sum() / total * rows.tokens
    _, at = np.unique(rows.groups, return_inverse=True)
    sums = np.bincount(at, weights=residual)
    return float(np.sqrt(len(sums) / max(len(sums) - 1, 1) * sums @ sums) / total)
