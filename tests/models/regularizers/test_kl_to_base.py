"""KL to the base: closed forms, the start, the end, and what it refuses."""

import functools
import math

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, TaskType
from torch.utils.data import DataLoader

from finelab.contracts.errors import UserError
from finelab.models import CausalLM, Seq2SeqLM, SequenceClassifier
from finelab.models.adapters import Full, LinearProbe
from finelab.models.backbone import Loading
from finelab.models.likelihoods import Bernoulli, Categorical, Gaussian
from finelab.models.losses import token_nll
from finelab.models.regularizers import KLToBase
from finelab.models.regularizers.regularizer import Outputs, Regularizer, Step

from .. import made_up_targets

DIRECTIONS = ["forward", "reverse"]


def adapters():
    return {
        "full": Full(),
        "lora": LoraConfig(r=4, target_modules="all-linear"),
        "pissa": LoraConfig(r=4, target_modules="all-linear", init_lora_weights="pissa"),
    }


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_two_classes_are_the_closed_form(direction):
    """p log(p/q) + (1-p) log((1-p)/(1-q)), p of the base for forward."""
    tuned, base, targets = torch.tensor([[0.3, -0.4]]), torch.tensor([[1.0, 0.2]]), torch.tensor([1])
    step = Step(
        Outputs(tuned, tuned),
        targets,
        torch.tensor([0]),
        token_nll(tuned, targets),
        Categorical(),
        lambda: pytest.fail("no second forward"),
        lambda: Outputs(base, base),
    )
    term = KLToBase(0.5, direction).token_term(step)
    p, q = base.softmax(-1)[0, 0].item(), tuned.softmax(-1)[0, 0].item()
    p, q = (p, q) if direction == "forward" else (q, p)
    expected = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    assert term.shown.item() == pytest.approx(expected, abs=1e-7)
    assert term.addition.item() == pytest.approx(0.5 * expected, abs=1e-7)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("name", ["full", "lora"])
def test_at_the_start_it_is_exactly_nothing(loader, sgd, fit, flat, name, direction):
    """B = 0 and no dropout: KL 0, gradient 0, so that the first step is that of plain training to the last bit."""
    weights, losses = [], []
    for methods in ([], [KLToBase(10.0, direction)]):
        module = CausalLM("tiny://llama", adapters()[name], sgd, methods)
        trainer = fit(module, loader(8), max_epochs=1)
        weights.append(flat(module))
        losses.append((trainer.callback_metrics["train/loss"].item(), trainer.callback_metrics["train/nll"].item()))
    assert torch.equal(*weights)
    assert losses[0] == losses[1]
    assert losses[0][0] == losses[0][1]
    assert trainer.callback_metrics["reg/KLToBase"].item() == 0.0


@pytest.mark.parametrize("name", adapters())
def test_it_holds_the_model_at_the_base(loader, fit, name):
    """The heavier its weight, the closer the tuned model stays."""
    distances, sgd = [], functools.partial(torch.optim.SGD, lr=0.5)
    for weight in (1e-6, 10.0):
        module = CausalLM("tiny://llama", adapters()[name], sgd, [KLToBase(weight)])
        trainer = fit(module, loader(8), max_epochs=15)
        distances.append(trainer.callback_metrics["reg/KLToBase"].item())
    assert distances[0] > 1.3 * distances[1] > 0


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_pissa_is_compared_with_its_start(loader, sgd, fit, direction):
    """Its adapter switched off is not the base: measured against that the first divergence would be far above 0."""
    module = CausalLM("tiny://llama", adapters()["pissa"], sgd, [KLToBase(1.0, direction)])
    trainer = fit(module, loader(8), max_epochs=1)
    assert trainer.callback_metrics["reg/KLToBase"].item() == pytest.approx(0.0, abs=1e-6)


def test_prompt_tuning_is_compared_with_the_base_without_its_tokens(loader, sgd, fit):
    """The prompt starts at random, so that the first divergence is that between two known models."""
    config = PromptTuningConfig(num_virtual_tokens=3, task_type=TaskType.CAUSAL_LM)
    module = CausalLM("tiny://llama", config, sgd, [KLToBase(1.0)])
    batch = next(iter(loader(8)))
    module.configure_model()
    base = CausalLM("tiny://llama", Full(), sgd)
    base.configure_model()
    with torch.no_grad():
        expected = Categorical().kl(base.eval()(batch).logits, module.eval()(batch).logits).mean().item()
    trainer = fit(module.train(), loader(8), max_epochs=1)
    assert expected > 0
    assert trainer.callback_metrics["reg/KLToBase"].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", ["full", "lora"])
def test_encoder_decoders(sgd, fit, name):
    module = Seq2SeqLM("tiny://t5", adapters()[name], sgd, [KLToBase(1.0)])
    module.configure_model()
    for layer in module.modules():  # T5 keeps some of its rates as numbers
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0
        elif isinstance(getattr(layer, "dropout", None), float):
            layer.dropout = 0.0
    trainer = fit(module, made_up_targets.loader("seq2seq", 8), max_epochs=1)
    assert trainer.callback_metrics["reg/KLToBase"].item() == pytest.approx(0.0, abs=1e-7)
    trainer = fit(module, made_up_targets.loader("seq2seq", 8), max_epochs=1)
    assert trainer.callback_metrics["reg/KLToBase"].item() > 1e-5


@pytest.mark.parametrize("name", adapters())
def test_activation_checkpointing_changes_nothing(loader, sgd, fit, flat, name):
    weights = []
    for checkpointing in (False, True):
        loading = Loading(gradient_checkpointing=checkpointing)
        module = CausalLM("tiny://llama", adapters()[name], sgd, [KLToBase(2.0)], loading=loading)
        fit(module, loader(4))
        weights.append(flat(module))
    assert torch.allclose(*weights, atol=1e-7)


