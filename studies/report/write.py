"""From an analysis to the folder ``report``."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from ...contracts.files import whole_folder
from ..analysis.analysis import Analysis
from .cleaned import cleaned
from .figures import Figures
from .hparams import write_hparams
from .main_table import main_table
from .markdown import as_markdown
from .page import as_page
from .pdf import as_pdf
from .results_csv import as_csv
from .svg import as_svg
from .tex import as_tex

REPORT = "report"
PAGE = "report.html"


def write_report(analysis: Analysis, folder: Path) -> Path:
    """Write the page, the tables, the figures and the numbers; the old report stays until all of it is there.

    Args:
        analysis: what may be said.
        folder: of the study; ``report/`` is made in it.

    Returns:
        The page.
    """
    shown = cleaned(analysis)
    table, figures = main_table(shown), Figures.of(shown)
    with whole_folder(folder / REPORT) as scratch:
        texts = {
            PAGE: as_page(shown, table, figures),
            "table.tex": as_tex(shown, table),
            "table.md": as_markdown(shown, table),
            "results.csv": as_csv(shown),
            "analysis.json": as_json(shown),
        }
        for name, text in texts.items():
            (scratch / name).write_text(text, encoding="utf-8", newline="\n")
        (scratch / "figures").mkdir()
        for drawing in figures.all():
            file = scratch / "figures" / drawing.name
            file.with_suffix(".svg").write_text(as_svg(drawing, alone=True), encoding="utf-8", newline="\n")
            file.with_suffix(".pdf").write_bytes(as_pdf(drawing))
        write_hparams(shown, scratch / "hparams")
    return folder / REPORT / PAGE


def as_json(analysis: Analysis) -> str:
    """All of it; numbers that JSON cannot say are null."""
    return json.dumps(_finite(dataclasses.asdict(analysis)), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _finite(content: Any) -> Any:
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, dict):
        return {str(key): _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(item) for item in content]
    return content if isinstance(content, str | int | None) else str(content)
