"""What stands in the data more than once: known duplicates of real sets, and planted near ones."""

import gzip
import json
import random
import re
from collections import Counter

import pytest

from finelab.contracts.errors import UserError
from finelab.data import Classification, Duplicates, TextDataModule
from finelab.data.duplicates import find_duplicates, text_key

EXACT = Duplicates(threshold=None)
TEXTS = {
    "agnews": ("title", "text"),
    "rte": ("text", "text_pair"),
    "mrpc": ("text", "text_pair"),
    "gsm8k": ("question",),
    "pubmedqa": ("question", "context"),
    "medquad": ("question", "answer"),
    "webnlg2017": ("input",),
    "multi30k_en_de": ("en",),
}
"""The columns that make the input of a row, where it is not ``text`` alone."""
KNOWN = {
    "csabstruct": 164,
    "trec": 11,
    "webnlg2017": 10,
    "banking77": 6,
    "chemprot": 4,
    "sst2": 2,
    "clinc150": 2,
    "agnews": 0,
    "rte": 0,
    "mrpc": 0,
    "gsm8k": 0,
    "pubmedqa": 0,
    "medquad": 0,
    "financial_phrasebank": 0,
}


def rows_of(folder, split):
    with gzip.open(folder / f"{split}.jsonl.gz", "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def texts_of(folder, split):
    columns = TEXTS.get(folder.name, ("text",))
    return [
        (f"{split}:{number}", tuple(row[name] for name in columns))
        for number, row in enumerate(rows_of(folder, split), 1)
    ]


@pytest.mark.parametrize("name", KNOWN)
def test_known_duplicates_of_real_sets_are_found_exactly(shared_data, name):
    folder = shared_data(name)
    held_out = "validation" if name == "rte" else "test"
    report, _ = find_duplicates({split: texts_of(folder, split) for split in ("train", held_out)}, EXACT)
    assert report["exact"][f"{held_out} in train"] == KNOWN[name]
    crossing = [example for example in report["examples"] if example["found"] == f"{held_out} in train"]
    assert len(crossing) == min(KNOWN[name], 5)
    for example in crossing:
        (one, first), (other, second) = (place.split(":") for place in example["where"])
        texts = [dict(texts_of(folder, split))[f"{split}:{line}"] for split, line in ((one, first), (other, second))]
        assert text_key(*texts[0]) == text_key(*texts[1])


def test_the_known_duplicate_between_train_and_validation_is_found(shared_data):
    folder = shared_data("multi30k_en_de")
    report, _ = find_duplicates({split: texts_of(folder, split) for split in ("train", "validation")}, EXACT)
    assert report["exact"]["validation in train"] == 1


def test_equal_are_texts_that_differ_in_case_and_in_white_space_at_their_ends():
    assert text_key("A b\n") == text_key(" a B")
    assert text_key("a b") != text_key("ab")
    assert text_key("a", "b") != text_key("a b")
    assert text_key("a", "b") != text_key("b", "a")


def placed(split, *texts):
    return [(f"{split}:{number}", (text,)) for number, text in enumerate(texts, 1)]


def test_repeats_are_counted_within_and_distinct_texts_across():
    splits = {
        "train": placed("train", "a", "b", "A", "a ", "c"),
        "validation": placed("validation", "a", "d"),
        "test": placed("test", "b", "B", "c", "d", "e"),
    }
    report, removed = find_duplicates(splits, EXACT)
    assert report["exact"] == {
        "within train": 2,
        "within validation": 0,
        "within test": 1,
        "validation in train": 1,
        "test in train": 2,
        "test in validation": 1,
    }
    assert report["near"] is None and report["dropped"] == 0 and removed == set()
    assert find_duplicates(splits, Duplicates(threshold=None, action="drop"))[1] == {0, 1, 2, 3, 4}


def test_near_duplicates_are_counted_apart_from_exact_ones_and_shown_with_both_places():
    sentence = "the cat sat on the mat and looked at the dog"
    splits = {
        "train": placed("train", sentence, "something else entirely, of other words", "x y z"),
        "test": placed("test", "The cat sat on the mat, and looked at the DOG!", "x y z", "the cat sat on a hat"),
    }
    report, removed = find_duplicates(splits, Duplicates(action="drop"))
    assert report["exact"]["test in train"] == 1
    assert report["near"] == {"within train": 0, "within test": 0, "test in train": 1}
    assert removed == {0, 2} and report["dropped"] == 2
    near = [example for example in report["examples"] if example["found"] == "test in train, nearly"]
    assert [example["where"] for example in near] == [["test:1", "train:1"]]
    assert near[0]["similarity"] == 1.0 and near[0]["texts"][1] == sentence


def test_of_a_pair_of_texts_both_must_be_near():
    premise = "a long premise of many words that several hypotheses share between them, as entailment sets have it"
    splits = {
        "train": [("train:1", (premise, "he was there")), ("train:2", (premise, "she never came home again"))],
        "validation": [("validation:1", (premise + "!", "He was there."))],
    }
    report, removed = find_duplicates(splits, Duplicates(action="drop"))
    assert report["near"] == {"within train": 0, "within validation": 0, "validation in train": 1}
    assert removed == {0}


def edited(text, draw, vocabulary, kind):
    words = text.split()
    place = draw.randrange(len(words))
    if kind == "case":
        return text.swapcase()
    if kind == "punctuation":
        return re.sub(r"\s+", "  ", "".join(draw.choice("!?;-") if c in ".,'" else c for c in text)) + " ..."
    if kind == "word replaced":
        words[place] = draw.choice(vocabulary)
    elif kind == "word removed":
        del words[place]
    else:
        words.insert(place, draw.choice(vocabulary))
    return " ".join(words)


KINDS = ("case", "punctuation", "word replaced", "word removed", "word inserted")
LEAST = {"agnews": 0.999, "sst2": 0.94, "banking77": 0.95}
"""Recall over the one-word edits; a text of under six words is beyond the threshold by arithmetic."""


@pytest.mark.parametrize("name", LEAST)
def test_planted_near_duplicates_are_found(shared_data, name):
    """Edits of case, punctuation and white space all are; no pair that is found is anything but near."""
    draw = random.Random(3)
    texts = [" ".join(texts) for _, texts in texts_of(shared_data(name), "train") if len(texts[0].split()) > 1]
    texts = draw.sample(sorted(set(texts)), 2500)
    vocabulary = " ".join(texts).split()
    planted = [
        (kind, number, edited(texts[number], draw, vocabulary, kind))
        for kind in KINDS
        for number in draw.sample(range(2500), 300)
    ]
    found = pairs(texts, [text for _, _, text in planted])
    missed = {
        kind: sum(1 for i, (own, number, _) in enumerate(planted) if own == kind and (number, i) not in found)
        for kind in KINDS
    }
    assert missed["case"] == missed["punctuation"] == 0
    words = sum(missed[kind] for kind in KINDS[2:])
    assert 1 - words / 900 >= LEAST[name], missed
    for number, i in found:
        assert bag_similarity(bag_of(texts[number]), bag_of(planted[i][2])) >= 0.7


def pairs(left, right):
    import numpy as np

    from finelab.data.near_duplicates import loose, near_pairs

    texts = [loose([text]) for text in (*left, *right)]
    splits = np.array([0] * len(left) + [1] * len(right))
    return {(i, j - len(left)) for i, j, _ in near_pairs(texts, splits, 0.7) if i < len(left) <= j}


def bag_of(text):
    return Counter(re.findall(r"[^\W_]+", text.casefold()))


def bag_similarity(one, other):
    """Jaccard similarity of bags of words, by multiset counting."""
    return (one & other).total() / (one | other).total()


def test_nearly_all_pairs_at_the_threshold_are_found_and_none_below():
    draw = random.Random(1)
    words = [f"w{number}" for number in range(400)]
    base = [" ".join(draw.choices(words, k=draw.randint(3, 40))) for _ in range(400)]
    other = [" ".join(w if draw.random() > 0.12 else draw.choice(words) for w in text.split()) for text in base]
    bags = [[bag_of(text) for text in texts] for texts in (base, other)]
    expected = {(i, j) for i, a in enumerate(bags[0]) for j, b in enumerate(bags[1]) if bag_similarity(a, b) >= 0.7}
    found = pairs(base, other)
    assert found <= expected
    assert len(found) >= 0.99 * len(expected) > 100


def test_thousands_of_like_rows_are_no_square():
    texts = [f"the order {number} was shipped to the customer on the agreed day" for number in range(3000)]
    rows = {
        "train": placed("train", *texts),
        "test": placed("test", "the order x was shipped to the customer on the day"),
    }
    report, removed = find_duplicates(rows, Duplicates(action="drop"))
    assert report["near"]["within train"] == 2999
    assert report["near"]["test in train"] == 1
    assert removed


def test_pairs_left_out_change_no_count(monkeypatch):
    """Against a search that compares all candidates, and with far fewer comparisons."""
    from finelab.data import duplicates, near_duplicates

    draw = random.Random(5)
    frames = ["please tell me the weather in {} for the coming week", "book a table at {} for two people this evening"]
    rows = {
        split: placed(split, *(draw.choice(frames).format(draw.randrange(400)) for _ in range(count)))
        for split, count in (("train", 900), ("validation", 80), ("test", 80))
    }
    compared = []
    jaccard = near_duplicates.jaccard
    monkeypatch.setattr(near_duplicates, "jaccard", lambda one, other: compared.append(1) or jaccard(one, other))
    report, removed = find_duplicates(rows, Duplicates(action="drop"))
    few = len(compared)
    monkeypatch.setattr(duplicates, "joining_pairs", near_duplicates.near_pairs)
    assert find_duplicates(rows, Duplicates(action="drop")) == (report, removed)
    assert min(report["near"].values()) > 0
    assert few < 0.3 * (len(compared) - few)


def test_dropping_changes_rows_fingerprint_and_cache_and_keeps_held_out_rows(write, rows, tokens):
    train, test = rows(40), rows(10, 100)
    leak = {"text": test[3]["text"].upper() + "!", "label": 0, "label_text": "no"}
    files = {"train": str(write("train.jsonl", [*train, leak])), "test": str(write("test.jsonl", test))}
    keep, drop = (
        TextDataModule(files, Classification(), "tiny://bert", cache_dir=tokens, duplicates=Duplicates(0.95, action))
        for action in ("keep", "drop")
    )
    assert keep.fingerprint != drop.fingerprint
    sizes = [{split: audit["rows"] for split, audit in data.report["splits"].items()} for data in (keep, drop)]
    assert sizes[0]["train"] == sizes[1]["train"] + 1
    assert sizes[0]["test"] == sizes[1]["test"] == 10
    assert drop.report["duplicates"]["dropped"] == 1
    assert "dropped  train 1 rows" in drop.render_report()


def test_a_threshold_that_is_no_similarity_is_refused():
    with pytest.raises(UserError, match="threshold is 7"):
        Duplicates(threshold=7)
