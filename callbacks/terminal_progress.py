"""Progress on a terminal."""

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from rich.console import Console
from rich.progress import ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from .progress_figures import ProgressFigures

ROOM_FOR_A_BAR = 90
ROOM_FOR_THE_MONITOR = 110
"""Columns of a terminal from which on these are shown too."""
STYLES = {"overfitting": "bold red", "underfitting": "bold yellow", "healthy": "green"}


class TerminalProgress(RichProgressBar):
    """Lightning's bar with the numbers one looks at: training NLL, gap, verdict, supervised tokens per second, and the
    time left of the whole run. On a wide terminal also the validation metric that picks the weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self.figures = ProgressFigures()
        self.words = WordsColumn()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.figures.start(trainer)
        super().on_train_start(trainer, pl_module)

    def configure_columns(self, trainer: Trainer) -> list:
        """One line of the terminal: the epoch and the bar give way to the numbers."""
        _, bar, batches, *_ = super().configure_columns(trainer)
        if Console(stderr=True).width < ROOM_FOR_A_BAR:
            return [batches, self.words]
        bar.bar_width = 10
        name = TextColumn("[progress.description]{task.description}", table_column=Column(no_wrap=True))
        return [name, bar, batches, self.words]

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """None for Lightning's own column, which would put a name before each."""
        words = self.figures.words(trainer, pl_module)
        if Console(stderr=True).width < ROOM_FOR_THE_MONITOR:
            words.pop("monitor", None)
        verdict = words.get("verdict", "")
        parts = [Text(word, style=STYLES.get(word, "") if word == verdict else "") for word in words.values()]
        self.words.of_task = self.train_progress_bar_id, Text("  ").join(parts)
        return {}


class WordsColumn(ProgressColumn):
    """Text beside the bar of training, and nothing beside the others."""

    def __init__(self) -> None:
        super().__init__(Column(no_wrap=True, overflow="ellipsis"))
        self.of_task: tuple[int | None, Text] = (None, Text())

    def render(self, task: Task) -> Text:
        owner, text = self.of_task
        return text if task.id == owner else Text()
