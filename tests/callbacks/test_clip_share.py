import lightning as L
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from finelab import callbacks


class Norms(L.Callback):
    """Of every optimizer step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_step > len(self.seen):
            self.seen.append(float(trainer.callback_metrics["grad/norm"]))


def test_the_share_of_clipped_steps_between_two_logs(fit, classifier, data, run_of, board) -> None:
    free, run = Norms(), run_of()
    fit(classifier(), data(batch_size=2), [free], accumulate_grad_batches=2)
    threshold = sorted(free.seen)[len(free.seen) // 2]
    clipped = Norms()
    options = {"accumulate_grad_batches": 2, "gradient_clip_val": threshold, "log_every_n_steps": 3}
    fit(classifier(), data(batch_size=2), [clipped, callbacks.ClipShare()], logger=board(run), **options)
    above = [norm > threshold for norm in clipped.seen]
    assert len(above) == 12 and 0 < sum(above) < 12
    events = EventAccumulator(str(run.directory)).Reload()
    shown = events.Scalars("grad/clip_share")
    assert [event.value for event in shown] == [pytest.approx(sum(above[i : i + 3]) / 3) for i in range(0, 12, 3)]
    assert [event.step for event in shown] == [event.step for event in events.Scalars("grad/norm")]


@pytest.mark.parametrize("options", [{}, {"gradient_clip_val": 0.1, "gradient_clip_algorithm": "value"}], ids=str)
def test_nothing_where_no_norm_is_clipped(options, fit, classifier, data, run_of, board) -> None:
    run = run_of()
    fit(classifier(), data(), [callbacks.ClipShare()], logger=board(run), max_epochs=1, **options)
    assert "grad/clip_share" not in EventAccumulator(str(run.directory)).Reload().Tags()["scalars"]


def test_it_goes_on_from_its_state() -> None:
    first, second = callbacks.ClipShare(), callbacks.ClipShare()
    first._steps, first._clipped = 5, 2
    second.load_state_dict(first.state_dict())
    assert second.state_dict() == {"steps": 5, "clipped": 2}
