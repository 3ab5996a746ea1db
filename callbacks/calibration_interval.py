"""How much of a calibration error is chance. Legend: n predictions, R rows they belong to, M bins."""

from dataclasses import dataclass

import numpy as np
import torch

from ..models.reliability import BINS, width_bins

RESAMPLES, SIMULATED, PART = 1000, 400, 100
SEED = 38
"""Of generators of their own, so that no draw of training moves."""


@dataclass(frozen=True)
class CalibrationInterval:
    """The 95% interval of an ECE, and what chance alone makes of it.

    |accuracy - confidence| of a bin cannot be negative, so that the ECE of a perfect model is above 0 where its bins
    hold few rows. The bootstrap has this bias twice; the basic interval (2 ECE - the bootstrap's quantiles) takes it
    out. Where the ECE is no larger than 95% of those of a calibrated model, the interval begins at 0.

    Args:
        low: not below 0; high: with it the interval.
        calibrated: mean ECE of a model that is right with exactly these probabilities.
        calibrated_95: which 95% of such ECEs do not exceed.
    """

    low: float
    high: float
    calibrated: float
    calibrated_95: float

    @classmethod
    def of(cls, confidence: np.ndarray, right: np.ndarray, rows: np.ndarray) -> "CalibrationInterval":
        """confidence [n] top probabilities; right [n] 1 or 0 each; rows [n] numbers of the rows, which are drawn
        together with all their predictions."""
        bins = width_bins(torch.from_numpy(confidence)).numpy()
        row = np.unique(rows, return_inverse=True)[1]
        gaps, sizes = np.zeros((row.max() + 1, BINS)), np.bincount(row)
        np.add.at(gaps, (row, bins), right - confidence)
        error = np.abs(gaps.sum(0)).sum() / len(right)
        rng = np.random.default_rng(SEED)
        low, high = 2 * error - np.quantile(resampled(gaps, sizes, rng), [0.975, 0.025])
        simulated = np.array([null_error(confidence, bins, rng) for _ in range(SIMULATED)])
        limit = float(np.quantile(simulated, 0.95))
        low = 0.0 if error <= limit else max(0.0, float(low))
        return cls(low, max(float(high), low), float(simulated.mean()), limit)


def resampled(gaps: np.ndarray, sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[RESAMPLES] ECEs of rows drawn with replacement.

    Args:
        gaps: [R, M] right minus confidence, summed; sizes: [R] predictions.
        rng: draws.
    """
    chances = np.full(len(sizes), 1 / len(sizes))
    found = []
    for _ in range(RESAMPLES // PART):
        weights = rng.multinomial(len(sizes), chances, PART)
        found.append(np.abs(weights @ gaps).sum(1) / (weights @ sizes))
    return np.concatenate(found)


def null_error(confidence: np.ndarray, bins: np.ndarray, rng: np.random.Generator) -> float:
    """The ECE of answers that are right with exactly these probabilities, each by itself."""
    gaps = (rng.random(len(confidence)) < confidence) - confidence
    return float(np.abs(np.bincount(bins, gaps, BINS)).sum() / len(confidence))
