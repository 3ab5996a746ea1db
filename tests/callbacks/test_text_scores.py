"""Scores of texts beside independent values: the published implementations, and subsequences found by trying all."""

import random
from itertools import combinations

import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

from finelab.callbacks.text_scores import SCORES, normalized, normalized_matches, undefined

WORDS = ["the", "The", "cat,", "sat", "on", "a-b", "mat", "12", "mats.", "über", "naïve", "猫", "…", "!", "it's"]


def random_text(generator, longest=9):
    return " ".join(generator.choices(WORDS, k=generator.randint(0, longest)))


def random_pairs(count, seed=1):
    """Texts with one to three references each, empty ones among both."""
    generator = random.Random(seed)
    texts = [random_text(generator) for _ in range(count)]
    return texts, [[random_text(generator) for _ in range(generator.randint(1, 3))] for _ in texts]


def longest_common(left, right):
    """By trying all subsequences of the shorter one, the longest first."""
    short, long = sorted((left, right), key=len)
    for size in range(len(short), 0, -1):
        for chosen in combinations(short, size):
            rest = iter(long)
            if all(word in rest for word in chosen):
                return size
    return 0


def test_rouge_l_is_the_mean_of_the_best_f1_of_the_rouge_score_package():
    texts, references = random_pairs(120)
    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    best = [
        max(scorer.score(own, text)["rougeL"].fmeasure for own in listed)
        for text, listed in zip(texts, references, strict=True)
    ]
    assert "" in texts and any("" in listed for listed in references)
    assert len({len(listed) for listed in references}) == 3 and 0 < min(filter(None, best)) < max(best) == 1
    assert SCORES["rouge_l"]()(texts, references)[0] == pytest.approx(sum(best) / len(best), rel=1e-6)


@pytest.mark.parametrize(
    ("text", "reference"),
    [("the cat sat on the mat", "the mat sat on a cat"), ("a b c d", "d c b a"), ("x", "y"), ("The CAT!", "the cat")],
)
def test_rouge_l_is_the_f1_of_the_longest_common_subsequence(text, reference):
    left, right = ("".join(c for c in own.lower() if c.isalnum() or c == " ").split() for own in (text, reference))
    common = longest_common(left, right)
    assert SCORES["rouge_l"]()([text], [[reference]])[0] == pytest.approx(2 * common / (len(left) + len(right)))


def test_bleu_and_chrf_are_sacrebleus_with_as_many_references_as_each_text_has():
    texts, references = random_pairs(60, seed=2)
    streams = [[own[i] if i < len(own) else None for own in references] for i in range(3)]
    for name, corpus in (("bleu", sacrebleu.corpus_bleu), ("chrf", sacrebleu.corpus_chrf)):
        assert SCORES[name]()(texts, references)[0] == pytest.approx(corpus(texts, streams).score)
        assert SCORES[name]()(texts, references)[0] > 0


@pytest.mark.parametrize("name", ["bleu", "chrf", "rouge_l"])
def test_empty_answers_to_real_questions_are_worth_nothing_and_that_is_no_gap(name):
    assert undefined(name, [["the cat"], ["a dog"]], None) is None
    assert SCORES[name]()(["", ""], [["the cat"], ["a dog"]])[0] == 0


@pytest.mark.parametrize(
    ("name", "references", "pattern", "why"),
    [
        ("bleu", [[""], [" ", ""]], None, "every reference is empty"),
        ("chrf", [["", "x"]], None, None),
        ("rouge_l", [["猫が座った"], ["…"]], None, "Latin letter"),
        ("rouge_l", [["猫が座った"], ["3"]], None, None),
        ("exact_match", [["no number"], ["none"]], r"#### (.+)", "answer_pattern"),
        ("exact_match", [["no number"], ["#### 4"]], r"#### (.+)", None),
        ("exact_match", [[""]], None, None),
        ("normalized_exact_match", [["..."]], None, None),
    ],
)
def test_what_the_references_do_not_define_is_said(name, references, pattern, why):
    said = undefined(name, references, pattern)
    assert said is None if why is None else why in said


@pytest.mark.parametrize(
    ("text", "reference", "equal"),
    [
        ("The  Eiffel Tower.", "eiffel tower", True),
        ("an apple a day", "Apple day!", True),
        ("Athens", "thens", False),
        ("theory", "ory", False),
        ("1,000", "1000", True),
        ("U.S.", "us", True),
    ],
)
def test_normalized_matches_are_those_of_squad(text, reference, equal):
    assert normalized_matches([text], [["something else", reference]]) == [equal]
    assert normalized(normalized(text)) == normalized(text)
