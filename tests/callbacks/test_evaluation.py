import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback

from finelab.callbacks.evaluation import evaluate, split_loader, undisturbed


class Ask(Callback):
    """Runs a question at the start of training, when the module is where it trains."""

    def __init__(self, question) -> None:
        self.question = question

    def on_train_start(self, trainer, pl_module) -> None:
        self.answer = self.question(pl_module, trainer)


def test_metrics_are_means_over_the_rows(fit, classifier, data) -> None:
    ask = Ask(lambda module, trainer: evaluate(module, split_loader(trainer, "validation"), trainer))
    fit(classifier(), data(), [ask], max_steps=1)
    found = ask.answer
    assert found.rows == 10
    assert found.examples["sample_id"] == list(range(10))
    assert found.metrics["nll"] == pytest.approx(sum(found.examples["nll"]) / 10, rel=1e-6)
    right = sum(a == b for a, b in zip(found.examples["label"], found.examples["prediction"], strict=True))
    assert found.metrics["accuracy"] == pytest.approx(right / 10)


def test_batch_size_does_not_change_a_metric(fit, classifier, data) -> None:
    def question(module, trainer):
        return [evaluate(module, data(batch_size=size).loader("validation"), trainer) for size in (1, 7, 32)]

    ask = Ask(question)
    fit(classifier(), data(), [ask], max_steps=1)
    first, *others = ask.answer
    for other in others:
        assert other.examples["sample_id"] == first.examples["sample_id"]
        assert other.metrics == pytest.approx(first.metrics, rel=1e-6)


def test_language_model_examples_add_up_to_the_split(fit, language_model, data) -> None:
    ask = Ask(lambda module, trainer: evaluate(module, split_loader(trainer, "validation"), trainer))
    fit(language_model(), data("text"), [ask], max_steps=1)
    examples = ask.answer.examples
    assert ask.answer.metrics["nll"] == pytest.approx(sum(examples["nll"]) / sum(examples["tokens"]), rel=1e-5)


def test_evaluation_leaves_no_trace() -> None:
    module = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Linear(2, 2), torch.nn.Dropout())
    module[0].eval()
    draws = []
    for _ in range(2):
        torch.manual_seed(3), random.seed(3), np.random.seed(3)
        if draws:
            with undisturbed(module):
                assert not any(part.training for part in module.modules())
                assert not module(torch.ones(1, 2)).requires_grad
                torch.rand(5), random.random(), np.random.rand()
        draws.append((torch.rand(1).item(), random.random(), np.random.rand()))
    assert draws[0] == draws[1]
    assert [part.training for part in module] == [False, True, True]
    with pytest.raises(RuntimeError, match="inside"), undisturbed(module):
        raise RuntimeError("inside")
    assert [part.training for part in module] == [False, True, True]


def test_an_evaluation_agrees_with_a_plain_forward(fit, classifier, data) -> None:
    def question(module, trainer):
        found = evaluate(module, trainer.datamodule.loader("validation"), trainer)
        losses = []
        with undisturbed(module):
            for batch in trainer.datamodule.loader("validation"):
                hidden = module.adapted(batch["input_ids"], batch["attention_mask"]).last_hidden_state
                mask = batch["attention_mask"][..., None]
                logits = module.head.linear((hidden * mask).sum(1) / mask.sum(1))
                losses += F.cross_entropy(logits, batch["labels"], reduction="none").tolist()
        return found, losses

    ask = Ask(question)
    fit(classifier(), data(), [ask], max_steps=1)
    found, losses = ask.answer
    assert found.examples["nll"] == pytest.approx(losses, rel=1e-5)


@pytest.mark.parametrize("options", [{"val_check_interval": 3}, {"limit_val_batches": 1}])
def test_when_and_how_much_is_evaluated_changes_no_weight(options, fit, classifier, data, flat) -> None:
    """Dropout is on, and a validation after three micro-batches lies inside a step of two."""
    weights = []
    for settings in ({"limit_val_batches": 0}, options):
        torch.manual_seed(0)
        module = classifier()
        fit(module, data(), max_epochs=3, accumulate_grad_batches=2, **settings)
        weights.append(flat(module))
    assert torch.equal(*weights)
