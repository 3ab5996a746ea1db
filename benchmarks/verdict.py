"""How often the overfitting verdict is wrong: false alarms, hits, delay, and underfitting told from healthy.

    python benchmarks/verdict.py --simulate 10000              # about 10 minutes on one core
    python benchmarks/verdict.py --train DIR                   # real runs, about 2 hours on one core; restartable
    python benchmarks/verdict.py --runs DIR/report             # judges what was trained, in seconds

What is true is measured, on 20,000 simulated rows in closed form or on a large untouched set of real ones, and is never
taken from the recipe. Intervals are exact (Clopper and Pearson), 95 %. A gate is on the end of the interval that hurts:
false alarms at most 5 %, hits at least 90 %, of simulated runs. Losses of less than 1 % that only so large a set
sees are counted apart from both, and in with them as ``by the letter``.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from verdict_curves import FAMILIES, SHORT, THERE, TRIFLE, UNTOUCHED, simulate
from verdict_truth import load
from verdict_truth import truth_of as real_truth

from finelab.callbacks.evidence.judge import judge
from finelab.callbacks.evidence.probe_series import ProbeSeries
from finelab.callbacks.evidence.settings import Reference, Settings

RESULTS = Path(__file__).parent / "results" / "verdict.json"
REPORT_SEED = 2026
"""Of the simulated runs that are reported; the judge was developed on others."""

FALSE_ALARMS, HITS, TOLD = 0.05, 0.90, 0.80
EFFECTS = (0.0, 2.0, 3.0, 5.0, 10.0, np.inf)
"""What is lost, in its paired standard errors on the run's own validation rows."""


@dataclass(frozen=True)
class Case:
    """One judged run.

    Args:
        name: of the run.
        group: family or kind.
        truth: overfits, trifling (significant, and under ``TRIFLE``) or sound.
        underfits: whether it is true that it underfits.
        learned: whether it is true that it has learned what there was to learn.
        effect: what is lost in units of its standard error on the validation rows.
        label: the verdict at the end.
        alarms: evaluations, counted from 0, at which the verdict during the run was overfitting.
        best: the evaluation of the true minimum.
        steps: of the evaluations.
        rows: of validation.
        cost: what the verdict says is given away; lost: what truly is.
    """

    name: str
    group: str
    truth: str
    underfits: bool
    learned: bool
    effect: float
    label: str
    alarms: tuple[int, ...] | None
    best: int
    steps: tuple[int, ...]
    rows: int
    cost: float | None
    lost: float


# ---- judging


def judged(series: ProbeSeries, reference: Reference | None) -> tuple[str, float | None]:
    verdict = judge(series, Settings(), reference)
    return verdict.label, verdict.cost


def alarms_during(series: ProbeSeries, reference: Reference | None) -> tuple[int, ...]:
    """The evaluations at which a verdict given there and then would be overfitting."""
    during = Settings(finished=False)
    at = range(2, len(series) + 1)
    return tuple(t - 1 for t in at if judge(series.until(t), during, reference).label == "overfitting")


def kind_of_truth(truth: Any) -> str:
    return ("overfits" if truth.material else "trifling") if truth.overfits else "sound"


def simulated_case(index: int, seed: int, during: bool) -> Case:
    run = simulate(index, seed)
    series, truth = run.series, run.truth
    reference = None  # a base that can do the task counts by itself
    if run.kind == "classification":  # a fresh head's base says nothing
        a, b = series.base["a"], series.base["b"]
        start = float((a.sum() + b.sum()) / (len(a) + len(b)))
        reference, series = Reference("no training", start, start), replace(series, base={})
    label, cost = judged(series, reference)
    return Case(
        name=str(index),
        group=run.family,
        truth=kind_of_truth(truth),
        underfits=truth.underfits,
        learned=truth.learned,
        effect=truth.effect,
        label=label,
        alarms=alarms_during(series, reference) if during else None,
        best=truth.best,
        steps=tuple(series.steps.tolist()),
        rows=len(series.a.tokens) + len(series.b.tokens),
        cost=cost,
        lost=truth.lost,
    )


def real_cases(folder: Path) -> list[Case]:
    runs = {file.stem: load(file) for file in sorted(folder.glob("*.npz"))}
    file = folder / "references.json"
    probes = json.loads(file.read_text()) if file.is_file() else {}
    found = []
    for run in runs.values():
        truth = real_truth(run, runs)
        probe = probes.get(run.twin or run.name, run.start)
        reference = None if run.series.base else Reference("frozen-feature probe", probe, run.start)
        label, cost = judged(run.series, reference)
        rows = len(run.series.a.tokens) + len(run.series.b.tokens)
        effect = truth.lost / (truth.error * np.sqrt(len(run.large.tokens) / rows)) if truth.lost > 0 else 0.0
        found.append(
            Case(
                name=run.name,
                group=run.group,
                truth=kind_of_truth(truth),
                underfits=truth.underfits,
                learned=truth.learned,
                effect=float(effect),
                label=label,
                alarms=alarms_during(run.series, reference),
                best=truth.best,
                steps=tuple(run.series.steps.tolist()),
                rows=rows,
                cost=cost,
                lost=truth.lost,
            )
        )
    return found


