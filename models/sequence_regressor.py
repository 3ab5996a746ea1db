"""One number per text, or per pair of texts. Legend: B rows."""

from torch import Tensor

from ..contracts.batch import Batch
from .likelihoods import Gaussian
from .meter import Meter
from .pooled_encoder import PooledEncoder
from .regression_meter import RegressionMeter
from .scored import Scored


class SequenceRegressor(PooledEncoder):
    """Predicts a number with a normal error of variance one, so that nll is half the squared error plus a constant.

    The unit is that of the data: nothing is standardised, neither in training nor in the metrics. A head starts near
    zero (small random weights, no bias); give targets of about unit spread around a small mean (a logarithm, a score
    divided by its range), or the first steps go into reaching the mean.

    Args:
        pooling: mean over real tokens, the first token (cls), or the last real token.
        head_dropout: on the pooled features.
    """

    target_kind = "number"
    primary = ("mse", "min")
    guess = "mean"
    likelihood = Gaussian()

    @property
    def outputs(self) -> int:
        return 1

    def constant(self, targets: Tensor) -> Tensor:
        return targets.double().mean(0, keepdim=True).float()

    def meter(self) -> Meter:
        return RegressionMeter()

    def example_columns(self, scored: Scored, batch: Batch) -> dict[str, list]:
        prediction = scored.logits.float().squeeze(-1).tolist()
        return self.row_columns(scored, batch) | {"target": scored.targets.tolist(), "prediction": prediction}

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, list]:
        return {"prediction": self.head(self.features(batch)).float().squeeze(-1).tolist()}
