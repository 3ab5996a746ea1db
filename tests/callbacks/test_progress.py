"""The same words on a terminal and in a log, within their width."""

import io

import pytest
from rich.console import Console

from finelab import callbacks
from finelab.callbacks.measure import Measure
from finelab.callbacks.progress_figures import clock
from finelab.contracts.verdict import Verdict


class Says(Measure):
    """A verdict from the second validation on."""

    def on_validation_end(self, trainer, pl_module) -> None:
        if trainer.global_step > 6:
            self.verdict = Verdict("underfitting", "Both fall.", "nll", trainer.global_step, None, None)

    def findings(self) -> dict:
        return {}


def test_a_line_says_loss_gap_metric_verdict_speed_and_time_left(fit, classifier, data, capsys) -> None:
    watches = [callbacks.Throughput(), callbacks.Probes(), Says()]
    fit(classifier(), data(), [*watches, callbacks.PlainProgress(seconds=0)])
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("step ")]
    assert len(lines) == 12 + 2
    assert lines[0].startswith("step 1/12  loss 0.") and "gap" not in lines[0]
    names = [word.split()[0] for word in lines[-1].split("  ")]
    assert names[:3] == ["step", "loss", "val/accuracy"] and "underfitting" in names
    assert "tokens/s" in lines[-1] and lines[-1].endswith("  0:00 left")
    assert "underfitting" not in lines[6]


def test_a_line_has_at_most_100_columns(capsys) -> None:
    bar = callbacks.PlainProgress()
    words = {"loss": "x" * 30, "monitor": "y" * 30, "speed": "z" * 30}
    bar.figures.words = lambda *_: words
    trainer = type("T", (), {"global_step": 12_345, "max_steps": 77_777, "max_epochs": None})()
    bar._print(trainer, None)
    words["monitor"] = "y"
    bar._print(trainer, None)
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"step 12,345/77,777  {'x' * 30}  {'z' * 30}"
    assert second == f"step 12,345/77,777  {'x' * 30}  y  {'z' * 30}"


@pytest.mark.parametrize(("width", "bar", "monitor"), [(80, False, False), (100, True, False), (120, True, True)])
def test_the_bar_gives_way_to_the_words(width, bar, monitor, monkeypatch) -> None:
    """The longest words there are, in one line of the terminal."""
    from finelab.callbacks import terminal_progress

    monkeypatch.setattr(terminal_progress, "Console", lambda **_: Console(width=width, file=io.StringIO()))
    progress = callbacks.TerminalProgress()
    words = {"loss": "loss 10.312", "gap": "gap +1.021", "monitor": "val/accuracy 0.950"}
    words |= {"verdict": "underfitting", "speed": "12,345 tokens/s", "left": "1:03:12 left"}
    progress.figures.words = lambda *_: words
    progress.train_progress_bar_id = 0
    assert progress.get_metrics(None, None) == {}
    text = progress.words.of_task[1].plain
    assert ("val/accuracy" in text) == monitor
    columns = progress.configure_columns(None)
    assert (len(columns) == 4) == bar
    assert bar * len("Epoch 10/29 ---------- ") + len("120/154 ") + len(text) <= width


def test_clocks() -> None:
    assert [clock(seconds) for seconds in (4.4, 187, 7500)] == ["0:04", "3:07", "2:05:00"]
