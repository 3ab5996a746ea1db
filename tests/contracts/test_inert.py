import csv
import io

import pytest
from markdown_it import MarkdownIt

from finelab.contracts.inert import in_csv, in_markdown, paragraph, printable

WILD = ["\x1b[31mred", "a\u202eb", "\ud800", "\x00", "\u200b", "\x9b2J", "\u2066x\u2069", "a\nb\tc", "\ufeff"]


@pytest.mark.parametrize("text", WILD)
def test_what_cannot_be_seen_is_made_visible(text) -> None:
    shown = printable(text)
    assert shown.isprintable() and "\\" in shown and shown.encode()
    assert printable("Größe 5 µm, 中文") == "Größe 5 µm, 中文"
    assert printable("a\nb\x1b", keep="\n") == "a\nb\\x1b"


@pytest.mark.parametrize(
    "text",
    ["**b** _i_ `c` ~~s~~", "[x](javascript:alert(1))", "![x](http://a.b/c.png)", "<script>alert(1)</script>", "a|b",
     "http://evil.example/x", "www.evil.example", "mail@evil.example", "&lt;b&gt;", "\\*x\\*", "# head", "$x^2$"],
)  # fmt: skip
def test_markdown_shows_the_text_and_nothing_else(text) -> None:
    page = MarkdownIt("gfm-like", {"html": True}) if _linkify() else MarkdownIt("commonmark", {"html": True})
    inline = page.parse(in_markdown(text))[1].children or []
    assert {token.type for token in inline} <= {"text", "text_special"}
    assert "".join(token.content for token in inline) == text


def _linkify() -> bool:
    try:
        import linkify_it  # noqa: F401
    except ImportError:
        return False
    return True


@pytest.mark.parametrize("text", ["- a", "1. a", "+ a", "=====", "---", "2) a"])
def test_a_paragraph_stays_one(text) -> None:
    found = MarkdownIt().parse(f"before\n\n{paragraph(text)}\n")
    assert [token.type for token in found] == ["paragraph_open", "inline", "paragraph_close"] * 2


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-x", "@SUM(A1)", "\t=1", "\r=1", "＝1", '=HYPERLINK("x")'])
def test_a_spreadsheet_runs_nothing(text) -> None:
    file = io.StringIO()
    csv.writer(file).writerow([in_csv(text), in_csv("-0.5"), in_csv("+3e-4"), in_csv(0.5), in_csv("plain")])
    assert next(csv.reader(io.StringIO(file.getvalue())))[0][0] not in "=+-@\t\r＝"
    assert (in_csv("-0.5"), in_csv("+3e-4"), in_csv(0.5), in_csv("plain")) == ("-0.5", "+3e-4", 0.5, "plain")
