"""AdaMSS: updates inside clustered subspaces of each weight (openreview.net/forum?id=8ZdWmpYxT0)."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import lightning as L
from lightning.pytorch import Callback
from peft import AdamssConfig, AdamssModel
from peft.tuners.adamss.layer import AdamssLayer
from torch import Tensor, nn

from ...contracts.errors import UserError
from ..regularizers.regularizer import Regularizer
from .peft import Peft

IMPORTANCE = ("exp_avg_ipt_A", "exp_avg_ipt_B", "exp_avg_unc_A", "exp_avg_unc_B")


class PeftAdamss(Peft):
    """h = W x + an update inside the r leading singular directions of W, which are clustered into ``num_subspaces``
    groups with a low-rank update of ``subspace_rank`` each.

    Starts at zero, so that step 0 is the base; merges; switched off it is the base, to which weight decay pulls. With
    ``use_asa`` it brings ``SubspaceAllocation``: between the steps ``init_warmup`` and ``final_warmup`` the least
    important subspaces of all layers are frozen as they stand, until ``asa_target_subspaces`` are left (one less in
    fact: PEFT's threshold excludes its own).
    """

    config: AdamssConfig

    @cached_property
    def allocation(self) -> "SubspaceAllocation":
        return SubspaceAllocation()

    def regularizers(self) -> list[Regularizer]:
        return [self.allocation] if self.config.use_asa else []

    def callbacks(self) -> list[Callback]:
        return [self.allocation] if self.config.use_asa else []


class SubspaceAllocation(Callback, Regularizer):
    """Calls PEFT's ``update_and_allocate`` after each update, and keeps what it remembers in the checkpoints.

    The call belongs to the update, so that a checkpoint of any moment holds both or neither.

    PEFT freezes a subspace by ``requires_grad``, which neither a second rank nor a penalty on weights can bear during
    training. Here every parameter goes on as trainable, and a frozen one is set back after each update.
    """

    def __init__(self) -> None:
        self.step = 0
        self.frozen: dict[str, Tensor] = {}
        self.importance: list[dict[str, Any]] = []

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.tuner = next(m for m in pl_module.modules() if isinstance(m, AdamssModel))
        configs = self.tuner.peft_config.values()
        last = max(config.final_warmup for config in configs if isinstance(config, AdamssConfig))
        planned = trainer.estimated_stepping_batches
        if last > planned:
            raise UserError(
                f"model.adapter: AdamssConfig.final_warmup is {last} and the run takes {planned} optimizer steps, so "
                "that asa_target_subspaces would never be reached. Lower final_warmup (and init_warmup and "
                "mask_interval with it), or set use_asa to False."
            )

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.step = trainer.global_step
        self.frozen = {name: value.to(pl_module.device) for name, value in self.frozen.items()}
        for layer, remembered in zip(self.layers(), self.importance, strict=False):
            for name, value in remembered.items():
                setattr(layer, name, value)

    def layers(self) -> list[AdamssLayer]:
        return [layer for layer in self.tuner.modules() if isinstance(layer, AdamssLayer)]

    def after_step(self, parameters: Sequence[nn.Parameter]) -> None:
        self.step += 1
        trained = {name: p for name, p in self.tuner.named_parameters() if p.requires_grad}
        for name, value in self.frozen.items():
            trained[name].data.copy_(value)
            trained[name].grad = None
            trained[name].requires_grad_(False)
        self.tuner.update_and_allocate(self.step)
        self.frozen = {name: p.detach().clone() for name, p in trained.items() if not p.requires_grad}
        for name in self.frozen:
            trained[name].requires_grad_(True)

    def state_dict(self) -> dict[str, Any]:
        importance = [{name: getattr(layer, name) for name in IMPORTANCE} for layer in self.layers()]
        return {"frozen": self.frozen, "importance": importance}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.frozen, self.importance = state_dict["frozen"], state_dict["importance"]
