"""Part of the training rows, for learning curves: nested over sizes and the same in every arm."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset

from ..contracts.errors import UserError
from ..contracts.seeds import derive
from .audit import audit_split, majority_baseline
from .template import Template
from .tokenized_split import of_rows


@dataclass(frozen=True)
class TrainingSubset:
    """The first ``size`` rows of one permutation of the usable training rows, by the data seed.

    The rows of a smaller size are among those of a larger one with the same seed, and no arm changes them. Rows are
    drawn at random and not by class, as more data would be collected: a class may be missing from a small subset.

    Args:
        size: rows.
        seed: the data seed.

    Raises:
        UserError: no row.
    """

    size: int
    seed: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise UserError(f"train_rows is {self.size}; it is how many training rows are used, at least 1.")

    def rows(self, total: int) -> np.ndarray:
        """[size] positions among the usable training rows, ascending.

        Raises:
            UserError: there are not so many.
        """
        if self.size > total:
            raise UserError(
                f"train_rows is {self.size:,}, and the source has {total:,} usable training rows; set it to {total:,} "
                "or less, or remove it to train on all."
            )
        generator = np.random.Generator(np.random.PCG64(derive("train_rows", self.seed)))
        return np.sort(generator.permutation(total)[: self.size])

    def samples(self, whole: Dataset, total: int) -> Dataset:
        """Of these rows alone, in their order; ``row`` is the position in ``rows``."""
        kept = np.zeros(total, dtype=bool)
        kept[self.rows(total)] = True
        return of_rows(whole, kept)

    def fingerprint(self, whole: str) -> str:
        """Of the data with these training rows, from that of the data with all of them."""
        return hashlib.blake2b(f"{whole}:{self.size}:{self.seed}".encode(), digest_size=16).hexdigest()

    def report(
        self, whole: Mapping[str, Any], train: Dataset, context: int, template: Template, labels: list[str] | None
    ) -> dict[str, Any]:
        """The data report with counts of these rows where it counted all.

        Args:
            whole: report of the source.
            train: what ``samples`` gave.
            context: most tokens of a sample.
            template: as for ``audit_split``.
            labels: the classes.

        Raises:
            UserError: these rows have no supervised token.
        """
        before = whole["splits"]["train"]
        audit = audit_split(train, self.size, context, template, labels)
        if not audit["supervised"]:
            raise UserError(f"train_rows: the {self.size} rows that were drawn have no supervised token; take more.")
        audit |= {key: before[key] for key in ("dropped", "suspicious")}
        absent = [name for name, count in audit.get("labels", {}).items() if not count]
        subset = {"rows": self.size, "of": before["rows"], "seed": self.seed, "labels_without_rows": absent}
        splits = {**whole["splits"], "train": audit}
        majority = None if whole["majority"] is None else majority_baseline(splits)
        return {"splits": splits, "majority": majority, "subset": subset}

    def note(self, subset: Mapping[str, Any]) -> str:
        """Of what ``report`` calls ``subset``, for the notes of the data report."""
        absent = subset["labels_without_rows"]
        missing = f"; no row of {', '.join(absent)}, which stay classes" if absent else ""
        return (
            f"train_rows: {self.size:,} of {subset['of']:,} training rows, by the data seed {self.seed}{missing}; "
            "what is said of repeated, conflicting or odd rows is of all"
        )
