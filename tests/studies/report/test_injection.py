"""Hostile text in every place of an analysis: nothing is run, nothing leaks into markup, nothing is a formula."""

import csv
import dataclasses
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from finelab.studies.report.cleaned import cleaned
from finelab.studies.report.figures import Figures
from finelab.studies.report.main_table import main_table
from finelab.studies.report.pdf import as_pdf
from finelab.studies.report.svg import as_svg
from finelab.studies.report.tex import in_tex
from finelab.studies.report.write import write_report

from ..made_up_analysis import an_analysis
from .hostile import HOSTILE

ALLOWED = {
    *("html", "head", "meta", "title", "style", "body", "header", "section", "p", "h1", "h2", "h3", "b", "ul", "li"),
    *("div", "table", "thead", "tbody", "tr", "th", "td", "figure", "figcaption", "svg", "path", "circle", "text"),
    *("details", "summary", "sub", "span", "code", "pre"),
}
ATTRIBUTES = {
    *("lang", "charset", "http-equiv", "content", "name", "class", "aria-label", "aria-hidden", "tabindex", "role"),
    *("scope", "viewbox", "d", "cx", "cy", "r", "x", "y", "style", "stroke-width", "fill-opacity"),
}
FORMULA = tuple("=+-@\t\r＝")


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: dict[str, set[str]] = {}
        self.counts: dict[str, int] = {}
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.counts[tag] = self.counts.get(tag, 0) + 1
        for name, value in attrs:
            self.attributes.setdefault(name, set()).add(value or "")

    def handle_data(self, data):
        self.texts.append(data)

    def handle_comment(self, data):
        raise AssertionError("a comment leaked")


def hostile_analysis():
    """Each text is an arm once, and every other field holds some of them."""
    names = list(dict.fromkeys(HOSTILE))
    analysis = an_analysis(arms=len(names), replicates=2, names=names)
    every = iter(HOSTILE * 100)

    def poisoned(content):
        if isinstance(content, str):
            return next(every)
        if isinstance(content, list):
            return [poisoned(item) for item in content]
        if isinstance(content, dict):
            return {f"{next(every)} {key}": poisoned(value) for key, value in content.items()}
        return content

    arms = [dataclasses.replace(arm, levels={"method": arm.name, "other": next(every)}, missing=poisoned(arm.missing),
                                verdicts=poisoned(arm.verdicts), setting={next(every): next(every)})
            for arm in analysis.arms]  # fmt: skip
    contrasts = [dataclasses.replace(c, sentence=next(every), unpaired={next(every): next(every)})
                 for c in analysis.contrasts]  # fmt: skip
    return dataclasses.replace(
        analysis, arms=arms, contrasts=contrasts, study=next(every), question=" ".join(HOSTILE), command=next(every),
        scores=[dataclasses.replace(s, title=f"{s.title} {next(every)}") for s in analysis.scores],
        unfinished=[dataclasses.replace(analysis.unfinished[0], message=text, reason=text, log=text, replicate=text,
                                        arm=text, state=text) for text in HOSTILE],
        samples=[dataclasses.replace(analysis.samples[0], arm=text, title=text, parts={text: text, "same": text})
                 for text in HOSTILE],
        verdict=HOSTILE, caveats=HOSTILE, power=HOSTILE, provenance={text: text for text in HOSTILE},
        **{key: poisoned(getattr(analysis, key)) for key in ("correction", "match", "budget")},
    )  # fmt: skip


@pytest.fixture(scope="module")
def analysis():
    return hostile_analysis()


@pytest.fixture(scope="module")
def folder(analysis, tmp_path_factory):
    root = tmp_path_factory.mktemp("hostile")
    with pytest.MonkeyPatch.context() as patch:  # PDF files have a test of their own
        patch.setattr("finelab.studies.report.write.as_pdf", lambda drawing: b"")
        return write_report(analysis, root).parent


def test_there_are_enough_of_them() -> None:
    assert len(set(HOSTILE)) >= 100


def test_the_page_holds_text_only(folder) -> None:
    page = Page((folder / "report.html").read_text())
    assert page.tags <= ALLOWED and page.attributes.keys() <= ATTRIBUTES
    once = {"html", "head", "style", "body", "header", "h1"}
    assert {name for name in once if page.counts[name] == 1} == once
    assert page.counts["meta"] == 4 and page.counts["pre"] == 2 * 40 + 1
    assert page.attributes["style"] <= {f"font-size:{size}px" for size in ("10", "10.5", "11")}
    assert page.attributes["http-equiv"] == {"Content-Security-Policy"}
    shown = "".join(page.texts)
    assert "<script>alert(1)</script>" in shown and "{{ 7 * 7 }}" in shown and "\\u202egnp.exe" in shown


