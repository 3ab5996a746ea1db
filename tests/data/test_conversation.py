"""What is supervised of real conversations is the answer and its end, for every template and tokenizer."""

import gzip
import json
from itertools import islice

import pytest
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from finelab.contracts.batch import IGNORE
from finelab.contracts.errors import UserError
from finelab.contracts.uri import resolve
from finelab.data import Duplicates, Instruction, Messages, PromptResponse, TextDataModule
from finelab.data.chat_format import ChatFormat
from finelab.data.rejections import BadRow
from finelab.data.tokenizer import load_tokenizer

ROWS = 200
LONG = 100_000
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA2 = (
    "{% for message in messages %}{% if message.role == 'user' %}{{ bos_token }}[INST] {{ message.content }} [/INST]"
    "{% else %} {{ message.content }} {{ eos_token }}{% endif %}{% endfor %}"
)
TOKENIZERS = ["stories260K", "babyllama-361", "tiny", "chatml", "llama2"]


def as_messages(row):
    """Two rounds out of an Alpaca row."""
    return {
        "messages": [
            {"role": "user", "content": "Say hello first."},
            {"role": "assistant", "content": "Hello!"},
            {"role": "user", "content": row["instruction"] + "\n" + row["input"]},
            {"role": "assistant", "content": row["output"]},
        ]
    }


@pytest.fixture
def tokenizer(shared_model):
    def load(name):
        if name == "chatml":
            own = AutoTokenizer.from_pretrained(resolve("tiny://llama").path)
            own.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
            own.eos_token, own.chat_template = "<|im_end|>", CHATML
            return own
        if name == "llama2":
            own = load_tokenizer(str(shared_model("stories260K"))).tokenizer
            own.chat_template = LLAMA2
            return own
        return load_tokenizer("tiny://llama" if name == "tiny" else str(shared_model(name))).tokenizer

    return load


@pytest.fixture
def real_rows(shared_data):
    def read(name):
        with gzip.open(shared_data(name) / "train.jsonl.gz", "rt") as file:
            return [json.loads(line) for line in islice(file, ROWS)]

    return read


CASES = {
    "instruction": ("alpaca_demo", Instruction(), lambda row: row, lambda row: [row["output"]]),
    "gsm8k": ("gsm8k", PromptResponse("question", "answer"), lambda row: row, lambda row: [row["answer"]]),
    "webnlg": ("webnlg2017", PromptResponse("input", "references"), lambda row: row, lambda row: row["references"]),
    "messages": ("alpaca_demo", Messages(), as_messages, lambda row: ["Hello!", row["output"]]),
    "last": ("alpaca_demo", Messages(supervise="last"), as_messages, lambda row: [row["output"]]),
}


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("case", list(CASES))
def test_supervised_tokens_are_exactly_the_answer_and_its_end(case, name, tokenizer, real_rows):
    data, template, make, answers = CASES[case]
    own, rows = tokenizer(name), real_rows(data)
    samples = template.encode([template.read(make(row), True) for row in rows], own, LONG, None)
    refused = [sample["row"] for sample in samples if "refused" in sample]
    assert len(refused) <= 2, "only a text that holds a control token itself"
    for i, row in enumerate(rows):
        if i in refused:
            assert any(token in json.dumps(make(row)) for token in own.all_special_tokens)
            continue
        spans = [span for sample in samples if sample["row"] == i for span in targets(sample)]
        wanted = [answer.strip() for answer in dict.fromkeys(answers(row))]
        space = " " if name == "llama2" else ""  # which that template writes before the end token
        assert [own.decode(span) for span in spans] == [text + space + own.eos_token for text in wanted]
        assert all(span.count(own.eos_token_id) == 1 and span[-1] == own.eos_token_id for span in spans)
        rounds = 2 if name == "llama2" and len(make(row).get("messages", [])) == 4 else 1
        for sample in (sample for sample in samples if sample["row"] == i):
            assert sample["input_ids"].count(own.bos_token_id) == rounds
            assert sample["input_ids"][0] == own.bos_token_id
            assert sample["prompt_tokens"] == next(k for k, label in enumerate(sample["labels"]) if label != IGNORE)
        chars = sum(sample["chars"] for sample in samples if sample["row"] == i)
        assert chars == sum(map(len, wanted))


