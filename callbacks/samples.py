"""Some questions with what was answered, to be read: in TensorBoard, and in the record."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .panels import as_code

SHOWN = 600
"""Characters of a text that are shown."""


@dataclass(frozen=True)
class Sample:
    """
    Args:
        prompt: as the model reads it, special tokens included.
        references: right answers.
        base: what the untouched base answers; None where it was not asked.
        model: what the model answers.
    """

    prompt: str
    references: list[str]
    base: str | None
    model: str

    def as_json(self) -> dict[str, Any]:
        """With long texts cut."""
        base = None if self.base is None else head(self.base)
        return asdict(Sample(tail(self.prompt), [head(own) for own in self.references], base, head(self.model)))


def page(samples: Sequence[Sample], writer: str) -> str:
    """Markdown in which every text of a model or a data set stands as code.

    Args:
        samples: to show.
        writer: who ``model`` is.
    """
    parts = []
    for number, sample in enumerate(samples, 1):
        texts = {"prompt": tail(sample.prompt)}
        texts |= {f"reference {i}": head(own) for i, own in enumerate(sample.references, 1)}
        if sample.base is not None and writer != "base":
            texts["base"] = head(sample.base)
        texts[writer] = head(sample.model)
        parts += [f"#### {number}", *(f"**{name}**\n\n{as_code(text) or '(empty)'}" for name, text in texts.items())]
    return "\n\n".join(parts)


def head(text: str) -> str:
    """The beginning of a long text."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} [... {len(text) - SHOWN:,} characters more]"


def tail(text: str) -> str:
    """The end of a long text, which is what an answer follows."""
    return text if len(text) <= SHOWN else f"[{len(text) - SHOWN:,} characters before ...] {text[-SHOWN:]}"
