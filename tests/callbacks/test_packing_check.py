"""Packed rows are refused before the first step where a token's loss depends on the samples beside it."""

import functools

import numpy as np
import pytest
import torch
from peft import PrefixTuningConfig
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, AutoTokenizer, MambaConfig

from finelab.callbacks.packing_check import PackingCheck
from finelab.contracts.data import PackedSamples
from finelab.contracts.errors import UserError
from finelab.contracts.uri import resolve
from finelab.data.collate import PadCollator
from finelab.data.pack_collator import FlatCollator
from finelab.models import CausalLM
from finelab.models.adapters import Full


def made_up(count=6):
    generator = np.random.default_rng(0)
    ids = [generator.integers(0, 250, 10 + number) for number in range(count)]
    return [{"sample_id": n, "source_id": 0, "input_ids": own, "labels": own} for n, own in enumerate(ids)]


@pytest.fixture
def packed_data(data):
    class PackedData(data):
        padding_free = False

        def train_dataloader(self):
            generator = torch.Generator().manual_seed(0)
            return DataLoader(made_up(), 3, collate_fn=FlatCollator(0), generator=generator)

        def packing_probe(self):
            return PackedSamples(FlatCollator(0)(made_up()), PadCollator(0)(made_up()), self.padding_free)

    return PackedData("tokens")


class Leaky(CausalLM):
    """A model that takes no notice of ``position_ids``."""

    def blocked(self, inputs, mask):
        return {key: value for key, value in inputs.items() if key != "position_ids"}, mask


def mamba(folder):
    """A random state-space model: its state runs on from sample to sample, whatever the positions say."""
    config = MambaConfig(vocab_size=259, hidden_size=32, state_size=8, num_hidden_layers=2)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(resolve("tiny://llama").path).save_pretrained(folder)
    return str(folder)


def fitted(fit, module, data):
    check = PackingCheck()
    fit(module, data, [check], max_steps=1, max_epochs=None, limit_val_batches=0)
    return check


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "64-true"])
def test_a_model_that_blocks_is_let_through_and_undisturbed(fit, packed_data, language_model, flat, precision):
    weights = []
    for callbacks in ([PackingCheck()], []):
        module = language_model()
        torch.manual_seed(5)
        fit(module, packed_data, callbacks, max_steps=1, max_epochs=None, limit_val_batches=0, precision=precision)
        weights.append(flat(module))
    assert torch.equal(*weights)


def test_the_difference_is_kept(fit, packed_data, language_model):
    assert fitted(fit, language_model(), packed_data).difference < 1e-5


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "64-true"])
def test_a_model_that_ignores_positions_is_refused(fit, packed_data, sgd, shared_model, precision):
    base = str(shared_model("stories260K"))
    with pytest.raises(UserError, match=r"stories260K with attention sdpa cannot be trained on packed rows"):
        fit(Leaky(base, Full(), sgd), packed_data, [PackingCheck()], max_epochs=1, precision=precision)


def test_a_model_with_a_running_state_is_refused(fit, packed_data, sgd, tmp_path):
    with pytest.raises(UserError, match="cannot be trained on packed rows"):
        fitted(fit, CausalLM(mamba(tmp_path / "mamba"), Full(), sgd), packed_data)


def test_prefixes_are_refused(fit, packed_data, sgd):
    """Their keys and values stand before the first sample of a row only."""
    with pytest.raises(UserError, match="packed rows cannot train PeftPrefixTuning"):
        fitted(fit, CausalLM("tiny://llama", PrefixTuningConfig(num_virtual_tokens=4), sgd), packed_data)


def test_a_classifier_takes_no_packed_rows(fit, packed_data, classifier):
    with pytest.raises(UserError, match="SequenceClassifier takes none"):
        fitted(fit, classifier(), packed_data)


def test_padding_free_rows_warn_of_the_square(fit, packed_data, language_model):
    packed_data.padding_free = True
    with pytest.warns(UserWarning, match="the square of the whole batch"):
        fitted(fit, language_model(), packed_data)


@pytest.fixture
def sgd():
    return functools.partial(torch.optim.SGD, lr=0.1)