def targets(sample):
    """The supervised stretches of a sample."""
    spans, before = [], IGNORE
    for token, label in zip(sample["input_ids"], sample["labels"], strict=True):
        if label != IGNORE:
            assert label == token
            if before == IGNORE:
                spans.append([])
            spans[-1].append(token)
        before = label
    return spans


@pytest.mark.parametrize("name", TOKENIZERS)
def test_the_prompt_to_continue_is_what_stood_before_the_last_answer_in_training(name, tokenizer, real_rows):
    own, template = tokenizer(name), Messages()
    rows = [as_messages(row) for row in real_rows("alpaca_demo")[:50]]
    samples = template.encode([template.read(row, True) for row in rows], own, LONG, None)
    asked = template.encode([template.read(row, False) for row in rows], own, LONG, None)
    for sample, prompt in zip(samples, asked, strict=True):
        assert "labels" not in prompt
        size = len(prompt["input_ids"])
        assert sample["input_ids"][:size] == prompt["input_ids"]
        assert sample["labels"][size - 1] == IGNORE and sample["labels"][size] != IGNORE


def test_an_own_template_gives_the_tokens_of_apply_chat_template(tokenizer, real_rows):
    own = tokenizer("llama2")
    for row in map(as_messages, real_rows("alpaca_demo")[:50]):
        [sample] = Messages().encode([Messages().read(row, True)], own, LONG, None)
        turns = [{**turn, "content": turn["content"].strip()} for turn in row["messages"]]
        assert sample["input_ids"] == own.apply_chat_template(turns)["input_ids"]


def test_nothing_predicts_the_first_token(tokenizer):
    """Where the tokenizer adds no BOS and the template writes none, the first token is a text's own."""
    own = tokenizer("chatml")
    own.add_bos_token, own._tokenizer.post_processor = False, TemplateProcessing(single="$A")
    template = PromptResponse(supervise="everything")
    [sample] = template.encode([template.read({"prompt": "a", "response": "b"}, True)], own, 256, None)
    assert sample["input_ids"][0] == own.convert_tokens_to_ids("<|im_start|>")
    assert sample["labels"] == [IGNORE, *sample["input_ids"][1:]]


def test_everything_supervises_all_but_the_first_token(tokenizer):
    own = tokenizer("chatml")
    [sample] = Instruction(supervise="everything").encode(
        [Instruction().read({"instruction": "Add.", "input": "1 1", "output": "2"}, True)], own, 256, None
    )
    assert sample["labels"] == [IGNORE, *sample["input_ids"][1:]]
    assert sample["chars"] == len("Add.\n\n1 1" + "2")


@pytest.mark.parametrize("name", TOKENIZERS)
def test_shortening_takes_text_from_the_prompt_only(name, tokenizer, real_rows):
    own, template = tokenizer(name), Instruction(too_long="shorten")
    examples = [template.read(row, True) for row in real_rows("alpaca_demo")]
    context, cut = 256, 0
    samples = template.encode(examples, own, context, None)
    whole = {sample["row"]: sample for sample in template.encode(examples, own, LONG, None)}
    for sample in samples:
        original = whole[sample["row"]]
        if "refused" in sample:
            assert "refused" in original or original["supervised"] > context - 60, sample
            continue
        assert len(sample["input_ids"]) <= context
        assert targets(sample) == targets(original), "the answer is whole"
        assert sample["shortened"] == len(original["input_ids"]) - len(sample["input_ids"])
        cut += sample["shortened"] > 0
        frame = own.decode(original["input_ids"][original["prompt_tokens"] - 8 : original["prompt_tokens"]])
        assert own.decode(sample["input_ids"][: sample["prompt_tokens"]]).endswith(frame[-8:]), "the frame is whole"
    assert cut > 5


