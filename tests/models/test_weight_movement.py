"""The movement of effective weights is the difference of two plain models: the merged one and the base loaded anew."""

import math
from collections import defaultdict

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig

from finelab.models.adapters import BitFit, Bottleneck, Full
from finelab.models.weight_movement import NEW, Blocks, WeightMovement, total

from .adapters.adapter_cases import TASKS, every_case

CASES = {case.name: case for case in every_case()}
CAUSAL, CLASSES, SEQ2SEQ = (TASKS[name] for name in ("causal LM", "classification", "seq2seq"))
MERGING = [
    ("Full", CAUSAL),
    ("Full", SEQ2SEQ),
    ("TopLayers", CAUSAL),
    ("BitFit", CLASSES),
    ("LoRA", CAUSAL),
    ("LoRA", SEQ2SEQ),
    ("LoRA, rsLoRA", CAUSAL),
    ("LoRA, DoRA", CAUSAL),
    ("LoRA, PiSSA", CAUSAL),
    ("LoRA, bias=all", CLASSES),
    ("LoRA, lora_bias", CLASSES),
    ("LoRA, modules_to_save", CLASSES),
    ("LoRA, target_parameters", CAUSAL),
    ("LoRA, init_lora_weights=False", CAUSAL),
    ("AdaLora", CAUSAL),
    ("IA3", CAUSAL),
    ("LNTuning", CAUSAL),
    ("LoHa", CAUSAL),
    ("OFT", CAUSAL),
    ("TrainableTokens", CLASSES),
    ("Vera", CAUSAL),
]


def disturbed(module, strength=0.02):
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(5)
        for p in module.parameters():
            if p.requires_grad:
                p += strength * torch.randn_like(p)


def made(task, adapter):
    module = task.module(adapter)
    module.configure_model()
    module.keep_start()
    return module


def own(blocks):
    return {name: block for name, block in blocks.items() if not name.startswith(NEW)}


@pytest.mark.parametrize(("name", "task"), MERGING, ids=[f"{name}-{task.name}" for name, task in MERGING])
def test_blocks_are_differences_of_merged_and_base_weights(name, task) -> None:
    case = CASES[name]
    module = made(task, case.config(task))
    movement = WeightMovement(module)
    if case.starts_as_base:
        assert all(block.update < 1e-5 for block in movement.blocks().values())
    disturbed(module)
    frozen = {key: p.clone() for key, p in module.named_parameters() if not p.requires_grad}
    found = own(movement.blocks())
    assert all(torch.equal(p, frozen[key]) for key, p in module.named_parameters() if not p.requires_grad)

    merged, base = module.adapter.merge(module.adapted), task.backbone()
    parts, squares = Blocks(base), defaultdict(lambda: [0.0, 0.0])
    for key, start in base.named_parameters():
        now = merged.get_parameter(key).double()
        if not torch.equal(now, start.double()):
            squares[parts.of(key)][0] += (now - start.double()).square().sum().item()
            squares[parts.of(key)][1] += start.double().square().sum().item()
    assert list(found) == [part for part in parts.names if part in squares]
    for part, (update, size) in squares.items():
        assert found[part].update == pytest.approx(math.sqrt(update), rel=2e-5)
        if "TrainableTokens" not in name and "bias" not in name.lower() and name != "BitFit":
            assert found[part].base == pytest.approx(math.sqrt(size), rel=2e-5)
    whole = total(found)
    assert whole is not None
    assert whole.update == pytest.approx(math.sqrt(sum(update for update, _ in squares.values())), rel=2e-5)


def test_a_bias_that_starts_at_zero_has_no_relative_movement() -> None:
    module = made(CLASSES, BitFit())
    movement = WeightMovement(module)
    disturbed(module)
    block = movement.blocks()["layer_0"]
    assert block.base == 0 and block.relative is None and block.update > 0


@pytest.mark.parametrize(
    ("task", "adapter", "expected"),
    [
        (CAUSAL, lambda: Bottleneck(width=4), {"new_layer_0", "new_layer_1"}),
        (CAUSAL, lambda: PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"), {"new_embeddings"}),
        (CAUSAL, lambda: CASES["LoRA, lora_bias"].config(CAUSAL), {"new_layer_0", "new_layer_1"}),
        (CLASSES, lambda: LoraConfig(r=2, target_modules=["query"]), {"layer_0", "layer_1", "new_head"}),
        (CLASSES, lambda: CASES["LoRA, KaSA"].config(CLASSES), {"new_head"}),
    ],
    ids=["bottleneck", "prompt", "no place for its bias", "head", "lost"],
)
def test_what_the_base_has_not_is_told_by_its_change_since_the_start(task, adapter, expected) -> None:
    module = made(task, adapter())
    start = {key: p.detach().clone() for key, p in module.named_parameters() if p.requires_grad}
    movement = WeightMovement(module)
    disturbed(module)
    again = WeightMovement(module, movement.added)  # as on a resume
    blocks = movement.blocks()
    assert set(blocks) == expected and again.blocks() == blocks
    new = {name: block for name, block in blocks.items() if name.startswith(NEW)}
    assert all(block.base is None and block.relative is None for block in new.values())
    moved = [(p - start[key]).double().square().sum().item() for key, p in module.named_parameters() if key in start]
    if not own(blocks) and not movement.lost:
        assert math.hypot(*(block.update for block in new.values())) == pytest.approx(math.sqrt(sum(moved)), rel=1e-5)
        assert len(movement.added) == len(start)


def test_a_small_step_of_a_residual_init_is_not_lost_in_rounding() -> None:
    """PiSSA's factors hold most of W: the norm of s (B A - B_0 A_0) is the difference of two nearly equal numbers."""
    module = made(CAUSAL, CASES["LoRA, PiSSA"].config(CAUSAL))
    movement = WeightMovement(module)
    disturbed(module, 1e-5)
    found = movement.blocks()["layer_0"].update
    square = 0.0
    for name, (a, b) in module.adapter.start.items():
        layer = module.adapted.get_submodule(name)
        if ".layers.0." in name:
            now = layer.lora_B["default"].weight.double() @ layer.lora_A["default"].weight.double()
            square += (layer.scaling["default"] * (now - b.double() @ a.double())).square().sum().item()
    assert found == pytest.approx(math.sqrt(square), rel=1e-6)


def test_a_bfloat16_base_does_not_round_the_movement_away() -> None:
    module = made(CAUSAL, CASES["LoRA, DoRA"].config(CAUSAL))
    movement = WeightMovement(module)
    disturbed(module, 1e-3)
    expected = movement.blocks()["layer_0"].update
    for p in module.parameters():
        if not p.requires_grad:
            p.data = p.data.bfloat16().float()
    exact = movement.blocks()["layer_0"].update
    for name, p in module.named_parameters():
        if "base_layer" in name:
            p.data = p.data.bfloat16()
    assert movement.blocks()["layer_0"].update == pytest.approx(exact, rel=1e-2)
    assert exact == pytest.approx(expected, rel=0.2)


def test_full_tells_blocks_apart() -> None:
    module = made(CAUSAL, Full())
    movement = WeightMovement(module)
    layer = dict(module.adapted.named_parameters())["model.layers.1.mlp.up_proj.weight"]
    with torch.no_grad():
        layer += 0.5
    moved = {name: block.update for name, block in movement.blocks().items()}
    assert moved == {"embeddings": 0, "layer_0": 0, "layer_1": pytest.approx(0.5 * layer.numel() ** 0.5), "head": 0}
