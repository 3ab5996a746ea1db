"""The course of the weights through a run; the norms themselves are tested in tests/models/test_weight_movement.py."""

import functools
import json

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig

from finelab import callbacks, models
from finelab.callbacks.movement import Movement
from finelab.callbacks.results import Results
from finelab.models.adapters import Full


def causal(adapter, rate=0.5):
    return models.CausalLM("tiny://llama", adapter, functools.partial(torch.optim.SGD, lr=rate))


def lora():
    return LoraConfig(r=2, lora_alpha=4, lora_dropout=0.3, target_modules=["q_proj", "v_proj"])


@pytest.mark.parametrize("make", [Full, lora])
def test_each_validation_has_the_norms_of_its_weights(make, fit, data) -> None:
    movement, module = Movement(), causal(make())
    trainer = fit(module, data("text"), [movement, callbacks.FinalEvaluation(Results())], max_epochs=3)
    found = movement.findings()
    assert found["steps"] == [6, 12, 18]
    assert all(early < late for early, late in zip(found["course"]["all"], found["course"]["all"][1:], strict=False))
    assert found["all"]["relative"] == pytest.approx(found["course"]["all"][-1])
    assert float(trainer.callback_metrics["movement/layer_1"]) == pytest.approx(found["course"]["layer_1"][-1])
    own = [block["update"] ** 2 for block in found["blocks"].values()]
    assert sum(own) ** 0.5 == pytest.approx(found["all"]["update"])
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    if make is Full:
        fresh = causal(Full())
        fresh.configure_model()
        pairs = zip(fresh.parameters(), module.parameters(), strict=True)
        square = sum((now - start).double().square().sum().item() for start, now in pairs)
        assert found["all"]["update"] == pytest.approx(square**0.5, rel=1e-5)


def test_prompts_move_no_weight(fit, data) -> None:
    movement = Movement()
    config = PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM")
    fit(causal(config), data("text"), [movement, callbacks.FinalEvaluation(Results())], max_epochs=1)
    found = movement.findings()
    assert "changes no weight of the base" in found["all"]["missing"]
    assert found["blocks"]["new_embeddings"]["update"] > 0 and "base" not in found["blocks"]["new_embeddings"]


def test_the_start_of_a_new_head_travels_with_a_training_state(fit, classifier, data) -> None:
    movement, module = Movement(), classifier()
    fit(module, data(), [movement], max_epochs=1)
    again = Movement()
    again.load_state_dict(movement.state_dict())
    assert again.steps == movement.steps and again.course == movement.course
    assert movement.weights is not None and again.state_dict()["added"].keys() == movement.weights.added.keys()
    fresh = classifier()
    fresh.configure_model()
    assert torch.equal(again.state_dict()["added"]["head.linear.weight"], fresh.head.linear.weight)


def test_nothing_evaluated_is_missing(fit, classifier, data) -> None:
    movement = Movement()
    fit(classifier(), data(), [movement], limit_val_batches=0, max_epochs=1)
    assert movement.findings() == {"missing": "nothing was evaluated"}
