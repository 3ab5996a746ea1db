"""Generated text, written line by line in input order as batches finish, and gone on with after an interruption."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader, Subset

from ..contracts.errors import UserError
from ..data.mixture_data_module import MixtureDataModule
from ..data.text_data_module import TextDataModule
from ..models.generative import Generative
from .invocation import Invocation


class PredictionStream(Callback):
    """Writes a line per row, whole lines only: ``{"id": ..., "text": ..., "ended": ...}``; null for a row left out.

    ``ended`` is false where the budget cut the text off.

    Args:
        loader: the samples to answer, in input order.
        ids: of the rows, in input order.
        positions: of every sample, its row.
        target: the file; None for standard output.
        resume: keep the whole lines that the file has.

    Raises:
        UserError: the lines there are not those of these rows.
    """

    def __init__(
        self, loader: DataLoader, ids: Sequence[Any], positions: Sequence[int], target: Path | None, resume: bool
    ) -> None:
        self.loader, self.ids, self.target = loader, ids, target
        self.rows = list(positions)
        self.done = kept_rows(target, ids) if resume and target is not None and target.exists() else 0
        self.file: int | None = None
        self.next = 0

    def run(self, predict: Callable[..., object]) -> None:
        """Answer what is missing.

        Batches are those of an uninterrupted run, so that the text is the same to the last rounding: the batch in which
        the interruption fell is computed again.
        """
        size = self.loader.batch_size or 1
        answered = sum(row < self.done for row in self.rows)
        self.next = answered // size * size
        way = os.O_WRONLY | os.O_CREAT | os.O_APPEND | (0 if self.done else os.O_TRUNC)
        if self.target is not None:
            self.file = os.open(self.target, way, 0o644)
        try:
            if self.next < len(self.rows):
                predict(dataloaders=without_first(self.loader, self.next))
            self.write_left_out(len(self.ids))
        finally:
            if self.file is not None:
                os.close(self.file)
        if self.target is not None:
            print(f"{len(self.ids)} predictions written to {self.target}")

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        for text, ended in zip(outputs["text"], outputs["ended"], strict=True):
            row = self.rows[self.next]
            self.next += 1
            self.write_left_out(row)
            if row >= self.done:
                self.write(row, text, ended)

    def write_left_out(self, before: int) -> None:
        for row in range(self.done, before):
            self.write(row, None, False)

    def write(self, row: int, text: str | None, ended: bool) -> None:
        line = json.dumps({"id": self.ids[row], "text": text, "ended": ended}, ensure_ascii=False) + "\n"
        if self.file is None:
            sys.stdout.write(line)
            sys.stdout.flush()
        else:
            content = line.encode()
            while content:
                content = content[os.write(self.file, content) :]
        self.done = row + 1


def kept_rows(target: Path, ids: Sequence[Any]) -> int:
    """How many rows an interrupted output has; a last line that was torn is cut off.

    Raises:
        UserError: another output.
    """
    content = target.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    lines = whole.decode("utf-8", errors="replace").split("\n")[:-1]
    for number, line in enumerate(lines, start=1):
        try:
            found = json.loads(line)["id"]
        except (ValueError, KeyError, TypeError):
            found = line[:40]
        if number > len(ids) or found != ids[number - 1]:
            wanted = ids[number - 1] if number <= len(ids) else "no row"
            raise UserError(
                f"--resume: {target}:{number} has the id {found!r}, and the input has {wanted!r} there, so that file "
                "is not the beginning of this output. Give the input it was made from, or another --output."
            )
    if len(whole) < len(content):
        os.truncate(target, len(whole))
    return len(lines)


def without_first(loader: DataLoader, count: int) -> DataLoader:
    """The same batches but those of the first ``count`` samples."""
    rest = Subset(loader.dataset, range(count, len(loader.dataset)))  # pyright: ignore[reportArgumentType]
    return DataLoader(
        rest,
        batch_size=loader.batch_size,
        shuffle=False,
        collate_fn=loader.collate_fn,
        generator=loader.generator,
        num_workers=loader.num_workers,
        pin_memory=loader.pin_memory,
    )


def asks_for_text(data: object, model: LightningModule) -> bool:
    """Whether text is written for the rows of an input; by what data and model are, since an input is read once."""
    return (
        isinstance(data, TextDataModule | MixtureDataModule)
        and data.predict_input is not None
        and data.predicts_text
        and isinstance(model, Generative)
    )


def text_stream(data: object, model: LightningModule, invocation: Invocation) -> PredictionStream | None:
    """The stream where the rows ask for text and JSONL is wanted; None where predictions are written at the end.

    Raises:
        UserError: --resume for predictions that are no text.
    """
    wants_lines = invocation.output is None or invocation.output == "-" or invocation.output.endswith(".jsonl")
    if wants_lines and asks_for_text(data, model):
        assert isinstance(data, TextDataModule | MixtureDataModule)
        loader = data.predict_dataloader()
        target = None if invocation.output in (None, "-") else Path(str(invocation.output))
        return PredictionStream(loader, data.predict_ids, data.predict_rows, target, invocation.resume)
    if invocation.resume:
        raise UserError("--resume goes on with generated text; these predictions are written whole, at the end.")
    return None
