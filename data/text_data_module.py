"""Texts from any source, as batches of any template."""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from datasets import Dataset
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Sampler, Subset
from torch.utils.data import Dataset as TorchDataset

from ..contracts.batch import Batch
from ..contracts.data import PackedSamples, RehearsalBatches, Split
from ..contracts.errors import UserError
from ..contracts.interruption import leave_signals_to_the_parent
from ..contracts.seeds import derive
from ..contracts.targets import TargetKind
from .audit import render_report
from .cache import Entry, open_or_build
from .canaries import Canaries
from .duplicates import Duplicates, load_keys
from .loader_options import LoaderOptions
from .ordered_loader import OrderedLoader
from .prediction_input import read_prediction_input
from .preparation import Preparation
from .probe_rows import drawn
from .rehearsal import of_split
from .rejections import Rejections
from .sampler import FixedBatchSampler, GlobalBatchSampler, GlobalOrder, training_sampler
from .sources import Source, as_source
from .splits import Fractions
from .template import Template
from .token_dataset import TokenDataset
from .tokenizer import LoadedTokenizer, load_tokenizer
from .training_layout import TrainingLayout
from .training_subset import TrainingSubset


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
        revision: commit, tag or branch of a base from the hub; the command line links it from the model.
        duplicates: what is done about repeated texts.
        train_rows: train on so many rows, drawn by the data seed (``TrainingSubset``); None is all. Validation and test
            rows, classes and cached tokens stay those of the whole.
    """

    def __init__(
        self,
        source: Source | dict[str, str] | str | Path,  # Path: else jsonargparse takes a file's content for its name
        template: Template,
        base: str,
        context: int = 128,
        batch_size: int = 32,
        loader: LoaderOptions = LoaderOptions(),  # noqa: B008 - frozen
        splits: Fractions = Fractions(),  # noqa: B008 - frozen
        on_bad_row: Literal["error", "skip"] = "error",
        seed: int = 1,
        cache_dir: str = "~/.cache/finelab/tokens",
        revision: str | None = None,
        duplicates: Duplicates = Duplicates(),  # noqa: B008 - frozen
        train_rows: int | None = None,
    ) -> None:
        super().__init__()
        if context < 2 or batch_size < 1:
            raise UserError(f"data: context {context} must be at least 2 and batch_size {batch_size} at least 1.")
        self._source = source
        self.template = template
        self.base = base
        self.revision = revision
        self.context = context
        self.batch_size = batch_size
        self.loader = loader
        self.fractions = splits
        self.on_bad_row: Literal["error", "skip"] = on_bad_row
        self.seed = seed
        self.duplicates = duplicates
        self._subset = None if train_rows is None else TrainingSubset(train_rows, seed)
        if self._subset is not None and isinstance(source, Canaries):
            raise UserError("data: train_rows would leave some of the canaries out; draw the rows into a file instead.")
        self.cache_dir = Path(cache_dir).expanduser()
        self.predict_input: str | None = None
        self.predict_ids: list[str | int] = []
        self.predict_rows: list[int] = []
        self._known_labels: tuple[str, ...] | None = None
        self._needs_train = True
        self.source_id = 0
        self.first_ids: dict[str, int] = {}

    def use_labels(self, names: list[str] | None) -> None:
        """Take the classes from a checkpoint, before ``setup``; None where it has none (language models).

        From then on the training split is not needed, and ``predict`` reads nothing but its input. Only a source that
        lacks a validation or test split is still read whole, to be cut as it was for training.
        """
        if names is not None:
            self.fix_labels(names)
        self._needs_train = False

    def fix_labels(self, names: Sequence[str]) -> None:
        """The classes are these, in this order, before ``setup``; rows find theirs by its *name*.

        A row whose name is not in the list is a bad row.
        """
        self._known_labels = tuple(names)

    @cached_property
    def source(self) -> Source:
        """Looked for when first asked, since predict needs none.

        Raises:
            UserError: it is not there.
        """
        return as_source(self._source)

    @cached_property
    def tokenizer(self) -> LoadedTokenizer:
        """Raises:
        UserError: the base has no tokenizer, or takes fewer tokens than ``context``.
        """
        loaded = load_tokenizer(self.base, self.revision)
        if loaded.limit is not None and self.context > loaded.limit:
            raise UserError(
                f"data.init_args.context is {self.context}, and the base {self.base} takes {loaded.limit} tokens at "
                f"most; set it to {loaded.limit} or less."
            )
        return loaded

    @cached_property
    def fingerprint(self) -> str:
        """A digest of which rows stand in which split."""
        whole = self._preparation.fingerprint()
        return whole if self._subset is None else self._subset.fingerprint(whole)

    @property
    def template_target(self) -> tuple[str, TargetKind | None]:
        return type(self.template).__name__, self.template.target_kind

    def own_labels(self) -> list[str] | None:
        """The classes of the rows themselves, whatever was fixed; read once and cached like the tokens."""
        if type(self.template).label_names is Template.label_names:
            return None
        preparation = self._preparation
        key = preparation.key_of_labels(preparation.fingerprint())
        return open_or_build(self.cache_dir, key, preparation.own_labels).meta["label_names"]

    def samples(self, split: Split) -> TokenDataset | None:
        return self._datasets.get(split)

    def text_keys(self, split: Split) -> set[bytes]:
        """Of the distinct texts of a split (``duplicates.text_key``); none where there is no such split."""
        return load_keys(self._entry.folder / split) if split in self._entry.meta["splits"] else set()

    @property
    def label_names(self) -> list[str] | None:
        """The classes in the order of their indices; None for language modelling. Reads the source when first asked."""
        if self._known_labels is not None or not self._needs_train:
            return None if self._known_labels is None else list(self._known_labels)
        return self._entry.meta["label_names"]

    @property
    def report(self) -> dict[str, Any]:
        """What is in the data (``data.audit``), as JSON."""
        own = self._entry.meta["report"] | self._subset_report
        drawn = [self._subset.note(own["subset"])] if self._subset is not None and "subset" in own else []
        return {
            "name": self.source.name,
            "template": type(self.template).__name__,
            "base": self.base,
            "context": self.context,
            "pad": self.tokenizer.pad,
            "fingerprint": self.fingerprint,
            "label_names": self.label_names,
            "cache": f"tokens {self._entry.state}",
            "notes": [*drawn, *self.template.notes(self.tokenizer.tokenizer, self.context), *self._layout_notes],
            **own,
        }

    def render_report(self) -> str:
        return render_report(self.report)

    def prepare_data(self) -> None:
        """Tokenize, on one process per machine; with a checkpoint's labels only what a loader asks for."""
        if self._needs_train:
            _ = self._tokens

    def setup(self, stage: str) -> None:
        self.prepare_data()

    def train_dataloader(self) -> DataLoader[Batch]:
        """Raises:
        UserError: the source has no training rows, or fewer than devices, or its samples cannot share a row.
        """
        layout = self.layout
        rank, world_size = self._place()
        order = GlobalOrder(layout.lengths, self.batch_size * world_size, self.seed, layout.bucketing)
        return self.training_batches(layout.rows, training_sampler(order, rank, world_size), layout.collate)

    def packing_probe(self) -> PackedSamples | None:
        return self.layout.probe(self.tokenizer.pad_id)

    def probe_loader(self, rows: int) -> DataLoader[Batch] | None:
        data = self._datasets.get("train")
        return None if data is None else self.probe_batches(data, drawn(len(data), rows, self.seed), data.lengths)

    def document_of(self, split: Split, samples: np.ndarray) -> np.ndarray:
        return self._datasets[split].document_of(samples)

    def rehearsal(self, split: Literal["train", "validation"]) -> RehearsalBatches | None:
        return of_split(split, self.evaluation_loader(split), self.train_dataloader)

    @property
    def predicts_text(self) -> bool:
        return self.template.asks_for_text

    def val_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        return self.evaluation_loader("validation") or []

    def test_dataloader(self) -> DataLoader[Batch]:
        """Raises:
        UserError: the source has no test split.
        """
        self.require("test")
        loader = self.evaluation_loader("test")
        assert loader is not None
        return loader

    def evaluation_loader(self, split: Split) -> DataLoader[Batch] | None:
        """Every row of a split once over the ranks, in a fixed order (longest first); None without such a split."""
        data = self._datasets.get(split)
        if data is None:
            return None
        size = self.loader.evaluation_batch_size or 2 * self.batch_size
        return self.batches(data, FixedBatchSampler(data.lengths, size, *self._place()), f"evaluate {split}")

    def predict_dataloader(self) -> DataLoader[Batch]:
        """The rows of ``predict_input`` in their order, all on every rank.

        ``predict_ids`` gets the id of every row, and ``predict_rows`` the position of every sample's row among them: a
        long document gives several samples, and one without a token to score none.

        Only the text columns are needed. A row is named by its ``id`` column, else by its line; class labels are
        ``UNLABELLED``.

        Raises:
            UserError: no input was set, or it holds no row.
        """
        if self.predict_input is None:
            raise UserError("There is nothing to predict: name a file, or - for standard input, with --input.")
        found = read_prediction_input(self.predict_input, self.template, Rejections(self.on_bad_row))
        samples = found.tokenized(self.template, self.tokenizer, self.context, self.label_names)
        self.predict_ids = found.ids
        self.predict_rows = list(samples["row"]) if len(samples) else []
        data = TokenDataset(samples) if len(samples) else []
        size = self.loader.evaluation_batch_size or 2 * self.batch_size
        options = self._options() | {"generator": self._generator("predict")}
        return DataLoader(data, batch_size=size, shuffle=False, **options)  # pyright: ignore[reportReturnType, reportArgumentType]

    @cached_property
    def _preparation(self) -> Preparation:
        return Preparation(
            source=self.source,
            template=self.template,
            tokenizer=self.tokenizer,
            context=self.context,
            fractions=self.fractions,
            on_bad_row=self.on_bad_row,
            seed=self.seed,
            module=type(self),
            labels=self._known_labels,
            needs_train=self._needs_train,
            duplicates=self.duplicates,
        )

    @cached_property
    def _entry(self) -> Entry:
        preparation = self._preparation
        return open_or_build(self.cache_dir, preparation.key(preparation.fingerprint()), preparation.build)

    @cached_property
    def _tokens(self) -> dict[str, Dataset]:
        """Samples of each split, of the training split those that are used."""
        entry = self._entry
        found = {split: Dataset.load_from_disk(entry.folder / split) for split in entry.meta["splits"]}
        if self._subset is not None and "train" in found:
            found["train"] = self._subset.samples(found["train"], entry.meta["report"]["splits"]["train"]["rows"])
        return found

    @cached_property
    def _subset_report(self) -> dict[str, Any]:
        if self._subset is None or "train" not in self._tokens:
            return {}
        whole, train = self._entry.meta["report"], self._tokens["train"]
        return self._subset.report(whole, train, self.context, self.template, self.label_names)

    @cached_property
    def _datasets(self) -> dict[str, TokenDataset]:
        return {
            split: TokenDataset(samples, self.source_id, self.first_ids.get(split, 0))
            for split, samples in self._tokens.items()
        }

    @cached_property
    def layout(self) -> TrainingLayout:
        """Of the training split.

        Raises:
            UserError: there is none, or its samples cannot share a row.
        """
        data, pad = self.require("train"), self.tokenizer.pad_id
        return TrainingLayout.of(data, self.template, pad, self.context, self.loader, self.seed)

    @property
    def _layout_notes(self) -> tuple[str, ...]:
        return self.layout.notes if "train" in self._datasets else ()

    def require(self, split: Split) -> TokenDataset:
        """Raises:
        UserError: there is no such split.
        """
        if split not in self._datasets:
            raise UserError(
                f"{self.source.name} has no {split} split (it has {', '.join(self._datasets) or 'none'}); "
                "add a file to data.source."
            )
        return self._datasets[split]

    def _place(self) -> tuple[int, int]:
        """Rank and number of processes."""
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def training_batches(
        self, rows: TorchDataset[Any], sampler: GlobalBatchSampler, collate: Callable[..., Batch]
    ) -> OrderedLoader:
        """A loader as this module makes them, of any rows in any training order."""
        return OrderedLoader(rows, sampler, self.trainer, **self._options(collate))

    def batches(self, rows: TorchDataset[Any], sampler: Sampler[list[int]], name: str) -> DataLoader[Batch]:
        """A loader as this module makes them, of any rows in any order; equal names draw equal worker seeds."""
        return DataLoader(rows, batch_sampler=sampler, generator=self._generator(name), **self._options())

    def probe_batches(self, rows: TorchDataset[Any], chosen: np.ndarray, lengths: np.ndarray) -> DataLoader[Batch]:
        """Some of the rows, as for evaluation; without workers, which every validation would start for few rows."""
        size = self.loader.evaluation_batch_size or 2 * self.batch_size
        sampler = FixedBatchSampler(lengths[chosen], size, *self._place())
        options = self._options() | {"num_workers": 0, "persistent_workers": False}
        return DataLoader(
            Subset(rows, chosen.tolist()), batch_sampler=sampler, generator=self._generator("probe"), **options
        )

    def _generator(self, name: str) -> torch.Generator:
        # Without a generator of its own, every pass over a loader draws its workers' seed from the global one.
        return torch.Generator().manual_seed(derive("loader", name, self.seed))

    def _options(self, collate: Callable[..., Batch] | None = None) -> dict[str, Any]:
        return {
            "collate_fn": collate or self.template.collator(self.tokenizer.pad_id),
            "num_workers": self.loader.num_workers,
            "worker_init_fn": leave_signals_to_the_parent,
            "persistent_workers": self.loader.num_workers > 0,
            "pin_memory": self.loader.pin_memory,
        }
