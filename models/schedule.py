"""The protocol of a learning-rate schedule: a multiplier of the optimizer's rate, per optimizer step."""

from abc import ABC, abstractmethod
from functools import partial

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


class Schedule(ABC):
    """A factory of schedulers; the optimizer and the number of steps exist only once training starts.

    Args:
        warmup: share of all steps over which the rate rises linearly from zero.
    """

    def __init__(self, warmup: float = 0.0) -> None:
        if not 0 <= warmup < 1:
            raise ValueError(f"warmup is a share of all steps and must lie in [0, 1), got {warmup}")
        self.warmup = warmup

    @abstractmethod
    def after_warmup(self, progress: float) -> float:
        """The multiplier at ``progress`` in [0, 1] of the steps that follow warm-up."""

    def multiplier(self, step: int, total: int) -> float:
        """The multiplier at a step, counted from 0, of ``total`` optimizer steps."""
        rising = self.warmup * total
        if step < rising:
            return (step + 1) / (rising + 1)
        return self.after_warmup(min(1.0, (step - rising) / max(1.0, total - rising)))

    def __call__(self, optimizer: Optimizer, total: int) -> LambdaLR:
        return LambdaLR(optimizer, partial(self.multiplier, total=total))
