"""The page is static, escapes everything that comes from rows, and shows what the report holds."""

import html
import json
import re
from html.parser import HTMLParser

import pytest

from finelab.data import Classification, Documents, PromptResponse, TextDataModule
from finelab.data.audit import histogram
from finelab.data.report_page import context_place, length_bars, render_page

EVIL = "<script>alert('x')</script><img src=x onerror=alert(1)> \"quoted\" & more {{ 7 * 7 }}"
VOID = {"meta", "br", "rect", "line"}


class Elements(HTMLParser):
    """Names and attributes of all elements, and whether each was closed."""

    def __init__(self, page):
        super().__init__()
        self.found, self.open = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture
def page(write, rows, tokens):
    evil = [{"text": EVIL, "label": "</title><script>"}, {"text": EVIL, "label": "b"}]
    files = {
        "train": str(write("train.jsonl", [*[row | {"label": "b"} for row in rows(30)], *evil])),
        "test": str(write("test.jsonl", [{"text": EVIL + "!", "label": "b"}, {"text": "x\x07y", "label": "b"}])),
    }
    data = TextDataModule(files, Classification(label_text="none"), "tiny://bert", context=40, cache_dir=tokens)
    return data.report, render_page(data.report)


def test_what_stands_in_rows_is_escaped(page):
    report, text = page
    elements = Elements(text)
    assert elements.open == []
    names = {tag for tag, _ in elements.found}
    assert not names & {"script", "img", "iframe", "object", "link", "form"}
    attributes = {name for _, own in elements.found for name in own}
    assert not any(name.startswith("on") for name in attributes) and not attributes & {"src", "href"}
    assert html.escape("<script>alert(") in text
    assert "{{ 7 * 7 }}" in text
    policy = next(own["content"] for _, own in elements.found if own.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'") and "script" not in policy
    assert report["conflicts"]["texts"] == 1 and "Conflicting labels" in text
    assert "test: control characters in 1 rows" in re.sub(r"\s+", " ", text)
    assert json.loads(json.dumps(report)) == report


def test_every_count_of_repeats_stands_on_the_page(page):
    report, text = page
    flat = re.sub(r"\s+", " ", text)
    for relation, count in report["duplicates"]["exact"].items():
        assert f"<td>{relation}</td><td>{count}</td><td>{report['duplicates']['near'][relation]}</td>" in flat
    assert report["duplicates"]["near"]["test in train"] == 1


def test_bars_of_lengths_are_the_histogram_and_the_context_lies_on_them(page):
    import numpy as np

    lengths = np.arange(1, 401)
    found = histogram(lengths)
    assert sum(found["counts"]) == 400
    width = found["width"]
    for place, count in enumerate(found["counts"][:-1]):
        assert count == ((lengths > place * width) & (lengths <= (place + 1) * width)).sum()
    audit = {"histogram": found}
    assert max(bar.share for bar in length_bars(audit)) == 100
    assert context_place(audit, 10 * width) == 10
    assert context_place(audit, 10_000) is None


def test_a_language_models_page_says_what_is_scored_and_cut(write, tokens):
    file = write("train.jsonl", [{"text": f"{n} " + "abcdefghij" * (1 + n % 7)} for n in range(40)])
    report = TextDataModule(str(file), Documents(), "tiny://llama", context=32, cache_dir=tokens).report
    flat = re.sub(r"\s+", " ", render_page(report))
    audit = report["splits"]["train"]
    assert f"{audit['cut_documents']} of {audit['rows']} documents cut" in flat and audit["cut_documents"] > 0
    assert "characters scored" in flat and "Labels" not in flat


def test_prompts_and_answers_have_lengths_and_odd_answers_are_found(write, tokens):
    pairs = [{"prompt": f"say {n}", "response": f"word {n}"} for n in range(30)]
    pairs += [{"prompt": "Echo", "response": "echo "}, {"prompt": "say 1", "response": "another"}]
    report = TextDataModule(
        str(write("train.jsonl", pairs)), PromptResponse(), "tiny://llama", context=256, cache_dir=tokens
    ).report
    findings = {found["name"]: found for audit in report["splits"].values() for found in audit["suspicious"]}
    assert findings["answer equals prompt"]["where"] == [f"{write('train.jsonl', pairs)}:31"]
    assert report["conflicts"]["texts"] == 1
    assert set(report["conflicts"]["examples"][0]["answers"]) == {"word 1", "another"}
    flat = render_page(report)
    assert "Several answers" in flat and "prompts of" in flat


def test_a_mixture_shows_each_part(page):
    report, _ = page
    both = {"name": "a, b", "parts": {"a <b>": report, "b": report}, "proportions": {}}
    text = render_page(both)
    assert Elements(text).open == []
    assert "<h2>a &lt;b&gt;</h2>" in text and text.count("An example as the model gets it") == 2


def test_somebody_elses_report_is_shown_as_it_is():
    text = render_page({"rows": 3, "note": "<b>"})
    assert Elements(text).open == [] and "&lt;b&gt;" in text
