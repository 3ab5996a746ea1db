"""The seed triples of a study's stages, which share none."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, count, islice
from pathlib import Path

from ..contracts.errors import UserError
from ..contracts.seeds import Seeds
from .located import Located

PARTS = ("data", "init", "train")


def read_replicates(given: Located | None, default: int, first: int, used: Sequence[Seeds]) -> tuple[Seeds, ...]:
    """A number of replicates, or a list of integers and triples.

    Args:
        given: as written; None for the default number.
        default: so many.
        first: seed of a stage whose replicates are a number.
        used: triples of other stages, whose seeds such a number passes over.

    Raises:
        UserError: neither, or a triple twice.
    """
    if given is None:
        return fresh(default, first, used)
    if not given.is_list:
        return fresh(given.integer(1), first, used)
    found = tuple(read_triple(entry) for entry in given.items())
    if not found:
        raise given.wrong("but it is empty; give at least one.")
    if len(set(found)) < len(found):
        raise given.wrong("but it names a replicate twice; each one is another set of seeds.")
    return found


def read_triple(given: Located) -> Seeds:
    if not given.is_mapping:
        return Seeds.of(given.integer(0))
    entries = given.only(PARTS)
    if missing := [name for name in PARTS if name not in entries]:
        raise given.wrong(f"but {' and '.join(missing)} of data, init and train are missing.")
    return Seeds(**{name: entry.integer(0) for name, entry in entries.items()})


def fresh(number: int, first: int, used: Iterable[Seeds]) -> tuple[Seeds, ...]:
    """So many triples of one seed each, from ``first`` on, without seeds that are used already."""
    taken = {value for seeds in used for value in seeds.as_dict().values()}
    return tuple(Seeds.of(seed) for seed in islice((seed for seed in count(first) if seed not in taken), number))


def require_disjoint(stages: Mapping[str, Sequence[Seeds]], path: Path) -> None:
    """What was selected on seeds may not be reported on them. A part that never varies is fixed on purpose.

    Args:
        stages: key of the study file -> its replicates.
        path: of the study file.

    Raises:
        UserError: two stages share a data, an init or a train seed.
    """
    for part in PARTS:
        of = {stage: {getattr(seeds, part) for seeds in found} for stage, found in stages.items() if found}
        if len(set().union(*of.values())) == 1 and any(len(found) > 1 for found in stages.values()):
            continue
        for (one, ones), (other, others) in combinations(of.items(), 2):
            if both := sorted(ones & others):
                raise UserError(
                    f"{path}: {one} and {other} share the {part} seed {both[0]}; what is chosen on some seeds is "
                    "reported on others, so give seeds that no other stage has."
                )
