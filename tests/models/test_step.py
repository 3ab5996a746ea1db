"""One optimizer step is the same under any split into micro-batches and ranks, and nothing shifts its randomness."""

import functools
import subprocess
import sys
import textwrap

import lightning as L
import pytest
import torch
from peft import LoraConfig
from torch.nn import functional as F
from torch.utils.data import DataLoader

from finelab.contracts.batch import IGNORE
from finelab.contracts.seeds import Seeds
from finelab.models import CausalLM, SequenceClassifier
from finelab.models.adapters import Full
from finelab.models.non_finite_error import NonFiniteError
from finelab.models.regularizers import L2SP, SAM, RDrop
from finelab.models.regularizers.regularizer import Regularizer, Term
from finelab.models.stack import unique_names


def lora(dropout=0.1):
    return LoraConfig(r=4, target_modules="all-linear", lora_dropout=dropout)


class Probe(L.Callback):
    """Evaluates in the middle of training, as a probe would, and draws from the default generator."""

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        with torch.no_grad():
            module.score(batch)
        torch.rand(batch_idx + 3)


def reference(module, batches, weight, rho=0.0, steps=3):
    """The same training as a plain loop over whole batches, without Lightning and without our step."""
    module.configure_model()
    parameters = [p for p in module.parameters() if p.requires_grad]
    anchors, optimizer = [p.detach().clone() for p in parameters], torch.optim.SGD(parameters, lr=0.1)

    def gradient():
        optimizer.zero_grad()
        total, count = 0.0, 0
        for batch in batches:
            logits = module.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
            total = total + F.cross_entropy(
                logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten(), ignore_index=IGNORE, reduction="sum"
            )
            count += (batch["labels"][:, 1:] != IGNORE).sum()
        (total / count).backward()
        for p, a in zip(parameters, anchors, strict=True):
            p.grad.add_(weight * (p - a).detach())

    for _ in range(steps):
        gradient()
        if rho:
            norm, before = (
                torch.stack([p.grad.norm() for p in parameters]).norm(),
                [p.detach().clone() for p in parameters],
            )
            with torch.no_grad():
                for p in parameters:
                    p.add_(p.grad * rho / norm)
            gradient()
            with torch.no_grad():
                for p, b in zip(parameters, before, strict=True):
                    p.copy_(b)
        optimizer.step()
    return torch.cat([p.detach().flatten() for p in parameters])


@pytest.mark.parametrize("rho", [0.0, 0.5])
@pytest.mark.parametrize(("micro", "accumulate"), [(8, 1), (2, 4), (1, 8), (3, 4)])
def test_any_split_equals_a_plain_loop(loader, sgd, fit, flat, micro, accumulate, rho):
    """(3, 4): 8 rows make 3 micro-batches, so the window is shorter than accumulate_grad_batches."""
    shapers = [SAM(rho)] if rho else []
    module = CausalLM("tiny://llama", Full(), sgd, [L2SP(0.3), *shapers])
    fit(module, loader(micro), accumulate_grad_batches=accumulate)
    expected = reference(CausalLM("tiny://llama", Full(), sgd), [next(iter(loader(8)))], weight=0.3, rho=rho)
    assert (flat(module) - expected).abs().max() < 1e-6


def test_gradient_of_eight_micro_batches_equals_one_batch(loader, sgd, fit):
    """The promise in its own terms: relative to the gradient's norm, float32."""

    class Keep(L.Callback):
        def on_before_optimizer_step(self, trainer, module, optimizer):
            self.gradient = torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])

    found = []
    for micro, accumulate in ((8, 1), (1, 8)):
        keep = Keep()
        module = CausalLM("tiny://llama", Full(), sgd)
        fit(module, loader(micro), callbacks=[keep], max_epochs=1, accumulate_grad_batches=accumulate)
        found.append(keep.gradient)
    assert (found[0] - found[1]).norm() / found[0].norm() < 1e-6


