"""The confusion matrices of the end in TensorBoard."""

from lightning.pytorch import Callback, LightningModule, Trainer

from .figures.confusion_matrix import confusion_matrix
from .results import Results
from .split_evaluation import stage_of
from .tensor_board import tensorboard_loggers


class ConfusionFigures(Callback):
    """Draws ``confusion/val``, ``confusion/test`` and those of their sets, of the best weights, up to 100 classes.

    At the end only: one picture takes a third of a second, of 77 classes one and a half.

    Args:
        results: whose tables to draw; ``FinalEvaluation`` has filled them.
    """

    def __init__(self, results: Results) -> None:
        self.results = results

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loggers = tensorboard_loggers(trainer)
        for split, tables in self.results.tables.items() if loggers else ():
            table = tables.get("confusion_matrix", {})
            if "counts" not in table:
                continue
            picture = confusion_matrix(table["labels"], table["counts"], f"{split}, best weights")
            for logger in loggers:
                tag = f"confusion/{stage_of(split)}"
                logger.experiment.add_image(tag, picture, trainer.global_step, dataformats="HWC")
