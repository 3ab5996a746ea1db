"""What the statistics of a study do on studies whose truth is known.

    python benchmarks/study_statistics.py                      # 20,000 studies of most kinds; 7 minutes of one core
    python benchmarks/study_statistics.py --studies 500 --output smoke.json
    python benchmarks/study_statistics.py --only "null studies" power

A replicate's score of an arm is its mean plus noise that all arms of a seed share plus noise of its own, so that
differences to one baseline are correlated (0.5 of what remains after pairing). Noise is normal, heavy-tailed (Student's
t with 3 degrees of freedom) or skewed (exponential). Every share comes with Clopper and Pearson's interval. It is the
functions of ``studies.statistics`` that are called.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from finelab.studies.statistics.equivalence import tost
from finelab.studies.statistics.interval import Interval, clopper_pearson, t_interval
from finelab.studies.statistics.items import item_interval, two_way
from finelab.studies.statistics.learning_curve import NoFit, fit_power_law, flat_from, predicted
from finelab.studies.statistics.multiplicity import holm, max_t
from finelab.studies.statistics.outperforming import outperforming
from finelab.studies.statistics.paired import t_test
from finelab.studies.statistics.power import power
from finelab.studies.statistics.several_tasks import iqm, paired_iqm_interval
from finelab.studies.statistics.sign_flip import smallest_p

RESULTS = Path(__file__).parent / "results" / "study_statistics.json"
SEED = 7
LEVEL = 0.05
REPLICATES, ARMS = (3, 5, 10), (1, 4, 11)
EFFECTS, POWERED = (0.5, 0.8, 1.0, 1.5, 2.0, 3.0), (3, 5, 8, 10, 20)
NOISES: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "normal": lambda generator, shape: generator.normal(size=shape),
    "heavy tails": lambda generator, shape: generator.standard_t(3, shape),
    "skewed": lambda generator, shape: generator.exponential(size=shape) - 1,
}
Row = dict[str, Any]


def share(hits: int, studies: int) -> Row:
    found = clopper_pearson(hits, studies)
    return {"share": found.value, "low": found.low, "high": found.high, "of": studies}


def covered(interval: Interval, truth: float) -> bool:
    """An end that is not bounded holds everything."""
    low, high = interval.low, interval.high
    return (low is None or low <= truth * (1 + 1e-9)) and (high is None or truth <= high * (1 + 1e-9))


def null_studies(studies: int) -> list[Row]:
    """Arms like their baseline: how often a study finds any, and whether every arm's t interval holds 0."""
    found = []
    for noise, draw in NOISES.items():
        for n in REPLICATES:
            for arms in ARMS:
                generator = np.random.default_rng((SEED, n, arms))
                scores = draw(generator, (n, studies, arms + 1)) + 3 * draw(generator, (n, studies, 1))
                differences = scores[..., 1:] - scores[..., :1]
                p = t_test(differences)[1]
                row: Row = {"noise": noise, "n": n, "arms": arms}
                row["t and Holm"] = share(int((holm(p).min(1) < LEVEL).sum()), studies)
                row["t uncorrected"] = share(int((p.min(1) < LEVEL).sum()), studies)
                row["coverage"] = share(int((p[:, 0] >= LEVEL).sum()), studies)
                if smallest_p(n) < LEVEL:
                    least = [max_t(differences[:, study]).min() for study in range(studies)]
                    row["max-T"] = share(int((np.array(least) <= LEVEL).sum()), studies)
                found.append(row)
    return found


def intervals(studies: int) -> list[Row]:
    """Coverage of ``t_interval`` itself, and of P(better)'s interval where the truth is 0.5 and 0.9."""
    found = []
    for noise, draw in NOISES.items():
        for n in REPLICATES:
            values = draw(np.random.default_rng((SEED, n)), (studies, n))
            one = sum(covered(t_interval(row), 0.0) for row in values)
            row: Row = {"noise": noise, "n": n, "t interval": share(one, studies)}
            for truth in (0.5, 0.9):
                shifted = values - np.quantile(draw(np.random.default_rng(SEED), (10**6,)), 1 - truth)
                row[f"P(better) = {truth}"] = share(
                    sum(covered(outperforming(each, "max"), truth) for each in shifted), studies
                )
            found.append(row)
    return found


