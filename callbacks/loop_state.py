"""Lightning's loop progress at an optimizer-step boundary, in the two forms from which it restarts exactly.

Written against the restart logic of Lightning 2.6.6 (``_TrainingEpochLoop.reset`` and ``advance``).
"""

from typing import Any

BATCHES = "epoch_loop.batch_progress"
VALIDATION = "epoch_loop.val_loop.batch_progress"


def settled(loops: dict[str, Any]) -> dict[str, Any]:
    """The step before is done, logged and validated; a batch that was fetched since has not happened.

    To Lightning a checkpoint of the last batch's very end, after which it trains on and validates nothing again.
    """
    fit = loops["fit_loop"]
    return loops | {"fit_loop": fit | {BATCHES: level(fit[BATCHES]) | {"is_last_batch": False}}}


def pending(loops: dict[str, Any]) -> dict[str, Any]:
    """The step before is done, and its validation is still due: to Lightning one that broke off in its first batch."""
    fit = loops["fit_loop"]
    nothing = {"ready": 0, "started": 0, "processed": 0, "completed": 0}
    broken_off = fit[VALIDATION] | {"total": nothing | {"ready": 1, "started": 1}, "current": nothing}
    return loops | {"fit_loop": fit | {BATCHES: level(fit[BATCHES]), VALIDATION: broken_off}}


def level(progress: dict[str, Any]) -> dict[str, Any]:
    """Every counter at what is completed."""
    counts = {part: dict.fromkeys(progress[part], progress[part]["completed"]) for part in ("total", "current")}
    return progress | counts
