"""The settings that a search tries: trial 0 is the arm's own default, the others lie in the declared space."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import count, product
from random import Random
from typing import Any

from ..contracts.seeds import derive
from .study import Dimension, Tune
from .trial_values import different_settings, is_whole, listed
from .tuning_tpe import ask, first_trials

Setting = dict[str, Any]
"""Configuration key -> value."""


def known_trials(tune: Tune, default: Mapping[str, Any], of: Sequence[str]) -> list[Setting]:
    """The settings that depend on no result, trial 0 first: all of ``grid`` and ``random``, the first few of ``tpe``.

    None of them is there twice, so that every arm has as many trials as every other; there are fewer than asked for
    where the space has no more.

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
        found = [first]
        for setting in (dict(zip(first, point, strict=True)) for point in points):
            found += [setting] if setting not in found and len(found) < tune.trials else []
        return found
    learns = tune.sampler == "tpe"
    wanted, most = first_trials(tune) if learns else tune.trials, different_settings(tune, default)
    found = [first]
    while len(found) < (wanted if most is None else min(wanted, most)):
        found.append(_asked(tune, default, found, of) if learns else _drawn(tune, default, found, of))
    return found


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
    setting, earlier = ask(tune, default, tried, len(tried), of), [setting for setting, _ in tried]
    return setting if setting not in earlier else _asked(tune, default, earlier, of)


def _drawn(tune: Tune, default: Mapping[str, Any], earlier: Sequence[Setting], of: Sequence[str]) -> Setting:
    number = len(earlier)

    def draw(attempt: int) -> Setting:
        again = (attempt,) if attempt else ()
        return {d.key: _value(d, default, Random(derive("random", *of, number, d.key, *again))) for d in tune.space}

    return _new(draw, earlier)


def _asked(tune: Tune, default: Mapping[str, Any], earlier: Sequence[Setting], of: Sequence[str]) -> Setting:
    """Drawn by Optuna without regard to any result, also where its favourite setting has been tried."""
    return _new(lambda attempt: ask(tune, default, (), len(earlier), of, attempt), earlier)


def _new(draw: Callable[[int], Setting], earlier: Sequence[Setting]) -> Setting:
    """The first draw that is none of the earlier settings; there is one."""
    return next(setting for attempt in count() if (setting := draw(attempt)) not in earlier)


def _value(dimension: Dimension, default: Mapping[str, Any], rng: Random) -> Any:
    low, high = dimension.low, dimension.high
    if low is None or high is None:
        return rng.choice(listed(dimension, default[dimension.key]))
    if is_whole(dimension, default[dimension.key]):
        if not dimension.log:
            return rng.randint(int(low), int(high))
        return min(int(high), int(math.exp(rng.uniform(math.log(low), math.log(high + 1)))))
    return math.exp(rng.uniform(math.log(low), math.log(high))) if dimension.log else rng.uniform(low, high)
