"""Accuracy against confidence."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .picture import blank, pixels

COLOURS = ("#0072B2", "#D55E00")
"""Blue and vermilion of Okabe and Ito's palette, which colour-blind readers tell apart."""


def reliability_diagram(tables: Mapping[str, Mapping[str, Sequence[Any]]], title: str) -> np.ndarray:
    """One line a table: accuracy of the bins over their mean confidence, the diagonal being perfect; below it how many
    predictions lie in each bin.

    Args:
        tables: name -> ``Reliability.table()``; two at most.
        title: above it.

    Returns:
        [height, width, 3] uint8.
    """
    figure = blank(4.8, 5.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], color="0.6", linestyle=":", label="perfect")
    for index, ((name, table), colour) in enumerate(zip(tables.items(), COLOURS, strict=False)):
        rows = np.asarray(table["rows"])
        filled = rows > 0
        confidence, accuracy = (np.asarray(table[key], float)[filled] for key in ("confidence", "accuracy"))
        upper.plot(confidence, accuracy, color=colour, marker="os"[index], markersize=4, label=name)
        left, right = np.asarray(table["lower"]), np.asarray(table["upper"])
        width = (right - left) / 2
        lower.bar(left + width * index, rows, width, align="edge", color=colour)
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    upper.set_title(title, fontsize=10, parse_math=False)
    upper.legend(fontsize=8, loc="upper left")
    lower.set(xlabel="confidence", ylabel="predictions")
    return pixels(figure)