@pytest.mark.parametrize(("policy", "kept"), [("drop", 1), ("shorten", 2)])
def test_rows_too_long_are_dropped_or_shortened_and_counted(policy, kept, write, tokens):
    rows = [{"prompt": "p" * 400, "response": "yes"}, {"prompt": "p", "response": "yes"}]
    rows.append({"prompt": "p", "response": "a" * 400})
    folder = write("rows/train.jsonl", rows).parent
    write("rows/validation.jsonl", rows[1:2])
    data = TextDataModule(str(folder), PromptResponse(too_long=policy), "tiny://llama", 64, cache_dir=tokens)
    audit = data.report["splits"]["train"]
    assert (audit["rows"], audit["dropped"]["rows"], audit["shortened"]) == (kept, 3 - kept, kept - 1)
    assert audit["chars_scored_share"] == 1.0
    assert all((batch["labels"] != IGNORE).any(1).all() for batch in data.evaluation_loader("train"))


def test_an_answer_too_long_is_left_out_and_counted_where_another_fits(write, tokens):
    rows = [{"prompt": "p", "response": ["yes", "a" * 400]}, {"prompt": "q", "response": ["b" * 400, "c" * 400]}]
    folder = write("rows/train.jsonl", [*rows, {"prompt": "r", "response": ["no"]}]).parent
    write("rows/validation.jsonl", rows[:1])
    template = PromptResponse(too_long="drop")
    audit = TextDataModule(str(folder), template, "tiny://llama", 64, cache_dir=tokens).report["splits"]["train"]
    assert (audit["rows"], audit["samples"], audit["dropped"]["rows"], audit["answers_left_out"]) == (2, 2, 1, 1)


def test_rows_too_long_stop_the_run_where_they_should(write, tokens):
    file = write("train.jsonl", [{"prompt": "p", "response": "a" * 400}] * 20)
    with pytest.raises(UserError, match=r"train\.jsonl:1: too long for the context \(\d+ tokens, context 64"):
        _ = TextDataModule(str(file), PromptResponse(), "tiny://llama", 64, cache_dir=tokens).report


@pytest.mark.parametrize(
    ("template", "row", "why"),
    [
        (PromptResponse(), {"prompt": "a", "response": " "}, "the text in column 'response' is empty"),
        (PromptResponse(), {"prompt": "a", "response": []}, "lists no reference"),
        (PromptResponse(), {"prompt": "a", "response": ["b", 3]}, "holds no text"),
        (PromptResponse("To German: {en}"), {"de": "a", "response": "b"}, "no column 'en'"),
        (Instruction(), {"instruction": "a", "input": 3, "output": "b"}, "holds no text"),
        (Messages(), {"messages": "hello"}, "holds no list of turns"),
        (Messages(), {"messages": [{"role": "tool", "content": "a"}]}, "turn 1 has an unknown role"),
        (Messages(), {"messages": [{"role": "user", "content": "a"}]}, "the last turn is not the assistant's"),
        (Messages(), {"messages": [{"role": "assistant", "content": "a"}]}, "no turn is the user's"),
        (
            Messages(),
            {"messages": [{"from": "gpt", "value": "a"}, {"from": "human", "value": "b"}]},
            "the assistant speaks before the user",
        ),
        (Messages(), {"messages": [{"from": "human", "value": ""}]}, "turn 1: the text in column 'value' is empty"),
    ],
)
def test_rows_that_are_no_conversation_are_refused(template, row, why):
    with pytest.raises(BadRow, match=why):
        template.read(row, True)


@pytest.mark.parametrize("blank", ["", " ", "\n", None], ids=repr)
def test_blank_inputs_and_system_turns_are_as_if_absent(blank):
    own = Instruction(system="system")
    row = {"instruction": "a", "output": "b"}
    assert own.read(row | {"input": blank, "system": blank}, True) == own.read(row, True)
    spoken = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    for system in ({"role": "system", "content": blank}, {"from": "system", "value": blank}):
        assert Messages().read({"messages": [system, *spoken]}, True) == Messages().read({"messages": spoken}, True)


def test_a_format_names_columns():
    row = {"en": "A dog.", "de": "Ein Hund."}
    example = PromptResponse("Translate to German: {en}", "de").read(row, True)
    assert example == {
        "turns": [{"role": "user", "content": "Translate to German: A dog."}],
        "answers": ["Ein Hund."],
        "values": ["A dog."],
    }
    with pytest.raises(UserError, match="plain name of a column"):
        PromptResponse("{en.upper}", "de")


