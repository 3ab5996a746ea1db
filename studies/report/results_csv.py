"""One line a cell, numbers whole."""

import csv
import io
from typing import Any

from ...contracts.inert import in_csv
from ..analysis.analysis import Analysis, ArmRow


def as_csv(analysis: Analysis) -> str:
    """Arm, levels, seed, setting and scores of every finished cell; then the cells without a result.

    All text is in quotes, so that neither a comma nor a semicolon begins a cell, and none begins like a formula.
    """
    rows = [
        row
        for arm in (*analysis.arms, *analysis.confirmed)
        for row in _cells(arm, [score.key for score in analysis.scores])
    ]
    levels = {arm.name: arm.levels for arm in analysis.arms}
    for u in analysis.unfinished:
        own = {"cell": u.cell, "arm": u.arm, "replicate": u.replicate, "stage": u.stage, "state": u.state}
        own |= {"reason": u.reason, "message": u.message, "attempts": u.attempts}
        rows.append(own | {f"factor {name}": level for name, level in levels.get(u.arm, {}).items()})
    names = list(dict.fromkeys(name for row in rows for name in row))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(map(in_csv, names))
    writer.writerows([in_csv(_plain(row.get(name, ""))) for name in names] for row in rows)
    return file.getvalue()


def by_cell(arm: ArmRow, keys: list[str]) -> dict[str, dict[str, Any]]:
    """Cell -> its replicate, task and scores."""
    found: dict[str, dict[str, Any]] = {}
    for key in keys:
        for point in arm.points.get(key, []):
            own = found.setdefault(point.cell, {"replicate": point.replicate, "task": point.task})
            own[key] = point.value
    return found


def setting_of(arm: ArmRow, task: str | None) -> dict[str, Any]:
    """What the search chose for a cell."""
    return arm.setting if task is None else arm.settings.get(task, arm.setting)


def _cells(arm: ArmRow, keys: list[str]) -> list[dict[str, Any]]:
    rows = []
    for cell, own in by_cell(arm, keys).items():
        row: dict[str, Any] = {"cell": cell, "arm": arm.name, "replicate": own["replicate"], "stage": arm.stage}
        row |= {"state": "finished"} | ({} if own["task"] is None else {"task": own["task"]})
        row |= {f"factor {name}": level for name, level in arm.levels.items()}
        row |= {f"setting {key}": value for key, value in setting_of(arm, own["task"]).items()}
        rows.append(row | {key: own[key] for key in keys if key in own})
    return rows


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float) and not isinstance(value, bool) else str(value)
