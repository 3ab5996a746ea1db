"""Generated text, written line by line in input order as batches finish, and gone on with after an interruption."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader, Subset

from ..contracts.errors import UserError
from ..data.mixture_data_module import MixtureDataModule
from ..data.text_data_module import TextDataModule
from ..models.generative import Generative
from .invocation import Invocation
from .text_output import TextOutput, made_with


class PredictionStream(Callback):
    """Writes a line per row, whole lines only: ``{"id": ..., "text": ..., "ended": ...}``; null for a row left out.

    ``ended`` is false where the budget cut the text off.

    Args:
        loader: the samples to answer, in input order.
        ids: of the rows, in input order.
        positions: of every sample, its row.
        output: None for standard output.
    """

    def __init__(
        self, loader: DataLoader, ids: Sequence[Any], positions: Sequence[int], output: TextOutput | None
    ) -> None:
        self.loader, self.ids, self.output = loader, ids, output
        self.rows = list(positions)
        self.done = 0 if output is None else output.rows
        self.next = 0

    def run(self, predict: Callable[..., object]) -> None:
        """Answer what is missing.

        Batches are those of an uninterrupted run, so that the text is the same to the last rounding: the batch in which
        the interruption fell is computed again.

        Raises:
            UserError: the trainer stopped before the last batch.
        """
        size = self.loader.batch_size or 1
        answered = sum(row < self.done for row in self.rows)
        self.next = answered // size * size
        try:
            if answered < len(self.rows):
                predict(dataloaders=without_first(self.loader, self.next))
            else:
                self.next = len(self.rows)
            self._finish()
        finally:
            if self.output is not None:
                self.output.close()

    def _finish(self) -> None:
        if self.next < len(self.rows):
            hint = "" if self.output is None else f"; go on with --output {self.output.target} --resume"
            raise UserError(
                f"{self.done} of {len(self.ids)} rows are answered: trainer.limit_predict_batches or "
                f"trainer.fast_dev_run stopped it{hint}."
            )
        self.write_left_out(len(self.ids))
        if self.output is not None:
            self.output.finish()
            print(f"{len(self.ids)} predictions written to {self.output.target}")

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
        if self.output is None:
            sys.stdout.write(line)
            sys.stdout.flush()
        else:
            self.output.write(line)
        self.done = row + 1


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


def text_stream(
    data: object, model: LightningModule, config: Mapping[str, Any], invocation: Invocation
) -> PredictionStream | None:
    """The stream where the rows ask for text and JSONL is wanted; None where predictions are written at the end.

    Raises:
        UserError: --resume for predictions that are no text, or an output that cannot be gone on with.
    """
    target = None if invocation.output in (None, "-") else Path(str(invocation.output))
    if (target is None or target.suffix == ".jsonl") and asks_for_text(data, model):
        assert isinstance(data, TextDataModule | MixtureDataModule) and isinstance(model, Generative)
        loader, output = data.predict_dataloader(), None
        if target is not None:
            settings = made_with(loader, data.predict_ids, model, config, invocation)
            output = TextOutput(target, data.predict_ids, settings, invocation.resume)
        return PredictionStream(loader, data.predict_ids, data.predict_rows, output)
    if invocation.resume:
        raise UserError("--resume goes on with generated text; these predictions are written whole, at the end.")
    return None
