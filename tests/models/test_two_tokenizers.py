"""Bits per character and byte compare two models on the same texts, whatever their tokens are."""

import functools
import gzip
import json
import math

import lightning as L
import pytest
import torch

from finelab.data import Documents, TextDataModule
from finelab.models import CausalLM
from finelab.models.adapters import Full


@pytest.mark.slow
def test_the_same_tales_have_the_same_size_in_any_tokens(shared_data, shared_model, tmp_path):
    """Pieces of about two bytes cost about twice the nats of single characters; of a byte both say nearly the same."""
    folder, found = shared_data("grimm_tales"), {}
    lines = gzip.decompress((folder / "validation.jsonl.gz").read_bytes()).decode().splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    chars, size = sum(map(len, texts)), sum(len(text.encode()) for text in texts)
    for name in ("stories260K", "babyllama-361"):
        base = str(shared_model(name))
        options = {"context": 256, "batch_size": 16, "cache_dir": str(tmp_path)}
        data = TextDataModule(str(folder), Documents(text="text"), base=base, **options)
        module = CausalLM(base, Full(), functools.partial(torch.optim.SGD, lr=0.1))
        trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
        metrics = trainer.validate(module, datamodule=data, verbose=False)[0]
        batches = list(data.evaluation_loader("validation"))
        assert sum(int(batch["chars"].sum()) for batch in batches) == chars
        assert sum(int(batch["bytes"].sum()) for batch in batches) == size
        tokens = sum(int((batch["labels"] != -100).sum()) for batch in batches)
        bits = metrics["val/nll"] * tokens / math.log(2)
        assert metrics["val/bits_per_char"] == pytest.approx(bits / chars, rel=1e-6)
        assert metrics["val/bits_per_byte"] == pytest.approx(bits / size, rel=1e-6)
        found[name] = metrics
    pieces, letters = found["stories260K"], found["babyllama-361"]
    assert pieces["val/nll"] > 1.8 * letters["val/nll"] and pieces["val/perplexity"] > 4 * letters["val/perplexity"]
    assert pieces["val/bits_per_byte"] == pytest.approx(letters["val/bits_per_byte"], rel=0.05)
