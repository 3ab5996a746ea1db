"""How far results lie apart when nothing is changed."""

from collections.abc import Sequence
from statistics import fmean, stdev

from scipy.special import stdtrit

from ..results import CellResult
from ..scores import MissingScore, score
from .analysis import NoiseFloor
from .item_level import Rows
from .material import Material
from .scoring import bare
from .wording import counted, plain


def apart(sd: float, runs: int) -> float:
    """How far two more runs lie apart at most in 95 % of cases, by a standard deviation estimated from so many.

    t_{0.975, runs - 1} sqrt(2) sd, of normal scores.
    """
    return float(stdtrit(runs - 1, 0.975)) * 2**0.5 * sd


def noise_floor(material: Material, rows: Rows) -> NoiseFloor | None:
    """Of the arm that was rerun, on the first task; None where nothing was."""
    rerun = [result for result in material.results if result.cell.stage == "noise"]
    if not rerun:
        return None
    arm, task = rerun[0].cell.arm, rerun[0].cell.task
    noise = [result for result in rerun if (result.cell.arm, result.cell.task) == (arm, task)]
    reported = [result for result in material.of(arm) if result.cell.task == task]
    repeated = {result.cell.seeds for result in noise if result.cell.repeat}
    same = [result for result in (*reported, *noise) if result.cell.seeds in repeated]
    others = list({result.cell.seeds: result for result in (*reported, *noise)}.values())
    key = material.study.metric.key
    values, spread = _scores(same, key), _scores(others, key)
    same_sd, others_sd = (stdev(each) if len(each) > 1 else None for each in (values, spread))
    identical = _identical(same, material.study.metric.split, rows)
    metric = bare(key, material.study.metric.split)
    return NoiseFloor(
        arm,
        values,
        spread,
        same_sd,
        others_sd,
        identical,
        f"Noise floor of {arm}: {_of_same(values, same_sd, identical, metric)}; "
        f"{_of_others(spread, others_sd, metric)}.",
    )


def _of_same(values: Sequence[float], sd: float | None, identical: bool | None, metric: str) -> str:
    if sd is None:
        return "no run with the same seeds is there to compare"
    runs = f"{counted(len(values), 'run')} with the same seeds"
    if sd == 0:
        whole = {True: ", and their rows agree bit for bit", False: ", though some rows differ", None: ""}[identical]
        return f"{runs} gave the same {metric}{whole}"
    return f"{runs} gave {metric} from {plain(min(values))} to {plain(max(values))} (standard deviation {plain(sd)})"


def _of_others(values: Sequence[float], sd: float | None, metric: str) -> str:
    if sd is None:
        return "no runs with other seeds are there to compare"
    reach = plain(apart(sd, len(values)))
    return (
        f"{counted(len(values), 'run')} with other seeds have a standard deviation of {plain(sd)} in {metric} (mean "
        f"{plain(fmean(values))}), by which two more runs differ by up to about {reach} in 95 % of cases"
    )


def _scores(results: Sequence[CellResult], key: str) -> list[float]:
    found = []
    for result in results:
        try:
            found.append(score(result.record, key))
        except MissingScore:
            continue
    return found


def _identical(same: Sequence[CellResult], split: str, rows: Rows) -> bool | None:
    """Whether the per-example files agree in every column; None without two files."""
    read = [columns for result in same if (columns := rows.of(result, split)) is not None]
    if len(read) < 2 or len(read) < len(same):
        return None
    first = read[0]
    return all(
        other.keys() == first.keys() and all(other[name].tolist() == first[name].tolist() for name in first)
        for other in read[1:]
    )
