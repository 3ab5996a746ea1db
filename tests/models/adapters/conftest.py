"""Tiny random backbones of many families, as ``adapt`` gets them."""

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModelForTextEncoding

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 99}
T5 = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "vocab_size": 99}
BART = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 3, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
BART |= {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "vocab_size": 99}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 99}
DISTIL = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "vocab_size": 99}
GROUPED = SIZES | {"num_key_value_heads": 2}
FAMILIES = {
    "bert": (AutoModel, "bert", SIZES),
    "llama": (AutoModelForCausalLM, "llama", GROUPED),
    "t5": (AutoModelForSeq2SeqLM, "t5", T5),
    "t5 encoder": (AutoModelForTextEncoding, "t5", T5),
    "gpt2": (AutoModelForCausalLM, "gpt2", GPT2),
    "qwen3": (AutoModelForCausalLM, "qwen3", GROUPED | {"head_dim": 16}),
    "bart": (AutoModelForSeq2SeqLM, "bart", BART),
    "distilbert": (AutoModel, "distilbert", DISTIL),
    "mixtral": (AutoModelForCausalLM, "mixtral", GROUPED),
    "mamba": (AutoModelForCausalLM, "mamba", SIZES),
}


@pytest.fixture
def backbone():
    """A family's model with its dropout off, whose weights are the same at every call; no norm or bias is trivial."""

    def make(family: str):
        head, name, sizes = FAMILIES[family]
        options = {"add_pooling_layer": False} if family == "bert" else {}
        with torch.random.fork_rng():
            torch.manual_seed(3)
            model = head.from_config(AutoConfig.for_model(name, pad_token_id=0, **sizes), **options)
            for parameter in model.parameters():
                parameter.data += 0.02 * torch.randn_like(parameter)
        model.config.use_cache = False
        return model.eval()

    return make


@pytest.fixture
def run():
    """The output that everything depends on, for fixed rows with pads."""

    def forward(model):
        ids = torch.arange(2, 14).reshape(2, 6)
        mask = torch.tensor([[1] * 6, [1] * 4 + [0] * 2])
        decoder = {"decoder_input_ids": ids[:, :4]} if model.config.is_encoder_decoder else {}
        if type(model).__name__.endswith("EncoderModel"):
            decoder = {}
        return model(input_ids=ids, attention_mask=mask, **decoder)[0]

    return forward


@pytest.fixture
def trained_names():
    return lambda model: {name for name, p in model.named_parameters() if p.requires_grad}
