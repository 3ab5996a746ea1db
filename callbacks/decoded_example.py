"""One training example as the model reads it, with what it has to learn marked."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch

from ..contracts.batch import IGNORE, Batch
from ..contracts.data import LabelledSource, RehearsalSource
from ..contracts.targets import TargetKind

Pieces = list[tuple[str, bool]]
"""Text with its special tokens, and whether it is a target."""


@dataclass(frozen=True)
class DecodedExample:
    """
    Args:
        pieces: what is read.
        target: what is to be learnt beside it; "" where the targets are among the pieces.
        tokens: that are read.
        supervised: targets.
    """

    pieces: Pieces
    target: str
    tokens: int
    supervised: int

    def marked(self) -> str:
        """On one line, targets between « and »."""
        text = "".join(f"«{piece}»" if supervised else piece for piece, supervised in self.pieces)
        return (f"{text} => «{self.target}»" if self.target else text).replace("\n", "⏎")


def decoded_example(batch: Batch, data: RehearsalSource, kind: TargetKind | None) -> DecodedExample:
    """The row of median length.

    Args:
        batch: padded rows.
        data: whose tokenizer and labels these are.
        kind: of target.
    """
    lengths = batch["attention_mask"].flatten(1).sum(1)
    row = int((lengths - lengths.median()).abs().argmin())
    tokenizer = data.tokenizer.tokenizer
    real = batch["attention_mask"][row].bool()
    ids, labels = batch["input_ids"][row], batch["labels"][row]
    names = (data.label_names if isinstance(data, LabelledSource) else None) or []
    if kind in ("tokens", "words"):
        pieces = tagged(tokenizer, ids[real], labels[real], names if kind == "words" else None)
        return DecodedExample(pieces, "", int(real.sum()), int((labels != IGNORE).sum()))
    text = tokenizer.decode(ids[real].tolist())
    if kind == "text":
        target, supervised = tokenizer.decode(labels[labels != IGNORE].tolist()), int((labels != IGNORE).sum())
    else:
        target, supervised = named(labels, kind, names), 1
    return DecodedExample([(text, False)], target, int(real.sum()), supervised)


def tagged(tokenizer: Any, ids: torch.Tensor, labels: torch.Tensor, names: Sequence[str] | None) -> Pieces:
    """Runs of tokens with and without a target; of tagged words each with its tag."""
    runs: Pieces = []
    positions = range(len(ids))
    tag = (lambda i: (bool(labels[i] != IGNORE), i)) if names is not None else (lambda i: bool(labels[i] != IGNORE))
    for _, run in groupby(positions, tag):
        own = list(run)
        supervised = bool(labels[own[0]] != IGNORE)
        text = tokenizer.decode(ids[own].tolist())
        if names is not None and supervised:
            text = f"{text}/{names[int(labels[own[0]])]} "
        runs.append((text, supervised))
    return runs


def named(labels: torch.Tensor, kind: TargetKind | None, names: Sequence[str]) -> str:
    """A target that stands beside the text, in words."""
    if kind == "class" and names:
        return names[int(labels)]
    if kind == "labels" and names:
        return ", ".join(name for name, own in zip(names, labels.tolist(), strict=True) if own) or "none of the labels"
    if kind == "choice":
        return f"choice {int(labels) + 1}"
    return str(labels.tolist())
