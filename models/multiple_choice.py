"""Which of some texts is the right one? Legend: B questions, C choices, T tokens, M choices that there are, H width."""

import torch
from torch import Tensor

from ..contracts.batch import MODEL_INPUTS, Batch
from .choice_meter import ChoiceMeter
from .losses import IMPOSSIBLE
from .meter import Meter
from .pooled_encoder import PooledEncoder
from .pooling import pool
from .regularizers.regularizer import Outputs
from .scored import Scored


class MultipleChoice(PooledEncoder):
    """Reads each choice with its question, gives it one score, and takes the softmax over a question's choices.

    Questions may have different numbers of choices. ``Outputs.hidden`` is [B, C, H], zero where there is no choice.

    Args:
        pooling: mean over real tokens, the first token (cls), or the last real token.
        head_dropout: on the pooled features.
    """

    target_kind = "choice"
    primary = ("accuracy", "max")
    guess = "uniform"

    @property
    def outputs(self) -> int:
        return 1

    def features(self, batch: Batch) -> Tensor:
        """[B, C, H]; only choices that there are go through the encoder."""
        real = choices(batch)
        own = {key: batch[key][real] for key in MODEL_INPUTS if key in batch}
        own["source_id"] = batch["source_id"][real.nonzero()[:, 0]]
        pooled = pool(self.states(own), own["attention_mask"], self.pooling)
        return pooled.new_zeros(*real.shape, pooled.shape[-1]).masked_scatter(real.unsqueeze(-1), pooled)

    def supervised(self, batch: Batch) -> tuple[Outputs, Tensor, Tensor]:
        features = self.features(batch)
        return Outputs(self.scores(features, batch), features), *self.targets(batch)

    def scores(self, features: Tensor, batch: Batch) -> Tensor:
        """[B, C, H] to [B, C] float32 logits."""
        return self.head(features).squeeze(-1).float().masked_fill(~choices(batch), IMPOSSIBLE)

    def constant(self, targets: Tensor) -> Tensor:
        """Nothing can be learnt from the answers' places alone: every choice is as likely."""
        return torch.zeros(1, device=targets.device)

    def constant_logits(self, constant: Tensor, batch: Batch) -> Tensor:
        real = choices(batch)
        return constant.expand(real.shape).masked_fill(~real, IMPOSSIBLE)

    def meter(self) -> Meter:
        return ChoiceMeter()

    def example_columns(self, scored: Scored, batch: Batch) -> dict[str, list]:
        probability, prediction = scored.logits.softmax(-1).max(-1)
        return self.row_columns(scored, batch) | {
            "correct": (prediction == scored.targets).float().tolist(),
            "label": scored.targets.tolist(),
            "prediction": prediction.tolist(),
            "probability": probability.tolist(),
        }

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, list]:
        """``label`` is the index of the choice, counted from 0."""
        probability, prediction = self.scores(self.features(batch), batch).softmax(-1).max(-1)
        return {"label": prediction.tolist(), "probability": probability.tolist()}


def choices(batch: Batch) -> Tensor:
    """[B, C] bool: the choices that there are."""
    return batch["attention_mask"].any(-1)
