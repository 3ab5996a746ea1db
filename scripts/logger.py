"""TensorBoard's event files directly in the run directory."""

from pathlib import Path

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only


class RunLogger(TensorBoardLogger):
    """Lightning's, without the folders ``lightning_logs/version_0`` and without ``hparams.yaml``.

    That file is written with Python tags and holds less than the run's config.yaml.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(save_dir=directory.parent, name="", version=directory.name, default_hp_metric=False)

    @rank_zero_only
    def save(self) -> None:
        self.experiment.flush()
