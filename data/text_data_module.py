"""Texts from any source, as batches of any template."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from datasets import Dataset
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Sampler

from ..contracts.batch import Batch
from ..contracts.errors import UserError
from ..contracts.seeds import derive
from .audit import render_report
from .cache import Entry, open_or_build
from .collate import PadCollator
from .documents import Documents, document_start
from .files import read_input
from .preparation import Preparation
from .rejections import BadRow, Rejections
from .sampler import FixedBatchSampler, GlobalBatchSampler, GlobalOrder
from .sources import Source, as_source
from .splits import Fractions
from .template import Example, Template
from .token_dataset import TokenDataset
from .tokenizer import LoadedTokenizer, load_tokenizer

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class LoaderOptions:
    """How batches are fetched; never which rows, nor in which order of arms.

    Args:
        num_workers: processes that fetch; the order is the same with any number.
        bucketing: training batches of rows of like length.
        evaluation_batch_size: rows of an evaluation batch; null for twice the training batch (no gradients are kept).
        pin_memory: page-locked batches, for faster copies to a GPU.
    """

    num_workers: int = 0
    bucketing: bool = True
    evaluation_batch_size: int | None = None
    pin_memory: bool = False


class TextDataModule(LightningDataModule):
    """Rows of a source, shaped by a template, as right-padded batches (``contracts.batch``).

    Tokens are made once and cached, by tokenizer, template, context, code and data. Rows that cannot be used stop the
    run with file and line unless they are to be skipped. Training order: ``GlobalOrder``. No loader draws from a global
    random generator.

    Args:
        source: a file, a folder holding train/validation/test files, split -> file, a hub data set id, or a Source.
        template: what a row means, e.g. ``finelab.data.Classification``.
        base: the base whose tokenizer is used; the command line links it from the model.
        context: most tokens of a sample.
        batch_size: training rows per device.
        loader: how batches are fetched.
        splits: shares of splits that the source has not.
        on_bad_row: ``error``, or ``skip`` to count and list such rows in the report.
        seed: the data seed; the command line links it.
        cache_dir: where tokens are kept.
    """

    def __init__(
        self,
        source: Source | dict[str, str] | str,
        template: Template,
        base: str,
        context: int = 128,
        batch_size: int = 32,
        loader: LoaderOptions = LoaderOptions(),
        splits: Fractions = Fractions(),  # noqa: B008 - frozen
        on_bad_row: Literal["error", "skip"] = "error",
        seed: int = 1,
        cache_dir: str = "~/.cache/finelab/tokens",
    ) -> None:
        super().__init__()
        if context < 2 or batch_size < 1:
            raise UserError(f"data: context {context} must be at least 2 and batch_size {batch_size} at least 1.")
        self.source = as_source(source)
        self.template = template
        self.base = base
        self.context = context
        self.batch_size = batch_size
        self.loader = loader
        self.fractions = splits
        self.on_bad_row: Literal["error", "skip"] = on_bad_row
        self.seed = seed
        self.cache_dir = Path(cache_dir).expanduser()
        self.predict_input: str | None = None
        self.predict_ids: list[str | int] = []

    @cached_property
    def tokenizer(self) -> LoadedTokenizer:
        return load_tokenizer(self.base)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of which rows stand in which split."""
        return self._preparation.fingerprint()

    @property
    def label_names(self) -> list[str] | None:
        """The classes in the order of their indices; None for language modelling. Reads the source when first asked."""
        return self._entry.meta["label_names"]

    @property
    def report(self) -> dict[str, Any]:
        """What is in the data (``data.audit``), as JSON."""
        start = document_start(self.tokenizer.tokenizer)
        notes = []
        if isinstance(self.template, Documents) and start is None:
            notes.append("the tokenizer has no BOS or EOS, so the first token of each document is not scored")
        return {
            "name": self.source.name,
            "template": type(self.template).__name__,
            "base": self.base,
            "context": self.context,
            "pad": self.tokenizer.pad,
            "fingerprint": self.fingerprint,
            "label_names": self.label_names,
            "cache": f"tokens {self._entry.state}",
            "notes": notes,
            **self._entry.meta["report"],
        }

    def render_report(self) -> str:
        return render_report(self.report)

    def prepare_data(self) -> None:
        """Tokenize, on one process per machine."""
        _ = self._entry

    def setup(self, stage: str) -> None:
        _ = self._entry

    def train_dataloader(self) -> DataLoader[Batch]:
        """Raises:
        UserError: the source has no training rows, or fewer than devices.
        """
        data = self._require("train")
        rank, world_size = self._place()
        order = GlobalOrder(data.lengths, self.batch_size * world_size, self.seed, self.loader.bucketing)
        sampler = GlobalBatchSampler(order, rank, world_size)
        if not len(sampler):
            raise UserError(f"The train split has {len(data)} rows for {world_size} devices; use fewer devices.")
        return self._batches(data, sampler, "train")

    def val_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        return self.evaluation_loader("validation") or []

    def test_dataloader(self) -> DataLoader[Batch]:
        """Raises:
        UserError: the source has no test split.
        """
        self._require("test")
        loader = self.evaluation_loader("test")
        assert loader is not None
        return loader

    def evaluation_loader(self, split: Split) -> DataLoader[Batch] | None:
        """Every row of a split once over the ranks, in a fixed order (longest first); None without such a split."""
        data = self._datasets.get(split)
        if data is None:
            return None
        size = self.loader.evaluation_batch_size or 2 * self.batch_size
        return self._batches(data, FixedBatchSampler(data.lengths, size, *self._place()), f"evaluate {split}")

    def predict_dataloader(self) -> DataLoader[Batch]:
        """The rows of ``predict_input`` in their order, all on every rank; ``predict_ids`` names each sample's row.

        Only the text columns are needed. A row is named by its ``id`` column, else by its line; class labels are
        ``UNLABELLED``.

        Raises:
            UserError: no input was set, or it holds no row.
        """
        if self.predict_input is None:
            raise UserError("There is nothing to predict: name a file, or - for standard input, with --input.")
        rejections = Rejections(self.on_bad_row)
        names: list[str | int] = []
        examples: list[Example] = []
        for row in read_input(self.predict_input, rejections):
            try:
                examples.append(self.template.read(row.fields, labelled=False))
            except BadRow as error:
                rejections(row.where, str(error))
            else:
                own = row.fields.get("id")
                names.append(own if isinstance(own, str | int) else int(row.where.rpartition(":")[2]))
        if not examples:
            raise UserError(f"The input {self.predict_input} holds no row to predict.")
        samples = self._preparation.encode(examples, self.label_names)
        self.predict_ids = [names[row] for row in samples["row"]]
        data = TokenDataset(samples)
        size = self.loader.evaluation_batch_size or 2 * self.batch_size
        options = self._options("predict")
        return DataLoader(data, batch_size=size, shuffle=False, **options)  # pyright: ignore[reportReturnType]

    @cached_property
    def _preparation(self) -> Preparation:
        return Preparation(
            self.source, self.template, self.tokenizer, self.context, self.fractions, self.on_bad_row, self.seed
        )

    @cached_property
    def _entry(self) -> Entry:
        preparation = self._preparation
        return open_or_build(self.cache_dir, preparation.key(self.fingerprint), preparation.build)

    @cached_property
    def _datasets(self) -> dict[str, TokenDataset]:
        entry = self._entry
        return {split: TokenDataset(Dataset.load_from_disk(entry.folder / split)) for split in entry.meta["splits"]}

    def _require(self, split: Split) -> TokenDataset:
        if split not in self._datasets:
            raise UserError(
                f"{self.source.name} has no {split} split (it has {', '.join(self._datasets)}); "
                "add a file to data.source."
            )
        return self._datasets[split]

    def _place(self) -> tuple[int, int]:
        """Rank and number of processes."""
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def _batches(self, data: TokenDataset, sampler: Sampler[list[int]], name: str) -> DataLoader[Batch]:
        return DataLoader(data, batch_sampler=sampler, **self._options(name))  # pyright: ignore[reportReturnType]

    def _options(self, name: str) -> dict[str, Any]:
        # Without a generator of its own, every pass over a loader draws its workers' seed from the global one.
        return {
            "collate_fn": PadCollator(self.tokenizer.pad_id),
            "generator": torch.Generator().manual_seed(derive("loader", name, self.seed)),
            "num_workers": self.loader.num_workers,
            "persistent_workers": self.loader.num_workers > 0,
            "pin_memory": self.loader.pin_memory,
        }
