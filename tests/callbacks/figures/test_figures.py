"""Pictures of known tables: pixels that are there, nothing of pyplot, odd names."""

import sys

import numpy as np
import torch
from matplotlib import colormaps

from finelab.callbacks.figures.confusion_matrix import confusion_matrix
from finelab.callbacks.figures.reliability_diagram import reliability_diagram
from finelab.models.reliability import equal_width


def colours(picture):
    return {tuple(pixel) for pixel in picture.reshape(-1, 3).tolist()}


def test_a_cell_has_the_colour_of_its_share():
    """A label without rows is blank."""
    nothing, everything = (tuple(colormaps["cividis"](share, bytes=True)[:3]) for share in (0.0, 1.0))
    certain = confusion_matrix(["a", "$b_", "c"], [[5, 0, 0], [0, 7, 0], [0, 0, 0]], "title")
    assert certain.dtype == np.uint8 and certain.ndim == 3 and certain.shape[2] == 3
    assert {nothing, everything} <= colours(certain)
    half = confusion_matrix(["a", "b"], [[5, 5], [5, 5]], "title")
    height, width = half.shape[:2]
    middle = half[height // 2 - 60 : height // 2 + 60, width // 3 : width // 2]
    assert nothing not in colours(middle), "nobody is all wrong here"


def test_many_labels_still_make_a_picture_of_a_bounded_size():
    labels = [f"a rather long name of a class, number {number}" for number in range(100)]
    picture = confusion_matrix(labels, np.eye(100, dtype=int).tolist(), "title")
    assert max(picture.shape) <= 1000


def test_a_reliability_diagram_has_a_line_for_each_table():
    confidence = torch.linspace(0.3, 1, 50)
    right = (torch.arange(50) % 3 > 0).double()
    table = equal_width(confidence, right).table()
    one, two = reliability_diagram({"a": table}, "t"), reliability_diagram({"a": table, "b": table}, "t")
    vermilion = (0xD5, 0x5E, 0x00)
    assert vermilion not in colours(one) and vermilion in colours(two)


def test_no_figure_stays_open():
    confusion_matrix(["a", "b"], [[1, 0], [0, 1]], "title")
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
