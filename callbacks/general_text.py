"""Text of the base's own domain, on which what it could before is measured."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from lightning.pytorch import Trainer

from ..contracts.batch import Batch
from ..contracts.data import EvaluationSets, ProbeSource, Split
from ..contracts.errors import UserError
from ..data.documents import Documents
from ..data.rejections import Reject, Row
from ..data.sources import Source, as_source
from ..data.splits import Fractions
from ..data.text_data_module import TextDataModule
from ..models.finetuner import FineTuner
from .evaluation import data_of

Named: TypeAlias = dict[str, str] | str | Path
Given: TypeAlias = Named | None


@dataclass(frozen=True)
class GeneralText:
    """An evaluation set that is not trained on.

    Args:
        name: of the set, or of its source.
        fingerprint: of its rows; None where only the run's data knows.
        loader: every row once over the ranks.
        document_of: [n] sample ids to numbers that rows of one document share.
    """

    name: str
    fingerprint: str | None
    loader: Iterable[Batch]
    document_of: Callable[[np.ndarray], np.ndarray]


def general_text(
    given: Given, text: str, context: int, cache_dir: str, trainer: Trainer, tuner: FineTuner
) -> GeneralText | str:
    """What ``Forgetting.general`` names, or why nothing can be measured on it.

    Args:
        given: a source, or the name of an evaluation set of the data module.
        text: column of the document.
        context: tokens of a window.
        cache_dir: where tokens are kept.
        trainer: whose data may have a set of that name.
        tuner: whose base reads it.

    Returns:
        ``GeneralText``, or a reason.

    Raises:
        UserError: there is no such text, or it is trained on.
    """
    if tuner.has_fresh_head:
        return f"{type(tuner).__name__} reads a new head: the base gives texts no likelihood that could get worse"
    if given is None:
        return "no GENERAL text was given (finelab.callbacks.Forgetting: general)"
    named = named_set(given, trainer)
    if named is not None:
        return named
    if tuner.kind != "causal_lm":
        return f"{type(tuner).__name__} is no causal language model, so that plain text has no likelihood under it"
    return from_source(given, text, context, cache_dir, trainer, tuner)


def named_set(given: Named, trainer: Trainer) -> GeneralText | None:
    """Raises:
    UserError: the set is trained on, or cannot be looked at during training.
    """
    data = data_of(trainer)
    splits: tuple[Split, ...] = ("validation", "test")
    sets = (
        {split: {each.name: each for each in data.evaluation_sets(split)} for split in splits}
        if isinstance(data, EvaluationSets)
        else {}
    )
    if not isinstance(given, str) or not any(given in own for own in sets.values()):
        return None
    found = sets["validation"].get(given)
    if found is None:
        raise UserError(
            f"finelab.callbacks.Forgetting: general is {given!r}, of which the data has a test split alone, and that "
            "is read once, after training. Give data.eval_sets a validation split of it, or let general name a file."
        )
    if found.pooled:
        raise UserError(
            f"finelab.callbacks.Forgetting: general is {given!r}, which is trained on (data.sources); what is kept by "
            "training on it says nothing about forgetting. Name one of data.eval_sets, or a file."
        )

    def document_of(samples: np.ndarray) -> np.ndarray:
        return data.document_of("validation", samples) if isinstance(data, ProbeSource) else samples

    return GeneralText(given, None, found.loader, document_of)


def from_source(
    given: Named, text: str, context: int, cache_dir: str, trainer: Trainer, tuner: FineTuner
) -> GeneralText:
    with speaking_of("general"):
        source = OneSplit(as_source(given))
        data = TextDataModule(
            source,
            Documents(text),
            tuner.base,
            context,
            batch_size=8,
            splits=Fractions(0, 0),
            cache_dir=cache_dir,
            revision=tuner.loading.revision,
        )
        data.use_labels(None)
        data.trainer = trainer
        loader = data.evaluation_loader("test")
        fingerprint = data.fingerprint
    assert loader is not None
    return GeneralText(source.name, fingerprint, loader, lambda samples: data.document_of("test", samples))


@contextmanager
def speaking_of(option: str) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(f"finelab.callbacks.Forgetting: {option}: {error}") from error


class OneSplit(Source):
    """Rows to be evaluated, all of them: those of validation, else of test, else of the only split that there is."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.split = next(split for split in ("validation", "test", "train") if split in source.splits())

    @property
    def name(self) -> str:
        return self.source.name

    def splits(self) -> list[str]:
        return ["test"]

    def digest(self) -> str:
        return f"{self.source.digest()} {self.split}"

    def read(self, split: str, reject: Reject) -> Iterator[Row]:
        return self.source.read(self.split, reject)
