"""Rows to predict: read, named and tokenized in their order."""

from dataclasses import dataclass

from datasets import Dataset

from ..contracts.errors import UserError
from .files import read_input
from .preparation import Refusals, tokenize
from .rejections import BadRow, Rejections
from .template import Example, Template
from .tokenizer import LoadedTokenizer


@dataclass(frozen=True)
class PredictionInput:
    """The usable rows of an input.

    Args:
        ids: of every row its ``id`` column, else its line.
        places: ``file:line`` of every row.
        examples: what the template took from every row.
        rejections: where rows go that cannot be used.
    """

    ids: list[str | int]
    places: list[str]
    examples: list[Example]
    rejections: Rejections

    def tokenized(
        self, template: Template, tokenizer: LoadedTokenizer, context: int, label_names: list[str] | None
    ) -> Dataset:
        """Samples as ``preparation.tokenize`` makes them; ``row`` is the position among ``ids``."""
        refusals = Refusals(self.rejections, self.places)
        return tokenize(self.examples, template, tokenizer, context, label_names, refusals)


def read_prediction_input(source: str, template: Template, rejections: Rejections) -> PredictionInput:
    """Read every row of a file, or of standard input for ``-``; its labels are not looked at.

    Raises:
        UserError: there is no row, or one that cannot be used under the policy ``error``.
    """
    found = PredictionInput([], [], [], rejections)
    for row in read_input(source, rejections):
        try:
            found.examples.append(template.read(row.fields, labelled=False))
        except BadRow as error:
            rejections(row.where, str(error))
        else:
            own = row.fields.get("id")
            found.ids.append(own if isinstance(own, str | int) else int(row.where.rpartition(":")[2]))
            found.places.append(row.where)
    if not found.examples:
        raise UserError(f"The input {source} holds no row to predict.")
    return found
