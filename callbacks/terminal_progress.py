"""Progress on a terminal."""

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar

from .best_checkpoint import watched
from .throughput import Throughput


class TerminalProgress(RichProgressBar):
    """Lightning's bar with the numbers one looks at: training NLL, the validation metric that picks the
    weights, and supervised tokens per second.

    Args:
        throughput: measures the speed.
    """

    def __init__(self, throughput: Throughput) -> None:
        super().__init__()
        self.throughput = throughput

    def configure_columns(self, trainer: Trainer) -> list:
        """Without batches per second: tokens per second say more, and a line has 100 columns."""
        return super().configure_columns(trainer)[:-1]

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        name, _ = watched(trainer, pl_module)
        if name in trainer.callback_metrics:
            metrics[name] = float(trainer.callback_metrics[name])
        metrics["tokens/s"] = f"{self.throughput.supervised_tokens_per_second(pl_module):,.0f}"
        return metrics
