"""TensorBoard's event files directly in the run directory."""

from pathlib import Path
from typing import TYPE_CHECKING

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from ..callbacks.event_files import event_sizes

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class RunLogger(TensorBoardLogger):
    """Lightning's, without the folders ``lightning_logs/version_0`` and without ``hparams.yaml``.

    That file is written with Python tags and holds less than the run's config.yaml. An event file into which nothing
    was written, as by a resume that was refused, is taken away.

    Args:
        directory: the run's.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(save_dir=directory.parent, name="", version=directory.name, default_hp_metric=False)
        self.directory = directory
        self._empty: dict[str, int] = {}

    @property
    @rank_zero_experiment
    def experiment(self) -> "SummaryWriter":
        if self._experiment is not None:
            return super().experiment
        former = event_sizes(self.directory)
        writer = super().experiment
        self._empty = {name: size for name, size in event_sizes(self.directory).items() if name not in former}
        return writer

    @rank_zero_only
    def save(self) -> None:
        self.experiment.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        super().finalize(status)
        now = event_sizes(self.directory)
        for name, size in self._empty.items():
            if now.get(name) == size:
                (self.directory / name).unlink()
