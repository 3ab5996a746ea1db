"""What the training step promises to a method: moments, replays, draws, the base, a look at the data."""

import warnings

import lightning as L
import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from peft import LoraConfig

from finelab.contracts.errors import UserError
from finelab.models import CausalLM, SequenceClassifier
from finelab.models.adapters import Full
from finelab.models.backbone import Loading
from finelab.models.regularizers import L2SP, SAM, ChildTuning, FreeLB, RDrop
from finelab.models.regularizers.regularizer import Regularizer, Term, forward_generator, forward_seed
from finelab.models.stack import PATIENCE, SilentTerms


def lora(dropout=0.1):
    return LoraConfig(r=4, target_modules="all-linear", lora_dropout=dropout)


def gradient(parameters):
    return torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])


class Tripled(Regularizer):
    def shape_gradients(self, parameters, replay):
        for p in parameters:
            p.grad.mul_(3.0)


class Replayed(Regularizer):
    """Keeps the gradient it is given and the one of its replay; the step goes on with the former."""

    def __init__(self):
        self.given, self.again, self.values = [], [], []

    def shape_gradients(self, parameters, replay):
        self.given.append(gradient(parameters))
        before = [p.grad.clone() for p in parameters]
        self.values.append(replay())
        self.again.append(gradient(parameters))
        for p, grad in zip(parameters, before, strict=True):
            p.grad = grad


# ---- replays


@pytest.mark.parametrize("stack", ["before", "after", "both", "nested"])
def test_a_replay_is_shaped_by_the_methods_before_it_and_by_no_other(loader, sgd, fit, stack):
    inner, outer = Replayed(), Replayed()
    stacks = {
        "before": [Tripled(), outer],
        "after": [outer, Tripled()],
        "both": [Tripled(), outer, Tripled()],
        "nested": [Tripled(), inner, outer],
    }
    module = CausalLM("tiny://llama", lora(), sgd, [L2SP(0.3), RDrop(1.0), *stacks[stack]])
    trainer = fit(module, loader(2), accumulate_grad_batches=2, max_epochs=1)
    assert len(outer.given) == trainer.global_step == 2
    for given, again in zip(outer.given, outer.again, strict=True):
        assert torch.allclose(given, again, atol=1e-7)
    if stack == "nested":  # once for itself, once inside the outer replay
        assert len(inner.given) == 2 * len(outer.given)
        assert torch.equal(inner.given[0], inner.given[1])


@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_shaping_before_a_replay_is_part_of_it(loader, sgd, fit, factor):
    plain, shaped = Replayed(), Replayed()
    fit(CausalLM("tiny://llama", lora(), sgd, [plain]), loader(8), max_epochs=1)
    before = [Tripled()] if factor > 1 else []
    after = [] if factor > 1 else [Tripled()]
    fit(CausalLM("tiny://llama", lora(), sgd, [*before, shaped, *after]), loader(8), max_epochs=1)
    assert torch.allclose(shaped.again[0], factor * plain.again[0])


def test_a_replay_returns_the_mean_objective_of_the_window(loader, sgd, fit):
    """nll, token terms and parameter terms together: what is logged as train/loss, at unmoved weights."""
    method = Replayed()
    module = CausalLM("tiny://llama", lora(), sgd, [L2SP(0.3), RDrop(1.0), method])
    trainer = fit(module, loader(2), accumulate_grad_batches=2, max_epochs=1)
    assert method.values[-1] == pytest.approx(trainer.callback_metrics["train/loss"].item(), abs=1e-6)


def test_parameter_terms_come_before_shaping_and_are_replayed(loader, sgd, fit):
    """At unmoved weights of a full model the penalty's own gradient is the difference to a run without it."""
    found = []
    for methods in ([], [Slope()]):
        method = Replayed()
        fit(CausalLM("tiny://llama", Full(), sgd, [*methods, method]), loader(8), max_epochs=1)
        found.append(method)
    for without, with_slope in ((found[0].given, found[1].given), (found[0].again, found[1].again)):
        assert torch.allclose(with_slope[0] - without[0], torch.full_like(without[0], 0.25), atol=1e-6)


