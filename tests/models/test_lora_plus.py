"""LoRA+ speeds up factor B and nothing else."""

import pytest
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from finelab.contracts.errors import UserError
from finelab.models import LoraPlus, SequenceClassifier
from finelab.models.adapters import Bottleneck


def test_every_b_and_nothing_else(sgd):
    module = SequenceClassifier("tiny://bert", LoraConfig(r=2, target_modules="all-linear"), sgd, labels=["a", "b"])
    module.configure_model()
    trained = {name for name, p in module.model.named_parameters() if p.requires_grad}
    multipliers = LoraPlus(16.0).multipliers(module.model)
    assert multipliers == {name: 16.0 for name in trained if ".lora_B." in name}
    assert len(multipliers) == 2 * 6 and any("head" in name for name in trained)


def test_factors_of_an_embedding():
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=9, **sizes))
    found = LoraPlus(4.0).multipliers(get_peft_model(model, LoraConfig(r=2, target_modules=["embed_tokens"])))
    assert list(found) == ["base_model.model.model.embed_tokens.lora_embedding_B.default"]


def test_a_ratio_of_one_says_nothing():
    assert LoraPlus(1.0).multipliers(nn.Linear(2, 2)) == {}


def test_a_model_without_lora_is_an_error(sgd):
    module = SequenceClassifier("tiny://bert", Bottleneck(), sgd, labels=["a", "b"])
    module.configure_model()
    with pytest.raises(UserError, match="trains no LoRA factor B"):
        LoraPlus().multipliers(module.model)


def test_a_ratio_below_one_is_refused():
    with pytest.raises(UserError, match="ratio=0.5"):
        LoraPlus(0.5)
