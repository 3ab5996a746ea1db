"""The card at the end of a run: was it worth it, what did it cost, where does it lie, what next."""

import io
import os
import shlex
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from ..contracts.record import Cost, Record, SplitResult
from ..contracts.run import Run
from .advice import MAXIMISED, advice, shown_split, strongest_reference
from .evaluation import trial_batches
from .factors import method, regularizer_names, short_base, statement, trained_share
from .run_record import RunRecord
from .tensor_board import as_code, tensorboard_loggers

WIDTH = 100
ROOMY = 4
"""So many metrics stand wide apart; more of them move together, to stay within ``WIDTH``."""
REFERENCES = {
    "majority": "majority class",
    "frequencies": "label frequencies",
    "mean": "mean of the training rows",
    "uniform": "uniform guess",
    "probe": "frozen-feature probe",
    "base": "base, before training",
}
# In the order of the columns; bits per byte is the record's alone, since it says what bits per character says.
METRICS = {
    "exact_match": "exact match",
    "bleu": "BLEU",
    "chrf": "chrF",
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "accuracy": "accuracy",
    "micro_f1": "micro-F1",
    "macro_f1": "macro-F1",
    "subset_accuracy": "subset acc.",
    "mean_average_precision": "mAP",
    "mse": "MSE",
    "mae": "MAE",
    "r2": "R²",
    "pearson": "Pearson",
    "spearman": "Spearman",
    "bits_per_char": "bits/char",
    "nll": "NLL",
    "perplexity": "perplexity",
    "ece": "ECE",
}


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
            logger.experiment.add_text("card", as_code(text))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Here and not earlier: by now the progress bar has left the terminal."""
        if stage != "fit" or not trainer.is_global_zero:
            return
        record = self.run_record.record
        if trial_batches(trainer):
            print("Trial run (fast_dev_run): everything fits together. Nothing was kept, and the numbers mean nothing.")
        elif record is not None and record.status == "finished":
            console = Console(width=min(WIDTH, shutil.get_terminal_size((WIDTH, 40)).columns))
            console.print(card(record, self.run), crop=False)


def as_text(content: RenderableType) -> str:
    console = Console(width=WIDTH, file=io.StringIO(), color_system=None)
    console.print(content, crop=False)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def card(record: Record, run: Run) -> Group:
    """The card of a finished run."""
    title = Text.assemble(("finelab ", "bold cyan"), (short_base(record.base), "bold"), f" · {method(run.config)}")
    return Group(
        Rule(title, style="cyan"),
        *_scores(record),
        *_sets(record),
        Padding(_facts(record), (0, 2)),
        *_commands(run),
        *_next_steps(record, run),
        Rule(style="cyan"),
    )


def _scores(record: Record) -> Iterable[RenderableType]:
    split = shown_split(record)
    if split is None:
        return [] if record.metrics else [Text("  Nothing was evaluated: there is no validation split.")]
    result = record.metrics[split]
    names = [name for name in METRICS if name in result.after]
    is_wide = len(names) > ROOMY
    table = Table(box=SIMPLE_HEAD, pad_edge=True, padding=(0, 1, 0, 0) if is_wide else (0, 2, 0, 1))
    table.add_column(f"{split} split, {result.rows:,} rows", min_width=None if is_wide else 30, no_wrap=True)
    for name in names:
        table.add_column(f"{METRICS[name]} {'↑' if name in MAXIMISED else '↓'}", justify="right")
    for reference, metrics in result.before.items():
        table.add_row(REFERENCES.get(reference, reference), *(number(metrics.get(name)) for name in names))
    table.add_row("tuned", *(number(result.after[name]) for name in names), style="bold")
    if reference := strongest_reference(result.before):
        table.add_row(f"tuned − {reference}", *_differences(result, reference, names))
    lines: list[RenderableType] = [table]
    if not record.test_read:
        lines.append(
            Text("  The test split was not read; --evaluate_test true reads it once, at the end.\n", style="dim")
        )
    return lines


def _sets(record: Record) -> Iterable[RenderableType]:
    """Each named set of the test split if it was read, else of the validation split, before and after."""
    stages = [split.partition("/")[0] for split in record.metrics if "/" in split]
    if not stages:
        return []
    stage = "test" if "test" in stages else "validation"
    found = {split.partition("/")[2]: part for split, part in record.metrics.items() if split.startswith(f"{stage}/")}
    # The metric that picked the weights may be of one set: val/NAME/KEY.
    main = record.best.monitor.rpartition("/")[2] if record.best else "nll"
    names = [name for name in dict.fromkeys((main, "nll")) if all(name in part.after for part in found.values())]
    table = Table(box=SIMPLE_HEAD, pad_edge=True, padding=(0, 1, 0, 1))
    table.add_column(f"{stage} sets", min_width=16)
    table.add_column("rows", justify="right")
    for name in names:
        for heading in (f"{METRICS.get(name, name)} before", "tuned", "change"):
            table.add_column(heading, justify="right")
    for name, part in found.items():
        cells: list[str | Text] = [name, f"{part.rows:,}"]
        reference = strongest_reference(part.before)
        changes = _differences(part, reference, names) if reference else [Text("–")] * len(names)
        for metric, change in zip(names, changes, strict=True):
            before = part.before[reference].get(metric) if reference else None
            cells += [number(before), number(part.after[metric]), change]
        table.add_row(*cells)
    return [table]


def _differences(result: SplitResult, reference: str, names: list[str]) -> list[Text]:
    cells = []
    for name in names:
        if name not in result.before[reference]:
            cells.append(Text(number(None)))
            continue
        change = result.after[name] - result.before[reference][name]
        better = change > 0 if name in MAXIMISED else change < 0
        style = "green" if better else "red" if change else ""
        cells.append(Text(f"{change:+.{digits(result.after[name])}f}", style=style))
    return cells


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.{digits(value)}f}"


def digits(value: float) -> int:
    return 3 if abs(value) < 10 else 1


def _facts(record: Record) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column()
    grid.add_row("trained", trained_share(record.parameters["trainable"], record.parameters["total"]))
    grid.add_row("adapter", statement(record.adapter))
    cost = record.cost
    sessions = f", over {len(record.resumed) + 1} sessions" if record.resumed else ""
    apart = max(cost.total_seconds - cost.training_seconds, 0.0)
    seconds = f"{duration(cost.training_seconds)} training, {duration(apart)} evaluation and set-up"
    grid.add_row("time", f"{seconds}; {cost.steps:,} steps{sessions}")
    grid.add_row("speed", _speed(cost))
    if consumed := record.data.get("consumed"):
        grid.add_row("sources", "; ".join(_consumed(name, own) for name, own in consumed.items()))
    grid.add_row("memory", f"{cost.peak_memory_bytes / 2**30:.2f} GiB at the peak")
    if record.best is not None and record.best.value is not None:
        best = record.best
        grid.add_row("best", f"{best.monitor} {number(best.value)} at step {best.step:,} of {cost.steps:,}")
    return grid


def _consumed(name: str, own: dict[str, int]) -> str:
    return f"{name} {own['rows']:,} rows, {own['supervised_tokens']:,} supervised tokens"


def _speed(cost: Cost) -> str:
    tokens, inputs = cost.supervised_tokens_per_second, cost.input_tokens / max(cost.training_seconds, 1e-9)
    return (
        f"{tokens:,.0f} supervised tokens/s, {inputs:,.0f} input tokens/s, {cost.examples_per_second:,.1f} examples/s"
    )


def duration(seconds: float) -> str:
    """4.2 s, 3:07 min, 2:05:00 h."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d} h"