class Slope(Regularizer):
    """A penalty whose gradient is 1/4 everywhere."""

    def attach(self, model):
        self.parameters = [p for p in model.parameters() if p.requires_grad]

    def parameter_term(self):
        value = sum(p.sum() for p in self.parameters)
        return Term(0.25 * value, value)


class Far(Regularizer):
    """Replays at weights where every number is another one, and comes back."""

    def shape_gradients(self, parameters, replay):
        before = [(p.detach().clone(), p.grad.clone()) for p in parameters]
        with torch.no_grad():
            for p in parameters:
                p.add_(0.5)
        replay()
        for p, (value, grad) in zip(parameters, before, strict=True):
            p.data.copy_(value)
            p.grad = grad


@pytest.mark.parametrize("shapers", [1, 2])
def test_a_replay_overwrites_no_number_of_the_step(loader, sgd, fit, flat, shapers):
    found = []
    for methods in ([], [Far() for _ in range(shapers)]):
        module = CausalLM("tiny://llama", lora(), sgd, [L2SP(0.3), RDrop(1.0), *methods])
        trainer = fit(module, loader(2), accumulate_grad_batches=2, max_epochs=1)
        found.append((flat(module), trainer.callback_metrics, module.supervised_tokens))
    assert torch.equal(found[0][0], found[1][0])
    assert {"train/nll", "train/loss", "reg/L2SP", "reg/RDrop", "grad/norm"} <= set(found[0][1])
    assert found[0][1] == found[1][1]
    assert found[0][2] == found[1][2]


@pytest.mark.parametrize("method", [SAM(), FreeLB()], ids=["SAM", "FreeLB"])
def test_a_replay_under_loss_scaling_is_refused_before_anything_is_evaluated(loader, sgd, fit, method):
    reached = []

    class Reached(L.Callback):
        def on_train_start(self, trainer, pl_module):
            reached.append(trainer)

    module = CausalLM("tiny://llama", lora(), sgd, [L2SP(0.1), method])
    scaled = MixedPrecision("16-mixed", "cpu")
    with pytest.raises(UserError, match=rf"regularizers: {type(method).__name__} .*float16.*bf16-mixed"):
        fit(module, loader(4), max_epochs=1, plugins=[scaled], callbacks=[Reached()])
    assert not reached


def test_methods_that_replay_nothing_train_under_loss_scaling_and_keep_no_batch(loader, sgd, fit):
    class Kept(L.Callback):
        def on_before_optimizer_step(self, trainer, module, optimizer):
            kept.append(len(module.window.batches))

    kept = []
    methods = [SAM(0.0), FreeLB(steps=1), ChildTuning(0.5)]
    module = CausalLM("tiny://llama", lora(), sgd, methods)
    fit(module, loader(4), max_epochs=1, plugins=[MixedPrecision("16-mixed", "cpu")], callbacks=[Kept()])
    assert kept == [0, 0]
    fit(CausalLM("tiny://llama", lora(), sgd, [SAM()]), loader(4), max_epochs=1, callbacks=[Kept()])
    assert kept == [0, 0, 1, 1]


# ---- draws


class Draws(Regularizer):
    """Keeps what its generators give in the step and inside a later method's replay."""

    def __init__(self, name):
        self.name, self.drawn = name, []

    def shape_gradients(self, parameters, replay):
        self.drawn.append(torch.rand(3, generator=replay.generator(self.name)).tolist())


def test_a_generator_of_the_step_gives_the_same_in_a_replay_and_another_in_the_next_step(loader, sgd, fit, flat):
    draws, other = Draws("Draws"), Draws("Other")
    module = CausalLM("tiny://llama", lora(), sgd, [draws, other, Replayed()])
    fit(module, loader(4), max_epochs=1)
    first, replayed, second, again = draws.drawn
    assert first == replayed
    assert second == again
    assert first != second
    assert other.drawn[0] != first
    plain = CausalLM("tiny://llama", lora(), sgd)
    fit(plain, loader(4), max_epochs=1)
    assert torch.equal(flat(module), flat(plain))


