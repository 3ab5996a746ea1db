"""The usable rows of a split with their samples, and how rows become samples."""

import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow
from datasets import Dataset
from datasets.utils import tqdm

from .rejections import Rejections
from .template import Example, Template
from .tokenizer import LoadedTokenizer

ROWS_WORTH_A_BAR = 20_000
CHUNK = 1000


@dataclass(frozen=True)
class TokenizedSplit:
    """A split as it is counted and written.

    Args:
        rows: ``file:line`` and checked columns of each.
        samples: as ``Template.encode`` made them; ``row`` is the position in ``rows``.
    """

    rows: list[tuple[str, Example]]
    samples: Dataset

    @classmethod
    def of(
        cls,
        rows: list[tuple[str, Example]],
        template: Template,
        tokenizer: LoadedTokenizer,
        context: int,
        label_names: list[str] | None,
        rejections: Rejections,
    ) -> "TokenizedSplit":
        """Tokenize rows; those that give no sample go to ``rejections``."""
        refusals = Refusals(rejections, [where for where, _ in rows])
        examples = [example for _, example in rows]
        samples = tokenize(examples, template, tokenizer, context, label_names, refusals)
        return cls(rows, samples).without(refusals.positions)

    def without(self, removed: Collection[int]) -> "TokenizedSplit":
        """All but the rows at these positions."""
        if not removed:
            return self
        kept = np.ones(len(self.rows), dtype=bool)
        kept[list(removed)] = False
        rows = [row for row, stays in zip(self.rows, kept, strict=True) if stays]
        if not len(self.samples):
            return TokenizedSplit(rows, self.samples)
        return TokenizedSplit(rows, of_rows(self.samples, kept))


def of_rows(samples: Dataset, kept: np.ndarray) -> Dataset:
    """The samples of some rows, whose ``row`` becomes the position among these.

    Args:
        samples: with a column ``row``.
        kept: [rows] whether a row is one of them.
    """
    own = samples.data.column("row").to_numpy()
    table = samples.data.table.filter(pyarrow.array(kept[own]))
    place = table.column_names.index("row")
    return Dataset(table.set_column(place, "row", [(kept.cumsum() - 1)[own[kept[own]]]]))


class Refusals:
    """Rows that a template gave no sample for, handed to the split's rejections.

    Args:
        rejections: of the split.
        where: of every row.
    """

    def __init__(self, rejections: Rejections, where: Sequence[str]) -> None:
        self.rejections, self.where = rejections, where
        self.positions: set[int] = set()

    def __call__(self, position: int, why: str, policy: Literal["error", "skip"] | None) -> None:
        self.positions.add(position)
        self.rejections(self.where[position], why, policy)


def tokenize(
    examples: list[Example],
    template: Template,
    tokenizer: LoadedTokenizer,
    context: int,
    label_names: list[str] | None,
    refuse: Callable[[int, str, Literal["error", "skip"] | None], None],
) -> Dataset:
    """Samples of checked rows (``Template.encode``); ``row`` is the position in ``examples``.

    Args:
        refuse: takes the position of a row that gives no sample, why, and the template's policy for such rows.
    """
    shown = len(examples) >= ROWS_WORTH_A_BAR and sys.stderr.isatty()
    chunks: list[pyarrow.Table] = []
    for start in tqdm(range(0, len(examples), CHUNK), desc="Tokenize", unit_scale=CHUNK, disable=not shown):
        entries = template.encode(examples[start : start + CHUNK], tokenizer.tokenizer, context, label_names)
        for entry in entries:
            if "refused" in entry:
                refuse(start + entry["row"], entry["refused"], entry.get("policy"))
        samples = [entry | {"row": start + entry["row"]} for entry in entries if "refused" not in entry]
        if samples:
            chunks.append(pyarrow.table({name: _column(name, samples) for name in samples[0]}))
    return Dataset(pyarrow.concat_tables(chunks)) if chunks else Dataset.from_dict({"row": []})


def _column(name: str, samples: Sequence[Example]) -> list[Any]:
    values = [sample[name] for sample in samples]
    return [np.asarray(value, dtype=np.int32) for value in values] if isinstance(values[0], list) else values
