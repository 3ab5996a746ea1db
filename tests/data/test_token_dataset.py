import itertools

import numpy as np
import pyarrow
from datasets import Dataset, concatenate_datasets

from finelab.data.token_dataset import Ragged, TokenDataset


def test_rows_of_every_chunk_are_found():
    lists = [[[1, 2], [], [3]], [], [[4, 5, 6]], [[7], [8, 9]]]
    chunked = pyarrow.chunked_array([pyarrow.array(part, pyarrow.list_(pyarrow.int32())) for part in lists])
    for column, expected in (
        (chunked, list(itertools.chain(*lists))),
        (chunked.slice(1, 4), list(itertools.chain(*lists))[1:5]),
    ):
        ragged = Ragged(column)
        assert [ragged[row].tolist() for row in range(len(expected))] == expected
        assert ragged.lengths.tolist() == [len(row) for row in expected]


def test_a_split_on_disk_is_mapped_and_not_copied(tmp_path):
    part = {"input_ids": [np.arange(50, dtype=np.int32)] * 3000, "labels": [0] * 3000}
    concatenate_datasets([Dataset.from_dict(part)] * 2).save_to_disk(str(tmp_path / "split"))
    before = pyarrow.total_allocated_bytes()
    data = TokenDataset(Dataset.load_from_disk(str(tmp_path / "split")))
    assert len(data.columns["input_ids"].values) > 1
    assert not any(values.flags.owndata for values in data.columns["input_ids"].values)
    assert pyarrow.total_allocated_bytes() - before < 60_000, "the labels, but not the 1.2 MB of tokens"
    assert data[5999]["input_ids"].tolist() == list(range(50))
