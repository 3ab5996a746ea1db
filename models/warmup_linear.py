"""Linear warm-up, then linear decay to zero (Devlin et al., 2019, arXiv:1810.04805)."""

from .schedule import Schedule


class WarmupLinear(Schedule):
    def after_warmup(self, progress: float) -> float:
        return 1.0 - progress