def powers(studies: int) -> list[Row]:
    """Planted effects: how often they are found, beside the formula."""
    found = []
    for effect in EFFECTS:
        for n in POWERED:
            generator = np.random.default_rng((SEED, n, int(10 * effect)))
            seed, own = 3 * generator.normal(size=(n, studies)), generator.normal(size=(2, n, studies)) / 2**0.5
            differences = (own[0] + seed + effect) - (own[1] + seed)
            hits = int((t_test(differences)[1] < LEVEL).sum())
            found.append({"effect": effect, "n": n, "formula": power(effect, n), "found": share(hits, studies)})
    return found


def equivalences(studies: int) -> list[Row]:
    """How often arms that differ by exactly the margin are called equivalent, and how often equal ones are."""
    found = []
    for n in REPLICATES:
        for margin in (1.0, 3.0):
            noise = np.random.default_rng((SEED, n)).normal(size=(studies, n))
            row: Row = {"n": n, "margin in sd": margin}
            for name, truth in (("at the margin", margin), ("equal", 0.0)):
                p = np.array([tost(each + truth, margin) for each in noise])
                row[name] = share(int((p < LEVEL).sum()), studies)
            found.append(row)
    return found


def seeds_and_rows(studies: int) -> list[Row]:
    """Coverage for other seeds and other rows at once; 200 rows, rest of sd 1; beside each kind alone."""
    found = []
    for n in REPLICATES:
        for of_seed, of_row in ((0.0, 0.0), (0.05, 0.0), (0.0, 0.5), (0.05, 0.5), (0.2, 0.2), (0.5, 0.2)):
            generator, hits = np.random.default_rng((SEED, n)), np.zeros(3, dtype=int)
            for _ in range(studies):
                seed, row = of_seed * generator.normal(size=(n, 1)), of_row * generator.normal(size=(1, 200))
                d = seed + row + generator.normal(size=(n, 200))
                found_by = two_way(d), t_interval(d.mean(1)), item_interval(d.mean(0))
                hits += [covered(each, 0.0) for each in found_by]
            names = ("two_way", "seeds alone", "rows alone")
            shares = {name: share(int(each), studies) for name, each in zip(names, hits, strict=True)}
            found.append({"n": n, "sd of seeds": of_seed, "sd of rows": of_row, **shares})
    return found


def several(studies: int) -> list[Row]:
    """Coverage of the paired IQM of differences over tasks, beside the percentile interval."""
    found = []
    for n, tasks in ((3, 5), (5, 5), (10, 5), (5, 20)):
        for noise, spread in (("normal", 0.0), ("normal", 1.0), ("heavy tails", 0.0), ("skewed", 0.0)):
            draw, means = NOISES[noise], np.linspace(-spread, spread, tasks)
            truth = iqm(draw(np.random.default_rng(SEED), (200_000, tasks)) + means)
            generator, hits = np.random.default_rng((SEED, n, tasks)), np.zeros(2, dtype=int)
            for study in range(studies):
                d = draw(generator, (n, tasks)) + means
                hits += [covered(paired_iqm_interval(d, study), truth), covered(percentile(d, generator), truth)]
            row: Row = {"noise": noise, "n": n, "tasks": tasks, "means from -x to x": spread}
            row["studentized"], row["percentile"] = (share(int(each), studies) for each in hits)
            found.append(row)
    return found


def percentile(d: np.ndarray, generator: np.random.Generator) -> Interval:
    """The interval of rliable, on differences."""
    n, tasks = d.shape
    again = np.sort(d[generator.integers(0, n, (1000, n, tasks)), np.arange(tasks)].reshape(1000, -1), axis=1)
    cut = n * tasks // 4
    low, high = np.quantile(again[:, cut : n * tasks - cut].mean(1), (0.025, 0.975))
    return Interval(iqm(d), float(low), float(high), n)


