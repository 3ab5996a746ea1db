"""Per-example columns as Parquet."""

import os
from pathlib import Path
from typing import Any

from ..contracts.disk import disk_faults
from ..contracts.files import part_of, sync_to_disk


def write_examples(columns: dict[str, list[Any]], path: Path) -> None:
    """Write a table, whole or not at all.

    Args:
        columns: of the same length.
        path: whose parents are made.

    Raises:
        DiskError: the disk refused.
    """
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = part_of(path)
    table = pyarrow.table(columns)
    with disk_faults(path, table.nbytes):
        pyarrow.parquet.write_table(table, scratch)
        sync_to_disk(scratch)
        os.replace(scratch, path)
