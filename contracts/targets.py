"""Which kind of target a template gives and a model learns; the two are compared before the first step."""

from dataclasses import dataclass
from typing import Literal

from .errors import UserError

TargetKind = Literal["class", "number", "labels", "choice", "words", "tokens", "text"]


@dataclass(frozen=True)
class Meaning:
    """What an error message says of a kind.

    Args:
        words: of what it is.
        models: of finelab that learn it.
        templates: of finelab that give it.
    """

    words: str
    models: tuple[str, ...]
    templates: tuple[str, ...]


LANGUAGE = ("Documents", "PromptResponse", "Instruction", "Messages")
MEANINGS: dict[TargetKind, Meaning] = {
    "class": Meaning("one class per text", ("SequenceClassifier",), ("Classification",)),
    "number": Meaning("one number per text", ("SequenceRegressor",), ("Regression",)),
    "labels": Meaning("a set of labels per text", ("MultiLabelClassifier",), ("MultiLabel",)),
    "choice": Meaning("one of several texts", ("MultipleChoice",), ("MultipleChoice",)),
    "words": Meaning("a tag for each word", ("TokenClassifier",), ("TokenClassification",)),
    "tokens": Meaning("the next tokens of the text that is read", ("CausalLM",), LANGUAGE),
    "text": Meaning("a text beside the one that is read", ("Seq2SeqLM",), ("TextToText",)),
}


def require_match(model: str, learns: TargetKind | None, template: str, gives: TargetKind | None) -> None:
    """Nothing is known, and nothing required, where either side does not say its kind.

    Args:
        model: name of its class.
        learns: its kind of target.
        template: name of its class.
        gives: its kind of target.

    Raises:
        UserError: the kinds differ.
    """
    if learns is None or gives is None or learns == gives:
        return
    raise UserError(
        f"The model {model} learns {MEANINGS[learns].words}, and the template {template} gives "
        f"{MEANINGS[gives].words}. Set data.init_args.template to {' or '.join(MEANINGS[learns].templates)}, or "
        f"model.class_path to finelab.models.{' or '.join(MEANINGS[gives].models)}."
    )
