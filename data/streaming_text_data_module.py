"""Texts from a source larger than memory."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader

from ..contracts.batch import Batch
from ..contracts.data import PackedSamples, RehearsalBatches, Split
from ..contracts.errors import UserError
from .preparation import Preparation
from .rehearsal import SAMPLED, of_units
from .rejections import Reject, Row
from .sources import Source
from .stream_loader import BEHIND, StreamedBatches, StreamLoader
from .streaming import PARTS, ChunkOrder, Cursor, TextStream
from .template import Template
from .text_data_module import TextDataModule
from .token_dataset import Sample
from .training_layout import PROBED, collator_of, probe_of


class StreamingTextDataModule(TextDataModule):
    """A ``TextDataModule`` whose training rows are never in memory as a whole, nor in the cache.

    They are read one by one, shuffled in a buffer, and tokenized as they are needed. Validation and test rows come from
    files of their own and are prepared as usual.

    What holds as without streaming: the order depends on the data seed, the epoch, the buffer and the rows alone, so
    that it is the same in every arm, with or without a worker, and on any number of ranks with the same global batch;
    no global generator is drawn from; a bad row is named by file and line. What does not: rows are mixed over the
    buffer only, so that a file sorted by class or topic stays nearly sorted (shuffle it once); length bucketing and
    packing act inside chunks of 1,000 rows; a bad row is found when it is reached, and the number of those
    left out is told at the end of the fit; duplicates of the training rows, and of them in the other splits, are not
    looked for; a classifier has no majority class and no probe to beat.

    Where a run stands is a few numbers (``StreamLoader.state_dict``). To go on from there the rows before are read and
    shuffled again, but not tokenized. The number of steps is unknown: ``trainer.max_steps`` is needed, which a schedule
    counts on. With ``trainer.max_epochs: -1`` the stream begins anew until then. To validate within an epoch give
    ``trainer.val_check_interval`` as a number of batches. Every rank reads and tokenizes all rows.

    Args:
        buffer: rows from which the next one is drawn; they are what stays in memory.

    Raises:
        UserError: no buffer, several workers, duplicates that are to be dropped, or a subset of the training rows.
    """

    def __init__(self, *args: Any, buffer: int = 10_000, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if buffer < 1:
            raise UserError(f"data.init_args.buffer is {buffer}; the next row is drawn from at least 1.")
        if self.loader.num_workers > 1:
            raise UserError(
                f"data.init_args.loader.num_workers is {self.loader.num_workers}; a stream is read by one process. "
                "Set 1 to read and tokenize beside the training, or 0."
            )
        if self.duplicates.action == "drop":
            raise UserError(
                "data.init_args.duplicates: action is drop, and a stream does not look for repeats among its training "
                "rows. Set action: keep, or remove them from the file beforehand."
            )
        if self._subset is not None:
            raise UserError(
                f"data.init_args.train_rows is {self._subset.size}, and a stream does not know its rows beforehand. "
                "Use TextDataModule for a subset, or limit the steps with trainer.max_steps."
            )
        self.buffer = buffer
        self._training: StreamLoader | None = None

    @property
    def label_names(self) -> list[str] | None:
        """The classes, from the template or a checkpoint.

        Raises:
            UserError: neither has them; the training rows are not read beforehand.
        """
        if self._known_labels is not None:
            return list(self._known_labels)
        if type(self.template).label_names is Template.label_names:
            return None
        if not (names := self.template.label_names([])):
            raise UserError(
                "data: StreamingTextDataModule reads the training rows while it trains, so the classes must be given: "
                "set data.init_args.template.init_args.names."
            )
        return names

    def train_dataloader(self) -> DataLoader[Batch]:
        """Raises:
        UserError: the number of steps is not set, or the samples cannot share a row.
        """
        if self.trainer is not None and self.trainer.max_steps == -1:
            raise UserError(
                "A stream's length is unknown: set trainer.max_steps (and trainer.max_epochs: -1 to read the source as "
                "often as that takes)."
            )
        rank, world_size = self._place()
        order = ChunkOrder(self.loader, self.context, self.batch_size * world_size, self.seed)
        collate = collator_of(self.template, self.tokenizer.pad_id, self.loader)
        batches = StreamedBatches(self._stream, order, rank, world_size)
        own = self.loader
        self._training = StreamLoader(batches, collate, self.trainer, own.num_workers, own.pin_memory)
        return self._training  # pyright: ignore[reportReturnType]

    def rehearsal(self, split: Literal["train", "validation"]) -> RehearsalBatches | None:
        """Of the training rows, what the first chunk holds; the longest row of a stream is not known."""
        if split != "train":
            return super().rehearsal(split)
        samples = self._first_samples
        order = ChunkOrder(self.loader, self.context, self.batch_size, self.seed)
        collate = collator_of(self.template, self.tokenizer.pad_id, self.loader)
        return of_units(order.units(samples, 0, 0, 0), self.batch_size, collate, self._sampled(samples))

    def _sampled(self, samples: list[Sample]) -> Batch:
        return self.template.collator(self.tokenizer.pad_id)(samples[:SAMPLED])

    def probe_loader(self, rows: int) -> DataLoader[Batch]:
        """Of the first chunk."""
        samples = self._first_samples[:rows]
        lengths = np.array([len(sample["input_ids"]) for sample in samples])  # pyright: ignore[reportArgumentType]
        return self.probe_batches(samples, np.arange(len(samples)), lengths)  # pyright: ignore[reportArgumentType]

    def document_of(self, split: Split, samples: np.ndarray) -> np.ndarray:
        return samples - samples % PARTS if split == "train" else super().document_of(split, samples)

    @cached_property
    def _first_samples(self) -> list[Sample]:
        samples = next((chunk.samples for chunk in self._stream.chunks(Cursor()) if chunk.samples), None)
        if samples is None:
            raise self._stream.nothing()
        return samples

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """A training step takes this batch: from here on the stream stands behind it."""
        return self._training.take(batch) if self._training is not None and BEHIND in batch else batch

    def teardown(self, stage: str) -> None:
        if self._training is not None and self._training.dropped:
            rank_zero_warn(f"{self._training.dropped:,} training rows of an epoch were left out.")
        self._training = None

    def packing_probe(self) -> PackedSamples | None:
        if not (self.loader.packing or self.loader.padding_free):
            return None
        return probe_of(self._first_samples[:PROBED], self.tokenizer.pad_id, self.loader.padding_free)

    @cached_property
    def _stream(self) -> TextStream:
        return TextStream(replace(self._preparation, source=self.source), self.label_names, self.buffer)

    @cached_property
    def _preparation(self) -> Preparation:
        prepared = replace(super()._preparation, source=Evaluated(self.source), needs_train=False)
        names = self.label_names
        return replace(prepared, labels=None if names is None else tuple(names))

    @property
    def _layout_notes(self) -> tuple[str, ...]:
        how = "packed, " if self.loader.packing else "padding-free, " if self.loader.padding_free else ""
        return (
            f"the training rows are {how}streamed through a buffer of {self.buffer} rows; nothing here counts them",
        )


class Evaluated(Source):
    """A source without its training split.

    Args:
        source: the whole.

    Raises:
        UserError: there is no training split, or none beside it.
    """

    def __init__(self, source: Source) -> None:
        self.whole = source
        if "train" not in source.splits() or len(source.splits()) < 2:
            raise UserError(
                f"{source.name} has the splits {', '.join(source.splits())}; streaming needs train and a validation or "
                "test file beside it, since none can be cut off rows that are read only once. Give data.source both."
            )

    @property
    def name(self) -> str:
        return self.whole.name

    def splits(self) -> list[str]:
        return [split for split in self.whole.splits() if split != "train"]

    def digest(self) -> str:
        return self.whole.digest()

    def read(self, split: str, reject: Reject) -> Iterator[Row]:
        return self.whole.read(split, reject)

    def details(self) -> dict[str, str]:
        return self.whole.details()
