"""The metrics that finelab knows: which way is better, and what people call them."""

from collections.abc import Collection
from typing import Literal

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
# In the order in which they are shown. The record's alone: bits per byte, which says what bits per character says, and
# the calibration error in bins of equal mass.
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
REFERENCES = {
    "majority": "majority class",
    "frequencies": "label frequencies",
    "mean": "mean of the training rows",
    "uniform": "uniform guess",
    "probe": "frozen-feature probe",
    "base": "base, before training",
}
MAXIMISED = frozenset(name for name, mode in MODES.items() if mode == "max")


def titled(name: str) -> str:
    """A metric's title with the direction that is better, e.g. ``NLL ↓``."""
    return f"{TITLES.get(name, name)} {'↑' if name in MAXIMISED else '↓'}"


def in_order(names: Collection[str]) -> list[str]:
    """Those that are shown, in their order; the rest stands in the record alone."""
    return [name for name in TITLES if name in names]


def strongest_reference(before: dict[str, dict[str, float]]) -> str | None:
    """Of several references the last is the strongest (the probe after the majority class)."""
    return list(before)[-1] if before else None