def test_a_generator_of_the_step_knows_no_rank_and_a_forward_does(loader, sgd, fit, monkeypatch):
    steps, forwards = [], []
    for rank in (0, 1):
        monkeypatch.setattr(CausalLM, "global_rank", property(lambda module, rank=rank: rank))
        draws, perturbed = Draws("Draws"), Perturbed()
        fit(CausalLM("tiny://llama", lora(), sgd, [draws, perturbed]), loader(8), max_epochs=1)
        steps.append(draws.drawn)
        forwards.append(perturbed.seeds)
    assert steps[0] == steps[1]
    assert set(forwards[0]).isdisjoint(forwards[1])


class Perturbed(Regularizer):
    """Draws in every block in the forward, inside what activation checkpointing recomputes."""

    def __init__(self):
        self.seeds, self.noise = [], []

    def attach(self, model):
        for name, module in model.named_modules():
            if name.endswith("mlp"):
                module.register_forward_pre_hook(lambda m, args, name=name: self.moved(m, args[0], name))

    def moved(self, module, hidden, name):
        if not module.training:
            return None
        noise = torch.randn(hidden.shape[-1], generator=forward_generator(f"Perturbed {name}"))
        self.seeds.append(forward_seed())
        self.noise.append((forward_seed(), name, noise))
        return hidden + 0.1 * noise


