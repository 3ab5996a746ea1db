"""Which scores a study shows, and what tables call them."""

from collections.abc import Sequence

from ...contracts.metrics import ARROWS, TITLES
from ..results import CellResult
from ..scores import SPLITS, MissingScore, mode_of, score
from ..study import Study
from ..variants import tasks_of
from .analysis import Score

ALWAYS = (
    "parameters/trainable",
    "cost/training_seconds",
    "cost/peak_memory_bytes",
    "forgetting/general/difference/nll",
)
"""Shown beside the primary metric whether or not the study names them, where some cell has them."""
ABSOLUTE = ("cost/", "parameters/")
"""Heads of scores whose mean over several data sets means something."""
OWN_TITLES = {
    "parameters/trainable": "trained parameters",
    "parameters/total": "parameters",
    "cost/training_seconds": "training time (s)",
    "cost/total_seconds": "whole time (s)",
    "cost/peak_memory_bytes": "peak memory (bytes)",
    "cost/steps": "optimizer steps",
    "cost/examples": "rows trained on",
    "cost/supervised_tokens": "supervised tokens",
    "forgetting/general/difference/nll": "forgetting (NLL of general text)",
    "forgetting/kl/kl_base_tuned": "KL(base, tuned)",
    "best/step": "best step",
}


def scores_of(study: Study, results: Sequence[CellResult]) -> list[Score]:
    """The primary one first."""
    primary = study.metric.key
    several = len(tasks_of(study)) > 1
    found = [Score(primary, title(primary, study.metric.mode, study.metric.split), study.metric.mode, True, several)]
    extra = [key for key in ALWAYS if any(_has(result, key) for result in results)]
    for key in dict.fromkeys((*study.secondary, *extra)):
        if key != primary:
            mode = mode_of(key)
            scaled = several and not key.startswith(ABSOLUTE)
            found.append(Score(key, title(key, mode, study.metric.split), mode, False, scaled))
    return found


def title(key: str, mode: str | None, split: str) -> str:
    """As tables show it.

    Args:
        key: of the score.
        mode: which way is better.
        split: of the primary metric, which titles do not repeat.
    """
    if key in OWN_TITLES:
        return OWN_TITLES[key] + ARROWS[mode]
    if key.startswith("delta/"):
        return f"Δ {title(key.removeprefix('delta/'), None, split)} to before{ARROWS[mode]}"
    head, _, rest = key.partition("/")
    if head not in SPLITS:
        return key + ARROWS[mode]
    source, _, name = rest.rpartition("/")
    words = [head if head != split else "", source, TITLES.get(name, name)]
    return " ".join(filter(None, words)) + ARROWS[mode]


def bare(key: str, split: str) -> str:
    """The title without its arrow, for sentences."""
    return title(key, None, split)


def _has(result: CellResult, key: str) -> bool:
    try:
        score(result.record, key)
    except MissingScore:
        return False
    return True
