"""What every adapter promises that trains weights of the base where they stand."""

import copy
import functools

import torch

from finelab.models import CausalLM, SequenceClassifier
from finelab.models.backbone import Loading


def makers(sgd):
    """A classifier and a language model around an adapter; both have rows from the fixture ``loader``."""
    return {
        "class": functools.partial(SequenceClassifier, "tiny://bert", optimizer=sgd, labels=["a", "b", "c"]),
        "tokens": functools.partial(CausalLM, "tiny://llama", optimizer=sgd),
    }


def trainable(model):
    return {name for name, p in model.named_parameters() if p.requires_grad}


def keeps_its_promises(make, train, fit, flat, folder):
    """Args:
    make: a module from ``loading`` and ``seeds``.
    """
    module, batch = make(), next(iter(train))
    module.configure_model()
    module.keep_start()
    before = copy.deepcopy(module.model).state_dict()
    with torch.no_grad():
        start = module.eval()(batch)
    fit(module.train(), train, max_epochs=1)
    moved = {name for name, p in module.model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == trainable(module.model)
    with torch.no_grad():
        tuned = module.eval()(batch)
        assert not torch.equal(tuned.hidden, start.hidden)
        with module.as_base():
            assert torch.equal(module(batch).hidden, start.hidden)
        assert torch.equal(module(batch).logits, tuned.logits)

    module.save_folder(folder)
    other = make(seeds=9)
    other.load_folder(folder)
    with torch.no_grad():
        assert torch.equal(other.eval()(batch).logits, tuned.logits)
        assert other.adapter.merges and other.adapter.merge(other.adapted) is other.adapted

    recomputed = make(loading=Loading(gradient_checkpointing=True))
    fit(recomputed, train, max_epochs=1)
    assert torch.equal(flat(recomputed), flat(module))

    halved = make()
    halved.configure_model()
    fit(halved, train, max_epochs=1, precision="bf16-mixed")
    assert flat(halved).isfinite().all()
    assert {name for name, p in halved.model.named_parameters() if not torch.equal(p, before[name])} == moved
