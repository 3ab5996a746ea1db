"""FreeLB against a plain loop, and its ascent against the closed form."""

import functools
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig
from torch.nn import functional as F

from finelab.contracts.batch import IGNORE
from finelab.contracts.errors import UserError
from finelab.data.collate import PadCollator
from finelab.data.pack_collator import PackCollator
from finelab.models import CausalLM, SequenceClassifier
from finelab.models.adapters import Full
from finelab.models.backbone import Loading
from finelab.models.regularizers import L2SP, SAM, FreeLB, RDrop
from finelab.models.regularizers.embedding import Tokens
from finelab.models.regularizers.freelb import Delta
from finelab.models.regularizers.regularizer import Regularizer, Term

from .. import made_up_targets as made
from .perturbed import Heard, built, forward, texts

STEP = {"steps": 3, "step_size": 0.5, "init": 0.0, "epsilon": 0.7}


class Loop:
    """Full fine-tuning of tiny://llama by plain PyTorch: FreeLB with inputs_embeds, one batch, no hooks."""

    def __init__(self, module, batch, steps, step_size, init, epsilon):
        module.configure_model()
        assert not init
        self.model, self.batch = module.model, batch
        self.steps, self.step_size, self.epsilon = steps, step_size, epsilon
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]

    def loss(self, delta):
        embedded = self.model.get_input_embeddings()(self.batch["input_ids"])
        mask = self.batch["attention_mask"]
        logits = self.model(inputs_embeds=embedded + delta * mask[..., None], attention_mask=mask).logits
        labels = self.batch["labels"][:, 1:]
        whole = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels.flatten(), ignore_index=IGNORE, reduction="sum")
        return whole / (labels != IGNORE).sum()

    def grow(self, delta, gradient):
        def norm(x):
            return x.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None]

        delta = delta + self.step_size * gradient / norm(gradient)
        return delta * (self.epsilon / norm(delta)).clamp(max=1)

    def plain(self, delta):
        """Gradients at delta: of the weights, and of delta itself."""
        delta = delta.detach().requires_grad_()
        *found, of_delta = torch.autograd.grad(self.loss(delta), [*self.parameters, delta])
        return found, of_delta

    def sharp(self, delta, rho, gradient):
        """SAM of whatever ``gradient`` computes, at the perturbed weights."""
        first = gradient(delta)
        norm = torch.stack([g.norm() for g in first[0]]).norm()
        before = [p.detach().clone() for p in self.parameters]
        with torch.no_grad():
            for p, g in zip(self.parameters, first[0], strict=True):
                p.add_(g * rho / norm)
        second = gradient(delta)
        with torch.no_grad():
            for p, b in zip(self.parameters, before, strict=True):
                p.copy_(b)
        return second

    def adversarial(self, delta, gradient):
        """FreeLB of whatever ``gradient`` computes."""
        whole = [torch.zeros_like(p) for p in self.parameters]
        for _ in range(self.steps):
            found, of_delta = gradient(delta)
            whole = [w + g / self.steps for w, g in zip(whole, found, strict=True)]
            delta = self.grow(delta, of_delta)
        return whole, None

    def train(self, order, rho=0.5, updates=3, rate=0.1):
        at = torch.zeros(*self.batch["input_ids"].shape, 32)
        sam = functools.partial(self.sharp, rho=rho)
        methods = {
            "freelb": lambda: self.adversarial(at, self.plain),
            "freelb, sam": lambda: sam(at, gradient=lambda delta: self.adversarial(delta, self.plain)),
            "sam, freelb": lambda: self.adversarial(at, lambda delta: sam(delta, gradient=self.plain)),
        }
        for _ in range(updates):
            found, _ = methods[order]()
            with torch.no_grad():
                for p, g in zip(self.parameters, found, strict=True):
                    p.sub_(rate * g)
        return torch.cat([p.detach().flatten() for p in self.parameters])


def stack(order):
    return [{"freelb": FreeLB(**STEP), "sam": SAM(0.5)}[name] for name in order.split(", ")]


