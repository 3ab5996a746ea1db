"""What was learnt against what was forgotten, validation by validation. Legend: T validations."""

from collections.abc import Sequence

import numpy as np

from .picture import blank, pixels


def learning_vs_forgetting(
    steps: Sequence[int], learning: Sequence[float], forgetting: Sequence[float], names: tuple[str, str], origin: str
) -> np.ndarray:
    """A line through the validations in their order, coloured by step (cividis); a good run goes right and stays low.

    Args:
        steps: [T]; the first point is the reference before training.
        learning: [T] gain over the reference, higher is better; forgetting: [T], higher is worse.
        names: of the two axes.
        origin: what the first point is, e.g. ``base``.

    Returns:
        [height, width, 3] uint8.
    """
    figure = blank(6.0, 4.5)
    axes = figure.add_subplot()
    axes.plot(learning, forgetting, color="0.6", linewidth=1, zorder=1)
    points = axes.scatter(learning, forgetting, c=list(steps), cmap="cividis", s=28, zorder=2, edgecolors="black")
    figure.colorbar(points, ax=axes, label="step")
    said = {len(steps) - 1: f"step {steps[-1]}", 0: f"step {steps[0]}: {origin}"}
    for at, what in said.items():
        axes.annotate(what, (learning[at], forgetting[at]), (5, 5), textcoords="offset points", fontsize=8)
    axes.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    axes.axvline(0, color="0.8", linewidth=0.8, zorder=0)
    axes.set_xlabel(f"learning: {names[0]}", parse_math=False)
    axes.set_ylabel(f"forgetting: {names[1]}", parse_math=False)
    axes.set_title("learning against forgetting", fontsize=10)
    return pixels(figure)
