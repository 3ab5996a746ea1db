"""Lightning's averages of weights: which of them can work here, and what they hold when."""

from collections.abc import Iterator
from contextlib import contextmanager

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import StochasticWeightAveraging, WeightAveraging

from ..contracts.errors import UserError
from .evaluation import callbacks_of


def averages(trainer: Trainer) -> list[WeightAveraging]:
    return [each for each in callbacks_of(trainer) if isinstance(each, WeightAveraging)]


def require_sound_averages(trainer: Trainer, module: LightningModule) -> None:
    """Raises:
    UserError: an average that the user asks for would be none, or could not be resumed.
    """
    if any(isinstance(callback, StochasticWeightAveraging) for callback in callbacks_of(trainer)):
        raise UserError(
            "trainer.callbacks: StochasticWeightAveraging copies the module before its model is built, so that it "
            "would average nothing, and inside an epoch it cannot be resumed. Use "
            "lightning.pytorch.callbacks.WeightAveraging (the mean of all steps) or EMAWeightAveraging, with "
            "use_buffers: false."
        )
    for each in averages(trainer):
        unsaved = {name for name, _ in module.named_buffers()} - module.state_dict().keys()
        if each._use_buffers and unsaved:
            raise UserError(
                f"trainer.callbacks: {type(each).__name__} has use_buffers true, and would average {len(unsaved)} "
                f"buffers that no checkpoint holds, such as {min(unsaved)!r}; whole numbers among them (positions) are "
                "rounded to other ones. Set use_buffers: false."
            )


def require_average_behind(measure: Callback, trainer: Trainer) -> None:
    """Raises:
    UserError: an average stands before a callback that measures at the end of a validation, so that it would already
        have taken its weights back.
    """
    listed = callbacks_of(trainer)
    for each in averages(trainer):
        if listed.index(each) < listed.index(measure):
            own, average = type(measure).__name__, type(each).__name__
            raise UserError(
                f"trainer.callbacks: {average} stands before {own}, and has taken the averaged weights back before "
                f"{own} measures, which would see other weights than those that were validated. Put {own} before it: "
                f"[{own}(), {average}()]."
            )


@contextmanager
def as_validated(trainer: Trainer, module: LightningModule) -> Iterator[None]:
    """Inside, the module holds the weights that a validation has just scored: the average, which ``WeightAveraging``
    has taken back by the validation's end."""
    found = averages(trainer)
    for each in found:
        each._swap_models(module)
    try:
        yield
    finally:
        for each in found:
            each._swap_models(module)
