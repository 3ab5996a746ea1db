"""What to try next, read off a record by fixed rules; each line names its evidence."""

from collections.abc import Sequence

from ..contracts.metrics import strongest_reference
from ..contracts.record import Record

NLL_RISE = 1.02
MEMORISED = 0.8
LINES = 3


def advice(record: Record, regularizers: Sequence[str] = ()) -> list[str]:
    """At most three suggestions, the most pressing first.

    Args:
        record: of a finished run.
        regularizers: class names already in use, so that none is suggested twice.
    """
    course = _overfitting(record, regularizers) or _still_improving(record)  # never "fewer epochs" beside "more epochs"
    found = [_below_reference(record), course, _one_seed(record)]
    return [line for line in found if line][:LINES]


def shown_split(record: Record) -> str | None:
    return next((split for split in ("test", "validation") if split in record.metrics), None)


def _below_reference(record: Record) -> str | None:
    split = shown_split(record)
    if split is None or record.best is None:
        return None
    result, metric = record.metrics[split], record.best.monitor.removeprefix("val/")
    name = strongest_reference(result.before)
    if name is None or metric not in result.after or metric not in result.before[name]:
        return None
    gain = result.after[metric] - result.before[name][metric]
    if (gain if record.best.mode == "max" else -gain) > 0:
        return None
    return (
        f"The tuned model does not beat the {name} on {metric} ({result.after[metric]:.3f} against "
        f"{result.before[name][metric]:.3f}): try a higher learning rate, more epochs or a larger adapter."
    )


def _overfitting(record: Record, regularizers: Sequence[str]) -> str | None:
    rows = [entry for entry in record.history if "nll" in entry]
    if len(rows) < 2:
        return None
    last, lowest = rows[-1], min(rows, key=lambda entry: entry["nll"])
    memorised = last.get("train_nll", float("inf")) < MEMORISED * last["nll"]
    if last["nll"] <= NLL_RISE * lowest["nll"] or not memorised:
        return None
    return (
        f"Overfitting: validation NLL rose from {lowest['nll']:.3f} (step {lowest['step']:.0f}) to {last['nll']:.3f} "
        f"while training NLL fell to {last['train_nll']:.3f}. {_remedy(regularizers)}"
    )


def _remedy(regularizers: Sequence[str]) -> str:
    for name in ("L2SP", "RDrop"):
        if name not in regularizers:
            weight = "0.01" if name == "L2SP" else "1.0"
            return (
                f"Try --model.regularizers+=finelab.models.regularizers.{name} --model.regularizers.weight={weight}, "
                "or fewer epochs."
            )
    return "Try larger weights of your regularizers, or fewer epochs."


def _still_improving(record: Record) -> str | None:
    metric = record.best.monitor.removeprefix("val/") if record.best else None
    rows = [entry for entry in record.history if metric in entry]
    if record.best is None or len(rows) < 2 or record.best.step < rows[-1]["step"]:
        return None
    return f"The best {metric} came at the last validation (step {record.best.step}): try more epochs."


def _one_seed(record: Record) -> str:
    seeds = set(record.seeds.values())
    other = max(seeds) + 1
    return (
        f"One run is one draw: repeat it with --seeds {other} and --seeds {other + 1} before you believe a difference."
    )
