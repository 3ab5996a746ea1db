"""Every validation metric beside what the base had."""

from lightning.fabric.utilities.data import sized_len
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from ..contracts.metrics import strongest_reference
from .baseline import Baseline
from .evaluation import callbacks_of, trial_batches
from .split_evaluation import stage_of


class Differences(Callback):
    """Logs ``delta/val/METRIC`` and ``delta/val/NAME/METRIC`` at every validation: the metric less the strongest
    reference's, the base's own or, for a new head, the frozen-feature probe's (else the best guess without a text).

    Nothing is logged of a metric that the reference or this validation has not, nor without ``Baseline``. Where
    ``trainer.limit_val_batches`` leaves rows out, the reference's are others, and nothing is logged either.
    """

    def __init__(self) -> None:
        self._warned = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking or trial_batches(trainer):
            return
        if is_limited(trainer):
            self._warn()
            return
        now = {name: float(value) for name, value in trainer.callback_metrics.items()}
        before = references(trainer)
        found = {f"delta/{name}": now[name] - before[name] for name in before if name in now}
        found = {name: value for name, value in found.items() if value == value}
        for logger in trainer.loggers if found else ():
            logger.log_metrics(found, step=trainer.global_step)

    def _warn(self) -> None:
        if not self._warned:
            rank_zero_warn(
                "trainer.limit_val_batches leaves out rows of validation that the reference was evaluated on: no "
                "differences to it (delta/val/...) and no gain beside what is forgotten are shown."
            )
        self._warned = True


def references(trainer: Trainer) -> dict[str, float]:
    """``val/METRIC`` and ``val/NAME/METRIC`` of the strongest reference; empty without ``Baseline``, and where
    validation sees fewer rows than it did."""
    found: dict[str, float] = {}
    if is_limited(trainer):
        return found
    for baseline in (each for each in callbacks_of(trainer) if isinstance(each, Baseline)):
        for split, by_reference in baseline.results.before.items():
            strongest = strongest_reference(by_reference)
            if split.startswith("validation") and strongest is not None:
                found |= {f"{stage_of(split)}/{name}": value for name, value in by_reference[strongest].items()}
    return found


def is_limited(trainer: Trainer) -> bool:
    """Whether the validation of a fit leaves rows out."""
    loaders = trainer.val_dataloaders
    listed = loaders if isinstance(loaders, list) else [loaders]
    limits = trainer.num_val_batches
    return any(limit < size for loader, limit in zip(listed, limits, strict=False) if (size := sized_len(loader)))
