"""Training rows read one by one, shuffled in a buffer, tokenized in chunks and cut into global batches."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn

from ..contracts.errors import UserError
from ..contracts.seeds import derive
from .loader_options import LoaderOptions
from .packing import pack
from .preparation import Preparation
from .rejections import BadRow, Rejections
from .template import Example
from .token_dataset import Sample, TokenDataset
from .tokenized_split import Refusals, tokenize

CHUNK = 1000
"""Rows that are tokenized, packed or sorted by length together."""
PARTS = 1 << 20
"""Most samples of a row: ``sample_id`` is the row's number times this, plus the number of the sample in its row."""


@dataclass(frozen=True)
class Cursor:
    """Where a stream stands, between two global batches.

    Args:
        epoch: which order of the rows.
        chunk: number of the chunk that the last sample came from.
        lead: how many of the chunk's units completed the batch that the chunk before had begun.
        offset: how many of the chunk's units were handed out.
        refused: rows of the chunks before it that gave no sample.
    """

    epoch: int = 0
    chunk: int = 0
    lead: int = 0
    offset: int = 0
    refused: int = 0


@dataclass(frozen=True)
class Chunk:
    """Rows that were tokenized together.

    Args:
        number: of the chunk in its epoch.
        samples: of its rows.
        refused: rows of the chunks before it that gave no sample.
        dropped: rows of the epoch that were left out until now, for whatever reason.
    """

    number: int
    samples: list[Sample]
    refused: int
    dropped: int


@dataclass(frozen=True)
class TextStream:
    """The samples of the training split, a chunk at a time; depends on the seed, the buffer and the rows alone.

    Args:
        preparation: source, template, tokenizer, context, seed, and what to do with bad rows.
        label_names: the classes; None where there are none.
        buffer: rows from which the next one is drawn.
    """

    preparation: Preparation
    label_names: list[str] | None
    buffer: int

    def chunks(self, start: Cursor) -> Iterator[Chunk]:
        """The chunks from the cursor's on; those before are read and shuffled again, but not tokenized.

        Raises:
            UserError: a bad row, named by its place, under the policy ``error``.
        """
        unreadable, refused = Rejections(self.preparation.on_bad_row), Rejections(self.preparation.on_bad_row)
        rows = self._shuffled(start.epoch, unreadable)
        deque(islice(rows, start.chunk * CHUNK), maxlen=0)
        told = start != Cursor()
        for number in count(start.chunk):
            if not (chunk := list(islice(rows, CHUNK))):
                break
            before = start.refused + refused.reasons.total()
            samples = self._samples(chunk, refused)
            dropped = start.refused + refused.reasons.total() + unreadable.reasons.total()
            if dropped and not told:
                told = True
                first = (unreadable.listed or refused.listed)[0]
                rank_zero_warn(
                    f"Training rows are left out; the first one is {first}. Their number follows at the end."
                )
            yield Chunk(number, samples, before, dropped)

    def nothing(self) -> UserError:
        """What is wrong with a stream that gives no batch."""
        return UserError(
            f"{self.preparation.source.name}: the train split gave no batch, since it has no usable row, or fewer "
            "samples than there are devices; there is nothing to learn. Give data.init_args.source other training rows."
        )

    def _read(self, rejections: Rejections) -> Iterator[tuple[int, str, Example]]:
        for number, row in enumerate(self.preparation.source.read("train", rejections)):
            try:
                yield number, row.where, self.preparation.template.read(row.fields, labelled=True)
            except BadRow as error:
                rejections(row.where, str(error))

    def _shuffled(self, epoch: int, rejections: Rejections) -> Iterator[tuple[int, str, Example]]:
        generator = np.random.Generator(np.random.PCG64(derive("stream", self.preparation.seed, epoch)))
        kept: list[tuple[int, str, Example]] = []
        for row in self._read(rejections):
            if len(kept) < self.buffer:
                kept.append(row)
                continue
            place = int(generator.integers(self.buffer))
            yield kept[place]
            kept[place] = row
        yield from (kept[place] for place in generator.permutation(len(kept)))

    def _samples(self, rows: Sequence[tuple[int, str, Example]], rejections: Rejections) -> list[Sample]:
        own, template = self.preparation, self.preparation.template
        whys = template.refusals([example for _, _, example in rows], self.label_names)
        for (_, where, _), why in zip(rows, whys, strict=True):
            if why is not None:
                rejections(where, why)
        fitting = [row for row, why in zip(rows, whys, strict=True) if why is None]
        refusals = Refusals(rejections, [where for _, where, _ in fitting])
        examples = [example for _, _, example in fitting]
        tokens = tokenize(examples, template, own.tokenizer, own.context, self.label_names, refusals)
        samples: list[Sample] = []
        data, last, part = TokenDataset(tokens) if len(tokens) else [], -1, 0
        for index, row in enumerate(tokens["row"]):
            part = part + 1 if row == last else 0
            samples.append(data[index] | {"sample_id": fitting[row][0] * PARTS + part})
            last = row
        return samples


@dataclass(frozen=True)
class ChunkOrder:
    """What a batch is made of, and in which order a chunk gives it.

    Args:
        loader: packing makes rows of several samples; bucketing puts samples of like length into a batch.
        context: most tokens of a packed row.
        global_batch: units of a global batch.
        seed: the data seed.
    """

    loader: LoaderOptions
    context: int
    global_batch: int
    seed: int

    def units(self, samples: list[Sample], lead: int, epoch: int, chunk: int) -> list:
        """Samples, or lists of those that share a row; the first ``lead`` complete a batch and are of any length."""
        seed = derive("stream chunk", self.seed, epoch, chunk)
        generator = np.random.Generator(np.random.PCG64(seed))
        lengths = np.array([len(sample["input_ids"]) for sample in samples], dtype=np.int64)  # pyright: ignore[reportArgumentType]
        if self.loader.packing:
            rows = pack(lengths, self.context, seed)
            return [[samples[index] for index in rows[row]] for row in generator.permutation(len(rows))]
        order = generator.permutation(len(samples))
        if self.loader.bucketing and not self.loader.padding_free:
            body = order[lead:]
            full = len(body) // self.global_batch * self.global_batch
            by_length = body[:full][np.argsort(lengths[body[:full]], kind="stable")].reshape(-1, self.global_batch)
            order = np.concatenate(
                [order[:lead], by_length[generator.permutation(len(by_length))].ravel(), body[full:]]
            )
        return [samples[index] for index in order]
