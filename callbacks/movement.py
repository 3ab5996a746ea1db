"""How far training has moved the weights of the base, block by block."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer

from ..models.weight_movement import BlockMovement, WeightMovement, total
from .evaluation import finetuner, trial_batches
from .figures.block_movement import block_movement
from .measure import Measure, missing
from .tensor_board import tensorboard_loggers

LOST = "{adapter} has rewritten the base's weights, so that there is nothing left to compare with"
NONE = "{adapter} changes no weight of the base"


class Movement(Measure):
    """The norm of the weight update at every validation, and of the best weights.

    Logs ``movement/BLOCK``: |W - W_base| / |W_base| (Frobenius) over those weights of a block that the adapter can
    change, W being the effective weight, that is what the adapter would merge: |s B A| / |W_base| of LoRA's layers,
    |W - W_0| / |W_0| of full fine-tuning. Blocks are ``embeddings``, ``layer_0`` and so on, ``head`` for what follows
    them, and ``all``. Parameters that the base has not (a new head, prompts, bottlenecks) are in blocks ``new_...``,
    and these, as well as weights that are all zero in the base, by |W - W_start| itself.

    How far a model has moved is not how much it has forgotten (``Forgetting`` measures that), but with the same adapter
    and data the two go together. Costs about one reading of the weights that can change (``WeightMovement``); full
    fine-tuning reads the start from the CPU.
    """

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.course: dict[str, list[float]] = {}
        self.best: dict[str, BlockMovement] = {}
        self.weights: WeightMovement | None = None
        self._added: dict[str, Any] | None = None
        self._pending: dict[str, float] | None = None
        self._adapter = ""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        tuner = finetuner(pl_module)
        tuner.keep_start()
        self._adapter = type(tuner.adapter).__name__
        self.weights = WeightMovement(tuner, self._added)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.weights is None or not watches(trainer) or trainer.global_step in self.steps:
            return
        self._pending = shown(self.weights.blocks())
        logged = {f"movement/{block}": value for block, value in self._pending.items()}
        pl_module.log_dict(logged, rank_zero_only=False, batch_size=1)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._pending is not None:
            self.steps.append(trainer.global_step)
            for block, value in self._pending.items():
                self.course.setdefault(block, []).append(value)
        self._pending = None

    def measure_best(self, trainer: Trainer, module: LightningModule) -> None:
        if self.weights is None or trial_batches(trainer):
            return
        self.best = self.weights.blocks()
        if not self.course:
            return
        picture = block_movement(self.steps, self.course)
        for logger in tensorboard_loggers(trainer):
            logger.experiment.add_image("movement/blocks", picture, trainer.global_step, dataformats="HWC")

    def findings(self) -> dict[str, Any]:
        if self.weights is None or not (self.best or self.course):
            return missing("nothing was evaluated")
        whole = total(self.best)
        found: dict[str, Any] = {"steps": self.steps, "course": self.course}
        if whole is None:
            reason = LOST if self.weights.lost else NONE
            return {"all": missing(reason.format(adapter=self._adapter)), "blocks": self._blocks(), **found}
        return {"all": as_json(whole), "blocks": self._blocks(), **found}

    def _blocks(self) -> dict[str, Any]:
        return {name: as_json(block) for name, block in self.best.items()}

    def state_dict(self) -> dict[str, Any]:
        added = self.weights.added if self.weights is not None else self._added or {}
        return {"steps": self.steps, "course": self.course, "added": added}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.steps = list(state_dict["steps"])
        self.course = {block: list(values) for block, values in state_dict["course"].items()}
        self._added = dict(state_dict["added"])


def watches(trainer: Trainer) -> bool:
    """Whether a validation is one of training."""
    return trainer.state.fn == "fit" and not trainer.sanity_checking and not trial_batches(trainer)


def shown(blocks: dict[str, BlockMovement]) -> dict[str, float]:
    """Relative where there is something to relate to; ``all`` are the weights that the base has."""
    whole = total(blocks)
    named = blocks if whole is None else {"all": whole, **blocks}
    return {name: block.update if block.relative is None else block.relative for name, block in named.items()}


def as_json(block: BlockMovement) -> dict[str, float]:
    found = {"update": block.update, "base": block.base, "relative": block.relative}
    return {name: value for name, value in found.items() if value is not None}
