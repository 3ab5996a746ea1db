"""The whole tuning curve of every arm."""

import math
from collections.abc import Sequence

from ..analysis.analysis import Analysis, Search, Trial
from .axis import Scale, scale_of
from .cleaned import one_line
from .drawing import Drawing, Mark
from .panels import Panel, frame, panel, sheet

FAR = 4.0
"""Ratio of the largest to the least value searched from which on the scale is logarithmic."""


def tuning(analysis: Analysis) -> Drawing | None:
    """A panel an arm: every trial's values, their mean, and the one that was chosen; None where nothing was tuned."""
    searches = [search for search in analysis.searches if any(t.mean is not None for t in search.trials)]
    if not searches:
        return None
    metric = one_line(searches[0].metric)
    said = "; ".join(f"{one_line(s.arm)}: {chosen(s)}" for s in searches[:20])
    drawing = sheet("tuning", f"Tuning: {metric} of every trial", f"{said}.", len(searches))
    varied = varied_key(searches)
    across = [number for search in searches for number in _places(search, varied)]
    log = varied is not None and min(across) > 0 and max(across) / min(across) > FAR
    values = [v for s in searches for t in s.trials for v in (*t.values, t.mean) if v is not None]
    for index, search in enumerate(searches):
        place = panel(index)
        scales = (scale_of(across, place.left, place.right, log, air=0.12), scale_of(values, place.bottom, place.top))
        task = "" if search.task is None else f"{search.task}: "
        frame(drawing, place, scales, search.arm, f"{task}{chosen(search)}")
        _trials(drawing, place, scales, search, _places(search, varied))
    _legend(drawing, any(search.expected for search in searches))
    name = "trial; 0 is the default" if varied is None else short_key(varied)
    drawing.text(drawing.width / 2, drawing.height - 10, f"{name} (horizontal), {metric} (vertical)", anchor="middle")
    return drawing


def varied_key(searches: Sequence[Search]) -> str | None:
    """The one key that was searched, where it is one and a number."""
    keys = {key for search in searches for trial in search.trials for key in trial.setting}
    if len(keys) != 1:
        return None
    key = next(iter(keys))
    settings = [trial.setting.get(key) for search in searches for trial in search.trials]
    return key if all(isinstance(v, int | float) and not isinstance(v, bool) for v in settings) else None


def short_key(key: str) -> str:
    """The end of a configuration key: ``model.optimizer.init_args.lr`` is ``lr``."""
    return one_line(key.rpartition(".")[2])


def chosen(search: Search) -> str:
    """What the search took, in words."""
    found = next((trial for trial in search.trials if trial.chosen), None)
    if found is None:
        return "nothing chosen"
    default = " (default)" if found.number == 0 else ""
    return f"{setting_text(found)}{default}"


def setting_text(trial: Trial) -> str:
    found = (f"{short_key(k)} {v:.3g}" if isinstance(v, float) else f"{short_key(k)} {v}"
             for k, v in trial.setting.items())  # fmt: skip
    return one_line(", ".join(found)) or f"trial {trial.number}"


def _places(search: Search, key: str | None) -> list[float]:
    return [float(trial.number if key is None else trial.setting[key]) for trial in search.trials]


def _trials(drawing: Drawing, place: Panel, scales: tuple[Scale, Scale], search: Search, across: list[float]) -> None:
    x, y = scales
    means = sorted((at, t.mean) for at, t in zip(across, search.trials, strict=True) if t.mean is not None)
    if len(means) > 1:
        drawing.line([(x.at(at), y.at(mean)) for at, mean in means], "dim")
    for at, trial in zip(across, search.trials, strict=True):
        for value in trial.values:
            if value is not None and math.isfinite(value) and len(trial.values) > 1:
                drawing.shapes.append(Mark((x.at(at), y.at(value)), "circle", "dim", 2))
        if trial.mean is None or not math.isfinite(trial.mean):
            drawing.shapes.append(Mark((x.at(at), place.bottom - 5), "cross", "vermilion", 4, says="failed"))
            continue
        says = f"{setting_text(trial)}: {trial.mean:.4g}"
        spot = (x.at(at), y.at(trial.mean))
        usual = Mark(spot, "circle", "blue", 4, trial.number != 0, says)
        drawing.shapes.append(Mark(spot, "up", "green", 5.5, says=says) if trial.chosen else usual)
    if search.expected:
        last = max(1, len(search.expected) - 1)
        wide = place.right - place.left
        points = [(place.left + wide * i / last, y.at(v)) for i, v in enumerate(search.expected)]
        drawing.line(points, "orange", 1.4, dashed=True)


def _legend(drawing: Drawing, expected: bool) -> None:
    marks = {
        "chosen": Mark((10, 10), "up", "green", 4.5),
        "default": Mark((80, 10), "circle", "blue", 4.5),
        "other trial": Mark((150, 10), "circle", "blue", 4.5, hollow=True),
        "failed": Mark((240, 10), "cross", "vermilion", 4.5),
    }
    for word, mark in marks.items():
        drawing.shapes.append(mark)
        drawing.text(mark.at[0] + 10, 10, word, ink="dim", size=11)
    if expected:
        drawing.line([(306, 10), (330, 10)], "orange", 1.4, dashed=True)
        drawing.text(336, 10, "expected best of k trials, from 1 to all", ink="dim", size=11)
