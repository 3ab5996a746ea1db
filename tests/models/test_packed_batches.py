"""Packed rows train exactly as their samples would apart."""

import numpy as np
import pytest
import torch
from peft import LoraConfig, PromptTuningConfig
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, GPT2Config

from finelab.contracts.batch import IGNORE
from finelab.contracts.errors import UserError
from finelab.data.collate import PadCollator
from finelab.data.pack_collator import FlatCollator, PackCollator
from finelab.models import CausalLM
from finelab.models.adapters import Full
from finelab.models.backbone import Loading


def samples(count=7, seed=0):
    """Rows of 3 to 20 tokens, the first always a target, others not all."""
    generator = np.random.default_rng(seed)
    found = []
    for number in range(count):
        ids = generator.integers(0, 250, generator.integers(3, 21))
        labels = np.where(generator.random(len(ids)) < 0.7, ids, IGNORE)
        labels[0], labels[-1] = ids[0], ids[-1]
        found.append({"sample_id": number, "source_id": 0, "input_ids": ids, "labels": labels})
    return found


def built(module):
    module.configure_model()
    return module.eval()


def gpt2(folder):
    """A random GPT-2 (learned positions) beside the tokenizer of tiny://llama."""
    from transformers import AutoTokenizer

    from finelab.contracts.uri import resolve

    config = GPT2Config(vocab_size=259, n_positions=256, n_embd=32, n_layer=2, n_head=4)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(resolve("tiny://llama").path).save_pretrained(folder)
    return str(folder)


@pytest.fixture(params=["tiny://llama", "stories260K", "gpt2"])
def base(request, tmp_path, shared_model):
    names = {"gpt2": lambda: gpt2(tmp_path), "stories260K": lambda: str(shared_model("stories260K"))}
    return names.get(request.param, lambda: request.param)()


def losses(module, batch):
    with torch.no_grad():
        return module.score(batch)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_the_loss_of_every_token_is_that_of_its_sample_apart(base, attention, sgd):
    module = built(CausalLM(base, Full(), sgd, loading=Loading(attention=attention)))
    assert module.attention == attention
    rows = samples()
    apart = losses(module, PadCollator(0)(rows))
    for packed in (PackCollator(0)([rows[:4], rows[4:6], rows[6:]]), FlatCollator(0)(rows)):
        together = losses(module, packed)
        assert torch.equal(apart.targets, together.targets)
        assert torch.equal(apart.rows, together.rows)
        assert (apart.nll - together.nll).abs().max() < 1e-5
        blocked = packed.pop("position_ids")
        leaky = losses(module, packed | {"position_ids": torch.arange(blocked.shape[1]).expand_as(blocked)})
        assert (apart.nll - leaky.nll).abs().max() > 1e-3, "without the block mask samples see each other"


def test_the_first_token_of_a_sample_is_never_a_target(sgd):
    module = built(CausalLM("tiny://llama", Full(), sgd))
    rows = samples()
    scored = losses(module, FlatCollator(0)(rows))
    assert len(scored.targets) == sum(int((row["labels"][1:] != IGNORE).sum()) for row in rows)


def test_columns_are_per_sample(sgd):
    module, rows = built(CausalLM("tiny://llama", Full(), sgd)), samples()
    found = []
    for batch in (PadCollator(0)(rows), PackCollator(0)([rows[:3], rows[3:]])):
        found.append(module.example_columns(losses(module, batch), batch))
    assert found[0]["sample_id"] == found[1]["sample_id"] == list(range(7))
    assert found[0]["tokens"] == found[1]["tokens"]
    assert found[0]["nll"] == pytest.approx(found[1]["nll"], abs=1e-4)


def test_flash_attention_is_given_a_single_row(sgd, monkeypatch):
    """Its kernel is not here; but one row of all tokens must give what the packed rows give."""
    module, batch = built(CausalLM("tiny://llama", Full(), sgd)), PackCollator(0)([samples()[:4], samples()[4:]])
    rows = losses(module, batch)
    shapes = []
    module.model.register_forward_pre_hook(
        lambda _, args, inputs: shapes.append(inputs["input_ids"].shape), with_kwargs=True
    )
    monkeypatch.setattr(CausalLM, "attention", "flash_attention_2")
    flat = losses(module, batch)
    assert shapes == [(1, batch["input_ids"].numel())]
    assert torch.equal(rows.rows, flat.rows)
    assert (rows.nll - flat.nll).abs().max() < 1e-5


def test_virtual_tokens_and_packed_rows_are_refused(sgd):
    module = built(CausalLM("tiny://llama", PromptTuningConfig(num_virtual_tokens=4), sgd))
    with pytest.raises(UserError, match="4 virtual tokens"):
        module.score(FlatCollator(0)(samples()))


def loader(collate, parts):
    generator = torch.Generator().manual_seed(0)
    return DataLoader(parts, 1, collate_fn=lambda items: collate(items[0]), generator=generator)


def test_training_is_the_same_under_every_layout(sgd, fit, flat):
    """One optimizer step over all samples: padded, packed over two micro-batches, or flat over three; no dropout."""
    rows, weights = samples(), []
    pack = PackCollator(0)
    layouts = {
        "padded": (PadCollator(0), [rows]),
        "packed": (pack, [[rows[:2], rows[2:3]], [rows[3:]]]),
        "flat": (FlatCollator(0), [rows[:1], rows[1:5], rows[5:]]),
    }
    for collate, parts in layouts.values():
        adapter = LoraConfig(r=4, target_modules="all-linear", lora_dropout=0.0)
        module = CausalLM("tiny://llama", adapter, sgd)
        fit(module, loader(collate, parts), accumulate_grad_batches=len(parts), max_epochs=3)
        assert module.supervised_tokens == 3 * sum(int((row["labels"][1:] != IGNORE).sum()) for row in rows)
        weights.append(flat(module))
    assert (weights[0] - weights[1]).abs().max() < 1e-6
    assert (weights[0] - weights[2]).abs().max() < 1e-6