def learning_curves(studies: int) -> list[Row]:
    """Coverage of the fit of five sizes from 100 to 1,600: limit, exponent, height at 400 and where it is flat."""
    found, sizes, margin = [], (100.0, 200.0, 400.0, 800.0, 1600.0), 0.01
    x = np.array(sizes) / sizes[-1]
    for b, c in ((0.03, 0.5), (0.02, 1.0), (0.2, 0.2)):
        for n, noise in ((3, 0.005), (5, 0.005), (10, 0.005), (5, 0.02)):
            generator, curve = np.random.default_rng((SEED, n)), 0.9 - b * x**-c
            flat = {"limit": (b / margin) ** (1 / c), "largest size": (1 + margin / b) ** (-1 / c)}
            hits: dict[str, list[bool]] = {
                "limit": [],
                "exponent": [],
                "height": [],
                **{f"flat, {key}": [] for key in flat},
            }
            for _ in range(studies):
                both = generator.normal(size=(n, 1)), generator.normal(size=(n, 5))
                fit = fit_power_law(sizes, (curve + noise * 0.5**0.5 * (both[0] + both[1])).T, "max")
                if isinstance(fit, NoFit):
                    continue
                hits["limit"].append(covered(fit.a, 0.9))
                hits["exponent"].append(covered(fit.c, c))
                hits["height"].append(covered(predicted(fit, 400), float(curve[2])))
                size, of = (said := flat_from(fit, margin)).size, said.reference
                hits[f"flat, {of}"].append(covered(size, max(1600 * flat[of], 100.0)))
            shares = {name: share(sum(each), len(each)) for name, each in hits.items() if each}
            found.append({"b": b, "c": c, "n": n, "noise": noise, "no fit": studies - len(hits["limit"]), **shares})
    return found


def percentile_of_means(studies: int) -> list[Row]:
    """What is not used: the percentile bootstrap of one task's mean, of normal replicates."""
    found = []
    for n in (3, 5, 10, 20):
        generator = np.random.default_rng((SEED, n))
        hits = 0
        for values in generator.normal(size=(studies, n)):
            low, high = np.quantile(values[generator.integers(0, n, (1000, n))].mean(1), (0.025, 0.975))
            hits += bool(low <= 0 <= high)
        found.append({"n": n, "coverage": share(hits, studies)})
    return found


PARTS: dict[str, tuple[Callable[[int], list[Row]], int]] = {
    "null studies": (null_studies, 1),
    "intervals": (intervals, 1),
    "power": (powers, 1),
    "equivalence": (equivalences, 1),
    "seeds and rows": (seeds_and_rows, 10),
    "several tasks": (several, 40),
    "learning curves": (learning_curves, 50),
    "percentile bootstrap": (percentile_of_means, 10),
}
"""What is simulated, and by how much fewer studies where one takes long."""


def check(results: dict[str, Any]) -> list[str]:
    """What does not hold of what is promised; empty where all of it does.

    Of normal noise the nominal value lies in each interval, but for Bonferroni's share of chance in so many of them.
    """
    failed = []

    def nominal(name: str, row: Row, value: float, tests: int, only_above: bool = False) -> None:
        exact = clopper_pearson(round(row["share"] * row["of"]), row["of"], 1 - 0.05 / tests)
        if ((exact.high or 0) < value and not only_above) or (exact.low or 0) > value:
            failed.append(f"{name}: {row['share']:.4f}, not {value}")

    normal = [row for row in results.get("null studies", []) if row["noise"] == "normal"]
    for row in normal:
        name = f"null, n = {row['n']}, {row['arms']} arms"
        nominal(f"{name}: Holm", row["t and Holm"], LEVEL, len(normal), only_above=row["arms"] > 1)
        nominal(f"{name}: coverage", row["coverage"], 1 - LEVEL, len(normal))
        if "max-T" in row:
            nominal(f"{name}: max-T", row["max-T"], LEVEL, len(normal), only_above=True)
    for row in results.get("power", []):
        nominal(f"power, d = {row['effect']}, n = {row['n']}", row["found"], row["formula"], len(results["power"]))
    for row in results.get("equivalence", []):
        nominal(f"TOST, n = {row['n']}", row["at the margin"], LEVEL, len(results["equivalence"]), only_above=True)
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=20_000)
    parser.add_argument("--only", nargs="+", choices=sorted(PARTS), default=list(PARTS))
    parser.add_argument("--output", type=Path, default=RESULTS)
    given = parser.parse_args()
    results = json.loads(given.output.read_text()) if given.output.exists() and len(given.only) < len(PARTS) else {}
    for name in given.only:
        simulate, fewer = PARTS[name]
        begin = time.perf_counter()
        results[name] = simulate(max(given.studies // fewer, 20))
        print(f"{name}: {time.perf_counter() - begin:.0f} s")
    failed = check(results)
    given.output.write_text(json.dumps(results | {"failed": failed}, indent=1) + "\n")
    print("\n".join(failed) or "All promises hold.")


if __name__ == "__main__":
    main()
