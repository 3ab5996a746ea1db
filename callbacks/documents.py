"""Which rows of a per-example file are not independent."""

from dataclasses import replace
from typing import cast

import numpy as np
from lightning.pytorch import Trainer

from ..contracts.data import ProbeSource, Split
from .evaluation import Evaluation, data_of


def with_documents(evaluation: Evaluation, split: str, trainer: Trainer) -> Evaluation:
    """The evaluation with a column ``document``, where some of its samples come from one row of the source.

    Args:
        evaluation: whose examples are complete on the first rank and empty elsewhere.
        split: ``validation``, ``test``, or ``SPLIT/NAME`` of one of its sets.
        trainer: whose data module knows where samples come from.
    """
    data, samples = data_of(trainer), np.asarray(evaluation.examples.get("sample_id", []), dtype=np.int64)
    if not isinstance(data, ProbeSource) or not len(samples):
        return evaluation
    documents = data.document_of(cast(Split, split.partition("/")[0]), samples)
    if (documents == samples).all():
        return evaluation
    return replace(evaluation, examples=evaluation.examples | {"document": documents.tolist()})