# ---- counting


def rate(cases: Iterable[Case], says: Callable[[Case], bool]) -> dict[str, Any]:
    """How many of the cases it is true of, with an exact interval."""
    answers = [says(case) for case in cases]
    if not answers:
        return {"count": 0, "of": 0, "missing": "no such run"}
    interval = stats.binomtest(sum(answers), len(answers)).proportion_ci(0.95, "exact")
    return {
        "count": sum(answers),
        "of": len(answers),
        "rate": round(sum(answers) / len(answers), 4),
        "low": round(float(interval.low), 4),
        "high": round(float(interval.high), 4),
    }


def is_overfitting(case: Case) -> bool:
    return case.label == "overfitting"


def true_of(cases: Sequence[Case], *truths: str) -> list[Case]:
    return [case for case in cases if case.truth in truths]


def error_rates(cases: Sequence[Case]) -> dict[str, Any]:
    """Everything that is reported of a collection of runs."""
    sound, bad = true_of(cases, "sound"), true_of(cases, "overfits")
    trifling = true_of(cases, "trifling")
    bands = list(pairwise(EFFECTS))
    return {
        "runs": len(cases),
        "false alarms": rate(sound, is_overfitting),
        "hits": rate(bad, is_overfitting),
        "called overfitting where less than 1 % is lost": rate(trifling, is_overfitting),
        "hits by the letter": rate(bad + trifling, is_overfitting),
        "hits that rows could show": rate([c for c in bad if c.effect >= 3], is_overfitting),
        "an oracle would hit": oracle(bad),
        "by group": {group: by_group([c for c in cases if c.group == group]) for group in groups(cases)},
        "hits by effect": {
            f"{low:g} to {high:g}": rate([c for c in bad if low <= c.effect < high], is_overfitting)
            for low, high in bands
        },
        "hits by validation rows": {
            f"{low} to {high}": rate([c for c in bad if low <= c.rows < high], is_overfitting)
            for low, high in ((50, 300), (300, 1000), (1000, 2001))
        },
        "undecided": rate(cases, lambda case: case.label == "undecided"),
        "underfitting": underfitting(cases),
        "during the run": during_the_run(cases),
    }


def oracle(cases: Sequence[Case]) -> float | None:
    """The share that a one-sided 5 % test on all validation rows would find if it knew the best checkpoint: no rule
    with 5 % false alarms that looks at validation losses alone can be expected to do better."""
    return round(float(np.mean(stats.norm.sf(1.645 - np.array([c.effect for c in cases])))), 4) if cases else None


def groups(cases: Sequence[Case]) -> list[str]:
    own = {case.group for case in cases}
    return [family for family in FAMILIES if family in own] or sorted(own)


def by_group(cases: Sequence[Case]) -> dict[str, Any]:
    labels = ("healthy", "overfitting", "underfitting", "undecided")
    return {
        "false alarms": rate(true_of(cases, "sound"), is_overfitting),
        "hits": rate(true_of(cases, "overfits"), is_overfitting),
        "trifling": len(true_of(cases, "trifling")),
        "labels": {label: sum(case.label == label for case in cases) for label in labels},
    }


def underfitting(cases: Sequence[Case]) -> dict[str, Any]:
    """Told from healthy: how often an underfitting run is called so, and a sound one that has learned is not."""
    under = [case for case in cases if case.underfits]
    healthy = [case for case in true_of(cases, "sound") if case.learned]
    found = rate(under, lambda case: case.label == "underfitting")
    spared = rate(healthy, lambda case: case.label != "underfitting")
    told = (found["rate"] + spared["rate"]) / 2 if under and healthy else None
    return {"found": found, "healthy not called so": spared, "mean of both": told and round(told, 4)}