@pytest.mark.parametrize("name", ["full", "lora"])
def test_packing_changes_nothing(loader, sgd, fit, flat, name):
    """Two samples packed in one row, against the same two rows."""
    rows = next(iter(loader(2, rows=2)))
    lengths = rows["attention_mask"].sum(1).tolist()
    kept = [[rows[key][i, :n] for i, n in enumerate(lengths)] for key in ("input_ids", "labels")]
    labels = [part.clone() for part in kept[1]]
    for part in labels:
        part[0] = -100
    packed = {
        "input_ids": torch.cat(kept[0])[None],
        "labels": torch.cat(labels)[None],
        "position_ids": torch.cat([torch.arange(n) for n in lengths])[None],
        "document": torch.cat([torch.full((n,), i) for i, n in enumerate(lengths)])[None],
        "sample_id": rows["sample_id"],
        "source_id": rows["source_id"],
    }
    weights = []
    for batch in (rows, packed):
        module = CausalLM("tiny://llama", adapters()[name], sgd, [KLToBase(2.0)])
        trainer = fit(module, DataLoader([batch], batch_size=None), max_epochs=4)
        assert trainer.callback_metrics["reg/KLToBase"].item() > 0
        weights.append(flat(module))
    assert torch.allclose(*weights, atol=1e-6)


@pytest.mark.parametrize(("micro", "accumulate"), [(1, 8), (3, 4)])
def test_any_split_is_the_same_step(loader, sgd, fit, flat, micro, accumulate):
    weights = []
    for size, parts in ((8, 1), (micro, accumulate)):
        module = CausalLM("tiny://llama", adapters()["lora"], sgd, [KLToBase(2.0)])
        fit(module, loader(size), max_epochs=4, accumulate_grad_batches=parts)
        weights.append(flat(module))
    assert (weights[0] - weights[1]).abs().max() < 1e-6


class Watch(Regularizer):
    """The default generator around the reference, and the model's mode after it."""

    reads_base = True

    def attach(self, model):
        self.model, self.seen = model, []

    def token_term(self, step):
        before, modes = torch.get_rng_state(), [m.training for m in self.model.modules()]
        step.reference()
        self.seen.append(torch.equal(before, torch.get_rng_state()))
        self.seen.append(modes == [m.training for m in self.model.modules()] and any(modes))


def test_the_reference_draws_nothing_and_leaves_the_modes(loader, sgd, fit):
    watch = Watch()
    adapter = LoraConfig(r=4, target_modules="all-linear", lora_dropout=0.5)
    fit(CausalLM("tiny://llama", adapter, sgd, [watch, KLToBase(1.0)]), loader(2), max_epochs=2)
    assert len(watch.seen) == 16
    assert all(watch.seen)


@pytest.mark.parametrize("name", adapters())
def test_weight_zero_is_the_baseline_bit_for_bit(loader, sgd, fit, flat, name):
    states = []
    for methods in ([], [KLToBase(0.0)]):
        module = CausalLM("tiny://llama", adapters()[name], sgd, methods)
        fit(module, loader(2))
        assert not module.start
        states.append((flat(module), torch.get_rng_state()))
    assert torch.equal(states[0][0], states[1][0])
    assert torch.equal(states[0][1], states[1][1])


def test_without_its_short_cut_weight_zero_is_the_baseline(loader, sgd, fit, flat):
    class Always(KLToBase):
        def token_term(self, step):
            self.weight = 1e-30
            return super().token_term(step)

    weights = []
    for methods in ([], [Always(0.1)]):
        adapter = LoraConfig(r=4, target_modules="all-linear", lora_dropout=0.3)
        module = CausalLM("tiny://llama", adapter, sgd, methods)
        fit(module, loader(2))
        weights.append(flat(module))
    assert torch.allclose(*weights, atol=1e-6)


@pytest.mark.parametrize(
    "adapter",
    [Full(), LinearProbe(), LoraConfig(r=4, target_modules="all-linear")],
    ids=lambda adapter: type(adapter).__name__,
)
def test_a_new_head_has_no_base(sgd, adapter):
    module = SequenceClassifier("tiny://bert", adapter, sgd, [KLToBase(0.1)], labels=["a", "b"])
    with pytest.raises(UserError, match="new head.*CausalLM.*L2SP"):
        module.configure_model()


class Lost(Full):
    """As LoftQ, which puts a quantised base in the place of the base."""

    base_is = "lost"


def test_a_base_that_is_lost_is_refused(sgd):
    with pytest.raises(UserError, match="KLToBase.*Lost"):
        CausalLM("tiny://llama", Lost(), sgd, [KLToBase(0.1)]).configure_model()
    CausalLM("tiny://llama", Lost(), sgd, [KLToBase(0.0)]).configure_model()


@pytest.mark.parametrize("options", [{"weight": -1.0}, {"direction": "sideways"}], ids=["weight", "direction"])
def test_what_is_no_penalty_is_refused(options):
    with pytest.raises(UserError, match="no penalty"):
        KLToBase(**options)


@pytest.mark.parametrize("likelihood", [Categorical(), Bernoulli(), Gaussian()], ids=lambda x: type(x).__name__)
def test_the_mean_of_both_directions_is_the_divergence(likelihood):
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(6, 1 if isinstance(likelihood, Gaussian) else 5, generator=generator) for _ in range(2))
    both = 0.5 * (likelihood.kl(left, right) + likelihood.kl(right, left))
    assert torch.allclose(both, likelihood.divergence(left, right), atol=1e-6)
    assert likelihood.kl(left, left).abs().max() == 0
