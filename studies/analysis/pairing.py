"""Which cells of two arms may be subtracted from each other, and why others may not."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from ...contracts.config_diff import changes, plain
from ...contracts.order_trail import OrderTrail
from ...contracts.record import Record
from ..results import CellResult
from .material import Place

ORDER = (
    "trainer.max_steps",
    "trainer.min_steps",
    "trainer.max_epochs",
    "trainer.min_epochs",
    "trainer.max_time",
    "trainer.limit_train_batches",
    "trainer.overfit_batches",
    "trainer.accumulate_grad_batches",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
    "trainer.callbacks",
)
"""Settings beside those of the data and the base that decide which rows train which steps."""
PER_TOKEN = ("nll", "perplexity")


@dataclass(frozen=True)
class Pair:
    """Two cells of the same seeds.

    Args:
        place: task and label of the seeds.
        arm: what is compared.
        reference: what it is compared with.
    """

    place: Place
    arm: CellResult
    reference: CellResult


@dataclass(frozen=True)
class Pairs:
    """What two arms have in common.

    Args:
        found: pairs.
        refused: label of the seeds -> why these two cells are not subtracted.
        absent: label of the seeds -> which result is missing.
        by_seed: settings for which the pairs share their seeds and not the order of their rows; empty where they
            share both.
    """

    found: list[Pair]
    refused: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    by_seed: list[str] = field(default_factory=list)

    @property
    def unpaired(self) -> dict[str, str]:
        return {**self.refused, **self.absent}

    def only(self, task: str | None) -> "Pairs":
        """Those of one task."""
        return Pairs([pair for pair in self.found if pair.place[0] == task], self.refused, self.absent, self.by_seed)


def pair_up(
    arm: Mapping[Place, CellResult], reference: Mapping[Place, CellResult], places: Iterable[Place], metric: str
) -> Pairs:
    """Pairs of equal seeds whose rows came in equal order, or whose settings say why they did not.

    Args:
        arm: its cells.
        reference: those it is compared with.
        places: that were planned.
        metric: key of the primary metric.
    """
    pairs = Pairs([])
    settings: dict[str, None] = {}
    for place in places:
        one, two = arm.get(place), reference.get(place)
        name = shown(place)
        if one is None or two is None:
            pairs.absent[name] = "neither has a result" if one is two else f"{_who(one)} has no result"
            continue
        if reason := incomparable(one, two, metric):
            pairs.refused[name] = reason
            continue
        parted = parting(one.record, two.record)
        causes = order_settings(one, two) if parted else []
        if parted and not causes:
            pairs.refused[name] = f"{parted}, and no setting of the data, the batch or the length of training differs"
            continue
        settings.update(dict.fromkeys(causes))
        pairs.found.append(Pair(place, one, two))
    pairs.by_seed.extend(settings)
    return pairs


def shown(place: Place) -> str:
    """As readers see it."""
    task, seeds = place
    return seeds if task is None else f"{task}, {seeds}"


def incomparable(one: CellResult, two: CellResult, metric: str) -> str:
    """Why two results do not measure the same; empty where they may."""
    split, _, name = metric.rpartition("/")
    counts = [_rows(result.record, split) for result in (one, two)]
    if counts[0] != counts[1]:
        return f"they were evaluated on {counts[0]:,} and {counts[1]:,} rows"
    if name in PER_TOKEN:
        tokens = [_tokens(result.record, split) for result in (one, two)]
        if tokens[0] != tokens[1]:
            return "their tokenizers cut the same text into another number of tokens; bits_per_byte can be compared"
    prints = [result.record.data.get("fingerprint") for result in (one, two)]
    if prints[0] != prints[1] and not _differing(one, two, _is_data):
        return "their data have other fingerprints, and no setting of the data or the base differs"
    return ""


def parting(one: Record, two: Record) -> str:
    """Where two runs first saw other rows, in words; empty where they saw the same for as long as both trained."""
    if not one.order_trail or not two.order_trail:
        if one.cost.steps == two.cost.steps == 0:
            return ""
        return "the order of their rows is unknown"
    try:
        parted = OrderTrail.of(one.order_trail).parting(OrderTrail.of(two.order_trail))
    except ValueError:
        return "the order of their rows is unknown, since the trail in a record is damaged"
    if parted is None or _ended(one, two) in parted:
        return ""
    last = min(parted.stop, max(one.cost.steps, two.cost.steps))
    where = f"at step {last:,}" if last <= parted.start + 1 else f"in steps {parted.start + 1:,}–{last:,}"
    return f"the order of their rows parts {where}"


def _ended(one: Record, two: Record) -> int | None:
    """The step after which one of them had ended, with all before it alike; None of runs of equal length."""
    steps = one.cost.steps, two.cost.steps
    return min(steps) if steps[0] != steps[1] else None


def order_settings(one: CellResult, two: CellResult) -> list[str]:
    """Settings that differ and decide which rows train which steps."""
    return _differing(one, two, lambda key: _is_data(key) or key.startswith(ORDER))


def data_settings(pair: Pair) -> list[str]:
    """Settings of the data or the base that differ."""
    return _differing(pair.arm, pair.reference, _is_data)


def _differing(one: CellResult, two: CellResult, counts: Callable[[str], bool]) -> list[str]:
    found = (change for change in changes(one.cell.config, two.cell.config) if change.changes_numbers)
    return list(dict.fromkeys(key for key in (plain(change.key) for change in found) if counts(key)))


def _is_data(key: str) -> bool:
    """The base is among them, since its tokenizer cuts the rows."""
    return key == "data" or key.startswith("data.") or key in ("model", "model.base")


def _rows(record: Record, split: str) -> int:
    found = record.metrics.get(split)
    return 0 if found is None else found.rows


def _tokens(record: Record, split: str) -> object:
    splits = record.data.get("splits", {})
    return splits.get(split, {}).get("supervised") if isinstance(splits, dict) else None


def _who(present: CellResult | None) -> str:
    return "the arm" if present is None else "its reference"
