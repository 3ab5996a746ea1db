"""Two gloo processes leave the record of one."""

import pyarrow.parquet
import pytest
from lightning.pytorch.strategies import DDPStrategy

from finelab.callbacks.standard import standard_callbacks
from finelab.contracts.record import read_record


def test_two_processes_watch_as_one(fit, classifier, data, run_of) -> None:
    records = []
    for ranks in (1, 2):
        run = run_of(f"ranks-{ranks}", evaluate_test=True)
        # Row i goes to rank i mod 2, so that both runs train on the same four rows a step.
        source = data(may_read_test=True, batch_size=4 // ranks)
        options = {"devices": 2, "strategy": DDPStrategy(start_method="fork")} if ranks == 2 else {}
        fit(classifier(rate=1e-6), source, standard_callbacks(run), **options)
        records.append(read_record(run.directory))
        for split, rows in (("validation", 10), ("test", 9)):
            for when in ("before", "after"):
                table = pyarrow.parquet.read_table(run.directory / "predictions" / f"{split}-{when}.parquet")
                assert table["sample_id"].to_pylist() == list(range(rows))
    one, two = records
    assert two.order_digest == one.order_digest
    assert two.hardware["ranks"] == 2
    for name in ("steps", "examples", "supervised_tokens", "input_tokens"):
        assert getattr(two.cost, name) == getattr(one.cost, name)
    for split in ("validation", "test"):
        assert two.metrics[split].rows == one.metrics[split].rows
        for reference, metrics in one.metrics[split].before.items():
            assert two.metrics[split].before[reference] == pytest.approx(metrics, rel=1e-5)
        assert two.metrics[split].after == pytest.approx(one.metrics[split].after, rel=1e-4)
