"""Values of a search as the parser reads them, before anything runs.

A trial is its arm's resolved configuration with a few keys changed. Where a value could be read otherwise than it
stands there (a class, a whole number for an optional float, 4.0 for a whole number), the parser is asked: what it
refuses is refused before the first cell, since a trial that fails counts as the worst one and the default would win.
"""

from collections.abc import Iterator
from typing import Any

from .overriding import look_up, overridden
from .plan import Plan, defaults_of, value_key
from .resolution import Variant
from .resolver import resolve
from .study import Dimension
from .trial_values import is_whole, listed
from .variants import variant_name


def parsed_values(plan: Plan) -> dict[str, Any]:
    """Every value of the searched space that needs it, parsed by one child (none is started where none does).

    Each is put alone onto its arm's configuration; of a range both ends are tried.

    Returns:
        ``value_key`` of variant, key and value -> as the configuration holds it.

    Raises:
        UserError: values that the parser refuses, with their key.
    """
    asked = {value_key(*each): each for each in _doubtful(plan)}
    if not asked:
        return {}
    file = plan.study.file
    variants = [
        Variant(
            f"{variant}: {key}: {value!r}",
            (
                (
                    f"{file} (tune.space searches {key}, arm {variant})",
                    overridden(plan.resolution.variants[variant].config, {key: value}),
                ),
            ),
        )
        for variant, key, value in asked.values()
    ]
    found = resolve(plan.study, variants).variants
    return {
        name: look_up(found[variant.name].config, key)
        for (name, (_, key, _)), variant in zip(asked.items(), variants, strict=True)
    }


def _doubtful(plan: Plan) -> Iterator[tuple[str, str, Any]]:
    """Variant, key and value."""
    tune = plan.study.tune
    if tune is None:
        return
    for task in plan.tasks:
        for arm in plan.arms:
            default = defaults_of(plan, arm.name, task)
            for dimension in tune.space:
                before = default[dimension.key]
                for value in _values(dimension, before):
                    if not _reads_as_it_is(before, value):
                        yield variant_name(arm.name, task), dimension.key, value


def _values(dimension: Dimension, default: Any) -> list[Any]:
    if dimension.low is None or dimension.high is None:
        return listed(dimension, default)
    kind = int if is_whole(dimension, default) else float
    return [kind(dimension.low), kind(dimension.high)]


def _reads_as_it_is(before: Any, value: Any) -> bool:
    """Whether a number stands where the parser has read one of its kind; a whole number for a float is made one."""
    if isinstance(before, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(before, bool | int) and type(value) is type(before)