def test_a_forwards_generator_is_the_same_in_replays_and_recomputations(loader, sgd, fit, flat):
    found = []
    for checkpointed in (False, True):
        method = Perturbed()
        loading = Loading(gradient_checkpointing=checkpointed)
        module = CausalLM("tiny://llama", lora(), sgd, [method, RDrop(1.0), Replayed()], loading=loading)
        fit(module, loader(2), accumulate_grad_batches=2, max_epochs=1)
        by_place = {}
        for seed, name, noise in method.noise:
            by_place.setdefault((seed, name), []).append(noise)
        for drawn in by_place.values():
            assert len(drawn) == (4 if checkpointed else 2)  # in the step and its replay, each forward and backward
            assert all(torch.equal(drawn[0], other) for other in drawn)
        assert len({tuple(drawn[0].tolist()) for drawn in by_place.values()}) == len(by_place) == 4 * 2 * 2
        found.append(flat(module))
    assert (found[0] - found[1]).abs().max() < 1e-7


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_forwards_generator_takes_nothing_of_the_default_stream(device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device here: its own generator cannot be asked")
    torch.manual_seed(3)
    before = torch.get_rng_state(), torch.cuda.get_rng_state() if device == "cuda" else None
    torch.rand(5, generator=forward_generator("X", device), device=device)
    assert torch.equal(torch.get_rng_state(), before[0])
    if device == "cuda":
        assert torch.equal(torch.cuda.get_rng_state(), before[1])


# ---- moments


class Moments(Regularizer):
    """Notes what is called, in order."""

    reads_base = True

    def __init__(self):
        self.notes = []

    def attach(self, model):
        self.note("attach")
        self.watched = [p for p in model.parameters() if p.requires_grad]
        model.register_forward_hook(lambda m, args, out: self.note("forward" if m.training else "evaluation"))

    def note(self, what):
        self.notes.append(what)

    def before_training(self, survey):
        self.note("before_training")

    def before_forward(self, batch):
        self.note("before_forward")
        self.batch = batch

    def token_term(self, step):
        self.note("token_term")
        step.forward()
        step.reference()

    def parameter_term(self):
        self.note("parameter_term")

    def shape_gradients(self, parameters, replay):
        self.note("shape_gradients")
        replay()
        self.before = torch.cat([p.detach().flatten() for p in self.watched])

    def after_step(self, parameters):
        self.note("after_step")
        self.moved = torch.cat([p.detach().flatten() for p in self.watched]) - self.before


def test_the_moments_of_a_step_and_their_order(loader, sgd, fit):
    """before_forward stands before the first, an extra and a replayed forward, and before no forward of the base."""
    method = Moments()
    module = CausalLM("tiny://llama", lora(), sgd, [method])
    fit(module, loader(4, rows=4), loader(4, rows=4), max_epochs=1)
    forwards = ["before_forward", "forward", "token_term", "before_forward", "forward", "evaluation"]
    expected = ["attach", "before_training", *forwards, "parameter_term", "shape_gradients"]
    expected += [*forwards, "parameter_term", "after_step", "evaluation"]
    assert method.notes == expected
    assert method.moved.abs().max() > 0


def test_before_forward_is_given_the_batch_that_runs(loader, sgd, fit):
    seen = []

    class Batches(Regularizer):
        def before_forward(self, batch):
            seen.append(batch["sample_id"].tolist())

    fit(CausalLM("tiny://llama", lora(), sgd, [Batches(), Replayed()]), loader(2, rows=4), max_epochs=1)
    assert seen == [[0, 1], [0, 1], [2, 3], [2, 3]]


# ---- token terms


def test_token_terms_see_supervised_positions_only(loader, sgd, fit):
    seen = []

    class Shapes(Regularizer):
        def token_term(self, step):
            seen.append(step)

    fit(CausalLM("tiny://llama", lora(), sgd, [Shapes()]), loader(3, rows=6), max_epochs=1)
    for step, batch in zip(seen, loader(3, rows=6), strict=True):
        following, rows = batch["labels"][:, 1:], torch.arange(3).unsqueeze(1)
        supervised = following != -100
        assert 0 < supervised.sum() < batch["attention_mask"][:, 1:].sum()
        assert torch.equal(step.targets, following[supervised])
        assert torch.equal(step.rows, rows.expand_as(following)[supervised])
        assert len(step.logits) == len(step.hidden) == len(step.nll) == supervised.sum()
        chosen = step.logits.log_softmax(-1).gather(1, step.targets.unsqueeze(1)).squeeze(1)
        assert torch.allclose(step.nll, -chosen, atol=1e-6)


class Nll(Regularizer):
    """Adds the nll itself, weighted by whatever the method likes; shows another number."""

    def __init__(self, weight):
        self.weight = weight

    def token_term(self, step):
        return Term(self.weight * step.nll.sum(), 7.0 * step.nll.sum())


def test_token_terms_own_their_weight(loader, sgd, fit):
    """The addition joins the objective as it is; the value shown is per supervised token and nobody's business."""
    plain, tripled = Replayed(), Replayed()
    fit(CausalLM("tiny://llama", lora(), sgd, [plain]), loader(8), max_epochs=1)
    trainer = fit(CausalLM("tiny://llama", lora(), sgd, [Nll(2.0), tripled]), loader(8), max_epochs=1)
    assert torch.allclose(tripled.given[0], 3.0 * plain.given[0], atol=1e-7)
    metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
    assert metrics["train/loss"] == pytest.approx(3.0 * metrics["train/nll"], rel=1e-6)
    assert metrics["reg/Nll"] == pytest.approx(7.0 * metrics["train/nll"], rel=1e-6)


# ---- the survey


class Curious(Regularizer):
    """Looks at rows before the first step, differentiates, and draws from every generator there is."""

    def __init__(self, limit):
        self.limit, self.seen, self.values = limit, [], []

    def attach(self, model):
        self.model = model

    def before_training(self, survey):
        for _ in range(2):
            rows = []
            for batch in survey.rows(self.limit):
                assert len(batch["labels"]) == 1
                nll = survey.nll(batch)
                nll.backward()
                rows.append(batch["sample_id"].item())
                self.values.append(nll.item())
                torch.rand(7)
            self.seen.append(rows)
        self.training = self.model.training
        self.total = survey.summed(torch.tensor(2.0)).item()


@pytest.mark.parametrize("limit", [3, 100])
def test_a_survey_gives_single_rows_in_a_fixed_order_and_shifts_nothing(loader, sgd, fit, flat, limit):
    curious = Curious(limit)
    found = []
    for methods in ([], [curious]):
        module = SequenceClassifier("tiny://bert", lora(), sgd, methods, labels=["a", "b", "c"])
        shuffled = torch.utils.data.DataLoader(loader(2, classes=3).dataset, 2, True, collate_fn=loader(2).collate_fn)
        torch.manual_seed(11)
        fit(module, shuffled, max_epochs=2)
        found.append((flat(module), torch.get_rng_state()))
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0)).tolist()
    assert curious.seen == [order[:limit]] * 2
    assert not curious.training
    assert curious.total == 2.0
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_a_surveys_nll_is_the_rows_sum_in_evaluation_mode(loader, sgd, fit):
    curious = Curious(8)
    fit(CausalLM("tiny://llama", lora(), sgd, [curious]), loader(8), max_epochs=1)
    untouched = CausalLM("tiny://llama", lora(), sgd)
    untouched.configure_model()
    with torch.no_grad():
        expected = [untouched.eval().score(batch).nll.sum().item() for batch in loader(1)]
    assert curious.values[:8] == pytest.approx([expected[row] for row in curious.seen[0]], rel=1e-5)


