"""What a target is, and how it is scored: the half of the LightningModule that trains nothing."""

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal

import lightning as L
from torch import Tensor, nn

from ..contracts.batch import Batch
from ..contracts.data import TemplatedSource
from ..contracts.targets import TargetKind, require_match
from .added_meters import AddedMeters
from .likelihoods import Categorical
from .meter import Meter
from .regularizers.regularizer import Likelihood, Outputs
from .scored import Scored
from .set_meters import SetMeters, sets_apart


class Target(L.LightningModule):
    """What the supervised positions are, their likelihood and their metrics; ``FineTuner`` trains it.

    ``target_kind`` says which templates fit (``contracts.targets``); None is not checked.

    A validation or test split of several sets gets a meter for each, and one over those that are trained on. Callbacks
    append to ``added_meters`` what makes a meter of theirs. What a validation or test step returns, and Lightning hands
    to callbacks, are the columns of per-example files.
    """

    target_kind: ClassVar[TargetKind | None] = None
    primary: tuple[str, Literal["max", "min"]]
    has_fresh_head = False
    likelihood: Likelihood = Categorical()

    def __init__(self) -> None:
        super().__init__()
        self.meters = nn.ModuleDict()
        self.added_meters: list[Callable[[], Meter]] = []

    @abstractmethod
    def supervised(self, batch: Batch) -> tuple[Outputs, Tensor, Tensor]:
        """One pass: outputs, targets [N] and rows [N] at the supervised positions only."""

    @abstractmethod
    def meter(self) -> Meter:
        """Fresh streaming metrics of one split."""

    def full_meter(self) -> Meter:
        """The same with those that callbacks add."""
        added = [make() for make in self.added_meters]
        return AddedMeters([self.meter(), *added]) if added else self.meter()

    @abstractmethod
    def example_columns(self, scored: Scored, batch: Batch) -> dict[str, list]:
        """One entry per row of the batch, for per-example files.

        Among them ``sample_id``, ``source_id``, ``nll`` (nats, summed over the row's supervised tokens), ``tokens``
        (how many), and, where a prediction can be right, ``correct`` (the share of them that is).
        """

    def setup(self, stage: str) -> None:
        self.check_data(self.trainer.datamodule)  # pyright: ignore[reportAttributeAccessIssue]

    def check_data(self, data: object) -> None:
        """Raises:
        UserError: its template gives another kind of target than this model learns.
        """
        if isinstance(data, TemplatedSource):
            require_match(type(self).__name__, self.target_kind, *data.template_target)

    def score(self, batch: Batch) -> Scored:
        """Predictions at the supervised positions, in whatever mode the module is in."""
        outputs, targets, rows = self.supervised(batch)
        return Scored.of(outputs.logits, targets, rows, self.likelihood)

    def on_validation_start(self) -> None:
        self.meters["val"] = SetMeters(self.full_meter, sets_apart(self.trainer, "validation")).to(self.device)

    def on_test_start(self) -> None:
        self.meters["test"] = SetMeters(self.full_meter, sets_apart(self.trainer, "test")).to(self.device)

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, list]:
        scored = self.score(batch)
        self.stage_meters("val").update(scored, batch, dataloader_idx)
        return self.example_columns(scored, batch)

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, list]:
        scored = self.score(batch)
        self.stage_meters("test").update(scored, batch, dataloader_idx)
        return self.example_columns(scored, batch)

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.stage_meters("val").logged("val"), rank_zero_only=False)

    def on_test_epoch_end(self) -> None:
        self.log_dict(self.stage_meters("test").logged("test"), rank_zero_only=False)

    def stage_meters(self, stage: str) -> SetMeters:
        meters = self.meters[stage]
        assert isinstance(meters, SetMeters)
        return meters

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, list]:
        """Columns with one entry per row of the batch; labels that are unknown are not among them."""
        return self.example_columns(self.score(batch), batch)
