import functools
import math

import lightning as L
import pyarrow.parquet
import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.preprocessing import StandardScaler
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from finelab import callbacks, models
from finelab.callbacks.evaluation import undisturbed
from finelab.callbacks.results import Results
from finelab.contracts.errors import UserError
from finelab.models.adapters import Full, LinearProbe

from .conftest import made_up


def test_majority_is_the_class_frequencies_of_the_training_rows(fit, classifier, data) -> None:
    results = Results()
    fit(classifier(), data(), [callbacks.Baseline(results)], max_steps=1)
    train = [int(row["label"]) for row in made_up("train", "classes")]
    validation = [int(row["label"]) for row in made_up("validation", "classes")]
    share = sum(train) / len(train)
    nll = -sum(math.log(share if label else 1 - share) for label in validation) / len(validation)
    found = results.before["validation"]["majority"]
    assert found["nll"] == pytest.approx(nll, rel=1e-6)
    assert found["accuracy"] == pytest.approx(validation.count(int(share > 0.5)) / len(validation))


def test_the_probe_reads_the_features_of_the_untouched_base(fit, classifier, data) -> None:
    results, source, module = Results(), data(may_read_test=True), classifier()
    final = callbacks.FinalEvaluation(results, evaluate_test=True)
    fit(module, source, [callbacks.Baseline(results), final])

    fresh = classifier()
    fresh.configure_model()

    def split(name):
        with undisturbed(fresh):
            parts = [(fresh.features(batch), batch["labels"]) for batch in source.loader(name)]
        return torch.cat([p[0] for p in parts]).double().numpy(), torch.cat([p[1] for p in parts]).numpy()

    (x, y), held_out, (x_test, y_test) = split("train"), split("validation"), split("test")
    scaler = StandardScaler().fit(x)
    fits = []
    for strength in (1.0, 1e-1, 1e-2, 1e-3, 1e-4):
        model = LogisticRegression(C=2 / (len(y) * strength), tol=1e-10, max_iter=10_000).fit(scaler.transform(x), y)
        fits.append((log_loss(held_out[1], model.predict_proba(scaler.transform(held_out[0]))), model))
    nll, model = min(fits, key=lambda fitted: fitted[0])
    assert results.before["validation"]["probe"]["nll"] == pytest.approx(nll, rel=1e-3)
    test = results.before["test"]["probe"]
    assert test["nll"] == pytest.approx(log_loss(y_test, model.predict_proba(scaler.transform(x_test))), rel=1e-3)
    assert test["accuracy"] == pytest.approx(accuracy_score(y_test, model.predict(scaler.transform(x_test))))
    assert results.after["test"]["nll"] != test["nll"]


def test_a_language_model_is_its_own_baseline(fit, language_model, data, tmp_path) -> None:
    results, module, source = Results(tmp_path), language_model(), data("text")
    fit(module, source, [callbacks.Baseline(results), callbacks.FinalEvaluation(results)])
    untouched = language_model()
    untouched.configure_model()
    with undisturbed(untouched):
        total, tokens = 0.0, 0
        for batch in source.loader("validation"):
            scored = untouched.score(batch)
            total, tokens = total + scored.nll.sum().item(), tokens + scored.targets.numel()
    assert results.before["validation"]["base"]["nll"] == pytest.approx(total / tokens, rel=1e-6)
    assert results.after["validation"]["nll"] < results.before["validation"]["base"]["nll"]
    table = pyarrow.parquet.read_table(tmp_path / results.examples["validation-before"]).to_pydict()
    assert sum(table["nll"]) / sum(table["tokens"]) == pytest.approx(total / tokens, rel=1e-6)


@pytest.mark.parametrize("kind", ["classes", "text"])
def test_every_reference_is_logged_at_step_0(kind, fit, classifier, language_model, data, run_of, board) -> None:
    run = run_of()
    results, module = Results(run.directory), classifier() if kind == "classes" else language_model()
    fit(module, data(kind), [callbacks.Baseline(results)], max_steps=1, logger=board(run))
    events = EventAccumulator(str(run.directory)).Reload()
    before = results.before["validation"]
    assert list(before) == (["majority", "probe"] if kind == "classes" else ["base"])
    expected = {f"baseline/{name}/{key}": value for name, own in before.items() for key, value in own.items()}
    assert "nll" in before[list(before)[-1]]
    tags = {tag for tag in events.Tags()["scalars"] if tag.startswith("baseline/")}
    assert tags >= expected.keys()
    for tag in tags:
        (point,) = events.Scalars(tag)
        assert point.step == 0 and (math.isnan(point.value) or point.value == pytest.approx(expected[tag], rel=1e-6))
    own = {tag: points for tag in before.get("base", {}) if (points := events.Scalars(f"val/{tag}"))}
    assert all(
        points[0].step == 0 and points[0].value == events.Scalars(f"baseline/base/{tag}")[0].value
        for tag, points in own.items()
    )
    assert bool(own) == (kind == "text")


