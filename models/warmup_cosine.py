"""Linear warm-up, then half a cosine to zero (Loshchilov and Hutter, 2017, arXiv:1608.03983)."""

import math

from .schedule import Schedule


class WarmupCosine(Schedule):
    def after_warmup(self, progress: float) -> float:
        return 0.5 * (1.0 + math.cos(math.pi * progress))
