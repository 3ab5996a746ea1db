"""The card at the end of a run: was it worth it, what did it cost, where does it lie, what next."""

import shutil

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from ..contracts.record import Record
from ..contracts.run import Run
from .advice import advice
from .card_commands import commands
from .card_facts import facts
from .card_scores import scores, sets
from .card_verdict import verdict_panel
from .evaluation import trial_batches
from .factors import method, short_base
from .panels import WIDTH, as_code, as_text
from .run_record import RunRecord
from .tensor_board import tensorboard_loggers

EVIDENCE = 4
"""Numbers behind a verdict that are shown."""


class Card(Callback):
    """Prints the card on standard output when all else is done, and puts it into TensorBoard.

    Args:
        run: where it lies and how it was configured.
        run_record: what it found.
    """

    def __init__(self, run: Run, run_record: RunRecord) -> None:
        self.run, self.run_record = run, run_record

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.run_record.record is None:
            return
        text = as_text(card(self.run_record.record, self.run))
        for logger in tensorboard_loggers(trainer):
            logger.experiment.add_text("card", as_code(text), trainer.global_step)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Here and not earlier: by now the progress bar has left the terminal."""
        if stage != "fit" or not trainer.is_global_zero:
            return
        record = self.run_record.record
        if trial_batches(trainer):
            print("Trial run (fast_dev_run): everything fits together. Nothing was kept, and the numbers mean nothing.")
        elif record is not None and record.status == "finished":
            width = min(WIDTH, shutil.get_terminal_size((WIDTH, 40)).columns)
            Console(width=width).print(card(record, self.run, width), crop=False)


def card(record: Record, run: Run, width: int = WIDTH) -> Group:
    """The card of a finished run.

    Args:
        record: what it found.
        run: where it lies and how it was configured.
        width: columns of the terminal.
    """
    title = Text.assemble(("finelab ", "bold cyan"), (short_base(record.base), "bold"), f" · {method(run.config)}")
    return Group(
        Rule(title, style="cyan"),
        *scores(record, width),
        *sets(record),
        *([verdict_panel(record.verdict, EVIDENCE), Text("")] if record.verdict is not None else []),
        Padding(facts(record), (0, 2)),
        *commands(run),
        *_next_steps(record, run),
        Rule(style="cyan"),
    )


def _next_steps(record: Record, run: Run) -> list[RenderableType]:
    steps = [Text(step) for step in advice(record)]
    warnings = [Text(warning, style="yellow") for warning in [*record.notes, *record.data.get("warnings", [])]]
    grid = Table.grid(padding=(0, 1))
    for mark, lines in (("!", warnings[:3]), ("→", steps)):
        for line in lines:
            grid.add_row(f"  {mark}", line)
    return [Text(""), grid]
