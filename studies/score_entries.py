"""Metrics and the search, as a study file writes them."""

from collections.abc import Callable
from dataclasses import fields
from math import prod
from typing import Any

from ..contracts.config_file import nearest
from ..contracts.metrics import MODES
from ..contracts.record import Cost
from ..contracts.seeds import Seeds
from .factor_entries import GROUPS
from .located import Located
from .scores import SPLITS
from .study import Dimension, MetricSpec, Tune

SAMPLERS = ("grid", "random", "tpe")
OTHER_HEADS = ("delta", "cost", "parameters", "best")


def read_metric(given: Located, split: str | None = None) -> MetricSpec:
    """``test/accuracy``, or ``{name: accuracy, split: test, mode: max}``.

    Args:
        given: as written.
        split: the only one that it may be on; None for either, which then has to be said.

    Raises:
        UserError: no split is said, another one than it may be on, or nothing says which way is better.
    """
    if given.is_mapping:
        entries = given.only(("name", "split", "mode"))
        if "name" not in entries:
            raise given.wrong("but name is missing.")
        name = entries["name"].written
        said = entries["split"].choice(SPLITS) if "split" in entries else split
        mode = entries["mode"].choice(("max", "min")) if "mode" in entries else None
    else:
        head, slash, rest = given.written.partition("/")
        said, name, mode = (head, rest, None) if slash and head in SPLITS else (split, given.written, None)
    if said is None:
        raise given.wrong(f"but the split is missing: write test/{name} or validation/{name}.")
    if split not in (None, said):
        raise given.wrong(f"but a search is judged on the {split} split, never on {said}.")
    mode = mode or MODES.get(name.rpartition("/")[2])
    if mode is None:
        raise given.wrong(
            f"but nothing says which way {name!r} is better: write {{name: {name}, split: {said}, mode: max}} or mode: "
            f"min; of finelab's own metrics, {nearest(name.rpartition('/')[2], list(MODES))}"
        )
    return MetricSpec(name, said, mode)  # pyright: ignore[reportArgumentType]


def read_secondary(given: Located | None, primary: str) -> tuple[str, ...]:
    """Keys of further scores, each once and without the primary one.

    Raises:
        UserError: a key that no record can have.
    """
    found: dict[str, None] = {}
    for entry in given.items() if given else ():
        _require_score(entry)
        found[entry.written] = None
    return tuple(key for key in found if key != primary)


def _require_score(given: Located) -> None:
    head, _, rest = given.written.partition("/")
    if head in ("val", "valid", "dev", "train"):
        raise given.wrong(f"but a record has the splits {' and '.join(SPLITS)}: write {SPLITS[0]}/{rest}.")
    if head == "delta" and rest.partition("/")[0] not in SPLITS:
        raise given.wrong(f"but a difference is of a split: write delta/{SPLITS[1]}/METRIC.")
    costs = [field.name for field in fields(Cost)]
    if head == "cost" and not isinstance(getattr(Cost, rest, None), property) and rest not in costs:
        raise given.wrong(f"but a record's cost has no {rest!r}; {nearest(rest, costs)}")
    if not rest:
        known = ", ".join((*SPLITS, *OTHER_HEADS))
        raise given.wrong(f"but a score's key says what it is of: one of {known} or a finding, a slash and its name.")


def read_tune(given: Located | None, seeds: Callable[[Located | None], tuple[Seeds, ...]]) -> Tune | None:
    """The search.

    Args:
        given: as written.
        seeds: reads the replicates of a trial.

    Raises:
        UserError: nothing is searched, the sampler cannot search it, or it has fewer settings than trials.
    """
    if given is None or given.is_nothing:
        return None
    entries = given.only(("space", "trials", "seeds", "metric", "sampler"))
    for name in ("space", "metric"):
        if name not in entries:
            raise given.wrong(f"but {name} is missing.")
    space = tuple(_dimension(key, entry) for key, entry in entries["space"].entries.items())
    if not space:
        raise entries["space"].wrong("but nothing is searched; name a configuration key.")
    sampler = entries["sampler"].choice(SAMPLERS) if "sampler" in entries else "grid"
    if sampler == "grid":
        for dimension in space:
            if dimension.low is not None:
                raise (
                    entries["space"]
                    .entries[dimension.key]
                    .wrong("which is a range, and a grid has values: write values: or times:, or sampler: random.")
                )
    trials = _trials(entries.get("trials"), space, sampler, given)
    metric = read_metric(entries["metric"], "validation")
    return Tune(space, trials, seeds(entries.get("seeds")), metric, sampler)  # pyright: ignore[reportArgumentType]


def _trials(given: Located | None, space: tuple[Dimension, ...], sampler: str, tune: Located) -> int:
    settings = prod(len(dimension.values or dimension.times) for dimension in space)
    if given is None:
        if sampler != "grid":
            raise tune.wrong(
                f"but trials is missing: how many settings {sampler} tries of each arm, the default among."
            )
        return 1 + settings
    trials = given.integer(2)
    if sampler == "grid" and trials > 1 + settings:
        raise given.wrong(f"but the space has {settings} settings, with the default {1 + settings} trials.")
    return trials


def _dimension(key: str, given: Located) -> Dimension:
    group = key.partition(".")[0]
    if group not in GROUPS[:3]:
        raise given.wrong(f"but a search changes model, data or trainer, not {group!r}.")
    if given.is_list:
        return Dimension(key, values=_scalars(given))
    entries = given.only(("values", "times", "low", "high", "log"))
    forms = [name for name in ("values", "times", "low") if name in entries]
    if len(forms) != 1 or ("low" in entries) != ("high" in entries) or ("log" in entries and "low" not in entries):
        raise given.wrong("but a dimension is either values: [...], times: [...] or low: and high: (with log: true).")
    if "values" in entries:
        return Dimension(key, values=_scalars(entries["values"]))
    if "times" in entries:
        return Dimension(key, times=_factors(entries["times"]))
    low, high = entries["low"].number(), entries["high"].number()
    log = "log" in entries and entries["log"].choice(("true", "false")) == "true"
    if low >= high or (log and low <= 0):
        raise given.wrong("but low is less than high, and on a logarithmic scale more than 0.")
    return Dimension(key, low=low, high=high, log=log)


def _scalars(given: Located) -> tuple[Any, ...]:
    values = tuple(entry.plain() for entry in given.items())
    if not values or any(isinstance(value, dict | list) for value in values) or len(set(values)) < len(values):
        raise given.wrong("but a search takes different single values; make a factor of what is more than that.")
    return values


def _factors(given: Located) -> tuple[float, ...]:
    factors = tuple(entry.number() for entry in given.items())
    if not factors or min(factors) <= 0 or 1 in factors or len(set(factors)) < len(factors):
        raise given.wrong("but these are different multiples of the default, above 0; 1 is trial 0 already.")
    return factors