def during_the_run(cases: Sequence[Case]) -> dict[str, Any]:
    """Delay from the true minimum to the first alarm that is not before it, and alarms where none is due."""
    watched = [case for case in cases if case.alarms is not None]
    bad = true_of(watched, "overfits")
    delays = [(case, min((t for t in case.alarms or () if t > case.best), default=None)) for case in bad]
    hit = [(case, t) for case, t in delays if t is not None]
    evaluations = [t - case.best for case, t in hit]
    steps = [case.steps[t] - case.steps[case.best] for case, t in hit]
    share = [delay / case.steps[-1] for delay, (case, _) in zip(steps, hit, strict=True)]
    return {
        "runs": len(watched),
        "hits": rate(bad, lambda case: any(t > case.best for t in case.alarms or ())),
        "median delay in evaluations": median(evaluations),
        "median delay in steps": median(steps),
        "median delay as a share of the run": median(share),
        "false alarms at any evaluation": rate(true_of(watched, "sound"), lambda case: bool(case.alarms)),
        "alarms before the true minimum": rate(bad, lambda case: any(t <= case.best for t in case.alarms or ())),
    }


def median(values: Sequence[float]) -> float | None:
    return round(float(np.median(values)), 4) if values else None


# ---- telling


def gates(found: dict[str, Any]) -> dict[str, bool]:
    """Of simulated runs, whose number is large: on the interval's end."""
    told = found["underfitting"]["mean of both"]
    return {
        "false alarms": found["false alarms"]["high"] <= FALSE_ALARMS,
        "hits": found["hits"]["low"] >= HITS,
        "underfitting": told is not None and told >= TOLD,
    }


def shown(title: str, found: dict[str, Any]) -> str:
    lines = [f"{title}: {found['runs']} runs"]
    for name in ("false alarms", "hits", "hits that rows could show", "hits by the letter", "undecided"):
        lines.append(f"  {name:28} {told(found[name])}")
    lines.append(f"  {'an oracle would hit':28} {found['an oracle would hit']}")
    lines += [f"  effect {band:21} {told(own)}" for band, own in found["hits by effect"].items()]
    for group, own in found["by group"].items():
        lines.append(
            f"  {group:28} false alarms {told(own['false alarms'])}; hits {told(own['hits'])}; {own['labels']}"
        )
    under, during = found["underfitting"], found["during the run"]
    lines.append(f"  underfitting found           {told(under['found'])}")
    lines.append(f"  healthy not called so        {told(under['healthy not called so'])}")
    lines.append(
        f"  during {during['runs']} runs: hits {told(during['hits'])}; delay {during['median delay in evaluations']} "
        f"evaluations, {during['median delay in steps']} steps; false alarms at any evaluation "
        f"{told(during['false alarms at any evaluation'])}"
    )
    return "\n".join(lines)


def told(own: dict[str, Any]) -> str:
    if not own["of"]:
        return "no such run"
    return f"{own['rate']:.3f} ({own['low']:.3f} to {own['high']:.3f}; {own['count']} of {own['of']})"


def simulated(count: int, seed: int, during: int) -> dict[str, Any]:
    start = time.perf_counter()
    cases = [simulated_case(index, seed, index < during) for index in range(count)]
    found = error_rates(cases)
    settings = {"seed": seed, "untouched rows": UNTOUCHED, "trifle": TRIFLE, "short": SHORT, "learned": THERE}
    return settings | {"seconds": round(time.perf_counter() - start), "gates": gates(found)} | found


def real(folder: Path) -> dict[str, Any]:
    cases = real_cases(folder)
    listed = {
        case.name: {
            "kind": case.group, "truth": case.truth, "underfits": case.underfits, "verdict": case.label,
            "lost": round(case.lost, 4), "said": None if case.cost is None else round(case.cost, 4),
            "effect": round(case.effect, 1),
        }
        for case in cases
    }  # fmt: skip
    return error_rates(cases) | {"each": listed}


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulate", type=int, default=0, metavar="N", help="judge N simulated runs")
    parser.add_argument("--seed", type=int, default=REPORT_SEED, help="of the simulated runs")
    parser.add_argument("--during", type=int, default=500, help="simulated runs that are judged at every evaluation")
    parser.add_argument("--runs", type=Path, metavar="DIR", help="judge the real runs in this folder")
    parser.add_argument("--train", type=Path, metavar="DIR", help="train the real runs into DIR/dev and DIR/report")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    if options.train:
        script = Path(__file__).with_name("verdict_runs.py")
        for part in ("dev", "report"):
            for more in ([], ["--references"]):
                subprocess.run([sys.executable, str(script), str(options.train), "--part", part, *more], check=True)
    content = json.loads(options.output.read_text()) if options.output.is_file() else {}
    if options.simulate:
        content["simulated"] = simulated(options.simulate, options.seed, options.during)
        print(shown("simulated", content["simulated"]), f"\n  gates: {content['simulated']['gates']}", flush=True)
    if options.runs:
        content["real"] = real(options.runs)
        print(shown("real", content["real"]), flush=True)
    options.output.write_text(json.dumps(content, indent=1) + "\n")
    return content


if __name__ == "__main__":
    main()
