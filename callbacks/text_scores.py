"""Scores of generated texts against several references each."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from ..contracts.errors import UserError

TextScore = Callable[[Sequence[str], Sequence[Sequence[str]]], tuple[float, str]]
"""Texts and their references to a corpus score and the signature that says how it was computed."""


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


SCORES: dict[str, Callable[[], TextScore]] = {"bleu": bleu, "chrf": chrf}


def corpus_score(metric: Any, texts: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, str]:
    most = max(map(len, references))
    streams = [[own[i] if i < len(own) else None for own in references] for i in range(most)]
    score = metric.corpus_score(list(texts), streams)
    return float(score.score), str(metric.get_signature())


def exact_matches(texts: Sequence[str], references: Sequence[Sequence[str]], pattern: str | None) -> list[bool]:
    """Whether each text's answer is that of one of its references."""
    found: list[bool] = []
    for text, own in zip(texts, references, strict=True):
        answer = answer_of(text, pattern)
        found.append(answer is not None and answer in {answer_of(reference, pattern) for reference in own})
    return found


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
