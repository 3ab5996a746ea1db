"""Chosen rows of the embedding through PEFT (no paper)."""

from .peft import Peft


class PeftTrainableTokens(Peft):
    """The embeddings of the n tokens in ``token_indices`` are trained rows, which start as the base's: n d parameters.

    They are not decayed, being rows and no update of them. Merges; switched off it is the base. Cost: a copy of the
    embedding in each forward. Does nothing for any other token.
    """

    required = ("token_indices",)
