import numpy as np
import torch
from datasets import Dataset

from finelab.contracts.batch import IGNORE
from finelab.data.collate import PadCollator
from finelab.data.token_dataset import TokenDataset


def sample(number, size, **more):
    ids = np.arange(1, size + 1, dtype=np.int32)
    return {"sample_id": number, "source_id": 0, "input_ids": ids, **more}


def test_pads_stand_on_the_right_masked_and_ignored():
    rows = [
        sample(7, 2, labels=np.array([IGNORE, 2]), chars=3),
        sample(4, 4, labels=np.array([IGNORE, 2, 3, 4]), chars=9),
    ]
    batch = PadCollator(pad_id=99)(rows)
    expected = {
        "input_ids": [[1, 2, 99, 99], [1, 2, 3, 4]],
        "attention_mask": [[1, 1, 0, 0], [1, 1, 1, 1]],
        "labels": [[IGNORE, 2, IGNORE, IGNORE], [IGNORE, 2, 3, 4]],
        "sample_id": [7, 4],
        "source_id": [0, 0],
        "chars": [3, 9],
    }
    assert {name: tensor.tolist() for name, tensor in batch.items()} == expected
    assert all(tensor.dtype == torch.int64 for tensor in batch.values())


def test_a_class_is_one_number_a_row_and_segments_pad_with_zero():
    rows = [
        sample(0, 3, labels=1, token_type_ids=np.array([0, 1, 1])),
        sample(1, 1, labels=0, token_type_ids=np.array([0])),
    ]
    batch = PadCollator(pad_id=0)(rows)
    assert batch["labels"].tolist() == [1, 0]
    assert batch["token_type_ids"].tolist() == [[0, 1, 1], [0, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]], "a token equal to the pad is no pad"


def stored(*rows):
    return TokenDataset(Dataset.from_list([{"input_ids": list(range(n)), **row} for n, row in rows]))


def test_targets_of_their_own_length_and_numbers_and_label_sets():
    for labels, expected, dtype in (
        ([[5, 6, 7], [8]], [[5, 6, 7], [8, IGNORE, IGNORE]], torch.int64),
        ([0.5, -2.0], [0.5, -2.0], torch.float32),
        ([[1, 0, 1], [0, 0, 0]], [[1, 0, 1], [0, 0, 0]], torch.int64),
    ):
        data = stored(*((n, {"labels": own}) for n, own in zip((2, 4), labels, strict=True)))
        batch = PadCollator(pad_id=99)([data[0], data[1]])
        assert batch["labels"].tolist() == expected
        assert batch["labels"].dtype == dtype
        assert batch["attention_mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]


def test_rows_to_generate_from_have_no_labels():
    data = stored((2, {}), (3, {}))
    assert "labels" not in PadCollator(pad_id=0)([data[0], data[1]])
