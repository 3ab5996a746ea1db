"""Metrics of text as it is predicted."""

import math

from ..contracts.batch import Batch
from .meter import Meter, Reading
from .scored import Scored
from .totals import Totals

LARGEST_EXPONENT = 709.0
"""exp of more is no float64."""


class LanguageModelMeter(Meter):
    """nll, perplexity, and bits per character and per UTF-8 byte, which compare across tokenizers.

    Characters and bytes come from the batch (see the batch contract); without them the two are missing, and of sets
    together they speak of those sets that have them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counted, self.chars, self.bytes = Totals(), Totals(), Totals()

    def update(self, scored: Scored, batch: Batch) -> None:
        super().update(scored, batch)
        if "chars" in batch:
            self.counted.update(scored.nll.to(self.counted.total.dtype).sum())
            self.chars.update(batch["chars"].sum())
            self.bytes.update(batch["bytes"].sum())

    def readings(self) -> dict[str, Reading]:
        nll, bits = self.mean_nll(), self.counted.compute().item() / math.log(2)
        chars, size = self.chars.compute().item(), self.bytes.compute().item()
        uncounted = "the data does not say how many characters the supervised tokens stand for"
        return {
            "nll": nll,
            "perplexity": f"exp({nll:.6g}) is too large a number" if nll > LARGEST_EXPONENT else math.exp(nll),
            "bits_per_char": bits / chars if chars else uncounted,
            "bits_per_byte": bits / size if size else uncounted,
        }
