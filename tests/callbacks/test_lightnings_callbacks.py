"""Lightning's own callbacks in a run that is stopped and goes on: they go on as well, or are refused by name."""

import logging

import lightning.pytorch.callbacks as theirs
import pytest
import torch

from finelab.contracts.errors import UserError
from finelab.models.checkpoint_folder import NAME

from .stopped_runs import Case, Stop, compare

OWN = {
    "mean of weights": lambda: [theirs.WeightAveraging(use_buffers=False)],
    "moving average of weights": lambda: [theirs.EMAWeightAveraging(decay=0.9, use_buffers=False)],
    "accumulation by epoch": lambda: [theirs.GradientAccumulationScheduler({0: 3, 1: 2})],
    "learning rates": lambda: [theirs.LearningRateMonitor()],
    "early stopping by a training metric": lambda: [
        theirs.EarlyStopping("train/nll", patience=1, check_on_train_epoch_end=True)
    ],
    "checkpoints": lambda: [theirs.ModelCheckpoint(every_n_train_steps=3, save_top_k=-1)],
    "a time limit": lambda: [theirs.Timer(duration={"hours": 1})],
}


@pytest.fixture(autouse=True)
def quiet(caplog):
    caplog.set_level(logging.ERROR, "lightning.pytorch.utilities.rank_zero")


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_it_goes_on(name, tmp_path) -> None:
    options = {"accumulate_grad_batches": 1} if name == "accumulation by epoch" else {}
    case = Case(tmp_path, {"val_check_interval": 6, **options}, save_steps=2, own=OWN[name])
    expected = case.straight()
    for number, stops in enumerate(
        (
            [Stop("on_train_batch_end", 8, kills=True)],
            [Stop("on_validation_end", 1)],
            [Stop("on_train_epoch_end", 1)],
            [Stop("score", 2)],
            [Stop("on_train_batch_end", 4), Stop("on_train_batch_end", 5, kills=True), Stop("on_validation_start", 1)],
        )
    ):
        compare(expected, case.stopped(f"stopped-{number}", *stops))


class Averaged(theirs.EMAWeightAveraging):
    """Keeps what is validated."""

    def on_validation_epoch_end(self, trainer, pl_module) -> None:
        self.validated = pl_module.trainable_state()
        super().on_validation_epoch_end(trainer, pl_module)


def test_the_best_weights_are_the_average_that_was_validated(tmp_path) -> None:
    own = Averaged(decay=0.9, use_buffers=False)
    case = Case(tmp_path, {"max_epochs": 1, "val_check_interval": 12, "limit_train_batches": 12}, own=lambda: [own])
    case.session("run")
    assert (tmp_path / "run" / "checkpoints" / "best" / NAME).exists()
    again = case.make_module()
    again.load_folder(tmp_path / "run" / "checkpoints" / "best")
    assert own.validated.keys() == again.trainable_state().keys()
    for name, weight in again.trainable_state().items():
        assert torch.equal(weight, own.validated[name]), name


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        (theirs.StochasticWeightAveraging(0.01), "StochasticWeightAveraging copies .* average nothing"),
        (theirs.EMAWeightAveraging(), "EMAWeightAveraging has use_buffers true.*position_ids.*use_buffers: false"),
    ],
    ids=["swa", "buffers"],
)
def test_an_average_that_would_be_none_is_refused(own, reason, tmp_path) -> None:
    with pytest.raises(UserError, match=reason):
        Case(tmp_path, own=lambda: [own]).session("run")
