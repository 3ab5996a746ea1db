"""What the answers to some questions are worth, and how the model wrote them."""

from collections.abc import Mapping, Sequence

from .questions import Question
from .text_scores import TextScore, exact_matches, normalized_matches, undefined

WRITING = ("generation_length", "generation_ended", "generation_empty", "generation_nll")
"""Measured of every set of answers, whatever they are compared with."""


def compared(
    questions: Sequence[Question], names: Sequence[str], scorers: Mapping[str, TextScore], pattern: str | None
) -> tuple[dict[str, float], dict[str, str]]:
    """Answers beside their references.

    Args:
        questions: answered ones.
        names: of metrics that these questions define.
        scorers: of those among them that a corpus score gives.
        pattern: of what counts in an exact match.

    Returns:
        The metrics, and the signatures of the corpus scores.
    """
    texts = [question.written.text for question in questions]
    references = [question.references for question in questions]
    found: dict[str, float] = {}
    signatures: dict[str, str] = {}
    for name in names:
        if name == "exact_match":
            found[name] = mean(exact_matches(texts, references, pattern))
        elif name == "normalized_exact_match":
            found[name] = mean(normalized_matches(texts, references))
        else:
            found[name], signatures[name] = scorers[name](texts, references)
    return found, signatures


def writing(questions: Sequence[Question]) -> dict[str, float]:
    """Length, ends and certainty of some answers, where there are any."""
    written = [question.written for question in questions]
    found = {
        "generation_length": mean([own.tokens for own in written]),
        "generation_ended": mean([own.ended for own in written]),
        "generation_empty": mean([not own.text.strip() for own in written]),
    }
    nats, tokens = [own.nll for own in written if own.nll is not None], sum(own.tokens for own in written)
    return found | ({"generation_nll": sum(nats) / tokens} if tokens and len(nats) == len(written) else {})


def missing_scores(questions: Sequence[Question], names: Sequence[str], pattern: str | None) -> dict[str, str]:
    """Which of these metrics, and of ``WRITING``, the questions or the answers do not define -> why."""
    if not questions:
        return dict.fromkeys((*names, *WRITING), "there is no question to answer")
    references = [question.references for question in questions]
    found = {name: why for name in names if (why := undefined(name, references, pattern))}
    if any(question.written.nll is None for question in questions):
        found["generation_nll"] = "beam search does not keep the probabilities of its tokens"
    elif not any(question.written.tokens for question in questions):
        found["generation_nll"] = "every answer is empty"
    return found


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
