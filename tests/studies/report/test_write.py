"""The whole folder, from an analysis that nobody computed."""

import csv
import json
import re
from html.parser import HTMLParser

import pytest

from finelab.studies.report.figures import Figures
from finelab.studies.report.pdf import as_pdf
from finelab.studies.report.write import write_report

from ..made_up_analysis import an_analysis

FILES = {"report.html", "table.tex", "table.md", "results.csv", "analysis.json", "figures", "hparams"}

HEADS = [
    "Table", "Differences", "Every seed", "Score against its price", "Tuning", "Over a factor",
    "Transfer between domains", "Learning curves", "Failed and missing", "Samples", "Provenance",
]  # fmt: skip


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return write_report(an_analysis(), tmp_path_factory.mktemp("study"))


def test_the_folder_is_whole(report) -> None:
    assert {path.name for path in report.parent.iterdir()} == FILES
    figures = {path.name for path in (report.parent / "figures").iterdir()}
    stems = {"forest", "seeds", "pareto", "tuning", "courses", "curve-1", "transfer-1", "tasks"}
    assert figures == {f"{stem}.{kind}" for stem in stems for kind in ("svg", "pdf")}
    assert not list(report.parent.parent.glob(".*"))


def test_the_page_answers_in_the_order_of_the_issue(report) -> None:
    text = report.read_text()
    heads = re.findall(r"<h2>(.*?)</h2>", text)
    assert heads == HEADS
    assert text.index("<h1>Which arm is best?</h1>") < text.index("arm 3 is better than arm 0") < text.index("<table>")
    assert text.rindex("finelab study run study.yaml") > text.index("<h2>Provenance</h2>")


def test_every_figure_is_told_in_words(report) -> None:
    figures = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag == "svg":
                figures.append(dict(attrs))

    Reader().feed(report.read_text())
    assert len(figures) == 8
    assert all(own["role"] == "img" and len(own["aria-label"]) > 20 for own in figures)


def test_the_numbers_are_beside_the_page(report) -> None:
    with (report.parent / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    analysis = an_analysis()
    assert len(rows) == sum(arm.done for arm in analysis.arms) + len(analysis.unfinished)
    point = analysis.arms[2].points["test/accuracy"][3]
    assert [float(row["test/accuracy"]) for row in rows if row["cell"] == point.cell] == [point.value]
    assert rows[-1]["state"] == "failed" and rows[-1]["message"] == "The loss became NaN."
    again = json.loads((report.parent / "analysis.json").read_text())
    assert again["arms"][2]["points"]["test/accuracy"][3]["value"] == point.value


def test_equal_analyses_give_equal_reports(report, tmp_path, monkeypatch) -> None:
    transfer = Figures.of(an_analysis()).matrices[0]
    assert as_pdf(transfer) == (report.parent / "figures" / "transfer-1.pdf").read_bytes()
    monkeypatch.setattr("finelab.studies.report.write.as_pdf", lambda drawing: b"")
    second = write_report(an_analysis(), tmp_path).parent
    names = [p.relative_to(second) for p in second.rglob("*") if p.is_file() and "hparams" not in p.parts]
    names = [name for name in names if name.suffix != ".pdf"]
    assert len(names) == 5 + 8
    assert [n for n in names if (second / n).read_bytes() != (report.parent / n).read_bytes()] == []
