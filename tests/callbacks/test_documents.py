from types import SimpleNamespace

import numpy as np

from finelab.callbacks.documents import with_documents
from finelab.callbacks.evaluation import Evaluation


class Windows:
    """Three samples of every document."""

    def __init__(self, size: int = 3) -> None:
        self.size, self.asked = size, []

    def probe_loader(self, rows: int) -> None:
        return None

    def document_of(self, split: str, samples: np.ndarray) -> np.ndarray:
        self.asked.append(split)
        return samples - samples % self.size


def found(data: object, examples: dict, split: str = "validation/wiki") -> dict:
    return with_documents(Evaluation({}, examples, 5), split, SimpleNamespace(datamodule=data)).examples


def test_samples_of_one_document_share_a_number() -> None:
    data, examples = Windows(), {"sample_id": [3, 4, 5, 6, 9], "nll": [0.0] * 5}
    assert found(data, examples) == examples | {"document": [3, 3, 3, 6, 9]}
    assert data.asked == ["validation"]


def test_nothing_where_every_row_is_its_own() -> None:
    examples = {"sample_id": [3, 4, 5]}
    assert found(Windows(size=1), examples) == found(object(), examples) == examples
    assert found(Windows(), {}) == {}, "another rank"
