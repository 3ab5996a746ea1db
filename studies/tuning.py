"""The settings that a search tries: trial 0 is the arm's own default, the others lie in the declared space."""

import math
from collections.abc import Mapping, Sequence
from itertools import islice, product
from random import Random
from typing import Any

from ..contracts.seeds import derive
from .study import Dimension, Tune
from .trial_values import is_whole, listed
from .tuning_tpe import ask, first_trials

Setting = dict[str, Any]
"""Configuration key -> value."""


def known_trials(tune: Tune, default: Mapping[str, Any], of: Sequence[str]) -> list[Setting]:
    """The settings that depend on no result, trial 0 first: all of ``grid`` and ``random``, the first few of ``tpe``.

    Args:
        tune: the search.
        default: key of each dimension -> the arm's own value.
        of: what the search belongs to, arm and task: draws are its own and shift no other's.

    Raises:
        UserError: Optuna is asked for and not installed.
    """
    first = {d.key: default[d.key] for d in tune.space}
    if tune.sampler == "grid":
        points = product(*(listed(d, default[d.key]) for d in tune.space))
        settings = (dict(zip(first, point, strict=True)) for point in points)
        return [first, *islice((setting for setting in settings if setting != first), tune.trials - 1)]
    if tune.sampler == "random":
        return [first, *(_drawn(tune, default, of, number) for number in range(1, tune.trials))]
    return [first, *(ask(tune, default, (), number, of) for number in range(1, first_trials(tune)))]


def next_trial(
    tune: Tune, default: Mapping[str, Any], tried: Sequence[tuple[Setting, float | None]], of: Sequence[str]
) -> Setting | None:
    """The setting that follows from trials that are over; None where the search has had all its trials.

    Args:
        tune: the search.
        default: key -> the arm's own value.
        tried: all trials so far in their order, with the mean score of each, None of one that failed.
        of: arm and task.
    """
    if len(tried) >= tune.trials or tune.sampler != "tpe":
        return None
    return ask(tune, default, tried, len(tried), of)


def _drawn(tune: Tune, default: Mapping[str, Any], of: Sequence[str], number: int) -> Setting:
    return {d.key: _value(d, default, Random(derive("random", *of, number, d.key))) for d in tune.space}


def _value(dimension: Dimension, default: Mapping[str, Any], rng: Random) -> Any:
    low, high = dimension.low, dimension.high
    if low is None or high is None:
        return rng.choice(listed(dimension, default[dimension.key]))
    if is_whole(dimension, default[dimension.key]):
        if not dimension.log:
            return rng.randint(int(low), int(high))
        return min(int(high), int(math.exp(rng.uniform(math.log(low), math.log(high + 1)))))
    return math.exp(rng.uniform(math.log(low), math.log(high))) if dimension.log else rng.uniform(low, high)
