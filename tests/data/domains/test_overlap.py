import random

from finelab.data.domains.overlap import near_pairs, shingles


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