def test_finished_batches_cannot_be_surveyed_row_by_row(loader, sgd, fit):
    finished = torch.utils.data.DataLoader(list(loader(2)), None)
    with pytest.raises(UserError, match="Curious looks at training rows"):
        fit(CausalLM("tiny://llama", lora(), sgd, [Curious(8)]), finished, max_epochs=1)


# ---- the base


@pytest.mark.parametrize("adapter", [Full, lora])
def test_a_reference_draws_nothing_is_shared_and_leaves_every_mode_alone(loader, sgd, fit, flat, adapter):
    seen = []

    class Asking(Regularizer):
        reads_base = True

        def attach(self, model):
            self.model = model

        def token_term(self, step):
            modes, state = [m.training for m in self.model.modules()], torch.get_rng_state()
            seen.append(step.reference())
            assert torch.equal(torch.get_rng_state(), state)
            assert [m.training for m in self.model.modules()] == modes
            assert not seen[-1].logits.requires_grad

    found = []
    for methods in ([], [Asking(), Asking(), Replayed()]):
        module = SequenceClassifier("tiny://bert", adapter(), sgd, methods, labels=["a", "b", "c"])
        fit(module, loader(4, classes=3), max_epochs=1)
        found.append(flat(module))
    assert torch.equal(*found)
    assert all(one is other for one, other in zip(seen[::2], seen[1::2], strict=True))
    assert len({id(outputs) for outputs in seen}) == len(seen) // 2


def test_a_base_that_is_lost_is_refused_with_both_names(sgd):
    class Rewritten(Full):
        base_is = "lost"

    class Anchored(Regularizer):
        reads_base = True

    with pytest.raises(UserError, match=r"Anchored.*Rewritten"):
        CausalLM("tiny://llama", Rewritten(), sgd, [L2SP(0.1), Anchored()]).configure_model()


# ---- stacks


class Jealous(Regularizer):
    def conflict(self, other):
        return "it wants to be alone." if isinstance(other, Tripled) else None


@pytest.mark.parametrize("order", [1, -1])
def test_a_pair_that_cannot_compose_is_refused_with_both_names(sgd, order):
    module = CausalLM("tiny://llama", lora(), sgd, [Jealous(), L2SP(0.1), Tripled()][::order])
    with pytest.raises(UserError, match=r"Jealous and Tripled cannot be combined: it wants to be alone\."):
        module.configure_model()


@pytest.mark.parametrize(("value", "warned"), [(0.0, ["reg/Shown"]), (1e-30, [])])
def test_a_term_that_is_zero_in_each_of_fifty_steps_is_reported_once(loader, sgd, fit, value, warned):
    class Shown(Regularizer):
        def token_term(self, step):
            return Term(0.0 * step.nll.sum(), value * step.nll.detach().sum())

    module = CausalLM("tiny://llama", lora(), sgd, [Shown()])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(module, loader(1, rows=1), max_epochs=PATIENCE + 5)
    found = [str(w.message).split()[0] for w in caught if "exactly 0" in str(w.message)]
    assert found == warned


def test_a_term_that_acted_once_is_never_reported():
    watched = SilentTerms()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for step in range(3 * PATIENCE):
            watched.watch({"Late": float(step == PATIENCE - 1)})
