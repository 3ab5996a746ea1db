"""What is in a mixture, as a page of plain text."""

from collections.abc import Mapping
from typing import Any


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
    return "\n\n".join(["\n".join(lines), *(f"{name}: {text}" for name, text in parts.items())])
