"""The whole set together: one run with everything it leaves, and what it must not change."""

import json
import os
import re
import sys

import lightning as L
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from finelab import callbacks
from finelab.callbacks import BestCheckpoint, Overfitting, Probes
from finelab.callbacks.standard import standard_callbacks
from finelab.contracts.record import read_record


@pytest.fixture
def finished(fit, classifier, data, run_of, board, capsys):
    """A run with everything on, and what it printed."""
    run = run_of(evaluate_test=True)
    fit(classifier(), data(may_read_test=True), standard_callbacks(run), logger=board(run))
    return run, capsys.readouterr()


def test_a_run_leaves_what_the_design_says(finished, data) -> None:
    run, printed = finished
    assert {"checkpoints", "predictions", "record.json", "data_report.json"} < set(os.listdir(run.directory))
    record = read_record(run.directory)
    assert record.status == "finished"
    assert record.test_read
    assert record.metrics["test"].rows == 9
    assert set(record.metrics["test"].before) == {"majority", "probe"}
    found = {"nll", "accuracy", "macro_f1", "mcc", "brier", "ece", "ece_equal_mass", "confidence_minus_accuracy"}
    test = record.metrics["test"]
    assert test.after.keys() | test.missing.keys() == found and not test.after.keys() & test.missing.keys()
    assert set(test.tables) == {"per_class", "confusion_matrix", "reliability"}
    assert set(record.findings["calibration"]) == {"rows", "temperature", "before", "after"}
    assert (record.cost.steps, record.cost.examples, record.cost.supervised_tokens) == (12, 48, 48)
    assert 0 < record.cost.training_seconds < record.cost.total_seconds
    assert [entry["step"] for entry in record.history] == [6, 12]
    assert record.order_digest is not None
    assert record.parameters["trainable"] < record.parameters["total"]
    assert record.data["fingerprint"] == "f1"
    for file in record.examples.values():
        assert (run.directory / file).is_file()
    assert json.loads((run.directory / "data_report.json").read_text()) == data().report
    assert "finelab predict --run" in printed.out
    assert printed.out.startswith("rows: train 24\n")


def test_tensorboard_shows_factors_charts_and_texts(finished) -> None:
    run, _ = finished
    events = list(run.directory.rglob("events.out.tfevents*"))
    assert {file.parent for file in events} == {run.directory}, "one session, no extra run folder"
    events = EventAccumulator(str(run.directory)).Reload()
    record = read_record(run.directory)
    tags = set(events.Tags()["scalars"])
    assert {"train/nll", "val/nll", "val/accuracy", "test/nll", "train/loss", "grad/norm", "train/lr"} <= tags
    assert events.Scalars("hp/val_accuracy")[-1].value == pytest.approx(record.metrics["validation"].after["accuracy"])
    assert events.Scalars("hp/test_nll")[-1].value == pytest.approx(record.metrics["test"].after["nll"])
    texts = {tag.partition("/")[0] for tag in events.Tags()["tensors"]}
    assert {"config", "data", "card"} <= texts
    text = events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert yaml.safe_load(text) == run.config

    from tensorboard.plugins.hparams import plugin_data_pb2

    sessions = events.PluginTagToContent("hparams")
    start = plugin_data_pb2.HParamsPluginData.FromString(sessions["_hparams_/session_start_info"]).session_start_info
    assert {"adapter", "adapter/r", "reg/RDrop.weight", "lr", "seed/train"} <= set(start.hparams)
    experiment = plugin_data_pb2.HParamsPluginData.FromString(sessions["_hparams_/experiment"]).experiment
    stages = {"val": record.metrics["validation"], "test": record.metrics["test"]}
    missing = {f"hp/{stage}_{name}" for stage, result in stages.items() for name in result.missing}
    assert {info.name.tag for info in experiment.metric_infos} - missing <= tags

    from tensorboard.plugins.custom_scalar import layout_pb2

    layout = layout_pb2.Layout.FromString(events.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    found = {chart.title: list(chart.multiline.tag) for category in layout.category for chart in category.chart}
    assert ["^train/nll$", "^val/nll$"] in found.values()
    wanted = {title: patterns for title, patterns in found.items() if patterns}
    empty = [title for title, own in wanted.items() if not re.search(f"(?m){'|'.join(own)}", "\n".join(tags))]
    assert empty == [], "every chart shows something"
    assert {"verdict"} <= texts


def test_watching_changes_no_weight(fit, classifier, data, run_of, board, flat) -> None:
    """Dropout is on; any shifted random number would show."""
    weights = []
    for watched in (False, True):
        run = run_of(f"watched-{watched}", evaluate_test=watched)
        torch.manual_seed(0)
        module = classifier()
        every = standard_callbacks(run) if watched else []
        last = Keep(flat)
        fit(module, data(may_read_test=True), [last, *every], logger=board(run), max_epochs=3)
        weights.append(last.weights)
    assert torch.equal(*weights)


class Keep(L.Callback):
    """The weights after the last step, before the best ones are loaded."""

    def __init__(self, flat) -> None:
        self.flat = flat

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.weights = self.flat(pl_module)


@pytest.mark.parametrize("kind", ["classes", "text"])
def test_without_a_validation_split(kind, fit, classifier, language_model, data, run_of) -> None:
    run, source = run_of(), data(kind)
    source.splits = ("train",)
    fit(classifier() if kind == "classes" else language_model(), source, standard_callbacks(run))
    record = read_record(run.directory)
    assert record.metrics == {}
    assert record.best.value is None
    assert any("no validation split" in note for note in record.notes)
    assert sorted(os.listdir(run.directory / "checkpoints")) == ["best", "last"]


def test_a_trial_run_leaves_nothing(fit, classifier, data, run_of, capsys) -> None:
    run = run_of(evaluate_test=True)
    fit(classifier(), data(may_read_test=True), standard_callbacks(run), fast_dev_run=2)
    assert os.listdir(run.directory) == []
    assert "Nothing was kept" in capsys.readouterr().out


def test_every_callback_finds_its_class_by_file_name() -> None:
    names = ["Baseline", "BestCheckpoint", "FinalEvaluation", "Throughput", "OrderDigest", "TensorBoard", "RunRecord"]
    for name in [*names, "Card", "PlainProgress", "TerminalProgress", "EarlyStopping", "History"]:
        assert getattr(callbacks, name).__name__ == name


def test_progress_follows_the_terminal_and_the_user(run_of, monkeypatch) -> None:
    def bars(**trainer):
        run = run_of(str(len(seen)), trainer=trainer)
        seen.append(run)
        kinds = [c for c in standard_callbacks(run) if isinstance(c, L.pytorch.callbacks.ProgressBar)]
        return [type(bar).__name__ for bar in kinds]

    seen = []
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    assert bars() == ["PlainProgress"]
    assert bars(enable_progress_bar=False) == []
    assert bars(callbacks=[{"class_path": "lightning.pytorch.callbacks.TQDMProgressBar"}]) == []
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert bars() == ["TerminalProgress"]


def test_a_measure_of_the_user_takes_the_place_of_the_standard_one(run_of) -> None:
    run = run_of()
    own = [Overfitting(action="stop"), Probes(rows=7)]
    callbacks = standard_callbacks(run, own)
    for kind, mine in ((Overfitting, own[0]), (Probes, own[1])):
        assert [each for each in callbacks if isinstance(each, kind)] == [mine]
    kept = BestCheckpoint(run.directory)
    assert sum(isinstance(each, BestCheckpoint) for each in standard_callbacks(run, [kept])) == 2