def test_two_ranks_equal_one_process(tmp_path, loader, sgd, fit, flat):
    """DDP over gloo, two micro-batches of two rows a rank, with a penalty and a replayed window."""
    script = tmp_path / "ranks.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import functools, importlib.util, sys
            import lightning as L, torch
            from torch.utils.data import DataLoader, Subset
            from finelab.models import CausalLM
            from finelab.models.adapters import Full
            from finelab.models.regularizers import L2SP, SAM
            def load(name, path):
                spec = importlib.util.spec_from_file_location(name, path)
                module = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(module)
                return module
            made = load("made", {str(__file__.replace("test_step", "conftest"))!r})
            class Data(L.LightningDataModule):
                def train_dataloader(self):
                    mine = range(4) if self.trainer.global_rank == 0 else range(4, 8)
                    return DataLoader(Subset(made.RaggedRows(8, None), mine), 2, collate_fn=made.collate)
            torch.set_num_threads(1)
            sgd = functools.partial(torch.optim.SGD, lr=0.1)
            module = CausalLM("tiny://llama", Full(), sgd, [L2SP(0.3), SAM(0.5)])
            trainer = L.Trainer(max_epochs=3, accelerator="cpu", devices=2, strategy="ddp_fork",
                accumulate_grad_batches=2, logger=False, enable_checkpointing=False,
                enable_progress_bar=False, enable_model_summary=False,
                use_distributed_sampler=False)
            class Save(L.Callback):
                def on_train_end(self, trainer, module):
                    if trainer.is_global_zero:
                        torch.save(torch.cat([p.detach().flatten() for p in module.parameters()]), sys.argv[1])
            trainer.callbacks.append(Save())
            trainer.fit(module, datamodule=Data())
            """
        )
    )
    done = subprocess.run(
        [sys.executable, script, tmp_path / "w.pt"], check=False, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr[-2000:]
    one = CausalLM("tiny://llama", Full(), sgd, [L2SP(0.3), SAM(0.5)])
    fit(one, loader(8))
    assert (torch.load(tmp_path / "w.pt", weights_only=True) - flat(one)).abs().max() < 1e-6


def classifier(sgd, regularizers=(), dropout=0.1):
    return SequenceClassifier("tiny://bert", lora(dropout), sgd, list(regularizers), labels=["a", "b", "c"])


def test_validation_and_probes_shift_no_dropout_mask(loader, sgd, fit, flat):
    weights = []
    for val, callbacks in ((None, []), (loader(3, classes=3), []), (loader(3, classes=3), [Probe()])):
        module = classifier(sgd)
        fit(module, loader(2, classes=3), val, callbacks)
        weights.append(flat(module))
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])


def keep_masks(module):
    masks = []

    def keep(dropout, inputs, output):
        if dropout.training:
            masks.append((output == 0) & (inputs[0] != 0))

    module.head.dropout.register_forward_hook(keep)
    return masks


def test_an_extra_forward_shifts_no_first_mask(loader, sgd, fit):
    """The masks of the first forward of every step are the same with and without R-Drop at non-zero strength."""
    first_masks = []
    for regularizers in ([], [RDrop(1.0)]):
        module = classifier(sgd, regularizers)
        module.configure_model()
        masks = keep_masks(module)
        fit(module, loader(2, classes=3), max_epochs=2)
        per_step = 2 if regularizers else 1
        assert len(masks) == 8 * per_step
        first_masks.append(torch.stack(masks[::per_step]))
    assert first_masks[0].any()
    assert torch.equal(*first_masks)


@pytest.mark.parametrize("neutral", [RDrop(0.0), L2SP(0.0)], ids=["RDrop", "L2SP"])
def test_strength_zero_is_the_baseline_bit_for_bit(loader, sgd, fit, flat, neutral):
    states = []
    for regularizers in ([], [neutral]):
        module = classifier(sgd, regularizers)
        fit(module, loader(2, classes=3))
        states.append((flat(module), torch.get_rng_state()))
    assert torch.equal(states[0][0], states[1][0])
    assert torch.equal(states[0][1], states[1][1])


def test_seeds_of_init_and_dropout_are_apart(sgd):
    def heads(**seeds):
        module = SequenceClassifier("tiny://bert", Full(), sgd, labels=["a", "b"], seeds=Seeds(**seeds))
        module.configure_model()
        return module.head.linear.weight.detach()

    assert torch.equal(heads(train=1), heads(train=2))
    assert not torch.equal(heads(init=1), heads(init=2))


def test_a_step_without_supervised_tokens_moves_nothing_and_is_counted(loader, fit, flat):
    rows = list(loader(2, rows=4))
    for batch in rows:
        batch["labels"] = torch.full_like(batch["labels"], IGNORE)
    decaying = functools.partial(torch.optim.AdamW, lr=0.1, weight_decay=0.5)
    module = CausalLM("tiny://llama", Full(), decaying, [L2SP(1.0)])
    module.configure_model()
    before = flat(module)
    fit(module, DataLoader(rows, batch_size=None), max_epochs=1)
    assert torch.equal(flat(module), before)
    assert module.skipped_steps == 2
    assert module.supervised_tokens == 0


def test_a_loss_that_is_no_number_stops_before_the_update(loader, sgd, fit, flat):
    class Broken(Regularizer):
        def token_term(self, step):
            return Term(step.nll.sum() * float("nan"), step.nll.sum() * float("nan"))

    module = CausalLM("tiny://llama", Full(), sgd, [Broken()])
    module.configure_model()
    before = flat(module)
    with pytest.raises(
        NonFiniteError, match=r"step 1: reg/Broken is not finite, in the batch of samples \(sample_id\) \[0, 1\]"
    ):
        fit(module, loader(2))
    assert torch.equal(flat(module), before)


def test_logged_numbers_are_the_steps_means(loader, sgd, fit):
    module = CausalLM("tiny://llama", Full(), sgd, [L2SP(0.3)])
    trainer = fit(module, loader(2), max_epochs=1, accumulate_grad_batches=4)
    untouched = CausalLM("tiny://llama", Full(), sgd)
    untouched.configure_model()
    with torch.no_grad():
        nll = untouched.score(next(iter(loader(8)))).nll
    assert trainer.callback_metrics["train/nll"].item() == pytest.approx(nll.mean().item(), abs=1e-6)
    assert trainer.callback_metrics["reg/L2SP"].item() == 0.0
    assert module.supervised_tokens == len(nll)


def test_two_of_a_kind_are_logged_apart():
    assert unique_names([L2SP(1.0), RDrop(1.0), L2SP(2.0), L2SP(3.0)]) == ["L2SP", "RDrop", "L2SP_2", "L2SP_3"]


class My_Pull(L2SP):
    pass


def test_an_underscore_in_a_class_name_loses_no_term(loader, sgd, fit):
    """Two equal pulls weigh as one of twice the weight."""
    assert unique_names([My_Pull(), My_Pull()]) == ["My_Pull", "My_Pull_2"]
    module = CausalLM("tiny://llama", Full(), sgd, [My_Pull(0.2), My_Pull(0.3)])
    trainer = fit(module, loader(4))
    metrics = trainer.callback_metrics
    assert metrics["reg/My_Pull"].item() == metrics["reg/My_Pull_2"].item() > 0
    expected = metrics["train/nll"].item() + 0.5 * metrics["reg/My_Pull"].item()
    assert metrics["train/loss"].item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("fused", [False, True])
def test_clipping_uses_the_norm_of_the_whole_gradient(loader, fit, flat, fused):
    """SGD at rate 1 moves by the clipped gradient; a fused optimizer may be clipped under bf16 autocast."""
    sgd = functools.partial(torch.optim.SGD, lr=1.0, fused=fused)
    module = CausalLM("tiny://llama", Full(), sgd)
    module.configure_model()
    before = flat(module)
    fit(module, loader(8), max_epochs=1, gradient_clip_val=0.05, precision="bf16-mixed" if fused else "32-true")
    assert (flat(module) - before).norm().item() == pytest.approx(0.05, rel=1e-4)
