"""Every validation metric less the strongest reference's."""

import pytest
from lightning.pytorch.loggers import CSVLogger

from finelab import callbacks
from finelab.callbacks.differences import Differences, references
from finelab.callbacks.results import Results


class Noted(CSVLogger):
    def __init__(self, folder) -> None:
        super().__init__(folder)
        self.noted: dict[int, dict[str, float]] = {}

    def log_metrics(self, metrics, step=None) -> None:
        self.noted.setdefault(step, {}).update(metrics)


def test_a_language_model_is_compared_with_its_base(fit, language_model, data, tmp_path) -> None:
    results, logger = Results(), Noted(tmp_path)
    trainer = fit(language_model(), data("text"), [callbacks.Baseline(results), Differences()], logger=logger)
    before, last = results.before["validation"]["base"], logger.noted[trainer.global_step]
    for name in ("nll", "perplexity"):
        now = float(trainer.callback_metrics[f"val/{name}"])
        assert last[f"delta/val/{name}"] == pytest.approx(now - before[name])
    assert last["delta/val/nll"] < 0
    assert not any(name.startswith("delta/") for name in logger.noted[0])


def test_a_new_head_is_compared_with_the_probe(fit, classifier, data, tmp_path) -> None:
    results, logger = Results(), Noted(tmp_path)
    trainer = fit(classifier(), data(), [callbacks.Baseline(results), Differences()], logger=logger)
    probe = results.before["validation"]["probe"]
    assert references(trainer)["val/accuracy"] == probe["accuracy"]
    now = float(trainer.callback_metrics["val/accuracy"])
    assert logger.noted[trainer.global_step]["delta/val/accuracy"] == pytest.approx(now - probe["accuracy"])


def test_without_a_baseline_nothing_is_logged(fit, classifier, data, tmp_path) -> None:
    logger = Noted(tmp_path)
    fit(classifier(), data(), [Differences()], logger=logger)
    assert not any(name.startswith("delta/") for values in logger.noted.values() for name in values)


def test_fewer_rows_than_the_reference_had_give_no_difference(fit, classifier, data, tmp_path) -> None:
    logger, listed = Noted(tmp_path), [callbacks.Baseline(Results()), Differences()]
    with pytest.warns(UserWarning, match="limit_val_batches leaves out rows") as said:
        trainer = fit(classifier(), data(), listed, logger=logger, limit_val_batches=1, max_epochs=2)
    assert sum("leaves out rows" in str(each.message) for each in said) == 1
    assert not any(name.startswith("delta/") for values in logger.noted.values() for name in values)
    assert references(trainer) == {}


def test_a_limit_that_leaves_no_row_out_changes_nothing(fit, classifier, data, tmp_path) -> None:
    logger, listed = Noted(tmp_path), [callbacks.Baseline(Results()), Differences()]
    trainer = fit(classifier(), data(), listed, logger=logger, limit_val_batches=10_000)
    assert "delta/val/accuracy" in logger.noted[trainer.global_step]
