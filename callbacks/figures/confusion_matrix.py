"""Which label is taken for which. Legend: C labels."""

from collections.abc import Sequence

import numpy as np

from .picture import blank, pixels

NUMBERED = 12
"""Labels up to which the counts stand in the cells."""
LONGEST = 18


def confusion_matrix(labels: Sequence[str], counts: Sequence[Sequence[int]], title: str) -> np.ndarray:
    """Rows are labels and columns predictions; the colour is the share of the label's rows (cividis, which colour-blind
    readers see alike). A label without rows is blank.

    Args:
        labels: [C] names; counts: [C][C] rows.
        title: above it.

    Returns:
        [height, width, 3] uint8.
    """
    cells = np.asarray(counts, float)
    rows = cells.sum(1, keepdims=True)
    shares = np.divide(cells, rows, out=np.full_like(cells, np.nan), where=rows > 0)
    size = float(np.clip(2.5 + 0.35 * len(labels), 4.0, 9.0))
    figure = blank(size + 1.0, size)
    axes = figure.add_subplot()
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="cividis", aspect="equal")
    figure.colorbar(image, ax=axes, label="share of the label's rows", shrink=0.8)
    names = [name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…" for name in labels]
    font = float(np.clip(300 / (len(labels) * 4), 4, 10))
    at = np.arange(len(labels))
    axes.set_xticks(at, names, rotation=90, fontsize=font, parse_math=False)
    axes.set_yticks(at, names, fontsize=font, parse_math=False)
    axes.set(xlabel="predicted", ylabel="label")
    axes.set_title(title, fontsize=10, parse_math=False)
    if len(labels) <= NUMBERED:
        for row, column in np.ndindex(cells.shape):
            share, count = shares[row, column], int(cells[row, column])
            ink = "black" if share > 0.5 else "white"
            axes.text(column, row, str(count) if share == share else "", ha="center", va="center", color=ink, size=font)
    return pixels(figure)