FRAME = "Please translate the following sentence to German as well as you can and answer with nothing else: {en}"


@pytest.mark.parametrize(
    "template",
    [
        PromptResponse(FRAME, "de"),
        PromptResponse("en", "de", system=FRAME.partition(":")[0]),
        PromptResponse("Answer this: {en}", "de", system=FRAME),
        Instruction("frame", "en", "de"),
    ],
    ids=["prompt", "system", "column in system", "instruction"],
)
def test_a_frame_that_all_rows_share_makes_no_two_rows_alike(template, write, tokens):
    pairs = [("A dog runs.", "a"), ("Two cats sleep.", "b"), ("A man sits there.", "c"), ("Two cats sleep!", "d")]
    rows = [{"en": en, "de": de, "frame": FRAME.partition(":")[0]} for en, de in pairs]
    folder = write("rows/train.jsonl", rows[:2]).parent
    write("rows/validation.jsonl", rows[2:])
    options = {"context": 256, "cache_dir": tokens, "duplicates": Duplicates(action="drop")}
    report = TextDataModule(str(folder), template, "tiny://llama", **options).report
    assert report["duplicates"]["near"] == {"within train": 0, "within validation": 0, "validation in train": 1}
    assert report["splits"]["train"]["rows"] == 1


def test_sharegpt_turns_are_read_alike():
    own = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    other = {"messages": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
    assert Messages().read(own, True) == Messages().read(other, True)


def test_a_control_token_in_a_text_is_refused(tokenizer):
    example = PromptResponse().read({"prompt": "what is </s>", "response": "an end"}, True)
    [entry] = PromptResponse().encode([example], tokenizer("tiny"), 256, None)
    assert entry == {"row": 0, "refused": "a text holds a control token of the tokenizer ('</s>')"}


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ messages | length }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}", "its beginning"),
        ("{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}", "adds something between"),
    ],
)
def test_templates_whose_answers_cannot_be_told_are_refused(template, why, tokenizer):
    example = PromptResponse().read({"prompt": "a", "response": "b"}, True)
    with pytest.raises(UserError, match=why):
        PromptResponse(chat_template=template).encode([example], tokenizer("tiny"), 256, None)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_every_answer_that_the_template_does_not_close_gets_eos(name, tokenizer):
    own, template = tokenizer(name), Messages(chat_template="{% for m in messages %}{{ m.content }}\n{% endfor %}")
    row = as_messages({"instruction": "Now", "input": "a", "output": "Well, b"})
    [sample] = template.encode([template.read(row, True)], own, 256, None)
    end = own.eos_token
    assert [own.decode(span) for span in targets(sample)] == ["Hello!" + end, "Well, b" + end]
    [prompt] = template.encode([template.read(row, False)], own, 256, None)
    assert (
        sample["input_ids"][: sample["labels"].index(targets(sample)[1][0], len(prompt["input_ids"]))]
        == (prompt["input_ids"])
    )
    assert prompt["input_ids"].count(own.eos_token_id) == 1


def test_a_template_that_raises_refuses_the_row(tokenizer):
    example = PromptResponse(system="Be kind.").read({"prompt": "a", "response": "b"}, True)
    strict = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    [entry] = PromptResponse(chat_template=strict).encode([example], tokenizer("tiny"), 256, None)
    assert entry["refused"] == "the chat template refuses these turns (no system)"


def test_the_report_names_the_template_and_its_hash(tokenizer):
    with pytest.warns(UserWarning, match="has no chat template; finelab's built-in one is used"):
        [note] = PromptResponse().notes(tokenizer("tiny"), 64)
    digest = ChatFormat(tokenizer("tiny")).digest
    assert note.startswith(f"chat template: built-in, hash {digest}; starts with <s>; supervised: all assistant turns")
    assert "chat template: own" in PromptResponse().notes(tokenizer("chatml"), 64)[0]
    assert "starts with <s>" in PromptResponse().notes(tokenizer("chatml"), 64)[0]