@pytest.fixture(scope="module")
def expected():
    """The plain loop's weights, once for each order."""
    sgd = functools.partial(torch.optim.SGD, lr=0.1)

    @functools.cache
    def weights(order):
        from ..conftest import RaggedRows, collate

        batch = collate([RaggedRows(8, None)[i] for i in range(8)])
        return Loop(CausalLM("tiny://llama", Full(), sgd), batch, **STEP).train(order)

    return weights


@pytest.mark.parametrize("order", ["freelb", "freelb, sam", "sam, freelb"])
@pytest.mark.parametrize(("micro", "accumulate"), [(8, 1), (2, 4), (1, 8), (3, 4)])
def test_any_split_equals_a_plain_loop(loader, sgd, fit, flat, expected, micro, accumulate, order):
    """Also beside a method that replays the window, in either order; (3, 4) gives a short last micro-batch."""
    module = CausalLM("tiny://llama", Full(), sgd, stack(order))
    fit(module, loader(micro), accumulate_grad_batches=accumulate)
    assert (flat(module) - expected(order)).abs().max() < 1e-6
    plain = CausalLM("tiny://llama", Full(), sgd, stack(order)[1:] if order == "freelb, sam" else stack(order)[:-1])
    fit(plain, loader(8))
    assert (flat(module) - flat(plain)).abs().max() > 1e-4, "and it is not the run without it"


