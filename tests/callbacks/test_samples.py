"""Samples are shown as they are: cut where they are long, and never as markup."""

import re

import pytest
from tensorboard.plugin_util import markdown_to_safe_html

from finelab.callbacks.samples import SHOWN, Sample, head, page, tail

HOSTILE = [
    "<script>alert(1)</script>",
    "```\n<img src=x onerror=alert(1)>\n```",
    "# A heading\n\n**bold** [link](https://example.org)\n\n- item",
    "one\u2028<b>two</b>\x0b<i>three</i>\r<u>four</u>\x85<s>five</s>",
    "</code></pre><h1>out</h1>",
    "\n\n<b>after empty lines</b>",
    "| a | b |\n|---|---|\n| <b>1</b> | 2 |",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_is_code_wherever_it_stands(text):
    shown = markdown_to_safe_html(page([Sample(text, [text, text], text, text)], "model"))
    outside = re.sub(r"<pre><code>.*?</code></pre>", "", shown, flags=re.S)
    assert re.sub(r"</?(h4|p|strong)>|\s", "", outside) == "1promptreference1reference2basemodel"
    assert shown.count("<pre><code>") == 5


def test_long_texts_are_cut_where_they_matter_least():
    text = "b" + "x" * SHOWN + "e"
    assert head(text) == f"b{'x' * (SHOWN - 1)} [... 2 characters more]"
    assert tail(text) == f"[2 characters before ...] {'x' * (SHOWN - 1)}e"
    assert head("short") == tail("short") == "short"
    kept = Sample(text, [text], None, text).as_json()
    assert kept == {"prompt": tail(text), "references": [head(text)], "base": None, "model": head(text)}


def test_an_empty_answer_is_said_to_be_empty_and_the_base_stands_once():
    shown = page([Sample("why?", ["so"], "old", "")], "model")
    assert shown.endswith("**model**\n\n(empty)") and "**base**\n\n    old" in shown
    assert page([Sample("why?", ["so"], "old", "old")], "base").count("old") == 1
