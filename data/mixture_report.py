"""What is in a mixture, as a page of plain text."""

from collections.abc import Mapping
from typing import Any


def repeated_across(
    trained: Mapping[str, set[bytes]], held_out: Mapping[str, Mapping[str, set[bytes]]]
) -> dict[str, int]:
    """How many held-out texts of one part are training texts of another.

    Args:
        trained: source -> keys of its training texts.
        held_out: part -> split -> keys.

    Returns:
        ``SPLIT of PART in train of SOURCE`` -> distinct texts; pairs without any are left out. What repeats inside one
        source stands in its own report.
    """
    counts = {
        f"{split} of {part} in train of {source}": len(keys & seen)
        for source, seen in trained.items()
        for part, splits in held_out.items()
        for split, keys in splits.items()
        if part != source
    }
    return {relation: count for relation, count in counts.items() if count}


def proportions(sizes: Mapping[str, int], counts: Mapping[str, int]) -> dict[str, dict[str, float]]:
    """What each source gives to an epoch, from its training rows and its quota of the epoch's."""
    epoch = sum(sizes.values())
    return {
        name: {"rows": sizes[name], "rows_an_epoch": count, "share": count / epoch, "passes": count / sizes[name]}
        for name, count in counts.items()
    }


def listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def render_mixture(report: Mapping[str, Any], parts: Mapping[str, str]) -> str:
    """The proportions, then every part's own report.

    Args:
        report: of ``MixtureDataModule``.
        parts: name -> rendered report.
    """
    lines = [f"Data  {report['name']}"]
    if proportions := report["proportions"]:
        width = max(12, *map(len, proportions))
        lines.append(f"  {'source':<{width}}{'rows':>12}{'an epoch':>12}{'share':>10}{'passes':>10}")
        for name, found in proportions.items():
            lines.append(
                f"  {name:<{width}}{found['rows']:>12,}{found['rows_an_epoch']:>12,}{found['share']:>10.1%}"
                f"{found['passes']:>10.2f}"
            )
    if unused := listed({name: count for name, count in report["unused"].items() if count}):
        lines.append(f"  rows of evaluation sets that are neither trained on nor scored  {unused}")
    found = listed(report["repeated_across"]) or "none"
    lines.append(f"  repeats across sources (equal texts)  {found}")
    return "\n\n".join(["\n".join(lines), *(f"{name}: {text}" for name, text in parts.items())])
