"""From a source to tokenized splits on disk, and everything the report says about them."""

import hashlib
import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import datasketch
import jinja2
import numpy as np
import tokenizers
import transformers
from datasets import Dataset, are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from lightning.pytorch import LightningDataModule

from ..contracts.errors import UserError
from .audit import audit_split, majority_baseline, per_row, values
from .duplicates import DuplicateReport, Duplicates, find_duplicates, save_keys
from .findings import Rows, find_conflicts, repeated_ids, suspicious
from .rejections import BadRow, Rejections, Row
from .sources import Source
from .splits import Fractions, split_by_fraction
from .template import Example, Template
from .tokenized_split import TokenizedSplit
from .tokenizer import LoadedTokenizer

ORDER = ("train", "validation", "test")
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
        rows = self._split(read)
        label_names = self._label_names(rows)
        wanted = ORDER if self.needs_train else ORDER[1:]
        splits = {
            split: self._tokenized(rows[split], label_names, rejections[split]) for split in wanted if split in rows
        }
        # Of the rows that are used; what stands in conflict is found before one of its sides is removed.
        conflicts = find_conflicts({split: part.rows for split, part in splits.items()}, self.template)
        splits, duplicates = self._without_duplicates(splits)
        audits: dict[str, Any] = {}
        for split, part in splits.items():
            audits[split] = self._audit(part, label_names)
            audits[split]["dropped"] = rejections[split].as_dict()
            audits[split]["suspicious"] += repeated_ids(ids.get(split, []))
            self._require_targets(split, audits[split], duplicates["dropped"] if split == "train" else 0)
            self._write(part, folder / split)
        report = {
            "splits": audits,
            "majority": majority_baseline(audits) if self.template.target_kind == "class" else None,
            "duplicates": duplicates,
            "conflicts": conflicts,
            "example": self._example(next(iter(splits.values())).samples, label_names) if splits else "",
            "source": self.source.details(),
            "unused": 0 if self.needs_train else len(rows.get("train", [])),
        }
        return {"label_names": label_names, "splits": list(audits), "report": report}

    def _label_names(self, rows: Mapping[str, Rows]) -> list[str] | None:
        if self.labels is not None:
            names: list[str] | None = list(self.labels)
        else:
            names = self.template.label_names([example for _, example in rows.get("train", [])])
        fewest = 1 if self.template.target_kind == "labels" else 2
        if names is not None and len(names) < fewest:
            raise UserError(
                f"{self.source.name}: the training rows have the label(s) {names}; a classifier needs "
                f"{'a label' if fewest == 1 else 'two classes'} (train rows, or data.template.init_args.names)."
            )
        return names

    def _tokenized(self, rows: Rows, label_names: list[str] | None, rejections: Rejections) -> TokenizedSplit:
        fitting = self._fitting(rows, label_names, rejections)
        return TokenizedSplit.of(fitting, self.template, self.tokenizer, self.context, label_names, rejections)

    def _without_duplicates(
        self, splits: Mapping[str, TokenizedSplit]
    ) -> tuple[dict[str, TokenizedSplit], DuplicateReport]:
        texts = {
            split: [(where, self.template.texts(example)) for where, example in part.rows]
            for split, part in splits.items()
        }
        report, removed = find_duplicates(texts, self.duplicates)
        return {split: part.without(removed if split == "train" else ()) for split, part in splits.items()}, report

    def _audit(self, part: TokenizedSplit, label_names: list[str] | None) -> dict[str, Any]:
        audit = audit_split(part.samples, len(part.rows), self.context, self.template, label_names)
        lengths: dict[int, int] = {}
        if len(part.samples):
            rows = np.unique(values(part.samples, "row")).tolist()
            lengths = dict(zip(rows, per_row(part.samples, "full_tokens").tolist(), strict=True))
        audit["suspicious"] = suspicious(part.rows, self.template, lengths)
        return audit | self._characters(part.samples, [example for _, example in part.rows])

    def _write(self, part: TokenizedSplit, folder: Path) -> None:
        with _no_progress_bars():  # with the columns that only the audit reads: a subset of the rows is audited later
            part.samples.save_to_disk(str(folder))
        save_keys(folder, (self.template.texts(example) for _, example in part.rows))

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

    def _fitting(self, rows: Rows, label_names: list[str] | None, rejections: Rejections) -> list[tuple[str, Example]]:
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

    def _require_targets(self, split: str, audit: Mapping[str, Any], repeats: int) -> None:
        repeated = f", {repeats} removed since their texts stand in another split" if repeats else ""
        if audit["supervised"] == 0:
            raise UserError(
                f"{self.source.name}: the {split} split has no supervised token ({audit['rows']} rows, "
                f"{audit['dropped']['rows']} dropped{repeated}); there is nothing to learn or to measure. Give it "
                f"usable rows, or leave the split out of data.source."
            )


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
