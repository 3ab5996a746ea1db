"""The parts of a mixture, with classes that are matched by name."""

from collections.abc import Callable
from functools import cached_property

from ..contracts.errors import UserError
from .mixture_specs import SourceSpec, labels_shown, naming
from .text_data_module import TextDataModule


class MixtureParts:
    """Makes a data module of each source and evaluation set, all with the same classes in the same order.

    Args:
        sources: name -> what is trained on.
        eval_sets: name -> what is only evaluated.
        make: a data module of one of them, with the classes of its own rows.
    """

    def __init__(
        self,
        sources: dict[str, SourceSpec],
        eval_sets: dict[str, SourceSpec],
        make: Callable[[SourceSpec], TextDataModule],
    ) -> None:
        self.sources, self.eval_sets, self.make = sources, eval_sets, make
        self.needs_train = True
        self._trained: list[str] | None = None

    def use_labels(self, names: list[str] | None) -> None:
        """Take the classes from a checkpoint; from then on no training rows are needed."""
        self._trained, self.needs_train = names, False

    @property
    def label_names(self) -> list[str] | None:
        """The classes, in the order of the first source; None for language modelling.

        Raises:
            UserError: the sources have not all the same names, or an evaluation set has others.
        """
        return self._classes if self.needs_train else self._trained

    @cached_property
    def _classes(self) -> list[str] | None:
        modules = {name: self.make(spec) for name, spec in self.sources.items()}
        found = {name: own_labels(name, module) for name, module in modules.items()}
        first, classes = next(iter(found.items()))
        for name, own in found.items():
            if (own is None) != (classes is None) or set(own or ()) != set(classes or ()):
                raise UserError(
                    f"data.sources: {first} has {labels_shown(classes)}, and {name} has {labels_shown(own)}; sources "
                    "that are trained on together need the same label names. Rename them (a label_text column, or "
                    "names in the source's template), or make one an evaluation set of another run."
                )
        self._require_meaning(modules, classes)
        return classes

    def _require_meaning(self, modules: dict[str, TextDataModule], classes: list[str] | None) -> None:
        """A number alone says nothing of what it stands for in another source."""
        parts = modules | {name: self.make(spec) for name, spec in self.eval_sets.items()}
        unnamed = [name for name, part in parts.items() if not part.template.label_names([])]
        if classes and all(name.isdecimal() for name in classes) and len(unnamed) > 1:
            raise UserError(
                f"data: the classes of {' and '.join(unnamed)} are the numbers {', '.join(classes)}, and nothing says "
                "that a number means the same in each. Give each template names (the first one is that of 0), or the "
                "rows a label_text column."
            )

    def part(self, name: str) -> TextDataModule:
        """One source or evaluation set.

        Raises:
            UserError: it has labels that the model is not trained for, or rows of no split that it is scored on.
        """
        classes = self.label_names
        is_source = name in self.sources
        part = self.make(self.sources[name] if is_source else self.eval_sets[name])
        if is_source and self.needs_train:
            # Classes that are the source's own are not fixed, so that its tokens are those of a run on it alone.
            if classes is not None and own_labels(name, part) != classes:
                part = self.make(self.sources[name])
                part.fix_labels(classes)
            return part
        part.use_labels(classes)
        if not is_source:
            require_scored(name, part)
        own = own_labels(name, part)
        if (own is None) != (classes is None) or set(own or ()) - set(classes or ()):
            raise UserError(
                f"data.{'sources' if is_source else 'eval_sets'}: the rows of {name} have {labels_shown(own)}, and the "
                f"model is trained for {labels_shown(classes)}; only rows with trained labels can be scored. Rename "
                "them (a label_text column, or names in its template), or leave the set out."
            )
        return part


def own_labels(name: str, part: TextDataModule) -> list[str] | None:
    with naming(name):
        return part.own_labels()


def require_scored(name: str, part: TextDataModule) -> None:
    """Raises:
    UserError: an evaluation set has training rows only, and nothing says how many of them are scored.
    """
    with naming(name):
        splits = part.source.splits()
    if splits == ["train"] and not part.fractions.missing_from(splits):
        raise UserError(
            f"data.eval_sets: {name} ({part.source.name}) is given without a split. Write {{test: FILE}} or "
            "{validation: FILE} to score all its rows, or give it splits of its own to score a share of them."
        )


def require_trained(name: str, part: TextDataModule) -> None:
    """Raises:
    UserError: a source has no training rows.
    """
    if part.samples("train") is None:
        raise UserError(
            f"data.sources: {name} ({part.source.name}) has no training rows; name its file as {{train: FILE}}, or "
            "make it one of eval_sets."
        )
