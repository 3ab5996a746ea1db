import random

from finelab.data.duplicates import exact_duplicates, near_pairs, shingles, text_key


def test_case_and_white_space_do_not_tell_texts_apart_and_columns_do():
    assert text_key("A  b\n") == text_key("a B")
    assert text_key("a b") != text_key("ab")
    assert text_key("a", "b") != text_key("a b")
    assert text_key("a", "b") != text_key("b", "a")


def test_repeats_are_counted_within_and_distinct_texts_across():
    splits = {
        "train": [b"a", b"b", b"a", b"a", b"c"],
        "validation": [b"a", b"d"],
        "test": [b"b", b"b", b"c", b"d", b"e"],
    }
    assert exact_duplicates(splits) == {
        "within train": 2,
        "within validation": 0,
        "within test": 1,
        "validation in train": 1,
        "test in train": 2,
        "test in validation": 1,
    }


def test_near_pairs_are_those_of_all_pairs_compared():
    draw = random.Random(1)
    words = list("abcdef")
    base = [" ".join(draw.choices(words, k=draw.randint(3, 40))) for _ in range(60)]

    def changed(text):
        tokens = text.split()
        tokens[draw.randrange(len(tokens))] = "z"
        return " ".join(tokens)

    other = [changed(text) for text in base] + base[:5]
    for threshold in (0.3, 0.5, 0.8, 1.0):
        expected = set()
        for i, left in enumerate(base):
            for j, right in enumerate(other):
                a, b = shingles(left, 5), shingles(right, 5)
                if len(a & b) >= threshold * len(a | b):
                    expected.add((i, j))
        assert set(near_pairs(base, other, threshold)) == expected
        assert {(i, 60 + i) for i in range(5)} <= expected
