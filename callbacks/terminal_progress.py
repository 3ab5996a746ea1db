"""Progress on a terminal."""

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar

from .throughput import Throughput


class TerminalProgress(RichProgressBar):
    """Lightning's bar with the numbers one looks at: training NLL and supervised tokens per second.

    Args:
        throughput: measures the speed.
    """

    def __init__(self, throughput: Throughput) -> None:
        super().__init__()
        self.throughput = throughput

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        metrics["tokens/s"] = f"{self.throughput.supervised_tokens_per_second(pl_module):,.0f}"
        return metrics
