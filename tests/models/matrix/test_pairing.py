"""Arms that share their seeds see the same rows in the same order, drop the same activations and start alike; and each
of these checks notices when that is broken on purpose."""

import functools
import random

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy
from peft import LoraConfig

from finelab.contracts.seeds import Seeds
from finelab.data.sampler import GlobalOrder
from finelab.models import objective
from finelab.models.adapters import Bottleneck, Full
from finelab.models.regularizers import L2SP, RDrop

from .pairing import Beside, Leave, arms, has_dropout, lora, same_masks, same_order, train, write_rows
from .regularizer_table import ON_LORA, ROWS


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def plain(files):
    """Full fine-tuning without a regularizer, per task."""
    return functools.cache(lambda task: train(task, Full(), files))


def stacks(task):
    """Nothing, each method, and the longest stack that composes."""
    named = {row.name: [row] for row in ROWS if task in row.tasks}
    return {"nothing": [], **named, "longest": [row for row in ON_LORA.values() if task in row.tasks]}


def fitting(rows, task, arm):
    """Those that are not refused on this arm: for want of dropout, of a trained weight, or of a Fisher number."""
    undropped = task == "lm" and arm in ("full", "ia3")
    refused = {"ia3": "Mixout"}.get(arm)
    kept = [row for row in rows if not (undropped and row.needs_dropout) and row.kind != refused]
    return [row for row in kept if arm == "full" or "lora" not in row.exceptions]


def of_arms(task):
    """Every arm with every stack; short: every arm without one, and LoRA r4 with each."""
    cases = []
    for arm in arms(task):
        for name, rows in stacks(task).items():
            if rows and not fitting(rows, task, arm):
                continue
            short = name == "nothing" or (arm == "lora-r4" and task == "lm")
            cases.append(pytest.param(arm, name, marks=[] if short else [pytest.mark.slow]))
    return pytest.mark.parametrize(("arm", "stack"), cases)


@of_arms("lm")
def test_the_order_is_the_same_in_every_arm_with_and_without_every_method(plain, files, arm, stack):
    methods = [row.real() for row in fitting(stacks("lm")[stack], "lm", arm)]
    found = train("lm", arms("lm")[arm](), files, methods, callbacks=[Beside()])
    assert same_order(found, plain("lm"))
    assert len(found.trail.sums) > 2


@of_arms("class")
def test_first_forwards_drop_the_same_in_every_arm_whatever_stands_beside(plain, files, arm, stack):
    """The dropout of the base; the second arm of each pair has a probe and reads other loaders."""
    methods = [row.real() for row in fitting(stacks("class")[stack], "class", arm)]
    found = train("class", arms("class")[arm](), files, methods, callbacks=[Beside()])
    assert has_dropout(found)
    assert same_masks(plain("class"), found) and same_order(found, plain("class"))


def test_a_dropout_of_the_adapter_is_the_same_at_any_rank_of_it(files):
    """It draws between those of the base, so that arms with and without it drop other activations."""
    two = train("class", lora(4, 0.1)(), files), train("class", lora(8, 0.1)(), files, [L2SP(0.1)])
    assert has_dropout(two[0]) and same_masks(*two)


@pytest.mark.parametrize(
    ("arm", "workers"),
    [("lora-r4", 2), *(pytest.param(arm, n, marks=pytest.mark.slow) for arm in arms("lm") for n in (0, 2))],
)
def test_two_ranks_and_their_workers_see_the_order_of_one_process(plain, files, arm, workers, tmp_path):
    leave = Leave(tmp_path / "digest")
    two = {"devices": 2, "strategy": DDPStrategy(start_method="fork"), "batch_size": 2}
    train("lm", arms("lm")[arm](), files, [L2SP(0.1)], workers, [leave], **two)
    assert (tmp_path / "digest").read_text() == plain("lm").digest
    assert train("lm", arms("lm")[arm](), files, workers=workers).digest == plain("lm").digest


ADAPTERS = {**arms("class"), "bottleneck": Bottleneck}


@pytest.mark.parametrize("arm", ADAPTERS)
def test_adapter_and_head_start_from_the_init_seed_whatever_was_drawn_before(files, arm):
    def started(noise, **seeds):
        torch.manual_seed(noise)
        np.random.seed(noise)
        random.seed(noise)
        drawn = torch.rand(noise).tolist(), np.random.rand(noise).tolist(), random.random()
        assert drawn
        return train("class", ADAPTERS[arm](), files, [RDrop(1.0)] * (noise % 2), seeds=Seeds(**seeds)).start

    one, two, other = started(3), started(8, data=2, train=2), started(3, init=2)
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one), "of the init seed it is made"


# ---- negative controls: what each check is for is broken on purpose, and it says so


def test_a_broken_data_seed_is_detected(plain, files):
    found = train("lm", arms("lm")["lora-r4"](), files, seeds=Seeds(data=2))
    assert not same_order(found, plain("lm"))
    assert found.trail.parting(plain("lm").trail) == range(0, 1)


class Drawing(L.Callback):
    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        torch.rand(batch_idx + 3)


def test_a_streamed_random_state_is_detected(files, monkeypatch):
    """Without the seed that is counted for each forward, a draw beside shifts the masks behind it."""

    def alike():
        found = []
        for callbacks in ([], [Drawing()]):
            torch.manual_seed(0)
            seen = train("class", Full(), files, callbacks=callbacks)
            found.append([mask for _, masks in seen.masks.visits for mask in masks])
        assert len(found[0]) == len(found[1]) > 0
        return all(map(torch.equal, *found))

    assert alike()
    monkeypatch.setattr(objective, "seed_forward", lambda seed, device: None)
    assert not alike()


def test_an_order_from_the_global_generator_is_detected(files, monkeypatch):
    """As ``DataLoader(shuffle=True)`` has it: a larger adapter draws more at its start, and the rows come otherwise."""
    monkeypatch.setattr(GlobalOrder, "rows", lambda self, generator: torch.randperm(len(self.lengths)).numpy())
    found = []
    for arm in ("lora-r4", "lora-r8"):
        torch.manual_seed(1)
        found.append(train("lm", DrawingFirst(arm).config, files))
    assert not same_order(*found)


class DrawingFirst:
    """An arm whose adapter draws from the default generator before the loader does, as every unguarded one would."""

    def __init__(self, arm):
        torch.rand(int(arm[-1]))
        self.config = LoraConfig(r=int(arm[-1]), target_modules="all-linear")