def test_a_data_module_without_evaluation_loaders_still_trains(fit, classifier, data) -> None:
    class Plain(L.LightningDataModule):
        def train_dataloader(self):
            return data().loader("train")

        def val_dataloader(self):
            return data().loader("validation")

    results = Results()
    fit(classifier(), Plain(), [callbacks.Baseline(results), callbacks.FinalEvaluation(results)])
    assert results.before == {}
    assert "no evaluation_loader('train')" in results.notes[0]
    assert results.after["validation"]["nll"] > 0


def test_the_cap_takes_rows_from_everywhere(fit, classifier, data) -> None:
    baseline = callbacks.Baseline(probe_rows=8)
    asked = {}

    class Count(L.Callback):
        def on_train_start(self, trainer, pl_module) -> None:
            found = baseline._frozen_features(trainer.datamodule.loader("train"), trainer, pl_module, 8)
            asked["labels"], asked["every"] = found[1], found[2]

    fit(classifier(), data(), [baseline, Count()], max_steps=1)
    every = [int(row["label"]) for row in made_up("train", "classes")]
    assert asked["labels"].tolist() == every[0:4] + every[12:16]
    assert asked["every"].tolist() == every


@pytest.mark.parametrize("which", ["best", "stop"])
def test_a_fresh_head_knows_its_metrics_before_the_first_step(which, fit, classifier, data, tmp_path) -> None:
    watch = callbacks.BestCheckpoint(tmp_path, "val/f1") if which == "best" else callbacks.EarlyStopping("val/f1")
    module = classifier()
    with pytest.raises(UserError, match=r"'val/f1', which this run does not log; it logs val/accuracy.*val/nll"):
        fit(module, data(), [callbacks.Baseline(), watch])
    assert module.trainer.global_step == 0


ADAPTERS = {
    "full": Full(),
    "probe": LinearProbe(),
    "lora": LoraConfig(r=2, target_modules="all-linear", lora_dropout=0.1),
    "olora": LoraConfig(r=2, target_modules="all-linear", init_lora_weights="olora"),
    "prompt": PromptTuningConfig(num_virtual_tokens=3),
    "p_tuning": PromptEncoderConfig(num_virtual_tokens=3, encoder_dropout=0.1),
    "prefix": PrefixTuningConfig(num_virtual_tokens=3),
}
ROUNDED = {"olora": 1e-6}
"""Inits that take part of a weight into the adapter: the weight is their sum, within rounding."""


class Lost(Full):
    base_is = "lost"


def references_of(module, fit, data, kind, tmp_path):
    results = Results(tmp_path)
    final = callbacks.FinalEvaluation(results, evaluate_test=True)
    fit(module, data(kind, may_read_test=True), [callbacks.Baseline(results), final])
    tables = {name: pyarrow.parquet.read_table(tmp_path / file).to_pydict() for name, file in results.examples.items()}
    return results, tables


@pytest.mark.parametrize("name", [name for name in ADAPTERS if name != "probe"])
def test_a_language_model_is_compared_with_the_untouched_base(name, fit, language_model, data, tmp_path) -> None:
    """Before training and, under the tuned weights of the end, on the test split: whatever step 0 computes."""
    own = models.CausalLM("tiny://llama", ADAPTERS[name], functools.partial(torch.optim.SGD, lr=0.5))
    results, tables = references_of(own, fit, data, "text", tmp_path)
    untouched = language_model()
    untouched.configure_model()
    source = data("text", may_read_test=True)
    for split in ("validation", "test"):
        with undisturbed(untouched):
            columns = [untouched.example_columns(untouched.score(b), b) for b in source.loader(split)]
        expected = [value for column in columns for value in column["nll"]]
        found = tables[f"{split}-before"]["nll"]
        assert found == (pytest.approx(expected, rel=ROUNDED[name]) if name in ROUNDED else expected)
        assert tables[f"{split}-after"]["nll"] != pytest.approx(expected, rel=1e-6)
    assert results.notes == []


@pytest.mark.parametrize("name", ADAPTERS)
def test_the_probe_of_every_adapter_is_that_of_the_untouched_base(name, fit, data, tmp_path) -> None:
    found = []
    for adapter, folder in ((Full(), "full"), (ADAPTERS[name], "own")):
        (tmp_path / folder).mkdir()
        sgd = functools.partial(torch.optim.SGD, lr=0.05)
        module = models.SequenceClassifier("tiny://bert", adapter, sgd, labels=["low", "high"])
        found.append(references_of(module, fit, data, "classes", tmp_path / folder))
    for split in ("validation", "test"):
        base, own = (results.before[split]["probe"] for results, _ in found)
        assert own == (pytest.approx(base, rel=1e-4) if name in ROUNDED else base)


def test_a_base_that_is_lost_is_noted_instead_of_guessed(fit, data, tmp_path) -> None:
    sgd = functools.partial(torch.optim.SGD, lr=0.05)
    results, tables = references_of(models.CausalLM("tiny://llama", Lost(), sgd), fit, data, "text", tmp_path)
    assert results.before == {} and set(tables) == {"validation-after", "test-after"}
    assert "Lost has rewritten its weights" in results.notes[0]
    (tmp_path / "classes").mkdir()
    module = models.SequenceClassifier("tiny://bert", Lost(), sgd, labels=["low", "high"])
    results, _ = references_of(module, fit, data, "classes", tmp_path / "classes")
    assert set(results.before["test"]) == {"majority"}
