"""Metrics of torchmetrics beside a target's own: values, sets, ranks, what is missing, and no trace in the module."""

import json
import math

import pytest
import torch
import torch.multiprocessing
from sklearn.metrics import cohen_kappa_score, log_loss, roc_auc_score
from torch import nn
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAUROC, MulticlassCohenKappa, MulticlassRecall, MultilabelAUROC
from torchmetrics.regression import ConcordanceCorrCoef

from finelab.callbacks import BestCheckpoint, ExtraMetrics, FinalEvaluation, History
from finelab.callbacks.extra_meter import ExtraMeter
from finelab.callbacks.extra_metrics import given
from finelab.callbacks.results import Results
from finelab.contracts.errors import UserError
from finelab.models.likelihoods import Bernoulli, Categorical, Gaussian
from finelab.models.scored import Scored


class MeanLoss(Metric):
    """A metric of the user's own, with a network that nobody asked to train."""

    higher_is_better = False

    def __init__(self, value=None, error=None):
        super().__init__()
        self.value, self.error, self.network = value, error, nn.Linear(2, 2)
        self.register_buffer("kept", torch.zeros(3))
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, probabilities, targets):
        self.total += -probabilities.gather(1, targets[:, None]).log().sum()
        self.count += len(targets)

    def compute(self):
        if self.error is not None:
            raise self.error
        return self.total / self.count if self.value is None else self.value


def made_up(rows=60, classes=3):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rows, classes, generator=generator), torch.randint(0, classes, (rows,), generator=generator)


def meter_of(metrics, input=None, likelihood=None):
    return ExtraMeter(metrics, given(input, likelihood or Categorical(), "It"))


def fed(meter, logits, targets, likelihood=None, size=7):
    own = {} if likelihood is None else {"likelihood": likelihood}
    for part, labels in zip(logits.split(size), targets.split(size), strict=True):
        meter.update(Scored.of(part, labels, torch.arange(len(labels)), **own), {})
    return meter


def test_values_are_those_of_scikit_learn_for_every_target():
    logits, targets = made_up()
    classes = {"auroc": MulticlassAUROC(3), "kappa": MulticlassCohenKappa(3), "loss": MeanLoss()}
    p = logits.softmax(-1).double().numpy()
    p /= p.sum(-1, keepdims=True)
    assert fed(meter_of(classes), logits, targets).compute() == pytest.approx(
        {
            "auroc": roc_auc_score(targets, p, multi_class="ovr"),
            "kappa": cohen_kappa_score(targets, logits.argmax(-1)),
            "loss": log_loss(targets, p),
        },
        abs=1e-6,
    )
    held = (logits > 0.5).flip(0).float()
    found = fed(meter_of({"auroc": MultilabelAUROC(3)}, None, Bernoulli()), logits, held, Bernoulli()).compute()
    assert found["auroc"] == pytest.approx(roc_auc_score(held, logits.sigmoid()), abs=1e-6)
    y = torch.arange(20.0)
    p = y + torch.sin(y)
    ccc = 2 * torch.cov(torch.stack([y, p]))[0, 1] / (y.var() + p.var() + (y.mean() - p.mean()) ** 2)
    found = fed(meter_of({"ccc": ConcordanceCorrCoef()}, None, Gaussian()), p[:, None], y, Gaussian()).compute()
    assert found["ccc"] == pytest.approx(ccc.item(), abs=1e-5)


def test_what_they_are_given():
    logits, targets = made_up()
    seen = []

    class Looks(MeanLoss):
        def update(self, first, second):
            seen.append(first)

    for name in ("predictions", "probabilities", "logits"):
        fed(meter_of({"it": Looks()}, name), logits, targets, size=60)
    assert torch.equal(seen[0], logits.argmax(-1))
    assert torch.equal(seen[1], logits.softmax(-1)) and torch.equal(seen[2], logits)
    with pytest.raises(UserError, match="input is 'logits', and It has predictions only"):
        given("logits", Gaussian(), "It")


