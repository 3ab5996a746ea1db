"""Patience, GL, PQ and UP on the same curves: what stopping gives away, what it saves, and when it is premature.

    python benchmarks/stopping.py --simulate 5000              # about a minute on one core
    python benchmarks/stopping.py --runs DIR [DIR ...]         # the real runs that verdict_runs.py left there

The truth of a simulated run is its population's mean loss (``verdict_curves``), of a real one the loss on a large
untouched set (``verdict_truth``). A criterion sees the validation rows and the train probe, as in a run. Where it stops
the evaluation with the least validation loss so far is kept. Given away is that one's true loss less the least of the
whole curve: some of it is the price of choosing by few rows, which training to the end pays as well.
"""

import argparse
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from verdict_curves import simulate
from verdict_truth import load

from finelab.callbacks.evidence.contrast import independent_units
from finelab.callbacks.evidence.half import Half
from finelab.callbacks.evidence.probe_series import Floats, ProbeSeries
from finelab.callbacks.probe_errors import NOISE
from finelab.callbacks.stopping import GL, PQ, UP, Curve, Patience

RESULTS = Path(__file__).parent / "results" / "stopping.json"
SEED = 6
"""Of the simulated runs."""

FEWEST = {"simulated": 20, "real": 12}
"""Evaluations of a run that counts: slower criteria need about as many before they can stop."""

WORTH = 0.01
"""A stop is premature where a later evaluation is truly better by more than this share of the least loss."""

CRITERIA = {
    **{f"patience {count}": Patience(count) for count in (1, 2, 3, 5, 10)},
    **{f"GL {alpha:g}": GL(alpha) for alpha in (1, 2, 5)},
    **{f"PQ {alpha:g}": PQ(alpha) for alpha in (0.5, 0.75, 1, 2, 3)},
    **{f"UP {strips}": UP(strips) for strips in (2, 3, 4, 8)},
}


@dataclass(frozen=True)
class Run:
    """A curve with its truth.

    Args:
        group: family or kind.
        truth: [T] nats per token on rows that nothing was chosen by.
        errors: [T] nats per token on the validation rows.
        train: [T] on the train probe.
        noise: [T, T] ``NOISE`` paired standard errors between any two evaluations of the validation rows.
    """

    group: str
    truth: Floats
    errors: list[float]
    train: list[float]
    noise: Floats

    @classmethod
    def of(cls, group: str, series: ProbeSeries, truth: Floats) -> "Run":
        a, b = independent_units(series.a, series.b)
        rows = Half.of(series.a, a, "nll") + Half.of(series.b, b, "nll")
        assert series.train is not None
        return cls(group, truth, rows.mean.tolist(), series.train.mean.tolist(), NOISE * paired_errors(rows))


def paired_errors(rows: Half) -> Floats:
    """[T, T] standard errors of the difference between any two evaluations, all at once (``Half.rise`` one by one)."""
    _, at = np.unique(rows.units, return_inverse=True)
    left = rows.losses - rows.mean[:, None] * rows.tokens
    sums = np.stack([np.bincount(at, weights=row) for row in left])
    products, count = sums @ sums.T, sums.shape[1]
    squares = np.diag(products)[:, None] + np.diag(products) - 2 * products
    return np.sqrt(np.maximum(squares, 0) * count / max(count - 1, 1)) / rows.tokens.sum()


# ---- stopping


def evaluations(run: Run, judge: Callable[[Curve], Any], auto: bool = False, min_delta: float = 0.0) -> int:
    """Until the criterion stops; all where it never does."""
    noise = (lambda newer, older: float(run.noise[newer, older])) if auto else None
    counts = range(1, len(run.errors))
    curves = (Curve(run.errors[:count], run.train[:count], min_delta, noise) for count in counts)
    return next((len(curve.errors) for curve in curves if judge(curve).stops), len(run.errors))


