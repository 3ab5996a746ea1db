"""Texts that the arms wrote, side by side, in an order that does not tell them apart."""

from collections.abc import Iterator
from typing import Any

from ...contracts.seeds import derive
from ..results import CellResult
from .analysis import Sample
from .material import Material, label

MOST_QUESTIONS = 3


def samples(material: Material) -> list[Sample]:
    """One answer an arm to each of the first questions, of the first replicate that all arms have.

    The arms of a question are shuffled by its own text, so that a reader who compares answers does not know from the
    place whose each is.
    """
    shared = [set(material.at(arm.name)) for arm in material.arms if material.of(arm.name)]
    places = sorted(set.intersection(*shared), key=str) if shared else []
    for place in places:
        cells = {arm.name: found[place] for arm in material.arms if place in (found := material.at(arm.name))}
        written = {name: list(_written(result)) for name, result in cells.items()}
        if any(written.values()):
            return _sorted(cells, written)
    return []


def _sorted(cells: dict[str, CellResult], written: dict[str, list[dict[str, Any]]]) -> list[Sample]:
    prompts = list(dict.fromkeys(str(text["prompt"]) for texts in written.values() for text in texts))
    found = []
    for number, prompt in enumerate(prompts[:MOST_QUESTIONS], 1):
        own = {name: text for name, texts in written.items() for text in texts if str(text["prompt"]) == prompt}
        for name in sorted(own, key=lambda name: derive("samples", prompt, name)):
            parts = {"prompt": prompt}
            references = own[name].get("references") or []
            parts |= {"reference" if len(references) == 1 else f"reference {i}": str(text)
                      for i, text in enumerate(references, 1)}  # fmt: skip
            parts["written"] = str(own[name]["model"])
            found.append(Sample(name, label(cells[name].cell.seeds), f"question {number}", parts))
    return found


def _written(result: CellResult) -> Iterator[dict[str, Any]]:
    """What any measure of the run kept as text."""
    for finding in result.record.findings.values():
        kept = finding.get("samples") if isinstance(finding, dict) else None
        for text in kept if isinstance(kept, list) else ():
            if isinstance(text, dict) and {"prompt", "model"} <= text.keys():
                yield text
