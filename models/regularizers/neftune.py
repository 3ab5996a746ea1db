"""NEFTune: noise on the input embeddings (Jain et al., ICLR 2024, arXiv:2310.05914)."""

import math

import torch
from torch import Tensor, nn

from ...contracts.batch import Batch
from ...contracts.errors import UserError
from .embedding import EmbeddedText, Tokens
from .regularizer import Regularizer, forward_generator


class NEFTune(Regularizer):
    """In every training forward, e <- e + alpha / sqrt(L d) * U(-1, 1) on each real token's embedding e of width d.

    L is the true length of the token's sequence: of its row without pads, of its own sample in a packed row, of its
    choice in a multiple choice. So E |noise|_F^2 = alpha^2 / 3 for every sequence, whatever L and d, and pads and
    packing change nothing. The authors' training code divides by the same length; the hook of Hugging Face's Trainer
    divides by the padded one and puts noise on pads too, which ``hf_compat`` repeats.

    The noise is added to what the embedding module gives, after a model's own scaling of it; an encoder-decoder gets it
    on the text that the encoder reads, a prompt tuner on its real tokens. R-Drop's second forward draws its own.

    Extra cost: no forward; one float32 tensor of the embedded text's size. ``torch.compile`` splits its graph at the
    embedding. The paper's gain was judged by a language model, and answers become longer: compare at equal length, with
    a repetition penalty (1.2 in its README), and NLL in ``eval()``, where there is no noise. Does little where
    alpha / sqrt(L d) is far below the size of the embeddings.

    Args:
        alpha: 5, 10 or 15 in the paper; 5 in its README. 0 turns the method off.
        hf_compat: L is the padded length, pads get noise too.

    Raises:
        UserError: alpha is negative.
    """

    def __init__(self, alpha: float = 5.0, hf_compat: bool = False) -> None:
        if not 0 <= alpha < math.inf:
            raise UserError(f"NEFTune(alpha={alpha}): alpha is the size of the noise; set it to 0 or more, e.g. 5.")
        self.alpha, self.hf_compat = alpha, hf_compat
        self.text: EmbeddedText | None = None

    def attach(self, model: nn.Module) -> None:
        if self.alpha:
            self.text = EmbeddedText(type(self).__name__, model, self.noise)

    def conflict(self, other: Regularizer) -> str | None:
        if isinstance(other, NEFTune) and self.alpha and other.alpha:
            return "they would draw the same noise; use one with a larger alpha."
        return None

    def before_forward(self, batch: Batch) -> None:
        if self.text is not None:
            self.text.announce(batch)

    def noise(self, embedded: Tensor, tokens: Tokens) -> Tensor:
        length, width = embedded.shape[1:]
        if self.hf_compat:
            return self.alpha / (length * width) ** 0.5 * uniform(*embedded.shape, device=embedded.device)
        drawn = uniform(len(tokens.sequence), width, device=embedded.device)
        sizes = self.alpha / (tokens.lengths * width).float().sqrt()
        return tokens.placed(drawn * sizes[tokens.sequence].unsqueeze(1))


def uniform(*shape: int, device: torch.device) -> Tensor:
    """U(-1, 1), float32."""
    generator = forward_generator("NEFTune", device)
    return torch.rand(*shape, generator=generator, device=device).mul_(2).sub_(1)
