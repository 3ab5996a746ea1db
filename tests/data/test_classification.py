import pytest

from finelab.contracts.errors import UserError
from finelab.data.classification import UNLABELLED, Classification
from finelab.data.tokenizer import load_tokenizer


@pytest.fixture(scope="module")
def bert():
    return load_tokenizer("tiny://bert").tokenizer


def names_of(*rows, **settings):
    template = Classification(**settings)
    return template.label_names([template.read({"text": "a", **row}, labelled=True) for row in rows])


def test_classes_are_known_by_name_in_the_order_of_their_numbers():
    assert names_of({"label": 1, "label_text": "bad"}, {"label": 0, "label_text": "good"}) == ["good", "bad"]
    assert names_of({"label": 10}, {"label": 9}, {"label": 10}) == ["9", "10"]
    assert names_of({"label": "10"}, {"label": "9"}) == ["9", "10"]
    assert names_of({"label": "b"}, {"label": "a"}, {"label": "b"}) == ["a", "b"]
    assert names_of({"label": "b"}, {"label": 3}) == ["3", "b"]
    assert names_of({"label": 1}, names=["x", "y", "z"]) == ["x", "y", "z"]


def test_a_class_has_one_number_and_one_name():
    with pytest.raises(UserError, match=r"label 0 stands beside \['a', 'b'\]"):
        names_of({"label": 0, "label_text": "a"}, {"label": 0, "label_text": "b"})
    with pytest.raises(UserError, match=r"name 'a' stands beside \[0, 1\]"):
        names_of({"label": 0, "label_text": "a"}, {"label": 1, "label_text": "a"})
    with pytest.raises(UserError, match="lists 'x' more than once"):
        Classification(names=["x", "x"])


def test_names_take_numbers_and_names():
    template = Classification(names=["no", "yes"])
    read = [template.read({"text": "a", "label": label}, labelled=True)["name"] for label in (1, "1", "yes", "no")]
    assert read == ["yes", "yes", "yes", "no"]


def test_a_label_unknown_to_train_names_both_lists():
    template = Classification()
    rows = [template.read({"text": "a", "label": label}, labelled=True) for label in ("x", "z")]
    assert template.refusals(rows, ["x", "y"]) == [
        None,
        "unknown label 'z' (training labels: x, y; this split's: x, z)",
    ]


def test_tokens_are_those_of_the_tokenizer_and_the_cut_is_known(bert):
    template = Classification()
    rows = [template.read({"text": text, "label": 1}, labelled=True) for text in ("short", "much longer than that")]
    samples = template.encode(rows, bert, 12, ["0", "1"])
    assert samples[0]["input_ids"] == bert("short")["input_ids"]
    assert samples[1]["input_ids"] == bert("much longer than that", truncation=True, max_length=12)["input_ids"]
    assert [sample["full_tokens"] for sample in samples] == [7, 23]
    assert [sample["labels"] for sample in samples] == [1, 1]
    assert "token_type_ids" not in samples[0]


def test_pairs_carry_segments_where_the_tokenizer_marks_them():
    bert = load_tokenizer("tiny://bert").tokenizer
    bert.model_input_names = [*bert.model_input_names, "token_type_ids"]
    template = Classification(text_pair="text_pair")
    row = template.read({"text": "ab", "text_pair": "cde", "label": 0}, labelled=True)
    [sample] = template.encode([row], bert, 16, ["0", "1"])
    expected = bert("ab", "cde")
    assert sample["input_ids"] == expected["input_ids"]
    assert sample["token_type_ids"] == expected["token_type_ids"] == [0] * 4 + [1] * 4
    [sample] = template.encode([row], load_tokenizer("tiny://llama").tokenizer, 16, ["0", "1"])
    assert "token_type_ids" not in sample


def test_rows_to_predict_need_no_label(bert):
    template = Classification()
    [sample] = template.encode([template.read({"text": "ab"}, labelled=False)], bert, 16, ["0", "1"])
    assert sample["labels"] == UNLABELLED


def test_the_example_marks_its_label(bert):
    template = Classification(names=["no", "yes"])
    [sample] = template.encode([template.read({"text": "ab", "label": 1}, labelled=True)], bert, 16, ["no", "yes"])
    assert template.show(sample, bert, ["no", "yes"]).endswith("=> «yes»")
