import pyarrow.parquet
import pytest
import torch

from finelab import callbacks
from finelab.callbacks.evaluation import undisturbed
from finelab.callbacks.results import Results


def test_the_test_split_is_never_touched_unless_asked_for(fit, classifier, data) -> None:
    results = Results()
    fit(classifier(), data(), [callbacks.Baseline(results), callbacks.FinalEvaluation(results)])
    assert list(results.after) == ["validation"]
    assert not results.test_read
    with pytest.raises(AssertionError, match="the test split was read"):
        fit(classifier(), data(), [callbacks.FinalEvaluation(evaluate_test=True)])


def test_before_and_after_stand_side_by_side_per_example(fit, classifier, data, tmp_path) -> None:
    results, module, source = Results(tmp_path), classifier(), data(may_read_test=True)
    best = callbacks.BestCheckpoint(tmp_path)
    fit(module, source, [callbacks.Baseline(results), callbacks.FinalEvaluation(results, best, True), best])
    assert sorted(results.examples) == ["test-after", "test-before", "validation-after", "validation-before"]
    assert list(results.before["test"]) == ["majority", "probe"]
    for split in ("validation", "test"):
        found = results.before[split]["probe"], results.after[split]
        for when, metrics in zip(("before", "after"), found, strict=True):
            table = pyarrow.parquet.read_table(tmp_path / results.examples[f"{split}-{when}"]).to_pydict()
            assert table["sample_id"] == list(range(results.rows[split]))
            assert sum(table["nll"]) / results.rows[split] == pytest.approx(metrics["nll"], rel=1e-6)
    with undisturbed(module):
        nll = [v for batch in source.loader("test") for v in module.score(batch).nll.tolist()]
    table = pyarrow.parquet.read_table(tmp_path / results.examples["test-after"]).to_pydict()
    assert table["nll"] == pytest.approx(nll, rel=1e-6)


def test_base_and_tuned_language_model_on_the_test_split(fit, language_model, data) -> None:
    results, module, source = Results(), language_model(), data("text", may_read_test=True)
    fit(module, source, [callbacks.Baseline(results), callbacks.FinalEvaluation(results, evaluate_test=True)])
    fresh = language_model()
    fresh.configure_model()
    for of, metrics in ((fresh, results.before["test"]["base"]), (module, results.after["test"])):
        with undisturbed(of):
            scored = [of.score(batch).nll for batch in source.loader("test")]
        assert metrics["nll"] == pytest.approx(torch.cat(scored).mean().item(), rel=1e-6)


def test_a_missing_test_split_is_said(fit, classifier, data) -> None:
    source, results = data(may_read_test=True), Results()
    source.splits = ("train", "validation")
    fit(classifier(), source, [callbacks.FinalEvaluation(results, evaluate_test=True)])
    assert (results.notes, results.test_read) == (["evaluate_test is true, and the data has no test split."], False)
