"""What is checked before training leaves no trace, and each check fires where it has something to say."""

import functools
import json
import os
import random
import re
import shutil
from copy import deepcopy
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy
from peft import AdaLoraConfig, AdamssConfig, GloraConfig, LoraConfig
from torch import Tensor, nn

from finelab.callbacks import Preflight
from finelab.callbacks.checks import trial as trials
from finelab.callbacks.checks.check import all_checks
from finelab.callbacks.checks.disk_space import occupied
from finelab.callbacks.order_digest import OrderDigest
from finelab.callbacks.results import Results
from finelab.contracts.errors import UserError
from finelab.data import Classification, Documents, PromptResponse, TextDataModule, collate
from finelab.data.splits import Fractions
from finelab.models import CausalLM, SequenceClassifier, WarmupLinear
from finelab.models.adapters import Full
from finelab.models.regularizers import L2SP, RDrop

from ..models.matrix.regularizer_table import ON_LORA, ROWS
from .ranks import AS_RANKS, in_two_ranks

ADAMW = functools.partial(torch.optim.AdamW, lr=1e-2)
DOUBLED = "{{ bos_token }}{{ bos_token }}{% for m in messages %}{{ m['content'] }} {% endfor %}"


class Endless(PromptResponse):
    """A user's own template that forgets the end of the answer."""

    def encode(self, examples, tokenizer, context, label_names):
        samples = super().encode(examples, tokenizer, context, label_names)
        cut = {key: slice(-1) for key in ("input_ids", "labels")}
        return [s | {key: s[key][part] for key, part in cut.items()} for s in samples]


class MostlyEndless(Endless):
    """It forgets it behind all answers but every fourth."""

    def encode(self, examples, tokenizer, context, label_names):
        whole = PromptResponse.encode(self, examples, tokenizer, context, label_names)
        cut = super().encode(examples, tokenizer, context, label_names)
        return [w if i % 4 == 0 else c for i, (w, c) in enumerate(zip(whole, cut, strict=True))]