def test_a_second_parser_sees_the_same(folder) -> None:
    html = pytest.importorskip("lxml.html")
    tree = html.fromstring((folder / "report.html").read_text())
    assert {node.tag.lower() for node in tree.iter() if isinstance(node.tag, str)} <= ALLOWED
    assert not [name for node in tree.iter() for name in node.attrib if name.startswith("on") or "href" in name]


def test_nothing_is_left_that_cannot_be_seen(folder) -> None:
    for file in (folder / "report.html", folder / "table.md", folder / "table.tex", folder / "results.csv",
                 folder / "analysis.json", *(folder / "figures").glob("*.svg")):  # fmt: skip
        text = file.read_bytes().decode()
        assert {char for char in text if not char.isprintable()} <= {"\n", "\t"}, file.name


def test_figures_hold_shapes_and_text_only(folder) -> None:
    from xml.etree import ElementTree

    files = sorted((folder / "figures").glob("*.svg"))
    assert len(files) >= 6
    for file in files:
        tags = {node.tag.rpartition("}")[2] for node in ElementTree.parse(file).iter()}
        names = {name for node in ElementTree.parse(file).iter() for name in node.attrib}
        assert tags <= {"svg", "style", "rect", "path", "circle", "text", "title"}, file.name
        assert not [name for name in names if name.startswith("on") or "href" in name], file.name


def test_a_page_of_them_is_not_large(folder) -> None:
    assert (folder / "report.html").stat().st_size < 2_000_000


def test_the_sheet_is_inert(folder) -> None:
    with (folder / "results.csv").open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert len(cells) > 1000
    wild = [c for c in cells if c.startswith(FORMULA) and not re.fullmatch(r"-?\d+(\.\d+)?(e[+-]?\d+)?", c)]
    assert wild == []


def test_markdown_shows_text_only(folder, analysis) -> None:
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse((folder / "table.md").read_text())
    found = {token.type.removesuffix("_open").removesuffix("_close") for token in tokens}
    assert found <= {"heading", "paragraph", "inline", "table", "thead", "tbody", "tr", "th", "td", "fence",
                     "bullet_list", "list_item"}  # fmt: skip
    inside = {child.type for token in tokens for child in token.children or []}
    assert inside <= {"text", "text_special", "strong_open", "strong_close", "softbreak"}
    assert sum(token.type == "tr_open" for token in tokens) == 1 + len(analysis.arms)
    assert sum(token.type == "heading_open" for token in tokens) == 4


def test_json_reads_back(folder) -> None:
    assert len(json.loads((folder / "analysis.json").read_text())["unfinished"]) == len(HOSTILE)


@pytest.mark.parametrize("text", ["\\input{x}", "\\write18{id}", "^^5cinput{x}", "a\\", "$x$", "%", "{", "}"])
def test_no_order_to_tex_survives(text) -> None:
    shown = in_tex(text)
    assert shown.isascii()
    orders = set(re.findall(r"\\([A-Za-z]+)", shown))
    assert orders <= {"textbackslash", "textasciicircum", "textasciitilde"}
    assert not re.search(r"(?<!\\)[$%&#_^~]", shown)


def test_signs_of_tex() -> None:
    assert in_tex("0.81 ± 0.01 ↑ – −2 µ é") == r"0.81 $\pm$ 0.01 $\uparrow$ -- $-$2 $\mu$ \'{e}"
    assert in_tex("中文 x") == "{[}U+4E2D U+6587{]} x"


def test_latex_compiles(folder, tmp_path) -> None:
    if shutil.which("pdflatex") is None:
        pytest.skip("needs pdflatex, which is not installed")
    table = (folder / "table.tex").read_text().replace(r"\begin{table}", r"\begin{table}\tiny")
    head = r"\documentclass{article}\usepackage[paperwidth=60in,paperheight=200in,margin=1in]{geometry}"
    (tmp_path / "x.tex").write_text(f"{head}\\usepackage{{booktabs}}\\begin{{document}}\n{table}\\end{{document}}\n")
    command = ["pdflatex", "-no-shell-escape", "-halt-on-error", "-interaction=nonstopmode", "x.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "x.pdf").stat().st_size > 10_000


def test_a_figure_as_pdf_bears_them() -> None:
    wild = ["$x^2$", "$\\frac{1}{0", "a\ud800b", "\x1b[31m", "中文", "<script>", "$"]
    drawing = Figures.of(cleaned(an_analysis(arms=len(wild), names=wild))).forest
    assert drawing is not None
    assert as_pdf(drawing).startswith(b"%PDF") and "<script" not in as_svg(drawing, alone=True)


def test_long_names_are_shortened_where_there_is_no_room() -> None:
    names = ["a" * 10_000, "b" * 10_000]
    shown = cleaned(an_analysis(arms=2, names=names))
    assert max(map(len, re.findall(r">([^<]*)</text>", as_svg(Figures.of(shown).all()[0])))) < 200
    assert len(main_table(shown).rows) == 2
