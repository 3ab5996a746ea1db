"""AdaLoRA: ranks that move to the matrices where they matter (Zhang et al., ICLR 2023, arXiv:2303.10512)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch import Callback
from lightning.pytorch.utilities import rank_zero_warn
from peft import AdaLoraConfig, AdaLoraModel, PeftModel
from peft.tuners.adalora import AdaLoraLayer
from torch import Tensor, nn

from ...contracts.errors import UserError
from ..regularizers.regularizer import Regularizer, Term
from .peft import Peft

ALLOCATOR = ("ipt", "exp_avg_ipt", "exp_avg_unc")
"""What PEFT's rank allocator remembers: importance, and its running mean and uncertainty."""


class PeftAdalora(Peft):
    """h = W x + (s / r) B diag(E) A x with A [r, k], E [r], B [d, r]; trains r (d + k + 1) per matrix, r = ``init_r``.

    E starts at zero, so that step 0 is the base. After each update the triplets (a row of A, its E, a column of B) are
    ranked by importance, |w g| smoothed over steps times its uncertainty, and the E of the least important ones over
    all matrices are set to zero, until ``target_r`` a matrix are left: from step ``tinit`` along a cubic schedule to
    step ``total_step - tfinal``, every ``deltaT`` steps. Brings that call (``RankAllocation``) and ``Orthogonality``.
    ``total_step`` is the length of the run in optimizer steps; a longer schedule than the run is refused.

    Cost: LoRA's of rank ``init_r``, three more copies of the trainable weights, a sort of all ranks every ``deltaT``
    steps. Merges; switched off it is the base. Weight decay pulls to the base. Hurts on short runs, whose importances
    are noise. The folder keeps all ``init_r`` ranks: those given up have E = 0, and the function is exactly the same.

    Raises:
        UserError: ``target_r`` is not below ``init_r``.
    """

    config: AdaLoraConfig

    def __init__(self, config: AdaLoraConfig) -> None:
        if config.target_r >= config.init_r:
            raise UserError(
                f"model.adapter: AdaLoraConfig.target_r is {config.target_r} and init_r {config.init_r}: there is no "
                "rank to give up. Set init_r above target_r (about 1.5 times), or take peft.LoraConfig."
            )
        super().__init__(config)

    @cached_property
    def allocation(self) -> "RankAllocation":
        return RankAllocation()

    def regularizers(self) -> list[Regularizer]:
        return [Orthogonality(self.config.orth_reg_weight), self.allocation]

    def callbacks(self) -> list[Callback]:
        return [self.allocation]

    def save(self, model: nn.Module, folder: Path) -> None:
        with without_pattern(model):
            super().save(model, folder)

    def load(self, model: nn.Module, folder: Path) -> None:
        with without_pattern(model):  # with one, PEFT would cut the layers of a model that has been trained
            super().load(model, folder)


@contextmanager
def without_pattern(model: nn.Module) -> Iterator[None]:
    """``rank_pattern`` is that of the last step, and the weights may be those of a better one; their E says it all."""
    assert isinstance(model, PeftModel)
    config = model.active_peft_config
    assert isinstance(config, AdaLoraConfig)
    pattern, config.rank_pattern = config.rank_pattern, None
    try:
        yield
    finally:
        config.rank_pattern = pattern


class Orthogonality(Regularizer):
    """weight * mean over all A and B of |A A^T - I|_F and |B^T B - I|_F, which keeps the triplets comparable.

    The norms are not squared, unlike the paper's R(P, Q): so are PEFT and the authors' code, whose weights (0.5 and
    0.1) belong to this definition. PEFT adds it to the loss of a forward with labels only, which is not used here.

    Args:
        weight: ``orth_reg_weight``; 0 turns it off.
    """

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def attach(self, model: nn.Module) -> None:
        layers = [layer for layer in model.modules() if isinstance(layer, AdaLoraLayer)]
        self.wide = [a for layer in layers for a in layer.lora_A.values()]
        self.tall = [b for layer in layers for b in layer.lora_B.values()]

    def parameter_term(self) -> Term | None:
        if not self.weight:
            return None
        grams = [a.float() @ a.float().T for a in self.wide] + [b.float().T @ b.float() for b in self.tall]
        mean = torch.stack([distance_to_identity(gram) for gram in grams]).mean()
        return Term(self.weight * mean, mean)


class RankAllocation(Callback, Regularizer):
    """Calls PEFT's ``update_and_allocate`` after each update, and keeps what it remembers in the checkpoints.

    The call belongs to the update, so that a checkpoint of any moment holds both or neither.

    PEFT makes the final allocation in step ``total_step - tfinal`` alone and masks by it afterwards. Where that step
    has no token, it is made in the next one that has; a run that ends before warns.
    """

    def __init__(self) -> None:
        self.step, self.allocated = 0, False
        self.restored: dict[str, Any] = {}

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.tuner = next(m for m in pl_module.modules() if isinstance(m, AdaLoraModel))
        self.config: Any = self.tuner.peft_config[self.tuner.trainable_adapter_name]
        self.factors = [p for name, p in self.tuner.named_parameters() if p.requires_grad and ".lora_" in name]
        planned = trainer.estimated_stepping_batches
        if self.config.total_step > planned:
            raise UserError(
                f"model.adapter: AdaLoraConfig.total_step is {self.config.total_step} and the run takes {planned} "
                f"optimizer steps, so that the ranks would never come down to target_r. Set total_step to {planned}."
            )

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.step = trainer.global_step
        for name, device in ((name, pl_module.device) for name in self.restored if name in ALLOCATOR):
            remembered = {key: value.to(device) for key, value in self.restored[name].items()}
            setattr(self.tuner.rankallocator, name, remembered)
        self.config.rank_pattern = self.restored.get("rank_pattern")
        self.allocated = self.restored.get("allocated", False)

    def after_step(self, parameters: Sequence[nn.Parameter]) -> None:
        self.step += 1
        if any(p.grad is None for p in self.factors):  # a step without a token
            return
        last = self.config.total_step - self.config.tfinal
        counted = self.step if self.allocated else min(self.step, last)
        self.tuner.update_and_allocate(counted)
        self.allocated = counted >= last

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self.allocated:
            last = self.config.total_step - self.config.tfinal
            rank_zero_warn(
                f"AdaLoRA: training ended at optimizer step {trainer.global_step}, and the final allocation is due in "
                f"the first step with a token from {last} on (total_step - tfinal): the ranks have not come down to "
                f"target_r={self.config.target_r}. Train longer, or lower model.adapter's total_step."
            )

    def state_dict(self) -> dict[str, Any]:
        allocator = {name: dict(getattr(self.tuner.rankallocator, name)) for name in ALLOCATOR}
        return allocator | {"rank_pattern": self.config.rank_pattern, "allocated": self.allocated}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.restored = state_dict


def distance_to_identity(gram: Tensor) -> Tensor:
    return torch.linalg.matrix_norm(gram - torch.eye(len(gram), device=gram.device))