@pytest.mark.slow
def test_two_ranks_equal_one_process(tmp_path, expected):
    """Two micro-batches of two rows a rank: every sequence ascends where it is."""
    script = tmp_path / "ranks.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import functools, importlib.util, sys
            import lightning as L, torch
            from torch.utils.data import DataLoader, Subset
            from finelab.models import CausalLM
            from finelab.models.adapters import Full
            from finelab.models.regularizers import FreeLB
            spec = importlib.util.spec_from_file_location("made", {str(Path(__file__).parents[1] / "conftest.py")!r})
            made = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(made)
            class Data(L.LightningDataModule):
                def train_dataloader(self):
                    mine = range(4) if self.trainer.global_rank == 0 else range(4, 8)
                    return DataLoader(Subset(made.RaggedRows(8, None), mine), 2, collate_fn=made.collate)
            class Save(L.Callback):
                def on_train_end(self, trainer, module):
                    if trainer.is_global_zero:
                        torch.save(torch.cat([p.detach().flatten() for p in module.parameters()]), sys.argv[1])
            torch.set_num_threads(1)
            sgd = functools.partial(torch.optim.SGD, lr=0.1)
            module = CausalLM("tiny://llama", Full(), sgd, [FreeLB(**{STEP})])
            trainer = L.Trainer(max_epochs=3, accelerator="cpu", devices=2, strategy="ddp_fork",
                accumulate_grad_batches=2, logger=False, enable_checkpointing=False, callbacks=[Save()],
                enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False)
            trainer.fit(module, datamodule=Data())
            """
        )
    )
    command = [sys.executable, script, tmp_path / "w.pt"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (torch.load(tmp_path / "w.pt", weights_only=True) - expected("freelb")).abs().max() < 1e-6


def test_packed_and_padded_rows_train_alike(sgd, fit, flat):
    """Each packed sample has its own ball."""
    from torch.utils.data import DataLoader

    rows, weights = texts([4, 9, 6]), []
    for collate, parts in ((PadCollator(0), [rows]), (PackCollator(0), [[rows[:2], rows[2:]]])):
        module = CausalLM("tiny://llama", Full(), sgd, [FreeLB(**STEP)])
        data = DataLoader(parts, 1, collate_fn=lambda items, c=collate: c(items[0]), generator=torch.Generator())
        fit(module, data)
        weights.append(flat(module))
    assert (weights[0] - weights[1]).abs().max() < 1e-6


def test_ascent_follows_the_gradient_of_a_quadratic_and_stays_in_each_ball():
    """Loss 1/2 |delta - c|^2 from delta = 0: the first step goes to -step c / |c|, sequence by sequence."""
    torch.manual_seed(0)
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    tokens = Tokens.of({"attention_mask": mask}, mask.shape)
    aim = torch.randn(2, 3, 4)
    at = mask.bool()
    for epsilon, reached in ((None, 0.5), (2.0, 0.5), (0.2, 0.2)):
        method = FreeLB(2, 0.5, 0.0, epsilon)
        values = torch.zeros(5, 4, requires_grad=True)
        method.deltas[1] = Delta(values, tokens)
        (0.5 * (tokens.placed(values) - aim)[at].square().sum()).backward()
        method.ascend()
        for row, length in ((0, 2), (1, 3)):
            direction = -aim[row, :length] / aim[row, :length].norm()
            found = tokens.placed(method.deltas[1].values)[row]
            assert (found[:length] - reached * direction).abs().max() < 1e-6
            assert not found[length:].any()


def test_the_first_delta_is_uniform_by_the_true_length(sgd):
    module = built(CausalLM("tiny://llama", Full(), sgd, [FreeLB(2, 0.1, 5.0, 0.3)]))
    heard = Heard(module)
    squares = []
    for seed in range(100):
        forward(module, PadCollator(0)(texts([3, 24])), seed)
        squares.append(heard.noise().square().sum((1, 2)))
    for found, length in zip((torch.stack(squares).mean(0) / (25 / 3)).tolist(), (3, 24), strict=True):
        assert abs(found - 1) < 4 * 0.8944 / (100 * length * 32) ** 0.5
    assert not heard.noise()[0, 3:].any()
    assert len(module.regularizers[0].deltas) == 100, "one a forward, known by its seed"


class Reference(Regularizer):
    """Asks for the base's function and a second forward, as a divergence would."""

    reads_base = True

    def token_term(self, step):
        distance = (step.logits - step.reference().logits).square().sum() + step.forward().logits.square().sum()
        return Term(0.01 * distance, distance)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_it_acts_beside_reference_and_second_forwards_on_frozen_embeddings(loader, sgd, fit, flat, dropout):
    """Two forwards a micro-batch, each with a delta of its own; none for the reference."""
    weights = []
    for micro, accumulate in ((4, 2), (4, 2)):
        adapter = LoraConfig(r=4, target_modules="all-linear", lora_dropout=dropout, init_lora_weights=True)
        method = FreeLB(3, 0.5, 0.5, 0.7)
        known = []
        ascend = method.ascend
        method.ascend = lambda ascend=ascend, method=method, known=known: (known.append(len(method.deltas)), ascend())
        module = CausalLM("tiny://llama", adapter, sgd, [Reference(), method])
        fit(module, loader(micro), accumulate_grad_batches=accumulate)
        weights.append(flat(module))
        assert known == [4] * 6
        assert method.deltas == {}
    assert torch.equal(*weights), "the same masks and deltas, twice"


def test_rdrop_beside_it_is_deterministic_and_trains(loader, sgd, fit, flat):
    weights = []
    for methods in ([RDrop(1.0)], [RDrop(1.0), FreeLB(2, 0.5, 0.1, 0.7)], [FreeLB(2, 0.5, 0.1, 0.7), RDrop(1.0)]):
        module = SequenceClassifier("tiny://bert", Full(), sgd, methods, labels=made.LABELS)
        fit(module, loader(2, classes=3), max_epochs=1, accumulate_grad_batches=2)
        weights.append(flat(module))
    assert (weights[0] - weights[1]).abs().max() > 1e-4
    assert torch.equal(weights[1], weights[2]), "a token term and a shaping stand in no order"


def test_every_pass_sees_the_same_dropout_masks(loader, sgd, fit):
    module = SequenceClassifier("tiny://bert", Full(), sgd, [FreeLB(3, 0.5, 0.1, 0.7)], labels=made.LABELS)
    module.configure_model()
    kept = []
    module.head.dropout.register_forward_hook(lambda m, i, out: kept.append((out == 0) & (i[0] != 0)))
    fit(module, loader(4, classes=3), max_epochs=1, accumulate_grad_batches=2)
    assert len(kept) == 6
    assert all(torch.equal(kept[i], kept[i + 2]) for i in range(4))
    assert not torch.equal(kept[0], kept[1])


