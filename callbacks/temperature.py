"""One number that makes a classifier's probabilities honest. Legend: N positions, C classes, G grid points."""

from collections.abc import Iterable

import numpy as np
from scipy.interpolate import CubicHermiteSpline
from scipy.optimize import brentq
from torch import Tensor

LEAST, LARGEST, POINTS = 0.05, 20.0, 65
LOWEST = -1e30
"""In the place of a logit of minus infinity, so that a probability of 0 times it is 0."""


class TemperatureFit:
    """The temperature T that minimises the mean NLL of softmax(logits / T) (Guo et al., arXiv:1706.04599), in one pass
    and without keeping logits.

    The NLL is convex in b = 1/T, and its slope and curvature in b are sums over positions: the mean of the logits under
    softmax(b logits) minus the logit of the label, and the variance of the logits. Both are summed exactly at G points
    of log b; between the two points where the slope changes its sign it is read off the cubic that has both slopes and
    curvatures, which is right to about 1e-6 in T. Costs G softmaxes of each batch.
    """

    def __init__(self) -> None:
        self.logs = np.linspace(-np.log(LARGEST), -np.log(LEAST), POINTS)
        self.slope, self.curvature = np.zeros(POINTS), np.zeros(POINTS)
        self.count = 0

    def add(self, logits: Tensor, targets: Tensor) -> None:
        """logits [N, C], targets [N] class indices."""
        values = logits.detach().cpu().double().clamp(min=LOWEST)
        own = values.gather(-1, targets.cpu().unsqueeze(-1)).sum().item()
        for index, scale in enumerate(np.exp(self.logs)):
            p = (values * scale).softmax(-1)
            mean = (p * values).sum(-1, keepdim=True)
            self.slope[index] += mean.sum().item() - own
            self.curvature[index] += (p * (values - mean).square()).sum().item()
        self.count += len(targets)

    @classmethod
    def of_ranks(cls, ranks: Iterable["TemperatureFit"]) -> "TemperatureFit":
        whole = cls()
        for each in ranks:
            whole.slope, whole.curvature = whole.slope + each.slope, whole.curvature + each.curvature
            whole.count += each.count
        return whole

    def solve(self) -> float | str:
        """The temperature, or why there is none between 0.05 and 20."""
        if not self.count:
            return "there is nothing to fit a temperature on"
        if not np.isfinite(self.slope).all():
            return "the logits are no finite numbers"
        if self.slope[-1] <= 0:
            return f"nearly every prediction is right, so that the NLL still falls at a temperature of {LEAST}"
        if self.slope[0] >= 0:
            return f"the logits do not tell the labels, so that the NLL still falls at a temperature of {LARGEST}"
        at = int(np.flatnonzero(self.slope > 0)[0])
        ends = slice(at - 1, at + 1)
        logs = self.logs[ends]
        cubic = CubicHermiteSpline(logs, self.slope[ends], self.curvature[ends] * np.exp(logs))
        root = brentq(cubic, *logs, xtol=1e-12)
        assert isinstance(root, float)
        return float(np.exp(-root))
