"""Scores of generated texts against several references each."""

import re
import string
from collections.abc import Callable, Sequence
from typing import Any

from torchmetrics.functional.text import rouge_score

from ..contracts.errors import UserError

TextScore = Callable[[Sequence[str], Sequence[Sequence[str]]], tuple[float, str]]
"""Texts and their references to a corpus score and the signature that says how it was computed."""

ROUGE_WORD = re.compile(r"[a-z0-9]+")


def sacrebleu_metrics() -> Any:
    """Raises:
    UserError: sacrebleu is not installed.
    """
    try:
        import sacrebleu.metrics
    except ImportError as error:
        raise UserError("BLEU and chrF need sacrebleu, which is not installed: pip install finelab[text].") from error
    return sacrebleu.metrics


def bleu() -> TextScore:
    """Raises:
    UserError: sacrebleu is not installed.
    """
    make = sacrebleu_metrics().BLEU
    return lambda texts, references: corpus_score(make(), texts, references)


def chrf() -> TextScore:
    """Raises:
    UserError: sacrebleu is not installed.
    """
    make = sacrebleu_metrics().CHRF
    return lambda texts, references: corpus_score(make(), texts, references)


def rouge_l() -> TextScore:
    """The F1 of the longest common subsequence of words (Lin, W04-1013), 0 to 1: the best of a text's references, and
    the mean over texts. Words are what the rouge-score package takes: lower-cased Latin letters and digits, unstemmed.
    """

    def score(texts: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, str]:
        listed = [list(own) for own in references]
        found = rouge_score(list(texts), listed, accumulate="best", use_stemmer=False, rouge_keys="rougeL")
        return float(found["rougeL_fmeasure"]), "f1|best of the references|words of a-z0-9|no stemming|torchmetrics"

    return score


SCORES: dict[str, Callable[[], TextScore]] = {"bleu": bleu, "chrf": chrf, "rouge_l": rouge_l}


def corpus_score(metric: Any, texts: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, str]:
    most = max(map(len, references))
    streams = [[own[i] if i < len(own) else None for own in references] for i in range(most)]
    score = metric.corpus_score(list(texts), streams)
    return float(score.score), str(metric.get_signature())


def undefined(name: str, references: Sequence[Sequence[str]], pattern: str | None) -> str | None:
    """Why a metric says nothing about any text, whatever the texts are; None where it does.

    Args:
        name: of the metric.
        references: of each text.
        pattern: of what counts in an exact match.
    """
    every = [reference for own in references for reference in own]
    if name in SCORES and not any(reference.strip() for reference in every):
        return "every reference is empty"
    if name == "rouge_l" and not any(ROUGE_WORD.search(reference.lower()) for reference in every):
        return "no reference has a Latin letter or a digit, and ROUGE counts nothing else"
    if name == "exact_match" and all(answer_of(reference, pattern) is None for reference in every):
        return f"no reference has an answer as answer_pattern {pattern!r} looks for"
    return None


def exact_matches(texts: Sequence[str], references: Sequence[Sequence[str]], pattern: str | None) -> list[bool]:
    """Whether each text's answer is that of one of its references."""
    found: list[bool] = []
    for text, own in zip(texts, references, strict=True):
        answer = answer_of(text, pattern)
        found.append(answer is not None and answer in {answer_of(reference, pattern) for reference in own})
    return found


def normalized_matches(texts: Sequence[str], references: Sequence[Sequence[str]]) -> list[bool]:
    """Whether each text is one of its references as SQuAD compares them (``normalized``)."""
    return [
        normalized(text) in {normalized(reference) for reference in own}
        for text, own in zip(texts, references, strict=True)
    ]


def normalized(text: str) -> str:
    """Lower-cased, without ASCII punctuation, without a, an and the, and with single spaces (Rajpurkar et al.,
    arXiv:1606.05250, evaluate-v1.1)."""
    kept = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", kept).split())


def answer_of(text: str, pattern: str | None) -> str | None:
    """The last match's first group that took part (or the whole match) without commas; without a pattern the text."""
    if pattern is None:
        return text.strip()
    matches = list(re.finditer(pattern, text))
    if not matches:
        return None
    last = matches[-1]
    # Of alternatives with a group each, those that did not match are None.
    return next((group for group in last.groups() if group is not None), last.group()).replace(",", "").strip()
