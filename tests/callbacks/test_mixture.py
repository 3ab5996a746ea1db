"""A run on two sources that is tested on a third set: everything apart and together, on one process and on two."""

import json
import math

import lightning as L
import pyarrow.parquet
import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy
from peft import LoraConfig

from finelab.callbacks.card import card
from finelab.callbacks.panels import as_text
from finelab.callbacks.split_evaluation import evaluate_split
from finelab.callbacks.standard import standard_callbacks
from finelab.contracts.errors import UserError
from finelab.contracts.record import read_record
from finelab.data import Documents, MixtureDataModule
from finelab.data.loader_options import LoaderOptions
from finelab.data.mixture_specs import SourceSpec
from finelab.data.splits import Fractions
from finelab.models.adapters.peft import as_adapter


@pytest.fixture
def mixture(tmp_path):
    """Sources a (validation, test) and b (validation), and a set c that has a test split only."""

    def write(name, count):
        file = tmp_path / f"{name}.jsonl"
        rows = [{"text": f"{name} {i} " + f"{name[0]}word " * (3 + i % 5)} for i in range(count)]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(file)

    a = {"train": write("a-train", 20), "validation": write("a-val", 5), "test": write("a-test", 4)}
    b = {"train": write("b-train", 12), "validation": write("b-val", 7)}
    c = {"test": write("c-test", 6)}

    def make(batch_size=4, sets=("c",), **changes):
        return MixtureDataModule(
            {"a": SourceSpec(a), "b": SourceSpec(b)},
            "tiny://llama",
            Documents(),
            eval_sets={"c": SourceSpec(c)} if sets else None,
            context=64,
            batch_size=batch_size,
            loader=LoaderOptions(bucketing=False),
            splits=Fractions(0, 0),
            cache_dir=str(tmp_path / "tokens"),
            **changes,
        )

    return make


def rows_of(run, name):
    return pyarrow.parquet.read_table(run.directory / "predictions" / f"{name}.parquet").to_pydict()


def test_a_run_is_scored_on_each_set_and_the_record_knows_all(fit, language_model, mixture, run_of):
    run = run_of(evaluate_test=True, monitor="val/b/nll")
    trainer = fit(language_model(), mixture(), standard_callbacks(run))
    record = read_record(run.directory)
    assert {name: part.rows for name, part in record.metrics.items()} == {
        "validation": 12,
        "validation/a": 5,
        "validation/b": 7,
        "test": 4,
        "test/a": 4,
        "test/c": 6,
    }
    for when in ("before", "after"):
        found = rows_of(run, f"validation-{when}")
        assert found["sample_id"] == list(range(12)) and found["source"] == ["a"] * 5 + ["b"] * 7
        for part, chosen in (("", slice(0, 12)), ("/a", slice(0, 5)), ("/b", slice(5, 12))):
            result = record.metrics[f"validation{part}"]
            metrics = result.after if when == "after" else result.before["base"]
            nll = sum(found["nll"][chosen]) / sum(found["tokens"][chosen])
            assert metrics["nll"] == pytest.approx(nll, rel=1e-6), (part, when)
        other = rows_of(run, f"test/c-{when}")
        assert other["sample_id"] == list(range(4, 10)) and set(other["source"]) == {"c"}
        assert f"test/c-{when}" in record.examples
    assert record.best.monitor == "val/b/nll"
    assert record.metrics["test/c"].after["nll"] != record.metrics["test/c"].before["base"]["nll"]
    assert set(record.data["consumed"]) == {"a", "b"}
    assert record.data["consumed"]["a"]["rows"] == 40 and record.data["consumed"]["b"]["rows"] == 24
    assert sum(own["supervised_tokens"] for own in record.data["consumed"].values()) == record.cost.supervised_tokens
    assert record.data["source_names"] == ["a", "b", "c"]
    assert {"nll", "a/nll", "b/nll"} <= set(record.history[-1])
    text = as_text(card(record, run))
    assert "test sets" in text and "supervised tokens; b 24 rows" in " ".join(text.split())
    assert {"val/nll", "val/a/nll", "val/b/nll", "train/a/nll", "train/b/nll"} <= set(trainer.logged_metrics)


def test_validation_while_training_says_what_an_evaluation_afterwards_says(fit, language_model, mixture):
    module, data = language_model(), mixture()
    trainer = fit(module, data, max_epochs=1)
    logged = {name: float(value) for name, value in trainer.logged_metrics.items() if name.startswith("val/")}
    after = evaluate_split(module, "validation", trainer)
    assert {name.replace("validation", "val"): part.metrics["nll"] for name, part in after.items()} == pytest.approx(
        {name.removesuffix("/nll"): value for name, value in logged.items() if name.endswith("/nll")}, rel=1e-5
    )
    [found] = trainer.test(module, datamodule=data, verbose=False)[:1]
    assert {"test/nll", "test/a/nll", "test/c/nll"} <= set(found)
    assert found["test/a/nll"] == pytest.approx(found["test/nll"]), "the pool is what was trained on"


