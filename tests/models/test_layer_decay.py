"""Layer-wise decay in closed form, for every kind of place a parameter can have."""

import pytest
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from finelab.contracts.errors import UserError
from finelab.models import CausalLM, LayerDecay, Seq2SeqLM, SequenceClassifier
from finelab.models.adapters import Bottleneck, Full, LinearProbe, TopLayers

LORA = LoraConfig(r=2, target_modules="all-linear")


def found(model, rate=0.5):
    """Multipliers of what trains, 1 for those that the rule leaves out."""
    own = LayerDecay(rate).multipliers(model)
    return {name: own.get(name, 1.0) for name, p in model.named_parameters() if p.requires_grad}


def classifier(adapter, sgd):
    module = SequenceClassifier("tiny://bert", adapter, sgd, labels=["a", "b"])
    module.configure_model()
    return module.model


def values(multipliers, part):
    return {value for name, value in multipliers.items() if part in name}


def test_the_closed_form(sgd):
    """L = 2, xi = .5: head 1, second block .5, first .25, embeddings .125."""
    multipliers = found(classifier(Full(), sgd))
    expected = {"head.": 1.0, "layer.1.": 0.5, "layer.0.": 0.25, "embeddings.": 0.125}
    assert {part: values(multipliers, part) for part in expected} == {p: {v} for p, v in expected.items()}
    assert all(any(part in name for part in expected) for name in multipliers)


@pytest.mark.parametrize("adapter", [LORA, Bottleneck("houlsby")], ids=["LoRA", "Bottleneck"])
def test_what_an_adapter_adds_has_the_depth_of_its_block(sgd, adapter):
    multipliers = found(classifier(adapter, sgd))
    expected = {"head.": 1.0, "layer.1.": 0.5, "layer.0.": 0.25}
    assert {part: values(multipliers, part) for part in expected} == {p: {v} for p, v in expected.items()}
    assert sum("layer." in name for name in multipliers) == len(multipliers) - 2


def test_an_untied_vocabulary_layer_belongs_to_the_head_and_a_tied_one_to_the_input():
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2}
    for tied, expected in ((False, {1.0}), (True, {0.5**4})):
        model = LlamaForCausalLM(LlamaConfig(vocab_size=9, tie_word_embeddings=tied, **sizes))
        multipliers = found(model)
        assert values(multipliers, "model.embed_tokens") == {0.5**4}
        assert values(multipliers, "model.norm") == {1.0}
        assert values(multipliers, "layers.0.") == {0.5**3}
        assert values(multipliers, "lm_head") == (set() if tied else expected)


def test_both_stacks_are_counted_from_their_own_top(sgd):
    module = Seq2SeqLM("tiny://t5", Full(), sgd)
    module.configure_model()
    multipliers = found(module.model)
    expected = {"shared": 0.125, "encoder.block.0.": 0.25, "encoder.block.1.": 0.5, "decoder.block.0.": 0.25}
    expected |= {"decoder.block.1.": 0.5, "final_layer_norm": 1.0}
    assert {part: values(multipliers, part) for part in expected} == {p: {v} for p, v in expected.items()}


def test_virtual_tokens_belong_to_the_input(sgd):
    module = CausalLM("tiny://llama", PromptTuningConfig(num_virtual_tokens=4), sgd)
    module.configure_model()
    assert set(found(module.model).values()) == {0.125}


def test_lora_on_the_embedding_belongs_to_the_input():
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=9, **sizes))
    multipliers = found(get_peft_model(model, LoraConfig(r=2, target_modules=["embed_tokens", "q_proj"])))
    assert values(multipliers, "lora_embedding_B") == {0.125}
    assert values(multipliers, "layers.1.self_attn.q_proj.lora_A") == {0.5}


def test_a_rate_of_one_says_nothing(sgd):
    assert LayerDecay(1.0).multipliers(classifier(Full(), sgd)) == {}


@pytest.mark.parametrize("rate", [0.0, 1.5, -1.0])
def test_other_rates_are_refused(rate):
    with pytest.raises(UserError, match=f"rate={rate}"):
        LayerDecay(rate)


def test_nothing_to_act_on_is_an_error(sgd):
    with pytest.raises(UserError, match="hits nothing"):
        LayerDecay().multipliers(classifier(LinearProbe(), sgd))
    assert values(found(classifier(TopLayers(1), sgd)), "layer.1.") == {0.5}
