import json

import lightning as L
import pytest
import torch

from finelab.callbacks.measure import Measure, measures_of
from finelab.callbacks.recordable import recordable_verdict
from finelab.callbacks.run_record import data_summary
from finelab.callbacks.standard import standard_callbacks
from finelab.contracts.record import read_record
from finelab.contracts.run_config import config_digest
from finelab.contracts.verdict import Evidence, Verdict
from finelab.models.non_finite_error import NonFiniteError


class Break(L.Callback):
    def __init__(self, exception: BaseException) -> None:
        self.exception = exception

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        raise self.exception


def test_a_failed_run_says_why(fit, classifier, data, run_of) -> None:
    run = run_of()
    with pytest.raises(RuntimeError, match="it broke"):
        fit(classifier(), data(), [Break(RuntimeError("it broke")), *standard_callbacks(run)])
    record = read_record(run.directory)
    assert (record.status, record.error) == ("failed: error", {"type": "RuntimeError", "message": "it broke"})
    assert "in on_train_epoch_end" in (run.directory / "error.txt").read_text()
    assert record.order_digest is None
    assert record.cost.steps == 6
    assert record.metrics["validation"].after == {}


def test_an_interrupted_run_is_neither_finished_nor_failed(fit, classifier, data, run_of) -> None:
    run = run_of()
    with pytest.raises(SystemExit):
        fit(classifier(), data(), [Break(KeyboardInterrupt()), *standard_callbacks(run)])
    assert read_record(run.directory).status == "interrupted"


def test_a_failure_before_the_model_is_there_is_recorded(fit, classifier, data, run_of) -> None:
    class Broken(data):
        def setup(self, stage: str) -> None:
            raise ValueError("bad row")

        def __getattribute__(self, name: str):
            if name in ("report", "fingerprint"):
                raise ValueError("the report needs the rows")
            return super().__getattribute__(name)

    run = run_of()
    with pytest.raises(ValueError, match="bad row"):
        fit(classifier(), Broken(), standard_callbacks(run))
    record = read_record(run.directory)
    assert record.status == "failed: data" and record.parameters["total"] == 0
    assert record.error["message"].startswith("The data could not be read: ValueError: bad row.")


def test_a_run_whose_metrics_are_not_finite_is_not_finished(fit, classifier, data, run_of) -> None:
    class Poison(L.Callback):
        def on_train_end(self, trainer, pl_module) -> None:
            for p in pl_module.head.parameters():
                p.data.fill_(float("nan"))

    run = run_of()
    standard = [c for c in standard_callbacks(run) if type(c).__name__ != "BestCheckpoint"]
    next(c for c in standard if type(c).__name__ == "FinalEvaluation").best = None
    with pytest.raises(Exception, match="nll of the validation split after training is nan"):
        fit(classifier(), data(), [Poison(), *standard])
    record = read_record(run.directory)
    assert record.status == "failed: nonfinite"
    assert "nll" not in record.metrics["validation"].after


def test_the_digest_of_a_configuration_ignores_the_name_of_its_run() -> None:
    config = {"seeds": 1, "run": {"root": "a", "name": "b"}}
    assert config_digest(config) == config_digest({"run": {"root": "c"}, "seeds": 1})
    assert config_digest(config) != config_digest({"seeds": 2})


def test_a_long_part_of_the_data_report_stays_in_its_own_file(data) -> None:
    source = data()
    source.report = {"rows": 3, "listing": ["x" * 100] * 100}
    assert data_summary(source) == {"fingerprint": "f1", "rows": 3}
    assert data_summary(None) == {}
    json.dumps(data_summary(source))


def test_weights_after_a_failure_are_still_on_the_disk(fit, classifier, data, run_of, flat) -> None:
    run, module = run_of(), classifier()
    with pytest.raises(RuntimeError):
        fit(module, data(), [Break(RuntimeError("x")), *standard_callbacks(run)])
    again = classifier()
    again.load_folder(run.directory / "checkpoints" / "best")
    assert torch.equal(flat(again), flat(module))


def test_it_says_what_trains_before_it_trains(fit, classifier, data, run_of, caplog) -> None:
    run = run_of()
    with caplog.at_level("INFO"):
        fit(classifier(), data(), standard_callbacks(run))
    record = read_record(run.directory)
    settings = {"r": 2, "lora_alpha": 4, "lora_dropout": 0.1}
    named = {"name": "LoraConfig", "class": "peft.LoraConfig", "settings": settings}
    assert record.adapter == named | {"merges": True, "base_is": "off"}
    line = next(message for message in caplog.messages if message.startswith("Training "))
    assert f"Training {record.parameters['trainable']:,} of {record.parameters['total']:,} parameters" in line
    assert line.endswith("LoraConfig merges into plain weights; switched off it is the base.")


class Finds(Measure):
    """What it is told, and whether the others were measured when it concluded."""

    def __init__(self, finding=None) -> None:
        self.finding = finding or {}
        self.seen: list[bool] = []

    def measure_best(self, trainer, module) -> None:
        self.seen.append(False)

    def conclude(self, trainer, module) -> None:
        self.seen += [bool(each.seen) for each in measures_of(trainer) if isinstance(each, Finds)]

    def findings(self):
        return self.finding


def test_a_record_takes_whatever_a_measure_finds(fit, classifier, data, run_of) -> None:
    """Each under a name of its own; without what is not finite; and conclusions after all measures."""
    inf, nan = float("inf"), float("nan")
    first = Finds({"best": {"nll": inf, "rows": 3}, "drift": nan, "rows": 2, "course": [{"step": 1, "kl": nan}, 2.0]})
    second = Finds({"blocks": {"all": [0.5, inf]}})
    run = run_of()
    fit(classifier(), data(), standard_callbacks(run, [first, second]), max_epochs=1)
    gone = {"missing": "not finite"}
    record = read_record(run.directory)
    assert record.findings["finds"] == {"best": gone, "drift": gone, "rows": 2, "course": [{"step": 1}, 2.0]}
    assert record.findings["finds_2"] == {"blocks": {"all": [0.5, None]}}
    assert first.seen == second.seen == [False, True, True]


def test_a_run_that_diverges_has_the_record_of_that(fit, classifier, data, run_of) -> None:
    run = run_of()
    with pytest.raises(NonFiniteError):
        fit(classifier(rate=1e12), data(), standard_callbacks(run), max_epochs=4, val_check_interval=1)
    assert read_record(run.directory).status == "failed: nonfinite"


def test_a_record_that_cannot_be_had_hides_no_failure(fit, classifier, data, run_of, monkeypatch, capsys) -> None:
    run, said = run_of(), "a measure that fails"
    evidence = [Evidence("gap", float("-inf"), None, None, ""), Evidence("gap", 0.5, float("nan"), 1.0, "")]
    verdict = Verdict("undecided", "Undecided.", "nll", 1, None, float("inf"), evidence)
    assert recordable_verdict(verdict).evidence == [Evidence("gap", 0.5, None, 1.0, "")]
    assert recordable_verdict(verdict).cost is None

    def fails(trainer):
        raise ValueError(said)

    monkeypatch.setattr("finelab.callbacks.run_record.verdict_of", fails)
    with pytest.raises(NonFiniteError):
        fit(classifier(), data(), [Break(NonFiniteError("it is not")), *standard_callbacks(run)])
    assert said in capsys.readouterr().err
    assert "NonFiniteError" in (run.directory / "error.txt").read_text()
