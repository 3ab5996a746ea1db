"""Which charts there are, and what the text of a verdict may hold."""

import re

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from finelab import callbacks
from finelab.callbacks.charts import Watched, layout
from finelab.callbacks.measure import Measure
from finelab.callbacks.results import Results
from finelab.contracts.verdict import Evidence, Verdict

CLASSES = ["accuracy", "nll", "macro_f1", "ece"]
EVERY = frozenset({"Probes", "Overfitting", "Forgetting", "Movement", "Differences"})


def titles(watched: Watched) -> list[str]:
    return [title for charts in layout(watched).values() for title in charts]


def test_only_charts_that_this_run_fills() -> None:
    bare = titles(Watched(["nll"]))
    assert bare == ["NLL per supervised token: train and validation", "gradient norm", "objective: NLL with every term",
                    "learning rate", "tokens per second", "peak memory (GiB)"]  # fmt: skip
    every = titles(
        Watched([*CLASSES, "bits_per_char", "rouge_l"], EVERY, gap=True, regularized=True, mixed=True, clips=True)
    )
    assert set(bare) - {"gradient norm"} < set(every) and len(every) == len(set(every)) > 18
    canaries = [title for title in titles(Watched(["nll"], frozenset({"CanaryExposure"}))) if "canaries" in title]
    assert len(canaries) == 1 and canaries[0] not in bare
    assert not any("gap with" in title for title in titles(Watched(CLASSES, EVERY - {"Overfitting"}, gap=True)))
    assert any(title.startswith("gap:") for title in titles(Watched(CLASSES, EVERY - {"Overfitting"}, gap=True)))


@pytest.mark.parametrize(("primary", "charts"), [("auroc", 1), ("web/nll", 1), ("accuracy", 0), ("nll", 0)], ids=str)
def test_the_metric_that_picks_the_weights_has_a_chart(primary, charts) -> None:
    found = layout(Watched(list(dict.fromkeys([primary, *CLASSES]))))["3 validation"]
    assert sum("picks the weights" in title for title in found) == charts
    assert any(f"^val/{primary}$" in tags for _, tags in found.values())


def test_the_band_is_of_tags_and_the_lines_of_patterns() -> None:
    categories = layout(Watched(CLASSES, EVERY, gap=True))
    assert categories["1 loss on probes and gap"]["gap with its band"] == [
        "Margin",
        ["gap/value", "gap/low", "gap/high"],
    ]
    patterns = categories["2 verdict"]["learning (accuracy less the reference's) and forgetting"][1]
    fitting = ["delta/val/accuracy", "forgetting/general_nll", "forgetting/kl_base_tuned", "forgetting/feature_drift"]
    assert all(any(re.fullmatch(pattern, tag) for pattern in patterns) for tag in fitting)
    assert not any(re.fullmatch(pattern, "delta/val/wiki/accuracy") for pattern in patterns)


class Says(Measure):
    """Hostile words, and another label at every second validation."""

    def on_validation_end(self, trainer, pl_module) -> None:
        step = trainer.global_step
        label = "healthy" if step // 6 % 4 in (1, 2) else "overfitting"
        evil = "# head\n```\n<script>alert(1)</script>\n```\n[bold]x[/bold]"
        self.verdict = Verdict(
            label, f"{label} {evil}", "nll", step, None, None, [Evidence("a", 1.0, None, None, evil)]
        )

    def findings(self) -> dict:
        return {}


def test_the_verdict_is_text_at_each_change_and_at_the_end(fit, classifier, data, run_of, board) -> None:
    run = run_of()
    shown = callbacks.TensorBoard(run, Results())
    fit(classifier(), data(), [Says(), shown], logger=board(run), max_epochs=6)
    events = EventAccumulator(str(run.directory)).Reload().Tensors("verdict/text_summary")
    assert [event.step for event in events] == [6, 18, 30, 36]
    for event in events:
        text = event.tensor_proto.string_val[0].decode()
        assert "<script>" in text and "[bold]x[/bold]" in text
        assert all(line.startswith("    ") for line in text.splitlines()), "code, whatever it holds"
    assert shown.state_dict() == {"label": "healthy"}
    other = callbacks.TensorBoard(run, Results())
    other.load_state_dict(shown.state_dict())
    assert other.label == "healthy", "what a resumed run has said already is not said again"
