"""The docstrings of the running Python's standard library, sorted by area and split by file."""

import hashlib
import sysconfig
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar

from ..duplicates import text_key
from ..rejections import Reject, Row
from ..sources import Source
from .areas import AREA_OF, AREAS, area_of
from .docstrings import Docstring, module_files, names_pattern, read_docstrings
from .overlap import near_pairs

FRACTIONS = {"test": 0.1, "validation": 0.1}
FEWEST_WORDS = 5
NEAR = 0.8
"""Jaccard similarity of word 5-grams from which two docstrings are near duplicates."""

Splits = dict[str, list[Docstring]]


class HasText(Protocol):
    @property
    def text(self) -> str: ...


Doc = TypeVar("Doc", bound=HasText)


class StdlibSource(Source):
    """Docstrings with the area of the library as their label.

    Files, not docstrings, are assigned to splits, so that siblings do not leak; the assignment is by a hash of the
    module's name, the same for every seed, so that replicates share one test set. A docstring of fewer than
    ``FEWEST_WORDS`` words is dropped. Of equal docstrings one stays, and of near duplicates across splits the held-out
    one; test goes before validation, and validation before train.
    """

    @property
    def name(self) -> str:
        return f"standard library of Python {sysconfig.get_python_version()}"

    def splits(self) -> list[str]:
        return ["train", "validation", "test"]

    @cached_property
    def files(self) -> dict[str, Path]:
        """Dotted name -> file, of the modules in the table."""
        return module_files(Path(sysconfig.get_paths()["stdlib"]), AREA_OF)

    def digest(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for module, file in self.files.items():
            digest.update(module.encode() + file.read_bytes())
        return digest.hexdigest()

    def read(self, split: str, reject: Reject) -> Iterator[Row]:
        for doc in self._documents[0][split]:
            yield Row(doc.where, {"text": doc.text, "label": area_of(doc.module), "id": doc.where})

    def details(self) -> dict[str, str]:
        splits, dropped = self._documents
        reasons = ", ".join(f"{why} {count:,}" for why, count in dropped.items())
        leak = measure_leak(splits)
        return {
            "left out": f"{reasons}; whole modules outside the table: {len(self._unlisted())}",
            "name leak": f"{leak['named']:.1%} of the test rows name a module of their own area; a rule that looks "
            f"names up gets {leak['rule']:.1%} of them right, the majority class {leak['majority']:.1%}",
        }

    @cached_property
    def _documents(self) -> tuple[Splits, Counter[str]]:
        dropped: Counter[str] = Counter()
        by_module = {module: list(read_docstrings(module, file)) for module, file in self.files.items()}
        for module, docs in by_module.items():
            by_module[module] = [doc for doc in docs if len(doc.text.split()) >= FEWEST_WORDS]
            dropped[f"under {FEWEST_WORDS} words"] += len(docs) - len(by_module[module])
        assigned = assign_files({module: len(docs) for module, docs in by_module.items()})
        splits: Splits = {split: [] for split in ("test", "validation", "train")}
        for module, docs in by_module.items():
            splits[assigned[module]] += docs
        before = sum(map(len, splits.values()))
        keep_once(splits)
        dropped["exact duplicates"] = before - sum(map(len, splits.values()))
        drop_near_duplicates(splits)
        dropped["near duplicates"] = before - sum(map(len, splits.values())) - dropped["exact duplicates"]
        return splits, dropped

    def _unlisted(self) -> list[str]:
        root = Path(sysconfig.get_paths()["stdlib"])
        names = {path.stem for path in root.glob("*.py")} | {path.parent.name for path in root.glob("*/__init__.py")}
        return sorted(names - AREA_OF.keys() - {"test", "tests", "site-packages"})


def assign_files(sizes: dict[str, int]) -> dict[str, str]:
    """A split for each module, stratified by area.

    In each area the modules are taken in the order of a hash of their names. Each goes to the held-out split that lacks
    most of its share and has room for it, else to train; an area of three or more modules with docstrings is in each
    split.

    Args:
        sizes: module -> number of docstrings.
    """
    areas: defaultdict[str | None, list[str]] = defaultdict(list)
    for module in sorted(sizes, key=lambda name: hashlib.blake2b(name.encode(), digest_size=8).digest()):
        areas[area_of(module)].append(module)
    assigned = dict.fromkeys(sizes, "train")
    for modules in areas.values():
        total = sum(sizes[module] for module in modules)
        lacking = {split: share * total for split, share in FRACTIONS.items()}
        for module in modules:
            split = max(lacking, key=lambda name: lacking[name])
            if 0 < sizes[module] <= lacking[split] * 1.25:
                assigned[module] = split
                lacking[split] -= sizes[module]
        for split in FRACTIONS:
            in_train = [module for module in modules if assigned[module] == "train" and sizes[module]]
            if not any(assigned[module] == split for module in modules) and len(in_train) > 1:
                assigned[min(in_train, key=lambda module: sizes[module])] = split
    return assigned


def keep_once(splits: dict[str, list[Doc]]) -> None:
    """Of equal texts the first stays; test goes before validation, and validation before train."""
    seen: set[bytes] = set()
    for split, docs in splits.items():
        kept = []
        for doc in docs:
            if (key := text_key(" ".join(doc.text.split()))) not in seen:
                seen.add(key)
                kept.append(doc)
        splits[split] = kept


def drop_near_duplicates(splits: dict[str, list[Doc]]) -> None:
    """Of nearly equal texts of two splits the held-out one stays."""
    for lower, higher in (("validation", ("test",)), ("train", ("test", "validation"))):
        held_out = [doc.text for split in higher for doc in splits[split]]
        near = {other for _, other in near_pairs(held_out, [doc.text for doc in splits[lower]], NEAR)}
        splits[lower] = [doc for position, doc in enumerate(splits[lower]) if position not in near]


def measure_leak(splits: Splits) -> dict[str, float]:
    """How far module names alone still give the area away, on the test rows.

    Returns:
        ``named`` (share that names a module of its own area), ``rule`` (accuracy of: the area with most names in the
        text, else the training majority) and ``majority`` (accuracy of the training majority).
    """
    majority = Counter(area_of(doc.module) for doc in splits["train"]).most_common(1)[0][0]
    patterns = {area: names_pattern(modules.split()) for area, modules in AREAS.items()}
    named = rule = plain = 0
    for doc in splits["test"]:
        area = area_of(doc.module)
        hits = {other: len(pattern.findall(doc.text)) for other, pattern in patterns.items()}
        best = max(hits, key=lambda other: hits[other])
        named += hits[str(area)] > 0
        rule += (best if hits[best] else majority) == area
        plain += area == majority
    rows = len(splits["test"])
    return {"named": named / rows, "rule": rule / rows, "majority": plain / rows}