@pytest.mark.parametrize(
    ("metric", "found", "missing", "tables"),
    [
        (MeanLoss(torch.tensor(math.nan)), {}, {"it": "it is nan on these rows"}, {}),
        (MeanLoss(error=ValueError("no\npairs")), {}, {"it": "MeanLoss says: no pairs"}, {}),
        (MeanLoss({"a": torch.tensor(1.0), "b": math.inf}), {"it_a": 1.0}, {"it_b": "it is inf on these rows"}, {}),
        (MeanLoss(torch.tensor([1.0, math.nan])), {}, {}, {"it": [1.0, None]}),
        (MeanLoss(torch.tensor([[1, 2], [3, 4]])), {}, {}, {"it": [[1.0, 2.0], [3.0, 4.0]]}),
        (MeanLoss(torch.tensor([2.5])), {"it": 2.5}, {}, {}),
    ],
    ids=["nan", "raises", "mapping", "vector", "matrix", "one"],
)
def test_what_is_no_finite_number(metric, found, missing, tables):
    meter = fed(meter_of({"it": metric}), *made_up())
    for _ in range(2):
        assert (meter.compute(), meter.missing(), meter.tables()) == (found, missing, tables)
    json.dumps(meter.tables(), allow_nan=False)


def test_a_metric_that_does_not_fit_is_refused_with_what_it_was_given():
    with pytest.raises(
        UserError, match=r"it \(MulticlassAUROC\) does not take probabilities \[7, 3\] with targets \[7\]"
    ):
        fed(meter_of({"it": MulticlassAUROC(5)}), *made_up())


def test_names_that_cannot_be_logged_are_refused():
    for metrics, said in (
        ({}, "metrics is empty"),
        ({"a/b": MeanLoss()}, "'a/b' is no name"),
        ({"f1": MeanLoss()}, "own"),
    ):
        with pytest.raises(UserError, match=said):
            ExtraMetrics(metrics)


def test_no_trace_in_the_module_and_the_same_weights(fit, classifier, data, flat) -> None:
    module, plain = classifier(), classifier()
    extra = ExtraMetrics({"loss": MeanLoss()})
    trainer = fit(module, data(), [extra, FinalEvaluation()])
    fit(plain, data())
    assert torch.equal(flat(module), flat(plain))
    assert module.state_dict().keys() == plain.state_dict().keys()
    assert module.parameter_counts() == plain.parameter_counts()
    assert trainer.callback_metrics["val/loss"] == pytest.approx(trainer.callback_metrics["val/nll"].item(), rel=1e-5)
    assert extra.metrics["loss"].count == 0, "the given one stays as it is"
    assert len(module.added_meters) == 1
    trainer.validate(module, datamodule=data(), verbose=False)
    assert len(module.added_meters) == 1


def test_it_is_logged_evaluated_and_watched_in_its_direction(fit, classifier, data, tmp_path) -> None:
    results, history = Results(), History()
    best = BestCheckpoint(tmp_path, "val/loss")
    recall = MulticlassRecall(2, average=None)
    own = [best, history, FinalEvaluation(results, best), ExtraMetrics({"loss": MeanLoss(), "recalls": recall})]
    fit(classifier(), data(), own, max_epochs=3)
    assert (best.monitor, best.mode) == ("val/loss", "min")
    assert best.value == pytest.approx(min(entry["loss"] for entry in history.entries))
    assert best.value == pytest.approx(min(entry["nll"] for entry in history.entries), rel=1e-5)
    assert results.after["validation"]["loss"] == pytest.approx(best.value, rel=1e-5)
    assert len(results.tables["validation"]["recalls"]) == 2 and "recalls" not in results.after["validation"]


METRICS = {"auroc": MulticlassAUROC(3), "kappa": MulticlassCohenKappa(3), "broken": MeanLoss(error=ValueError("no"))}


def as_rank(rank, folder):
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2, init_method=f"file://{folder}/meet")
    logits, targets = made_up()
    own = slice(0, 23) if rank == 0 else slice(23, 60)  # several batches each, and not as many
    meter = fed(meter_of({name: metric.clone() for name, metric in METRICS.items()}), logits[own], targets[own])
    found = [meter.compute(), meter.missing(), meter.compute()]
    (folder / f"{rank}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


def test_two_ranks_find_what_one_finds(tmp_path):
    torch.multiprocessing.start_processes(as_rank, (tmp_path,), nprocs=2, start_method="fork")
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first == second and first[0] == first[2]
    whole = fed(meter_of(METRICS), *made_up())
    assert first[0] == pytest.approx(whole.compute(), rel=1e-6)
    assert first[1] == whole.missing() == {"broken": "MeanLoss says: no"}