def test_uniform_shares_are_recorded(fit, language_model, mixture, run_of):
    run = run_of()
    fit(language_model(), mixture(temperature=math.inf), standard_callbacks(run), max_epochs=1)
    assert read_record(run.directory).data["temperature"] == "uniform"
    assert json.loads((run.directory / "data_report.json").read_text())["temperature"] == "uniform"


def test_a_report_that_no_record_can_hold_stops_before_training(fit, language_model, mixture, run_of, monkeypatch):
    report = mixture().report | {"share": math.inf}
    monkeypatch.setattr(MixtureDataModule, "report", report)
    module = language_model()
    with pytest.raises(ValueError, match="not JSON compliant"):
        fit(module, mixture(), standard_callbacks(run_of()))
    assert module.supervised_tokens == 0


def test_a_template_for_another_model_stops_before_the_first_step(fit, classifier, mixture):
    """Also without the command line."""
    with pytest.raises(UserError, match=r"SequenceClassifier learns one class.*Documents gives the next tokens"):
        fit(classifier(), mixture())


def test_without_evaluate_test_no_test_loader_is_made(fit, language_model, mixture, run_of, monkeypatch):
    run, data = run_of(), mixture()
    asked, original = [], data.evaluation_sets
    monkeypatch.setattr(data, "evaluation_sets", lambda split: asked.append(split) or original(split))
    fit(language_model(), data, standard_callbacks(run), max_steps=1)
    assert "test" not in asked and "validation" in asked
    record = read_record(run.directory)
    assert not record.test_read and not any(name.startswith("test") for name in record.metrics)


def test_a_set_that_is_not_there_cannot_be_monitored(fit, language_model, mixture, run_of):
    with pytest.raises(UserError, match="'val/d/nll', which this run does not log; it logs val/a/"):
        fit(language_model(), mixture(), standard_callbacks(run_of(monitor="val/d/nll")))


def test_two_processes_train_and_measure_as_one(fit, language_model, mixture, run_of):
    records = []
    for ranks in (1, 2):
        run = run_of(f"ranks-{ranks}", evaluate_test=True)
        options = {"devices": 2, "strategy": DDPStrategy(start_method="fork")} if ranks == 2 else {}
        fit(language_model(rate=1e-6), mixture(4 // ranks), standard_callbacks(run), max_epochs=1, **options)
        records.append(read_record(run.directory))
    one, two = records
    assert two.order_digest == one.order_digest
    assert two.data["consumed"] == one.data["consumed"]
    assert two.metrics.keys() == one.metrics.keys()
    for name, part in one.metrics.items():
        assert two.metrics[name].rows == part.rows
        assert two.metrics[name].after == pytest.approx(part.after, rel=1e-4)
    assert two.history[-1]["b/nll"] == pytest.approx(one.history[-1]["b/nll"], rel=1e-5)


def test_evaluation_sets_shift_no_draw_of_training(fit, language_model, mixture):
    """With dropout on: the weights are those of a run without the extra set."""

    def weights(sets):
        module = language_model()
        torch.manual_seed(len(sets))
        module.adapter = as_adapter(LoraConfig(r=2, lora_dropout=0.3, target_modules=["q_proj"]))
        fit(module, mixture(sets=sets), max_epochs=1)
        return torch.cat([p.detach().flatten() for p in module.parameters() if p.requires_grad])

    assert torch.equal(weights(("c",)), weights(()))


class Steps(L.Callback):
    taken = 0

    def on_train_batch_end(self, *_):
        self.taken += 1


def test_a_wrong_monitor_is_refused_before_the_first_step(fit, language_model, mixture, run_of):
    """Of a set that is not there, and the default one where no source that is trained on has a validation split."""
    steps = Steps()
    with pytest.raises(UserError, match="'val/zzz/nll'.*it logs val/a/"):
        fit(language_model(), mixture(), [*standard_callbacks(run_of("set", monitor="val/zzz/nll")), steps])
    data = mixture()
    for spec in data.sources.values():
        spec.source.pop("validation")
    data.eval_sets["c"].source["validation"] = data.eval_sets["c"].source["test"]
    with pytest.raises(UserError, match="'val/nll', which this run does not log; it logs val/c/"):
        fit(language_model(), data, [*standard_callbacks(run_of("default")), steps])
    assert steps.taken == 0