def test_one_pass_from_zero_is_the_baseline_and_its_short_cut_is_only_one(loader, sgd, fit, flat):
    weights = []
    for options, after in (
        (None, {}),
        ({"steps": 1, "init": 0.0}, {}),
        ({"steps": 1, "init": 1.0}, {"init": 0.0}),
        ({"steps": 3, "init": 0.0, "step_size": 0.0}, {}),
        ({"steps": 1, "init": 1.0}, {}),
    ):
        methods = [FreeLB(**options)] if options else []
        module = SequenceClassifier("tiny://bert", Full(), sgd, methods, labels=made.LABELS[:2])
        module.configure_model()
        for name, value in after.items():
            setattr(module.regularizers[0], name, value)
        fit(module, loader(2, classes=2), max_epochs=1, accumulate_grad_batches=2)
        weights.append(flat(module))
    assert torch.equal(weights[0], weights[1])
    assert (weights[0] - weights[2]).abs().max() < 1e-6
    assert (weights[0] - weights[3]).abs().max() < 1e-6
    assert (weights[0] - weights[4]).abs().max() > 1e-4


@pytest.mark.parametrize("kind", made.KINDS)
def test_more_pads_change_nothing(sgd, fit, flat, kind):
    weights = []
    for more in (0, 3):
        module = made.model(kind, sgd, regularizers=[FreeLB(3, 0.5, 0.5, 0.7)])
        built(module, dropout=False)
        fit(module, made.loader(kind, 4, more=more), max_epochs=1, accumulate_grad_batches=2)
        weights.append(flat(module))
    assert (weights[0] - weights[1]).abs().max() < 1e-5


def test_a_prompt_tuner_ascends_on_its_real_tokens(loader, sgd, fit, flat):
    weights = []
    for methods in ([], [FreeLB(**STEP)]):
        module = CausalLM("tiny://llama", PromptTuningConfig(num_virtual_tokens=4), sgd, methods)
        fit(module, loader(4), max_epochs=1)
        weights.append(flat(module))
    assert (weights[0] - weights[1]).abs().max() > 1e-7


@pytest.mark.parametrize("adapter", [Full(), LoraConfig(target_modules="all-linear", r=4)], ids=["full", "lora"])
def test_activation_checkpointing_changes_nothing(loader, sgd, fit, flat, adapter):
    weights = []
    for recompute in (False, True):
        loading = Loading(gradient_checkpointing=recompute)
        module = CausalLM("tiny://llama", adapter, sgd, [FreeLB(3, 0.5, 0.5, 0.7)], loading=loading)
        fit(module, loader(4), max_epochs=1)
        weights.append(flat(module))
    assert (weights[0] - weights[1]).abs().max() < 1e-6


def test_bf16_autocast_runs_and_the_gain_is_shown(loader, sgd, fit, flat):
    module = CausalLM("tiny://llama", Full(), sgd, [FreeLB(3, 0.5, 0.5, 0.7), L2SP(0.1)])
    trainer = fit(module, loader(4), max_epochs=1, precision="bf16-mixed")
    assert flat(module).isfinite().all()
    assert trainer.callback_metrics["reg/FreeLB"] > 0, "it ascends"


def test_eval_gets_none_of_it(sgd):
    module = built(CausalLM("tiny://llama", Full(), sgd, [FreeLB(2, 0.1, 5.0)]))
    heard, batch = Heard(module), PadCollator(0)(texts([8]))
    module.eval()
    forward(module, batch)
    assert not heard.noise().any()


@pytest.mark.parametrize("options", [{"steps": 0}, {"step_size": -0.1}, {"init": -0.1}, {"epsilon": 0.0}])
def test_numbers_out_of_range_are_refused(options):
    with pytest.raises(UserError, match=r"FreeLB\(steps="):
        FreeLB(**options)
