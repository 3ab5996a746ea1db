"""Two gloo processes leave the record of one."""

import re
from functools import partial

import lightning as L
import pyarrow.parquet
import pytest
import torch
from torchmetrics.classification import MulticlassAUROC

from finelab.callbacks import ExtraMetrics
from finelab.callbacks.standard import standard_callbacks, state_io
from finelab.contracts.record import read_record
from finelab.contracts.state_folder import latest_state, verify

from .ranks import AS_RANKS, in_two_ranks


def test_two_processes_watch_as_one(fit, classifier, data, run_of) -> None:
    records = []
    for ranks in (1, 2):
        run = run_of(f"ranks-{ranks}", evaluate_test=True)
        # Row i goes to rank i mod 2, so that both runs train on the same four rows a step.
        source = data(may_read_test=True, batch_size=4 // ranks)
        own = [ExtraMetrics({"auroc": MulticlassAUROC(2)})]
        train = partial(fit, classifier(rate=1e-6), source, standard_callbacks(run, own))
        train() if ranks == 1 else in_two_ranks(partial(train, **AS_RANKS))
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
        assert "auroc" in one.metrics[split].after
        assert two.metrics[split].missing == one.metrics[split].missing
        for name in ("confusion_matrix", "per_class"):
            assert two.metrics[split].tables[name] == one.metrics[split].tables[name]
    first, second = one.findings["calibration"], two.findings["calibration"]
    assert second["rows"] == first["rows"]
    assert second["temperature"] == first["temperature"], "this head has learnt nothing, so that there is none"
    first["before"].pop("reliability"), second["before"].pop("reliability")
    assert second["before"] == pytest.approx(first["before"], rel=1e-3)


class OnTheSecondRank(L.Callback):
    """At the second step."""

    def __init__(self, break_it) -> None:
        self.break_it = break_it

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if trainer.global_rank == 1 and trainer.global_step == 1:
            self.break_it(pl_module)


def no_number(module) -> None:
    module.head.register_forward_hook(lambda part, inputs, output: output * float("nan"))


def no_memory(module) -> None:
    module.supervised = lambda batch: torch.empty(1 << 50)


@pytest.mark.parametrize(
    ("break_it", "status", "message"),
    [
        (no_number, "failed: nonfinite", r"step 2: nll is not finite, in the batch of samples .*\] of rank 1\. "),
        (no_memory, "failed: memory", "^Out of memory .* allocate"),
    ],
)
def test_the_fault_of_one_rank_is_the_records(break_it, status, message, fit, classifier, data, run_of) -> None:
    """Whichever rank writes it: the other one hears of a fault that is not agreed on as a lost connection."""
    run = run_of("broken")
    train = partial(
        fit,
        classifier(),
        data(batch_size=2),
        [*standard_callbacks(run, [OnTheSecondRank(break_it)])],
        plugins=[state_io(run)],
        **AS_RANKS,
    )
    with pytest.raises(Exception, match="terminated|not finite|allocate|Connection|process"):
        in_two_ranks(train)
    record = read_record(run.directory)
    assert record.status == status, record.error
    assert re.search(message, record.error["message"]), record.error["message"]
    state = latest_state(run.directory)
    assert state is not None and verify(state)["step"] <= 1