def stops(run: Run) -> dict[str, int]:
    """Evaluations of each way to stop. ``2 SE as min_delta``: only a fall by more than the noise is an improvement."""
    found = {"to the end": len(run.errors)}
    neighbours = float(np.median(np.diag(run.noise, 1)))
    for name, criterion in CRITERIA.items():
        found[name] = evaluations(run, criterion.judge)
        found[f"{name}, auto"] = evaluations(run, criterion.judge, auto=True)
    for count in (3, 10):
        found[f"patience {count}, 2 SE as min_delta"] = evaluations(run, Patience(count).judge, min_delta=neighbours)
    return found


def outcome(run: Run, count: int) -> dict[str, float]:
    """Of stopping after so many evaluations."""
    least = float(run.truth.min())
    given_away = float(run.truth[int(np.argmin(run.errors[:count]))]) - least
    return {
        "given away, nats": given_away,
        "given away, percent": 100 * given_away / least,
        "steps used, percent": 100 * count / len(run.errors),
        "premature, percent": 100 * float(run.truth[:count].min() - least > WORTH * least),
    }


def table(runs: Sequence[Run]) -> dict[str, dict[str, float]]:
    """Means over runs, by way to stop; of what is given away also the 95th percentile, of relative losses."""
    per_run = [{name: outcome(run, count) for name, count in stops(run).items()} for run in runs]
    found: dict[str, dict[str, float]] = {}
    for name in per_run[0]:
        columns = {key: [each[name][key] for each in per_run] for key in per_run[0][name]}
        found[name] = {key: round(float(np.mean(values)), 4) for key, values in columns.items()}
        worst = np.percentile(columns["given away, percent"], 95)
        found[name]["given away, percent, 95th percentile"] = round(float(worst), 3)
    return found


def summary(runs: Sequence[Run]) -> dict[str, Any]:
    groups = sorted({run.group for run in runs})
    per_group = {group: [run for run in runs if run.group == group] for group in groups}
    return {
        "runs": len(runs),
        "all": table(runs),
        "by group": {group: {"runs": len(own), "ways": table(own)} for group, own in per_group.items()},
    }


# ---- curves


def simulated(count: int, seed: int) -> Iterator[Run]:
    index = 0
    while count:
        made = simulate(index, seed)
        index += 1
        if len(made.series) >= FEWEST["simulated"]:
            count -= 1
            yield Run.of(made.family, made.series, made.population)


def real(folders: Iterable[Path]) -> Iterator[Run]:
    for file in sorted(file for folder in folders for file in folder.glob("*.npz")):
        kept = load(file)
        if len(kept.series) >= FEWEST["real"]:
            yield Run.of(kept.group, kept.series, kept.large.mean)


def shown(name: str, found: dict[str, Any]) -> str:
    lines = [
        f"{name}: {found['runs']} runs",
        "",
        "| stopped by | given away: nats | % | 95th % | steps used % | premature % |",
    ]
    lines.append("|---|---|---|---|---|---|")
    for way, means in found["all"].items():
        nats, share, steps, early, worst = means.values()
        lines.append(f"| {way} | {nats:.4f} | {share:.2f} | {worst:.1f} | {steps:.0f} | {early:.1f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulate", type=int, default=0, help="how many runs")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--runs", type=Path, nargs="*", default=[], help="folders of real runs")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    content = json.loads(options.output.read_text()) if options.output.is_file() else {}
    settings = {"noise": NOISE, "worth": WORTH, "fewest evaluations": FEWEST}
    if options.simulate:
        content["simulated"] = {
            "seed": options.seed,
            **settings,
            **summary([*simulated(options.simulate, options.seed)]),
        }
    if options.runs:
        content["real"] = {**settings, **summary([*real(options.runs)])}
    options.output.write_text(json.dumps(content, indent=1) + "\n")
    for name, found in content.items():
        print(shown(name, found), end="\n\n")
    return content


if __name__ == "__main__":
    main()
