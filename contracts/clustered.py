"""The mean difference over evaluated rows."""

import math

import numpy as np
from scipy.special import stdtrit

CONFIDENCE = 0.95


def mean_difference(
    differences: np.ndarray, weights: np.ndarray, clusters: np.ndarray
) -> tuple[float, float, float, int, int]:
    """sum(d) / sum(w) with its t interval; of weights 1 and rows of their own that is mean(d) +- t s / sqrt(n).

    Miller 2024 (arXiv:2411.00640): paired, and with residuals summed within clusters before they are squared.

    Args:
        differences: [n], summed over the supervised positions of a row.
        weights: [n], how many positions those are.
        clusters: [n], rows with one number are not independent; at least two of them.

    Returns:
        Difference, low, high, rows and clusters.
    """
    mean = float(differences.sum() / weights.sum())
    members = np.unique(clusters, return_inverse=True)[1]
    sums = np.bincount(members, differences - mean * weights)
    count = len(sums)
    error = math.sqrt(count / (count - 1) * float(sums @ sums)) / float(weights.sum())
    half = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * error
    return mean, mean - half, mean + half, len(differences), count
