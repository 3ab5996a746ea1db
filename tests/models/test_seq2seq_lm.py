"""An encoder-decoder is scored as transformers scores it, whatever the family shifts in front."""

import json

import pytest
import torch
from peft import PrefixTuningConfig, PromptTuningConfig
from transformers import AutoModelForSeq2SeqLM as Auto
from transformers import BartConfig, MarianConfig, MBartConfig

from finelab.contracts.batch import IGNORE
from finelab.contracts.errors import UserError
from finelab.contracts.tiny import tiny_folder
from finelab.models import Seq2SeqLM
from finelab.models.adapters import Full

from .made_up_targets import loader, lora

SMALL = {
    "vocab_size": 258,
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "max_position_embeddings": 64,
    "pad_token_id": 256,
    "eos_token_id": 257,
    "decoder_start_token_id": 256,
}
FAMILIES = {"bart": BartConfig, "marian": MarianConfig, "mbart": MBartConfig}


def base_of(family, folder, **change):
    """tiny://t5, or a small random model of another family saved beside its tokenizer."""
    if family == "t5":
        return "tiny://t5"
    torch.manual_seed(0)
    Auto.from_config(FAMILIES[family](**SMALL)).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((tiny_folder("t5") / name).read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    return str(folder)


def built(module):
    module.configure_model()
    return module.eval()


@pytest.mark.parametrize("family", ["t5", "bart", "marian", "mbart"])
def test_the_loss_is_that_of_transformers(tmp_path, sgd, family):
    module, batch = built(Seq2SeqLM(base_of(family, tmp_path), lora(), sgd)), next(iter(loader("seq2seq", 8)))
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}
    with torch.no_grad():
        ours = module.score(batch)
        theirs = module.model(**inputs)
    assert ours.nll.mean().item() == pytest.approx(theirs.loss.item(), abs=1e-6)
    assert torch.allclose(ours.logits, theirs.logits[batch["labels"] != IGNORE], atol=1e-6)


def test_hidden_states_are_what_the_last_layer_reads(sgd):
    module, batch = built(Seq2SeqLM("tiny://t5", Full(), sgd)), next(iter(loader("seq2seq", 8)))
    with torch.no_grad():
        outputs = module(batch)
        assert torch.allclose(module.model.lm_head(outputs.hidden), outputs.logits)


def test_generation_is_let_through(sgd):
    """The vocabulary layer sees every position again once a batch is scored, even when scoring failed."""
    module, batch = built(Seq2SeqLM("tiny://t5", lora(), sgd)), next(iter(loader("seq2seq", 8)))
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        module.score(batch)
        with pytest.raises(IndexError):
            module.score(batch | {"input_ids": batch["input_ids"] + 10_000})
        found = module.adapted.generate(**inputs, max_new_tokens=5, do_sample=False)
    assert found.shape[0] == 8
    assert module.kept is None


def test_the_bridge_knows_the_task(sgd):
    assert built(Seq2SeqLM("tiny://t5", lora(), sgd)).model.peft_type == "LORA"
    assert built(Seq2SeqLM("tiny://t5", lora(), sgd)).model.active_peft_config.task_type == "SEQ_2_SEQ_LM"


@pytest.mark.parametrize("config", [PromptTuningConfig, PrefixTuningConfig], ids=lambda c: c.__name__)
def test_virtual_tokens_belong_to_the_encoder_or_the_cache(sgd, fit, config):
    module = Seq2SeqLM("tiny://t5", config(num_virtual_tokens=4), sgd)
    fit(module, loader("seq2seq", 4), max_epochs=1)
    with torch.no_grad():
        module.eval()
        tight, wide = (module.score(next(iter(loader("seq2seq", 8, more=more)))).nll for more in (0, 9))
    assert (tight - wide).abs().max() < 2e-6


def test_a_base_that_does_not_say_how_its_decoder_starts_is_refused(tmp_path, sgd):
    base = base_of("bart", tmp_path, decoder_start_token_id=None)
    with pytest.raises(UserError, match="decoder_start_token_id"):
        built(Seq2SeqLM(base, Full(), sgd))


def test_a_decoder_alone_is_refused(sgd):
    with pytest.raises(UserError, match="seq2seq"):
        built(Seq2SeqLM("tiny://llama", Full(), sgd))
