"""What a search of k trials may be expected to find."""

from collections.abc import Sequence

import numpy as np
from scipy.special import gammaln


def expected_best(
    values: Sequence[float] | np.ndarray, mode: str = "max", with_replacement: bool = False
) -> list[float]:
    """E[best of k of these trials] for k = 1 to N (Dodge et al., EMNLP 2019, arXiv:1909.03004).

        without replacement, unbiased:  sum_i v_(i) C(i - 1, k - 1) / C(N, k)  (Tang et al. 2020, arXiv:2004.13705)
        with replacement, as first published:  sum_i v_(i) ((i / N)^k - ((i - 1) / N)^k); too low for k near N

    Trials have to be drawn at random and independently of each other, so not by a sampler that learns from them; for
    a grid it is the expectation over its points in random order. Beyond k = N / 2 few trials decide.

    Args:
        values: [N] one per trial.
        mode: ``max`` or ``min``.
        with_replacement: which of the two.
    """
    sign = 1.0 if mode == "max" else -1.0
    ordered = np.sort(sign * np.asarray(values, dtype=float))
    count = len(ordered)
    budgets, ranks = np.arange(1, count + 1)[:, None], np.arange(1, count + 1)[None]
    if with_replacement:
        chance = (ranks / count) ** budgets - ((ranks - 1) / count) ** budgets
    else:
        chance = np.where(
            ranks >= budgets, np.exp(_log_choose(ranks - 1, budgets - 1) - _log_choose(count, budgets)), 0
        )
    return (sign * (chance @ ordered)).tolist()


def _log_choose(n: np.ndarray | int, k: np.ndarray) -> np.ndarray:
    return gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(np.maximum(n - k, 0) + 1.0)
