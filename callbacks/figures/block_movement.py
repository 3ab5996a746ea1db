"""How far each block of a model has moved at each validation. Legend: T validations."""

from collections.abc import Mapping, Sequence

import numpy as np

from .picture import blank, pixels

FEWEST = 1e-12
"""Below every movement that a logarithm can show; a block that has not moved is blank."""


def block_movement(steps: Sequence[int], course: Mapping[str, Sequence[float]]) -> np.ndarray:
    """Blocks from top (the embeddings) to bottom (the head), validations from left to right; colour is the movement,
    logarithmic (cividis, which colour-blind readers see alike).

    Args:
        steps: [T]
        course: block -> [T] movement.

    Returns:
        [height, width, 3] uint8.
    """
    from matplotlib.colors import LogNorm

    values = np.array([course[block] for block in course], float)
    values[values <= FEWEST] = np.nan
    figure = blank(float(np.clip(3.5 + 0.25 * len(steps), 5, 10)), float(np.clip(1.5 + 0.25 * len(course), 3, 12)))
    axes = figure.add_subplot()
    known = values[np.isfinite(values)]
    limits = (float(known.min()), float(known.max())) if len(known) else (0.1, 1.0)
    norm = LogNorm(limits[0], max(limits[1], limits[0] * 1.01))
    image = axes.imshow(values, norm=norm, cmap="cividis", aspect="auto")
    figure.colorbar(image, ax=axes, label="|W - W_base| / |W_base|")
    at = np.unique(np.linspace(0, len(steps) - 1, 8).round().astype(int))
    axes.set_xticks(at, [str(steps[i]) for i in at])
    axes.set_yticks(np.arange(len(course)), list(course), fontsize=8)
    axes.set(xlabel="step")
    axes.set_title("movement of the weights by block", fontsize=10)
    return pixels(figure)
