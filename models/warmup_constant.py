"""Linear warm-up, then the optimizer's own rate."""

from .schedule import Schedule


class WarmupConstant(Schedule):
    def after_warmup(self, progress: float) -> float:
        return 1.0
