"""What to try next, read off a record by fixed rules; each line names its evidence."""

from ..contracts.metrics import strongest_reference
from ..contracts.record import Record


def advice(record: Record) -> list[str]:
    """What to try beside what the verdict says: a reference that is not beaten, and that one run is one draw."""
    tried = record.verdict is not None and record.verdict.remedies
    found = [None if tried else _below_reference(record), _one_seed(record)]
    return [line for line in found if line]


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


def _one_seed(record: Record) -> str:
    seeds = set(record.seeds.values())
    other = max(seeds) + 1
    return (
        f"One run is one draw: repeat it with --seeds {other} and --seeds {other + 1} before you believe a difference."
    )
