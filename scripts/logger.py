"""TensorBoard's event files directly in the run directory."""

from pathlib import Path
from typing import TYPE_CHECKING

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from ..callbacks.event_files import cut_back
from ..contracts.state_folder import read_manifest

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class RunLogger(TensorBoardLogger):
    """Lightning's, without the folders ``lightning_logs/version_0`` and without ``hparams.yaml``.

    That file is written with Python tags and holds less than the run's config.yaml.

    Args:
        directory: the run's.
        resumed_from: the training state from which the run goes on; points that came after it are taken away.
    """

    def __init__(self, directory: Path, resumed_from: Path | None = None) -> None:
        super().__init__(save_dir=directory.parent, name="", version=directory.name, default_hp_metric=False)
        self.directory, self.resumed_from = directory, resumed_from

    @property
    @rank_zero_experiment
    def experiment(self) -> "SummaryWriter":
        if self.resumed_from is not None:
            cut_back(self.directory, read_manifest(self.resumed_from)["events"])
            self.resumed_from = None
        return super().experiment

    @rank_zero_only
    def save(self) -> None:
        self.experiment.flush()
