import time

import lightning as L
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from finelab import callbacks

from .conftest import made_up


class SlowValidation(L.Callback):
    def on_validation_batch_end(self, *_) -> None:
        time.sleep(0.3)


def test_counts_everything_and_times_only_training(fit, classifier, data, run_of, board) -> None:
    throughput, run = callbacks.Throughput(), run_of()
    start = time.monotonic()
    fit(classifier(), data(), [throughput, SlowValidation()], logger=board(run))
    total = time.monotonic() - start
    tokens = sum(len(row["ids"]) for row in made_up("train", "classes"))
    assert (throughput.examples, throughput.input_tokens) == (48, 2 * tokens)
    assert 0 < throughput.clock.seconds < total - 6 * 0.3

    events = EventAccumulator(str(run.directory)).Reload()
    seen = events.Scalars("sys/examples_seen")
    assert [event.value for event in seen] == [8, 16, 24, 32, 40, 48]
    assert [event.step for event in seen] == [event.step for event in events.Scalars("train/nll")]
    assert events.Scalars("sys/supervised_tokens_seen")[-1].value == 48
    for name in ("supervised_tokens", "input_tokens", "examples"):
        assert events.Scalars(f"sys/{name}_per_second")[-1].value > 0
    assert 0.05 < events.Scalars("sys/peak_memory_gib")[-1].value < 50


def test_accumulation_counts_every_micro_batch(fit, classifier, data) -> None:
    throughput = callbacks.Throughput()
    fit(classifier(), data(batch_size=2), [throughput], accumulate_grad_batches=3, max_epochs=1)
    assert throughput.examples == 24


def test_a_stopwatch_adds_its_laps(monkeypatch) -> None:
    from finelab.callbacks import throughput

    now = [100.0]
    monkeypatch.setattr(throughput.time, "monotonic", lambda: now[0])
    watch = throughput.Stopwatch()
    watch.stop()
    for _ in range(2):
        watch.start()
        now[0] += 2.0
        watch.start()
        now[0] += 3.0
        watch.stop(), watch.stop()
        now[0] += 50.0
    assert watch.seconds == 10.0
    watch.start()
    now[0] += 1.0
    assert watch.seconds == 11.0, "while it runs"
