"""What a mixture is made of, checked before anything is read."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..contracts.errors import UserError
from .sources import Source
from .splits import Fractions
from .template import Template

NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True)
class SourceSpec:
    """One source of a mixture, or one evaluation set.

    Args:
        source: as for ``TextDataModule``.
        template: what its rows mean; by default the mixture's.
        weight: its share of the training rows, in any unit; for all sources or for none, and for no evaluation set.
        splits: shares of splits that it has not; by default the mixture's for a source, none for an evaluation set.
        train_rows: train on so many of its rows (``TrainingSubset``); for no evaluation set.
    """

    source: Source | dict[str, str] | str | Path
    template: Template | None = None
    weight: float | None = None
    splits: Fractions | None = None
    train_rows: int | None = None


def check_specs(
    sources: dict[str, SourceSpec],
    eval_sets: dict[str, SourceSpec],
    template: Template | None,
    temperature: float | None,
) -> None:
    """Raises:
    UserError: nothing to train on, a name that cannot be part of a metric's, one name twice, a part without a template,
        templates that do not go together, or shares that are said in two ways.
    """
    if not sources:
        raise UserError("data.sources is empty; name at least one source to train on.")
    for key, specs in (("sources", sources), ("eval_sets", eval_sets)):
        for name, spec in specs.items():
            if not NAME.fullmatch(name):
                raise UserError(
                    f"data.{key}: {name!r} cannot be part of a metric's name; use 1 to 64 letters, digits and . _ -."
                )
            if spec.template is None and template is None:
                raise UserError(f"data.{key}: {name} has no template, and data.template is not set; set either.")
    check_targets(sources | eval_sets, template)
    if both := [name for name in sources if name in eval_sets and not same_rows(sources[name], eval_sets[name])]:
        raise UserError(
            f"data.eval_sets: {both[0]!r} is the name of a source too, of other rows ({sources[both[0]].source} is "
            f"trained on, {eval_sets[both[0]].source} is to be scored); give one of them another name. A source is "
            "evaluated on its own validation and test split anyway."
        )
    if weighted := [name for name, spec in eval_sets.items() if spec.weight is not None]:
        raise UserError(f"data.eval_sets: {weighted[0]} has a weight, but is not trained on; remove the weight.")
    if drawn := [name for name, spec in eval_sets.items() if spec.train_rows is not None]:
        raise UserError(f"data.eval_sets: {drawn[0]} has train_rows, but is not trained on; remove them.")
    check_proportions(sources, temperature)


def same_rows(source: SourceSpec, evaluated: SourceSpec) -> bool:
    """Whether an evaluation set is what a source of its name is scored on anyway: then it is that source."""
    of_source, of_set = (spec.template and spec.template.settings() for spec in (source, evaluated))
    same = of_source == of_set and evaluated.splits in (None, source.splits)
    return same and _same_content(source.source, evaluated.source)


def _same_content(one: object, two: object) -> bool:
    """A path is compared as it is written, an object by what it holds: a configuration makes two of what it says
    twice."""
    if isinstance(one, Source) and isinstance(two, Source) and type(one) is type(two):
        return one.digest() == two.digest()
    return one == two


def check_targets(specs: Mapping[str, SourceSpec], template: Template | None) -> None:
    """Raises:
    UserError: the templates of two parts give targets of different kinds, which no one model learns.
    """
    found = {name: spec.template or template for name, spec in specs.items()}
    kinds = {name: own for name, own in found.items() if own is not None and own.target_kind is not None}
    for name, own in kinds.items():
        first, wanted = next(iter(kinds.items()))
        if own.target_kind != wanted.target_kind:
            raise UserError(
                f"data: {first} has the template {type(wanted).__name__}, and {name} has {type(own).__name__}, whose "
                "targets are of different kinds; one model learns one kind. Give both a template for the same kind of "
                "task, or train two models."
            )


def check_proportions(sources: Mapping[str, SourceSpec], temperature: float | None) -> None:
    """Raises:
    UserError: weights for some sources only, weights and a temperature, or numbers that are no such thing.
    """
    weights = {name: spec.weight for name, spec in sources.items() if spec.weight is not None}
    if temperature is not None and not temperature > 0:
        raise UserError(
            f"data.temperature is {temperature}; 1 is proportional to size, larger is flatter, .inf is uniform."
        )
    if not weights:
        return
    if temperature is not None:
        raise UserError(
            f"data.temperature is {temperature}, and {', '.join(weights)} have weights; shares are either fixed or "
            "follow from the sizes, so remove one of the two."
        )
    if missing := [name for name in sources if name not in weights]:
        raise UserError(f"data.sources: {', '.join(weights)} have a weight and {', '.join(missing)} have none.")
    for name, weight in weights.items():
        if not (math.isfinite(weight) and weight > 0):
            raise UserError(
                f"data.sources: the weight of {name} is {weight}; it has to be a positive number (leave a source out "
                "that is not to be trained on, or make it one of eval_sets)."
            )


def labels_shown(names: Sequence[str] | None) -> str:
    return "no labels" if names is None else f"the labels [{', '.join(sorted(names))}]"


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Says of which part an error speaks."""
    try:
        yield
    except UserError as error:
        raise UserError(f"data: in {name}: {error}") from error
