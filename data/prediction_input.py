"""Rows to predict: read, named and tokenized in their order."""

from dataclasses import dataclass

from datasets import Dataset
from lightning.pytorch.utilities import rank_zero_warn

from ..contracts.errors import UserError
from .files import read_input
from .rejections import BadRow, Rejections, Row
from .template import Example, Template, checked_text
from .tokenized_split import Refusals, tokenize
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
        """Samples as ``tokenized_split.tokenize`` makes them; ``row`` is the position among ``ids``.

        By now every rejected row is known; a warning counts them and names the first ones.
        """
        refusals = Refusals(self.rejections, self.places)
        samples = tokenize(self.examples, template, tokenizer, context, label_names, refusals)
        if reasons := self.rejections.reasons:
            counts = ", ".join(f"{why} {count}" for why, count in reasons.items())
            first = "; ".join(self.rejections.listed)
            rank_zero_warn(f"{reasons.total()} rows of the input get no prediction ({counts}). The first: {first}.")
        return samples


def read_prediction_input(source: str, template: Template, rejections: Rejections) -> PredictionInput:
    """Read every row of a file, or of standard input for ``-``; its labels are not looked at.

    Raises:
        UserError: there is no row, or one that cannot be used under the policy ``error``.
    """
    found = PredictionInput([], [], [], rejections)
    for row in read_input(source, rejections):
        try:
            example, own = template.read(row.fields, labelled=False), id_of(row)
        except BadRow as error:
            rejections(row.where, str(error))
        else:
            found.examples.append(example)
            found.ids.append(own)
            found.places.append(row.where)
    if not found.examples:
        raise UserError(f"The input {source} holds no row to predict.")
    return found


def id_of(row: Row) -> str | int:
    """What the row's prediction is named by: its ``id``, else (none, or a blank one) its line.

    Raises:
        BadRow: the id is a text that cannot be written.
    """
    own = row.fields.get("id")
    if isinstance(own, str) and own.strip():
        return checked_text(own, "id")
    return own if isinstance(own, int) else int(row.where.rpartition(":")[2])