def _commands(run: Run) -> list[RenderableType]:
    where = shlex.quote(shorter(run.directory))
    commands = {
        "run": where,
        "watch": f"{program('tensorboard')} --logdir {where}",
        "test": f"{program('finelab')} test --run {where}",
        "predict": f"{program('finelab')} predict --run {where} --input INPUT.jsonl --output OUTPUT.jsonl",
    }
    # Never broken by us: a command that the terminal wraps can still be copied in one piece.
    return [
        Text.assemble(
            "  ", (f"{name:9}", "dim"), (command, "" if name == "run" else "cyan"), no_wrap=True, overflow="ignore"
        )
        for name, command in commands.items()
    ]


def _next_steps(record: Record, run: Run) -> list[RenderableType]:
    steps = [Text(step) for step in advice(record, regularizer_names(run.config))]
    warnings = [Text(warning, style="yellow") for warning in [*record.notes, *record.data.get("warnings", [])]]
    grid = Table.grid(padding=(0, 1))
    for mark, lines in (("!", warnings[:3]), ("→", steps)):
        for line in lines:
            grid.add_row(f"  {mark}", line)
    return [Text(""), grid]


def program(name: str) -> str:
    """How this shell can call a program of this environment, which need not be activated."""
    beside = Path(sys.executable).with_name(name)
    return name if shutil.which(name) or not beside.exists() else shlex.quote(shorter(beside))


def shorter(path: Path) -> str:
    """Relative to the current folder where that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)
