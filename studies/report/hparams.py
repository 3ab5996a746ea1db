"""The cells in TensorBoard's HParams view, written without torch and without TensorFlow."""

import math
import time
from pathlib import Path
from typing import Any

from ..analysis.analysis import Analysis
from ..cell import slug
from .results_csv import by_cell, setting_of

EVENTS = "events.out.tfevents.0.study"


def write_hparams(analysis: Analysis, folder: Path) -> None:
    """One session a finished cell: factors, seed and tuned setting as hyperparameters, every score as a metric.

    Args:
        analysis: its cells.
        folder: a log directory of TensorBoard; made here.
    """
    from tensorboard.plugins.hparams import summary_v2 as hp

    keys = [score.key for score in analysis.scores]
    cells = [
        (arm, cell, own) for arm in (*analysis.arms, *analysis.confirmed) for cell, own in by_cell(arm, keys).items()
    ]
    sessions = {cell: {**arm.levels, "seed": own["replicate"], **_task(own), **_flat(setting_of(arm, own["task"]))}
                for arm, cell, own in cells}  # fmt: skip
    numbers = numeric(list(sessions.values()))
    domains: dict[str, dict[Any, None]] = {}
    for cell, session in sessions.items():
        typed = {name: float(value) if name in numbers else str(value) for name, value in session.items()}
        sessions[cell] = typed
        for name, value in typed.items():
            domains.setdefault(name, {})[value] = None
    listed = [hp.HParam(name, hp.Discrete(list(values))) for name, values in domains.items()]
    metrics = [hp.Metric(score.key, display_name=score.title) for score in analysis.scores]
    now = time.time()
    _write(folder, [hp.hparams_config_pb(listed, metrics, now)], now)
    for number, (arm, cell, own) in enumerate(cells):
        name = f"{slug(arm.name)}-{slug(str(own['replicate']))}-{number}"
        scalars = [_scalar(key, own[key]) for key in keys if key in own and math.isfinite(own[key])]
        _write(folder / name, [hp.hparams_pb(sessions[cell], cell, now), *scalars], now)


def numeric(sessions: list[dict[str, Any]]) -> set[str]:
    """Hyperparameters that are numbers in every session that has them, levels written as text among them."""
    names = {name for session in sessions for name in session}
    return {n for n in names if all(_is_number(session[n]) for session in sessions if n in session)}


def _is_number(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


def _task(own: dict[str, Any]) -> dict[str, str]:
    return {} if own["task"] is None else {"task": own["task"]}


def _flat(setting: dict[str, Any]) -> dict[str, Any]:
    return {key.replace(".init_args", ""): value for key, value in setting.items()}


def _scalar(tag: str, value: float) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]

    return Summary(value=[Summary.Value(tag=tag, simple_value=value)])


def _write(folder: Path, summaries: list[Any], now: float) -> None:
    from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
    from tensorboard.summary.writer.record_writer import RecordWriter

    folder.mkdir(parents=True)
    with (folder / EVENTS).open("wb") as file:
        writer = RecordWriter(file)
        writer.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
        for summary in summaries:
            writer.write(Event(wall_time=now, step=0, summary=summary).SerializeToString())
        writer.flush()