@pytest.fixture(scope="module")
def texts(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    for split, count in (("train", 20), ("validation", 10)):
        with open(folder / f"{split}.jsonl", "w") as file:
            for i in range(count):
                text = f"{split} {i} {'ab'[i % 2] * (i % 7)}"
                row = {"text": text, "label": ["low", "high"][i % 2], "prompt": text, "response": "yes " * (i % 3 + 1)}
                file.write(json.dumps(row) + "\n")
    return folder


@pytest.fixture
def source(texts):
    def make(kind: str = "class", template=None, **options) -> TextDataModule:
        template = template or (Classification() if kind == "class" else PromptResponse())
        base = "tiny://bert" if kind == "class" else "tiny://llama"
        settings = {"batch_size": 4, "cache_dir": str(texts / "cache")}
        return TextDataModule(options.pop("source", str(texts)), template, base, **(settings | options))

    return make


def module(kind: str = "class", regularizers=(), adapter=None, **options):
    adapter = adapter or LoraConfig(r=2, lora_alpha=4, lora_dropout=0.1, target_modules="all-linear")
    settings = {"optimizer": ADAMW, "schedule": WarmupLinear(0.2), "regularizers": list(regularizers)} | options
    if kind == "class":
        return SequenceClassifier("tiny://bert", adapter, labels=["high", "low"], **settings)
    return CausalLM("tiny://llama", adapter, **settings)


class Stop(Exception):
    pass


class Look(Preflight):
    """Finds everything and stops the fit."""

    def report(self) -> None:
        raise Stop


@pytest.fixture
def look(fit, tmp_path):
    """The findings on a module and its data, by name."""

    def run(tuner, data, **options):
        preflight = Look({}, tmp_path)
        with pytest.raises(Stop):
            fit(tuner, data, [preflight], **options)
        return {finding.name: finding for finding in preflight.findings}

    return run


# ---- no trace


class State(L.Callback):
    """Everything that training starts from, taken behind the preflight, and everything it logs."""

    def __init__(self) -> None:
        self.start: dict = {}
        self.logged: list[dict] = []

    def on_train_start(self, trainer, pl_module) -> None:
        self.start = {
            "random": (random.getstate(), list(np.random.get_state()[1]), torch.get_rng_state()),
            "weights": {name: p.detach().clone() for name, p in pl_module.named_parameters()},
            "buffers": {name: b.detach().clone() for name, b in pl_module.named_buffers()},
            "gradients": [p.grad for p in pl_module.parameters()],
            "modes": [part.training for part in pl_module.modules()],
            "optimizer": trainer.optimizers[0].state_dict(),
            "attributes": plain({k: v for k, v in vars(pl_module).items() if k not in ("_trainer", "_modules")}),
            "inside": [plain(sorted(vars(part))) for part in pl_module.modules()],
        }

    def on_train_batch_end(self, trainer, pl_module, *args) -> None:
        self.logged.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def plain(value, seen: frozenset = frozenset()):
    """Values that can be compared, whatever holds them; code and modules by their type."""
    if id(value) in seen or isinstance(value, nn.Module | type) or (callable(value) and not hasattr(value, "__dict__")):
        return type(value).__name__
    seen = seen | {id(value)}
    if isinstance(value, Tensor):
        return value.detach().float().flatten().tolist()
    if isinstance(value, dict):
        return [(plain(k, seen), plain(v, seen)) for k, v in value.items()]
    if isinstance(value, list | tuple | set):
        return [plain(item, seen) for item in value]
    if type(value).__module__.startswith("finelab"):
        return type(value).__name__, plain(vars(value), seen)
    return value if isinstance(value, str | int | float | bool | type(None)) else type(value).__name__


def equal(one, other) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


STACKS = {name: (name,) for name in ON_LORA}
TOGETHER = {"all": ("LabelSmoothing", "NEFTune", "Mixout", "RDrop", "KLToBase", "L2SP", "ChildTuning", "SAM", "FreeLB")}
QUICK = ("ChildTuning", "FreeLB")


def stacks():
    slow = pytest.mark.slow
    return [
        pytest.param(n, id=k, marks=[] if k in (*TOGETHER, *QUICK) else [slow]) for k, n in (STACKS | TOGETHER).items()
    ]


@pytest.mark.parametrize("names", stacks())
def test_the_first_steps_leave_no_trace(names, fit, source, tmp_path) -> None:
    """Weights, buffers, gradients, modes, attributes, optimizer and generators before the first step; then all."""
    runs = []
    for rehearse in (False, True):
        L.seed_everything(3, verbose=False)
        tuner = module("lm", [ON_LORA[name].real() for name in names])
        state, order = State(), OrderDigest()
        preflight = Preflight({}, tmp_path, rehearse)
        trainer = fit(tuner, source("lm"), [preflight, state, order], max_epochs=2, accumulate_grad_batches=2)
        assert ("gradients" in [finding.name for finding in preflight.findings]) == rehearse
        end = {name: p.detach().clone() for name, p in tuner.named_parameters()}
        methods = plain([method for _, method in tuner.stack])
        runs.append((state, order.digest, end, trainer.optimizers[0].state_dict(), methods, torch.get_rng_state()))
    without, with_steps = runs
    for key, value in without[0].start.items():
        assert equal(value, with_steps[0].start[key]), key
    assert without[0].logged == with_steps[0].logged and without[0].logged
    assert without[1] == with_steps[1] is not None
    assert all(equal(one, other) for one, other in zip(without[2:], with_steps[2:], strict=True))


class Lookahead(torch.optim.Optimizer):
    """An optimizer around one of torch's (Zhang et al. 2019, arXiv 1907.08610), which keeps its moments for itself."""

    def __init__(self, params, lr: float = 1e-2, every: int = 2) -> None:
        super().__init__(params, {"lr": lr})
        self.inner, self.every, self.taken = torch.optim.AdamW(self.param_groups, lr=lr), every, 0
        self.slow = [p.detach().clone() for group in self.param_groups for p in group["params"]]

    @torch.no_grad()
    def step(self, closure=None):
        loss = self.inner.step(closure)
        self.taken += 1
        if self.taken % self.every == 0:
            for p, slow in zip((p for group in self.param_groups for p in group["params"]), self.slow, strict=True):
                p.copy_(slow.lerp_(p, 0.5))
        return loss


def test_an_optimizer_inside_another_is_put_back_too(fit, source, tmp_path) -> None:
    ends = []
    for rehearse in (False, True):
        L.seed_everything(3, verbose=False)
        tuner = module(optimizer=Lookahead)
        trainer = fit(tuner, source(), [Preflight({}, tmp_path, rehearse)], max_epochs=1)
        inner = trainer.optimizers[0].inner
        ends.append([inner.state_dict(), {name: p.detach().clone() for name, p in tuner.named_parameters()}])
    assert equal(*ends)


ALLOCATING = {
    "AdaLoRA": AdaLoraConfig(
        init_r=4, target_r=2, tinit=1, tfinal=2, deltaT=1, total_step=10, target_modules="all-linear"
    ),
    "AdaMSS": AdamssConfig(
        r=8,
        num_subspaces=2,
        use_asa=True,
        init_warmup=1,
        final_warmup=8,
        mask_interval=2,
        asa_target_subspaces=5,
        target_modules=["q_proj", "v_proj"],
    ),
}
"""Adapters that count steps, and give up ranks or subspaces in the second one already."""


@pytest.mark.parametrize("name", ALLOCATING)
def test_the_first_steps_allocate_nothing(name, fit, source, tmp_path) -> None:
    ends = []
    for rehearse in (False, True):
        tuner = module("lm", adapter=deepcopy(ALLOCATING[name]))
        state, allocation = State(), tuner.adapter.allocation
        trainer = fit(tuner, source("lm"), [Preflight({}, tmp_path, rehearse), state], max_epochs=2)
        assert trainer.global_step == allocation.step == 10
        end = {key: p.detach().clone() for key, p in tuner.named_parameters()}
        ends.append([end, plain(allocation.state_dict()), state.start["weights"], state.start["attributes"]])
    assert all(equal(one, other) for one, other in zip(*ends, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("row", [row for row in ROWS if row.adapter is Full], ids=lambda row: row.name)
def test_the_same_where_all_weights_train(row, fit, source, tmp_path) -> None:
    ends = []
    for rehearse in (False, True):
        tuner = module(row.tasks[0], [row.real()], Full())
        fit(tuner, source(row.tasks[0]), [Preflight({}, tmp_path, rehearse)])
        ends.append({name: p.detach().clone() for name, p in tuner.named_parameters()})
    assert equal(*ends)


def test_what_takes_time_is_left_out_in_a_trial_run(fit, source, tmp_path) -> None:
    preflight = Preflight({}, tmp_path)
    fit(module(), source(), [preflight], fast_dev_run=1)
    names = {finding.name for finding in preflight.findings}
    assert "labels, train" in names and not names & {"gradients", "memory", "time"}


def test_a_resume_makes_no_first_steps(fit, source, tmp_path) -> None:
    """They were made before, and the weights are not those of the start any more."""
    trainer = fit(module(), source(), [Preflight({}, tmp_path)], max_epochs=1)
    trainer.save_checkpoint(tmp_path / "state.ckpt")
    preflight = Preflight({}, tmp_path)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "num_sanity_val_steps": 0}
    resumed = L.Trainer(max_epochs=2, accelerator="cpu", callbacks=[preflight], use_distributed_sampler=False, **quiet)
    resumed.fit(module(), datamodule=source(), ckpt_path=tmp_path / "state.ckpt", weights_only=False)
    names = {finding.name for finding in preflight.findings}
    assert resumed.global_step == 10 and "steps" in names and not names & {"gradients", "memory", "time"}


@pytest.mark.slow
def test_two_ranks_leave_no_trace_either(fit, source, tmp_path) -> None:
    """Replays, second forwards, a reference: nothing of them is reduced over the ranks but sums."""

    class Keep(L.Callback):
        def on_train_end(self, trainer, pl_module) -> None:
            weights = {name: p.detach().clone() for name, p in pl_module.named_parameters()}
            torch.save(weights, tmp_path / f"{rehearse}-{trainer.global_rank}.pt")

    for rehearse in (False, True):
        stack = [ON_LORA[name].real() for name in ("SAM", "FreeLB", "ChildTuning", "RDrop", "KLToBase", "L2SP")]
        options = {"devices": 2, "strategy": DDPStrategy(start_method="fork"), "accumulate_grad_batches": 2}
        fit(module("lm", stack), source("lm"), [Preflight({}, tmp_path, rehearse), Keep()], **options)
    for rank in (0, 1):
        ends = [torch.load(tmp_path / f"{rehearse}-{rank}.pt", weights_only=True) for rehearse in (False, True)]
        assert equal(*ends)


class NoNumber(L.Callback):
    """The loss stays finite, and on one rank a gradient does not; stands before the preflight."""

    def on_train_start(self, trainer, pl_module) -> None:
        if trainer.global_rank == 1:
            p = next(p for name, p in pl_module.named_parameters() if "lora_B" in name)
            p.register_hook(lambda gradient: gradient * float("inf"))


def test_the_gradient_of_one_rank_is_not_finite(fit, source, tmp_path) -> None:
    """Both ranks stop, with one paragraph each, though one of them sees nothing wrong."""

    def look() -> None:
        with pytest.raises(UserError) as caught:
            fit(module(), source(), [NoNumber(), Preflight({}, tmp_path)], **AS_RANKS)
        (tmp_path / os.environ["RANK"]).write_text(str(caught.value))

    in_two_ranks(look)
    said = [(tmp_path / rank).read_text() for rank in "01"]
    assert said[0] == said[1]
    assert re.search(r"not finite, in the step of samples \(sample_id\) \[[\d, ]+\] of rank 1\.", said[0])
    assert "gradients: not finite in 1 trainable tensors" in said[0]


# ---- a good configuration


def test_nothing_is_wrong_with_a_good_one(look, source) -> None:
    """Of both kinds of targets; every check says something, and the longest rows are the ones that are tried."""
    for kind in ("class", "lm"):
        data = source(kind)
        found = look(module(kind), data)
        assert {finding.level for finding in found.values()} == {"ok"}, found
        longest = sorted(data.samples("train").lengths)[-4:]
        assert f"4 x {longest[-1]} tokens" in found["first steps"].seen
        assert not any(finding.cure for finding in found.values())
    assert len(all_checks()) >= 14


def test_the_steps_of_the_schedule(look, source) -> None:
    found = look(module(), source(), max_epochs=4)
    assert found["steps"].seen == "20 optimizer steps, 5 an epoch (5 batches)"
    assert "WarmupLinear: 0.002 at first, 0.01 at step 5" in found["learning rate"].seen


# ---- what each check is there for


def test_a_parameter_that_no_gradient_reaches(look, source) -> None:
    class Detached(SequenceClassifier):
        def features(self, batch):
            return super().features(batch).detach()

    tuner = Detached("tiny://bert", LoraConfig(r=2, target_modules=["query"]), ADAMW, labels=["high", "low"])
    found = look(tuner, source())["gradients"]
    assert found.level == "error"
    assert "4 trainable tensors got none in three steps" in found.seen and "query.lora_A" in found.seen


def test_one_that_starts_behind_a_zero_is_no_error(look, source) -> None:
    """LoRA's A has no gradient in the first step."""
    assert look(module(), source())["gradients"].level == "ok"


def test_what_an_adapter_leaves_idle_is_no_error(look, source) -> None:
    """GLoRA's D scales biases, which are zero in this base; with biases that are not it gets a gradient."""
    adapter = GloraConfig(r=2, target_modules=["query"])
    tuner = module(adapter=adapter)
    assert look(tuner, source())["gradients"].level == "ok"
    assert {name.rpartition(".")[2] for name in tuner.adapter.idle(tuner.adapted)} == {"glora_D"}
    with torch.no_grad():
        for name, p in tuner.named_parameters():
            if name.endswith("base_layer.bias"):
                p += 1
    assert tuner.adapter.idle(tuner.adapted) == {}
    tuner.adapter.idle = lambda model: {}
    assert look(tuner, source())["gradients"].level == "ok"


def test_a_weight_of_the_base_that_is_no_number(look, source, monkeypatch) -> None:
    build = SequenceClassifier.build

    def damaged(self, backbone):
        with torch.no_grad():
            backbone.get_input_embeddings().weight[:, 0] = float("nan")
        return build(self, backbone)

    monkeypatch.setattr(SequenceClassifier, "build", damaged)
    found = look(module(), source())
    assert found["weights"].level == "error" and "word_embeddings" in found["weights"].seen
    assert found["first steps"].level == "error" and "not finite" in found["first steps"].seen


def test_a_text_that_begins_twice(look, source) -> None:
    found = look(module("lm"), source("lm", PromptResponse(chat_template=DOUBLED)))["start token"]
    assert (found.level, found.seen) == ("error", "100.0% of the rows begin with <s> twice")


def test_an_answer_without_an_end(look, source) -> None:
    found = look(module("lm"), source("lm", Endless()))["end token"]
    assert found.level == "error" and "no row's target ends in </s>" in found.seen


def test_few_answers_with_an_end(look, source) -> None:
    found = look(module("lm"), source("lm", MostlyEndless()))["end token"]
    assert found.level == "warning" and "</s> is the last target of 25.0% of the rows" in found.seen


def test_documents_need_no_end(look, source) -> None:
    assert look(module("lm"), source("lm", Documents()))["end token"].level == "ok"
    ended = look(module("lm"), source("lm", Documents(append_eos=True)))["end token"]
    assert ended.seen == "</s> is the last target of 100.0% of the rows"


def test_pads_that_are_learnt(look, source, monkeypatch) -> None:
    init = collate.PadCollator.__init__

    def unmasked(self, pad_id: int) -> None:
        init(self, pad_id)
        self.fillers["labels"] = pad_id

    data = source("lm")
    monkeypatch.setattr(collate.PadCollator, "__init__", unmasked)
    found = look(module("lm"), data)["pad token"]
    assert found.level == "error" and "are targets" in found.seen


def test_two_forwards_without_a_draw(look, source) -> None:
    adapter = LoraConfig(r=2, target_modules="all-linear")  # without dropout, on a decoder without dropout
    found = look(module("lm", [RDrop(1.0)], adapter), source("lm"))
    assert found["dropout"].level == "error" and "RDrop compares forwards" in found["dropout"].seen
    assert "first steps" not in found
    assert look(module("lm", [RDrop(0.0)], adapter), source("lm"))["dropout"].level == "ok"


def test_a_method_that_refuses(look, source) -> None:
    class Refusing(L2SP):
        def parameter_term(self):
            raise UserError("model.regularizers: Refusing refuses. Remove it.")

    found = look(module(regularizers=[Refusing()]), source())["first steps"]
    assert (found.level, found.seen) == ("error", "model.regularizers: Refusing refuses. Remove it")


def test_a_class_without_rows(look, source) -> None:
    tuner = SequenceClassifier(
        "tiny://bert", LoraConfig(r=2, target_modules=["query"]), ADAMW, labels=["low", "high", "none"]
    )
    found = look(tuner, source(template=Classification(names=["low", "high", "none"])))["labels, train"]
    assert (found.level, found.seen) == ("warning", "1 of 3 classes have no row: none")


def test_every_row_is_cut(look, source) -> None:
    found = look(module(), source(context=4))["rows cut, train"]
    assert found.level == "warning" and found.seen.startswith("100.0% of the rows lose tokens")
    assert found.cure.startswith("Set data.init_args.context to 17 (the base takes 256)")


def test_text_that_the_tokenizer_does_not_know(look, source) -> None:
    data = source()
    data.tokenizer.tokenizer.unk_token = "b"  # a byte that half of the rows repeat
    found = look(module(), data)["unknown tokens"]
    assert found.level == "warning" and "of" in found.seen


def test_no_validation_split(look, source, texts) -> None:
    only = source(source={"train": str(texts / "train.jsonl")}, splits=Fractions(0, 0))
    found = look(module(), only)["validation split"]
    assert found.level == "warning" and "there is none" in found.seen
    assert look(module(), source(), limit_val_batches=0)["validation split"].level == "ok"


def test_a_rate_of_zero(look, source) -> None:
    found = look(module(optimizer=functools.partial(torch.optim.AdamW, lr=0.0)), source())["learning rate"]
    assert found.level == "error" and "model.init_args.optimizer.init_args.lr" in found.cure
    found = look(module(schedule=WarmupLinear(0.01)), source())["learning rate"]
    assert found.level == "warning" and "less than one step" in found.seen


def test_a_refusal_of_the_evaluation_batch_is_not_taken_for_a_lack_of_memory(look, source, monkeypatch) -> None:
    def refuse(*args):
        raise UserError("data.init_args.template: this batch cannot be scored. Choose another.")

    monkeypatch.setattr(SequenceClassifier, "score", refuse)
    found = look(module(), source())
    assert found["memory"].level == "ok"
    assert found["first steps"].level == "error" and "cannot be scored" in found["first steps"].seen


@pytest.mark.parametrize("where", ["training", "evaluation"])
def test_memory_runs_out(where, look, source, monkeypatch) -> None:
    def full(*args):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(*((trials, "backward") if where == "training" else (SequenceClassifier, "score")), full)
    found = look(module(), source())["memory"]
    words = {"training": "in the first training steps", "evaluation": "on the longest validation batch"}
    assert found.level == "error" and words[where] in found.seen
    assert found.cure.startswith("Lower data.init_args.")


def test_another_error_is_nobodys_finding(fit, source, tmp_path, monkeypatch) -> None:
    """A mistake in somebody's code keeps its traceback, and everything is put back."""
    monkeypatch.setattr(trials, "backward", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fit(module(), source(), [Preflight({}, tmp_path)])


def test_the_disk_is_full(look, source, monkeypatch) -> None:
    for free, level in ((1 << 20, "error"), (1 << 27, "warning"), (1 << 40, "ok")):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: shutil._ntuple_diskusage(free, 0, free))
        assert look(module(), source())["disk"].level == level


def test_a_resumed_run_needs_no_room_for_what_it_replaces(look, source, monkeypatch, tmp_path) -> None:
    free = 1 << 26  # what the rest of a run is said to need
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(free, 0, free))
    found = look(module(), source())["disk"]
    assert found.level == "error" and "need about 64.1 MiB" in found.seen
    state = tmp_path / "checkpoints" / "state-00000001"
    state.mkdir(parents=True)
    (state / "state.safetensors").write_bytes(bytes(1 << 20))
    os.link(state / "state.safetensors", tmp_path / "checkpoints" / "twice")
    assert occupied(tmp_path / "checkpoints") == 1 << 20
    found = look(module(), source())["disk"]
    assert found.level == "warning" and "need about 64.0 MiB" in found.seen


def test_a_resume_is_never_refused_over_the_disk(fit, source, tmp_path, monkeypatch) -> None:
    fit(module(), source(), max_epochs=1).save_checkpoint(tmp_path / "state.ckpt")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, 0))
    preflight = Preflight({}, tmp_path)
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "max_epochs": 2}
    resumed = L.Trainer(accelerator="cpu", callbacks=[preflight], use_distributed_sampler=False, **options)
    with pytest.warns(UserWarning, match="disk: checkpoints need about"):
        resumed.fit(module(), datamodule=source(), ckpt_path=tmp_path / "state.ckpt", weights_only=False)
    assert resumed.global_step == 10


# ---- in a fit


def test_an_error_stops_the_fit_with_a_paragraph_each(fit, source, tmp_path) -> None:
    tuner = module("lm", optimizer=functools.partial(torch.optim.AdamW, lr=0.0))
    with pytest.raises(UserError) as caught:
        fit(tuner, source("lm", Endless()), [Preflight({}, tmp_path)])
    paragraphs = str(caught.value).splitlines()
    assert [text.partition(":")[0] for text in paragraphs] == ["learning rate", "end token"]
    assert all(text.endswith(".") for text in paragraphs)


def test_a_warning_is_said_once_and_noted(fit, source, tmp_path) -> None:
    results = Results()
    with pytest.warns(UserWarning, match="less than one step") as caught:
        fit(module(schedule=WarmupLinear(0.01)), source(), [Preflight({}, tmp_path, results=results)])
    assert sum("less than one step" in str(warning.message) for warning in caught) == 1
    assert len(results.notes) == 1 and "model.init_args.schedule.init_args.warmup" in results.notes[0]
