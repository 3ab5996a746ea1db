"""The metrics that finelab knows: which way is better, and what people call them."""

from collections.abc import Collection
from typing import Literal

from .record import Best

Mode = Literal["max", "min"]

MODES: dict[str, Mode] = {
    "accuracy": "max",
    "macro_f1": "max",
    "mcc": "max",
    "brier": "min",
    "nll": "min",
    "perplexity": "min",
    "ece": "min",
    "ece_equal_mass": "min",
    "bits_per_char": "min",
    "bits_per_byte": "min",
    "precision": "max",
    "recall": "max",
    "f1": "max",
    "micro_f1": "max",
    "subset_accuracy": "max",
    "mean_average_precision": "max",
    "mse": "min",
    "mae": "min",
    "r2": "max",
    "pearson": "max",
    "spearman": "max",
    "bleu": "max",
    "chrf": "max",
    "rouge_l": "max",
    "exact_match": "max",
    "normalized_exact_match": "max",
}
# In the order in which they are shown.
TITLES = {
    "exact_match": "exact match",
    "normalized_exact_match": "normalized exact match",
    "bleu": "BLEU",
    "chrf": "chrF",
    "rouge_l": "ROUGE-L",
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "accuracy": "accuracy",
    "micro_f1": "micro-F1",
    "macro_f1": "macro-F1",
    "mcc": "MCC",
    "subset_accuracy": "subset acc.",
    "mean_average_precision": "mAP",
    "mse": "MSE",
    "mae": "MAE",
    "r2": "R²",
    "pearson": "Pearson",
    "spearman": "Spearman",
    "bits_per_char": "bits/char",
    "nll": "NLL",
    "perplexity": "perplexity",
    "brier": "Brier",
    "ece": "ECE",
}
RECORD_ALONE = frozenset(
    {
        "bits_per_byte",
        "ece_equal_mass",
        "confidence_minus_accuracy",
        "generation_length",
        "generation_ended",
        "generation_empty",
        "generation_nll",
    }
)
"""In no table: what another metric says already, and what has lines of its own."""
REFERENCES = {
    "majority": "majority class",
    "frequencies": "label frequencies",
    "mean": "mean of the training rows",
    "uniform": "uniform guess",
    "probe": "frozen-feature probe",
    "base": "base, before training",
}
ARROWS = {"max": " ↑", "min": " ↓", None: ""}


def direction(name: str, *bests: Best | None) -> str | None:
    """``max`` or ``min``: of a metric that finelab does not know, what the monitor of a run says; None where none does.

    Args:
        name: of a metric.
        bests: of the runs that have it.
    """
    said = (best.mode for best in bests if best is not None and best.monitor.rpartition("/")[2] == name)
    return MODES.get(name) or next(said, None)


def titled(name: str, *bests: Best | None) -> str:
    """A metric's title with the direction that is better where it is known, e.g. ``NLL ↓``."""
    return f"{TITLES.get(name, name)}{ARROWS[direction(name, *bests)]}"


def in_order(names: Collection[str]) -> list[str]:
    """Those that are shown, in their order, a plugged-in metric behind the known ones; the rest is in the record."""
    return [*(name for name in TITLES if name in names), *sorted(set(names) - TITLES.keys() - RECORD_ALONE)]


def strongest_reference(before: dict[str, dict[str, float]]) -> str | None:
    """Of several references the last is the strongest (the probe after the majority class)."""
    return list(before)[-1] if before else None
