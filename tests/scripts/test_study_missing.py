"""What the report says of cells without a result."""

import dataclasses

from finelab.scripts.studying.reporting import without_result
from finelab.studies.entry import Entry
from finelab.studies.history import History

from ..studies.made_up import MadeUp, a_study


def test_the_log_of_a_renamed_arm_is_where_its_folder_is(tmp_path):
    made = MadeUp(a_study(tmp_path, ["base", "new"]), [])
    cell = made.cell("new")
    former = dataclasses.replace(cell, arm="old").folder_name
    assert former != cell.folder_name
    assert without_result(cell, Entry.of(cell, former, History()), False).log == f"cells/{former}/log.txt"
    assert without_result(cell, None, False).log == f"cells/{cell.folder_name}/log.txt"
