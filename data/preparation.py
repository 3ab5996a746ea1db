"""From a source to tokenized splits on disk, and everything the report says about them."""

import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import datasketch
import jinja2
import numpy as np
import pyarrow
import tokenizers
import transformers
from datasets import Dataset, are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from datasets.utils import tqdm
from lightning.pytorch import LightningDataModule

from ..contracts.errors import UserError
from .audit import audit_split, majority_baseline, values
from .duplicates import Duplicates, find_duplicates, save_keys
from .findings import Rows, find_conflicts, repeated_ids, suspicious
from .rejections import BadRow, Rejections, Row
from .sources import Source
from .splits import Fractions, split_by_fraction
from .template import Example, Template
from .tokenizer import LoadedTokenizer

ORDER = ("train", "validation", "test")
ROWS_WORTH_A_BAR = 20_000
CHUNK = 1000
AUDITED = ("row", "full_tokens", "supervised", "shortened", "prompt_tokens", "answers_left_out", "cut_words")
"""Columns of samples that the audit reads and that no batch holds."""

BASES = {*Source.__mro__, *Template.__mro__, *LightningDataModule.__mro__}


@dataclass(frozen=True)
class Preparation:
    """All that tokenized splits depend on.

    Args:
        source: where rows come from.
        template: what a row means.
        tokenizer: of the base.
        context: most tokens of a sample.
        fractions: shares of splits that the source has not.
        on_bad_row: stop at a row that cannot be used, or leave it out.
        seed: the data seed; matters only where rows are split by fraction.
        module: class of the data module; its code counts like that of the source and the template.
        duplicates: what is done about repeated texts.
        labels: the classes, in the order of their indices; None takes them from the training rows.
        needs_train: False keeps no training split, and reads it only to cut the others off it.
    """

    source: Source
    template: Template
    tokenizer: LoadedTokenizer
    context: int
    fractions: Fractions
    on_bad_row: Literal["error", "skip"]
    seed: int
    module: type
    duplicates: Duplicates
    labels: tuple[str, ...] | None = None
    needs_train: bool = True

    def fingerprint(self) -> str:
        """A digest of which rows are in which split; independent of tokens and of where the source lies."""
        shares = self.fractions.missing_from(self.source.splits())
        parts = [self.source.digest(), shares, self.seed if shares else None, self.on_bad_row, self.template.settings()]
        if self.duplicates.action == "drop":
            parts.append(asdict(self.duplicates))
        return _digest(parts)

    def key(self, fingerprint: str) -> str:
        """The cache's key: another tokenizer, template, context, code or data gives another one."""
        code = code_digests((type(self.source), type(self.template), self.module))
        parts = [
            fingerprint,
            self.tokenizer.digest(),
            self.context,
            self.labels,
            self.needs_train,
            asdict(self.duplicates),
            code,
            tokenizers.__version__,
            transformers.__version__,  # with jinja2, what a chat template writes
            jinja2.__version__,
            datasketch.__version__,
        ]
        return _digest(parts)

    def key_of_labels(self, fingerprint: str) -> str:
        code = code_digests((type(self.source), type(self.template), self.module))
        return _digest(["labels", fingerprint, self.needs_train, code])

    def own_labels(self, _: Path) -> dict[str, Any]:
        """The classes of the training rows, or, where those are not needed, of all others; nothing is written."""
        splits = self._split(self._read({split: Rejections(self.on_bad_row) for split in ORDER}))
        wanted = ORDER[:1] if self.needs_train else ORDER[1:]
        examples = [example for split in wanted for _, example in splits.get(split, [])]
        return {"label_names": self.template.label_names(examples)}

    def build(self, folder: Path) -> dict[str, Any]:
        """Read, check, split, tokenize and write every split.

        Returns:
            ``label_names``, ``splits`` and ``report``.

        Raises:
            UserError: a bad row under the policy ``error``, or a split without a supervised token.
        """
        rejections = {split: Rejections(self.on_bad_row) for split in ORDER}
        read = self._read(rejections)
        ids = {split: [(row.where, row.fields.get("id")) for row, _ in rows] for split, rows in read.items()}
        splits = self._split(read)
        train = [example for _, example in splits.get("train", [])]
        label_names = self.template.label_names(train) if self.labels is None else list(self.labels)
        if label_names is not None and len(label_names) < 2:
            raise UserError(
                f"{self.source.name}: the training rows have the label(s) {label_names}; a classifier needs two "
                "classes (train rows, or data.template.init_args.names)."
            )
        wanted = ORDER if self.needs_train else ORDER[1:]
        fitted = {
            split: self._fitting(splits[split], label_names, rejections[split]) for split in wanted if split in splits
        }
        texts = {split: [(where, self.template.texts(row)) for where, row in rows] for split, rows in fitted.items()}
        duplicates, removed = find_duplicates(texts, self.duplicates)
        fitted = {
            split: [row for position, row in enumerate(rows) if split != "train" or position not in removed]
            for split, rows in fitted.items()
        }
        audits: dict[str, Any] = {}
        example = ""
        for split, rows in fitted.items():
            refusals = Refusals(rejections[split], [where for where, _ in rows])
            samples = tokenize(
                [example for _, example in rows], self.template, self.tokenizer, self.context, label_names, refusals
            )
            audits[split] = self._audit(samples, rows, refusals.positions, label_names)
            audits[split]["dropped"] = rejections[split].as_dict()
            audits[split]["suspicious"] += repeated_ids(ids.get(split, []))
            self._require_targets(split, audits[split])
            with _no_progress_bars():
                audited = [name for name in AUDITED if name in samples.column_names]
                samples.remove_columns(audited).save_to_disk(str(folder / split))
            save_keys(folder / split, (self.template.texts(example) for _, example in rows))
            example = example or self._example(samples, label_names)
        report = {
            "splits": audits,
            "majority": majority_baseline(audits),
            "duplicates": duplicates,
            "conflicts": find_conflicts(fitted, self.template),
            "example": example,
            "unused": 0 if self.needs_train else len(train),
        }
        return {
            "label_names": label_names,
            "splits": list(audits),
            "report": report | {"source": self.source.details()},
        }

    def _audit(
        self, samples: Dataset, rows: Rows, refused: Collection[int], label_names: list[str] | None
    ) -> dict[str, Any]:
        kept = [example for position, (_, example) in enumerate(rows) if position not in refused]
        audit = audit_split(samples, len(kept), self.context, self.template, label_names)
        pairs = (values(samples, name).tolist() for name in ("row", "full_tokens")) if len(samples) else ((), ())
        lengths = dict(zip(*pairs, strict=True))
        audit["suspicious"] = suspicious(rows, self.template, lengths)
        return audit | self._characters(samples, kept)

    def _read(self, rejections: Mapping[str, Rejections]) -> dict[str, list[tuple[Row, Example]]]:
        splits: dict[str, list[tuple[Row, Example]]] = {}
        present = self.source.splits()
        needs_train = self.needs_train or self.fractions.missing_from(present)
        for split in (name for name in present if name != "train" or needs_train):
            kept = splits[split] = []
            for row in self.source.read(split, rejections[split]):
                try:
                    kept.append((row, self.template.read(row.fields, labelled=True)))
                except BadRow as error:
                    rejections[split](row.where, str(error))
        return splits

    def _split(self, splits: dict[str, list[tuple[Row, Example]]]) -> dict[str, list[tuple[str, Example]]]:
        found = {split: [(row.where, example) for row, example in rows] for split, rows in splits.items()}
        shares = self.fractions.missing_from(list(found))
        if shares:
            rows = found["train"]
            strata = [example.get("name") for _, example in rows]
            assigned = split_by_fraction(len(rows), shares, self.seed, strata)
            for split in ("train", *shares):
                found[split] = [row for row, own in zip(rows, assigned, strict=True) if own == split]
        return found

    def _fitting(
        self, rows: Sequence[tuple[str, Example]], label_names: list[str] | None, rejections: Rejections
    ) -> list[tuple[str, Example]]:
        kept: list[tuple[str, Example]] = []
        refusals = self.template.refusals([example for _, example in rows], label_names)
        for (where, example), why in zip(rows, refusals, strict=True):
            if why is None:
                kept.append((where, example))
            else:
                rejections(where, why)
        return kept

    def _characters(self, samples: Dataset, examples: Sequence[Example]) -> dict[str, Any]:
        if "chars" not in samples.column_names:
            return {}
        texts = [text for example in examples for text in self.template.supervised_texts(example)]
        chars, size = sum(map(len, texts)), sum(len(text.encode()) for text in texts)
        scored = int(values(samples, "chars").sum())
        return {
            "chars": chars,
            "bytes": size,
            "chars_scored": scored,
            "chars_scored_share": scored / chars if chars else 0.0,
        }

    def _example(self, samples: Dataset, label_names: list[str] | None) -> str:
        lengths = values(samples, "full_tokens")
        typical = int(np.argmin(np.abs(lengths - np.median(lengths))))
        return self.template.show(samples[typical], self.tokenizer.tokenizer, label_names)

    def _require_targets(self, split: str, audit: Mapping[str, Any]) -> None:
        if audit["supervised"] == 0:
            raise UserError(
                f"{self.source.name}: the {split} split has no supervised token ({audit['rows']} rows, "
                f"{audit['dropped']['rows']} dropped); there is nothing to learn or to measure. Give it usable rows, "
                f"or leave the split out of data.source."
            )


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


def code_digests(own: Sequence[type]) -> list[str]:
    """Digests of every file of this package and of every file that ``own`` classes or their bases are written in.

    Whole files, since a row may depend on any table or constant beside its class.
    """
    files = {file for kind in ("*.py", "*.jinja") for file in Path(__file__).parent.rglob(kind)}
    files |= {Path(inspect.getfile(part)) for kind in own for part in kind.__mro__ if part not in BASES}
    return sorted(hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest() for file in files)


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Writing takes no time worth a bar."""
    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            enable_progress_bars()


def _digest(parts: Sequence[object]) -> str:
    return hashlib.blake2b(json.dumps(parts, sort_keys=True, default=str).encode(), digest_size=16).hexdigest()
