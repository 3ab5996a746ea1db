"""How alike the conditions of two runs were, and what a difference between them can and cannot mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...contracts.order_trail import OrderTrail
from ...contracts.record import Record
from .compared_run import ComparedRun
from .paired_difference import PairedDifference
from .paired_rows import PairedRows
from .sheet import Row, Sheet
from .sheets import NONE, differing

OTHER_DATA, OTHER_BASE = "another fingerprint", "another"


@dataclass(frozen=True)
class Pairing:
    """One run against the first.

    Args:
        order: whether both saw the same rows at the same steps, and where they part.
        data: whether the fingerprints of rows, template and tokenizer agree.
        base: whether the base's weights agree.
        seeds: whether the seeds agree.
    """

    order: str
    data: str
    base: str
    seeds: str

    @property
    def is_comparable(self) -> bool:
        """Whether a difference of their metrics may be a matter of the settings."""
        return self.data != OTHER_DATA and self.base != OTHER_BASE


def pairing(first: ComparedRun, other: ComparedRun) -> Pairing:
    one, two = first.record, other.record
    if one is None or two is None:
        return Pairing(NONE, NONE, NONE, NONE)
    prints = [record.data.get("fingerprint") for record in (one, two)]
    data = NONE if None in prints else "same" if prints[0] == prints[1] else OTHER_DATA
    seeds = "same" if one.seeds == two.seeds else f"another {' and '.join(_differing_seeds(one, two))} seed"
    return Pairing(order_of(one, two), data, _base(first, other), seeds)


def order_of(one: Record, two: Record) -> str:
    """The same rows at the same steps, or from which step on not; steps are counted from 1."""
    if not one.order_trail or not two.order_trail:
        return "unknown"
    try:
        trails = [OrderTrail.of(record.order_trail) for record in (one, two)]
    except ValueError:
        return "unknown, the trail in a record is damaged"
    parted = trails[0].parting(trails[1])
    if parted is None:
        return "same"
    shorter = min(one.cost.steps, two.cost.steps)
    if parted.stop > shorter >= parted.start and one.cost.steps != two.cost.steps:
        return f"same up to step {parted.start:,}; one ended at {shorter:,}"
    last = min(parted.stop, max(one.cost.steps, two.cost.steps))
    return f"parts at step {last:,}" if last == parted.start + 1 else f"parts in steps {parted.start + 1:,}–{last:,}"


def _base(first: ComparedRun, other: ComparedRun) -> str:
    if first.base_digest is not None and other.base_digest is not None:
        return "same" if first.base_digest == other.base_digest else OTHER_BASE
    assert first.record is not None and other.record is not None
    named = [(record.base, record.base_revision) for record in (first.record, other.record)]
    return "same name" if named[0] == named[1] else OTHER_BASE


def _differing_seeds(one: Record, two: Record) -> list[str]:
    return [name for name in dict.fromkeys((*one.seeds, *two.seeds)) if one.seeds.get(name) != two.seeds.get(name)]


def pairing_sheet(runs: Sequence[ComparedRun], found: Mapping[str, Pairing]) -> Sheet:
    letters = [run.letter for run in runs[1:]]
    rows = [
        Row(label, [getattr(found[letter], key) for letter in letters])
        for label, key in (("order of rows", "order"), ("data", "data"), ("base", "base"), ("seeds", "seeds"))
    ]
    return Sheet(f"conditions, against {runs[0].letter}", letters, rows)


def meaning(
    runs: Sequence[ComparedRun],
    paired: Mapping[str, Pairing],
    rows: Mapping[str, PairedRows],
) -> list[str]:
    """Sentences, the most important first."""
    finished = [run for run in runs if run.record is not None and run.record.status == "finished"]
    if len(finished) < 2:
        return ["Fewer than two of these runs are finished: there is nothing to conclude."]
    said = [
        f"Each setting was run once: {len(finished)} runs are {len(finished)} draws, and a difference between two "
        "draws is no claim about the settings. Repeat every setting with the same new seeds and look at the "
        "differences seed by seed."
    ]
    said += _apart(runs[0].letter, paired)
    keys = [key for key in differing(runs)[0] if not key.startswith("seeds")]
    seeds = any(pair.seeds not in ("same", NONE) for pair in paired.values())
    if not keys:
        said.append(
            "Nothing but seeds differs, so that the differences show how far one draw lies from another."
            if seeds
            else "No setting differs: what differs comes from versions, hardware or code."
        )
    elif len(keys) > 1 and len(runs) == 2:
        said.append(f"{len(keys)} settings differ, so that a difference cannot be put down to one of them.")
    if keys and seeds:
        said.append("Seeds differ too, so that part of a difference is luck of the draw.")
    parting = [letter for letter, pair in paired.items() if pair.order.startswith("parts")]
    if parting:
        said.append(f"{', '.join(parting)} saw rows in another order than {runs[0].letter}, which moves results too.")
    pairs = [pair for found in rows.values() for pair in found.differences]
    if pairs:
        said.append(_about_rows(pairs))
    return said


def _apart(first: str, paired: Mapping[str, Pairing]) -> list[str]:
    """What keeps metrics from being subtracted."""
    said = []
    if letters := [letter for letter, pair in paired.items() if pair.data == OTHER_DATA]:
        said.append(
            f"The rows, the template or the tokenizer of {', '.join(letters)} are not those of {first}: their metrics "
            "measure different things and are not subtracted."
        )
    if letters := [letter for letter, pair in paired.items() if pair.base == OTHER_BASE]:
        said.append(
            f"{', '.join(letters)} started from another base than {first}: their metrics are not subtracted, since a "
            "difference would be one between the bases."
        )
    return said


def _about_rows(pairs: Sequence[PairedDifference]) -> str:
    by_document = any(pair.clusters < pair.rows for pair in pairs)
    counted = f"{pairs[0].rows:,} rows" + (f" of {pairs[0].clusters:,} documents" if by_document else "")
    return (
        f"The intervals are about rows: how these very weights would differ on other rows like these ({counted}). They "
        "say nothing about other seeds, and none allows for looking at several metrics or runs at once."
    )
