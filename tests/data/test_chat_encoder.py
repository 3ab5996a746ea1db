"""Tokens of conversations are those of whole beginnings of the text, in time that grows with the text alone."""

import time

import pytest
from transformers import AutoTokenizer

from finelab.contracts.errors import UserError
from finelab.contracts.uri import resolve
from finelab.data import Messages, PromptResponse, TextDataModule
from finelab.data.chat_encoder import Encoder, shortened
from finelab.data.chat_format import ChatFormat, TooLong
from finelab.data.tokenizer import load_tokenizer

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WORDS = ["What", "", "is\n\nthe", "", "", "red", "house", "", "by", "3", "rivers,", "étéé", "日本", "\t", "and", "why?"]


def load(name, shared_model):
    if name.startswith("tiny"):
        return AutoTokenizer.from_pretrained(resolve("tiny://llama").path)
    return load_tokenizer(str(shared_model(name.partition(" ")[0]))).tokenizer


def conversation(rounds, words=9):
    said = [" ".join(WORDS[(number * 5 + k * 3) % len(WORDS)] for k in range(words)) for number in range(2 * rounds)]
    roles = ("user", "assistant")
    return [{"role": roles[number % 2], "content": f"{text} {number}".strip()} for number, text in enumerate(said)]


def from_the_start(chat, pieces):
    """The definition: each piece with all before it, tokenized anew; by itself where that changes what came before."""
    ids, text = [], ""
    for piece in pieces:
        text += piece.text
        longer, alone = (chat.tokenizer(part, add_special_tokens=False)["input_ids"] for part in (text, piece.text))
        ids = longer if longer[: len(ids)] == ids else [*ids, *alone]
    return ids


@pytest.mark.parametrize("template", [None, CHATML], ids=["built-in", "chatml"])
@pytest.mark.parametrize("name", ["tiny", "stories260K", "babyllama-361", "babyllama-361 added"])
def test_tokens_are_those_of_whole_beginnings(name, template, shared_model):
    own = load(name, shared_model)
    if name.endswith("added"):
        own.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    chat = ChatFormat(own, template)
    for rounds in range(1, 8):
        for words in (1, 3, 9):
            turns = conversation(rounds, words)
            ids = Encoder(chat, "assistant").encode(turns).ids
            expected = from_the_start(chat, chat.answered(turns, "assistant"))
            assert ids[len(ids) - len(expected) :] == expected


def test_shortening_takes_no_more_than_it_must_and_few_encodings(shared_model):
    encoder = Encoder(ChatFormat(load("babyllama-361", shared_model)), "assistant")
    calls, encode = [], encoder.encode
    encoder.encode = lambda turns: calls.append(1) or encode(turns)
    turns = conversation(10, 30)
    whole = encode(turns)
    for limit in range(len(whole.ids) - 1, whole.targets + 300, -37):
        calls.clear()
        tokens = shortened(encoder, turns, whole, limit)
        assert limit - 3 <= len(tokens.ids) <= limit
        assert tokens.targets == whole.targets
        assert len(calls) <= 4
    with pytest.raises(TooLong, match="even without its prompt"):
        shortened(encoder, turns, whole, whole.targets)


def test_time_grows_with_the_text(shared_model):
    encoder = Encoder(ChatFormat(load("babyllama-361", shared_model)), "assistant")
    took = {}
    for rounds in (10, 80):
        turns = conversation(rounds, 60)
        encoder.encode(turns)
        start = time.process_time()
        encoder.encode(turns)
        took[rounds] = time.process_time() - start
    assert took[80] < 30 * took[10], "64 times where each answer is a pass over all before it"


@pytest.mark.parametrize("too_long", ["error", "drop", "shorten"])
def test_a_control_token_is_a_matter_of_on_bad_row(too_long, write, tokens):
    rows = [{"prompt": "p", "response": "yes"}, {"prompt": "a </s>", "response": "no"}]
    folder = write("rows/train.jsonl", rows).parent
    write("rows/validation.jsonl", rows[:1])
    options = {"context": 64, "cache_dir": tokens}
    template = PromptResponse(too_long=too_long)
    with pytest.raises(UserError, match=r"train\.jsonl:2: a text holds a control token.*on_bad_row: skip"):
        _ = TextDataModule(str(folder), template, "tiny://llama", **options).report
    report = TextDataModule(str(folder), template, "tiny://llama", on_bad_row="skip", **options).report
    assert report["splits"]["train"]["dropped"]["reasons"] == {"a text holds a control token of the tokenizer": 1}


def test_the_date_of_a_template_is_always_the_same_and_said():
    own = load("tiny", None)
    dated = "{{ strftime_now('%d %b %Y') }}\n{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"
    template = Messages(chat_template=dated)
    [sample] = template.encode([template.read({"messages": conversation(1)}, True)], own, 256, None)
    assert own.decode(sample["input_ids"]).startswith("<s>26 Jul 2024\nWhat")
    assert "its date is always 2024-07-26" in template.notes(own, 256)[0]
    assert "date" not in Messages(chat_template=CHATML).notes(own, 256)[0]


@pytest.mark.parametrize(
    ("template", "why"),
    [("{{ 1 + 'a' }}", "init_args.chat_template fails .TypeError"), ("a\n{% for %}", r"is not valid Jinja \(line 2")],
)
def test_a_template_that_fails_is_named_once_and_before_any_row(template, why):
    with pytest.raises(UserError, match=why):
        ChatFormat(load("tiny", None), template)


def test_a_template_may_be_a_file(tmp_path):
    file = tmp_path / "own.jinja"
    file.write_text(CHATML)
    assert Messages(chat_template=str(file)).chat_template == CHATML
    with pytest.raises(UserError, match="missing.jinja is not there"):
        Messages(chat_template=str(tmp_path / "missing.jinja"))
    with pytest.raises(UserError, match="neither Jinja"):
        Messages(chat_template="chatml")
