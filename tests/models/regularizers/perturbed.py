"""What the tests of perturbations share: training forwards by hand, and what the embedding gave."""

import torch
from torch import nn

from finelab.models.gradients import seed_forward
from finelab.models.regularizers.embedding import text_embeddings

CPU = torch.device("cpu")


def built(module, dropout=True):
    """In training mode; without dropout where asked, so that only the method's own draws are left."""
    module.configure_model()
    for layer in module.model.modules() if not dropout else ():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
        if isinstance(vars(layer).get("dropout"), float):
            layer.dropout = 0.0
    return module.train()


def forward(module, batch, seed=1):
    """A training forward as the objective runs it: outputs, targets, rows."""
    seed_forward(seed, CPU)
    for method in module.regularizers:
        method.before_forward(batch)
    return module.supervised(batch)


class Heard:
    """What the embedding of the text gave before and after the methods' hooks, call by call."""

    def __init__(self, module):
        self.plain, self.changed = [], []
        for embedding in text_embeddings(module.model):
            embedding.register_forward_hook(lambda m, i, out: self.plain.append(out.detach()), prepend=True)
            embedding.register_forward_hook(lambda m, i, out: self.changed.append(out.detach()))

    def noise(self, call=-1):
        return self.changed[call] - self.plain[call]


def texts(lengths):
    """Language-model rows of so many tokens, all of them targets."""
    generator = torch.Generator().manual_seed(3)
    ids = [torch.randint(0, 250, (length,), generator=generator).numpy() for length in lengths]
    return [{"sample_id": i, "source_id": 0, "input_ids": x, "labels": x} for i, x in enumerate(ids)]
