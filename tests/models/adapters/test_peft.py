"""Every case of the table: it trains or is refused as it says, the base is where it says, files and merges are true.

Compared is the base loaded a second time, untouched by PEFT.
"""

import functools
import json

import pytest
import torch
from peft import (
    AdaptionPromptConfig,
    CartridgeConfig,
    DeloraConfig,
    HRAConfig,
    IA3Config,
    LoraConfig,
    PeftConfig,
    PeftModel,
    PolyConfig,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    ShadowConfig,
    TrainableTokensConfig,
    XLoraConfig,
)
from safetensors.torch import load_file, save_file

from finelab.contracts.errors import UserError
from finelab.models.adapters.peft import WEIGHTS_FILE, Peft, as_adapter
from finelab.models.backbone import Loading, load

from .adapter_cases import TASKS, every_case, outputs, trained

RUNS = [(case, TASKS[task]) for case in every_case() for task in case.tasks]
WORKING = [(case, task) for case, task in RUNS if task.name not in case.refused]
REFUSED = [(case, task) for case, task in RUNS if task.name in case.refused]
CAUSAL = TASKS["causal LM"]
DECAYED = [(case, task) for case, task in WORKING if task is CAUSAL and case.decays_to_base]
QUICK = {"LoRA", "LoRA, PiSSA", "LoRA, KaSA", "LoRA, bias=all", "AdaLora", "IA3", "OSF", "Poly", "Shadow", "XLora"}


def over(runs):
    """A few cases always, the rest with the slow tests."""
    slow = [[] if case.name in QUICK and task is CAUSAL else pytest.mark.slow for case, task in runs]
    marked = [pytest.param(*run, marks=marks, id=ident(*run)) for run, marks in zip(runs, slow, strict=True)]
    return pytest.mark.parametrize(("case", "task"), marked)


def ident(case, task):
    return f"{case.name}-{task.name}".replace(", ", "-").replace(" ", "_")


@functools.cache
def outputs_of(name):
    return outputs(TASKS[name], TASKS[name].backbone())


def base_outputs(task):
    return outputs_of(task.name)


def close(a, b, tolerance=1e-5):
    return a.shape == b.shape and bool((a - b).abs().max() <= tolerance * b.abs().max())


@over(WORKING)
def test_trains_saves_and_goes_back_to_the_base(case, task, tmp_path):
    module = task.module(case.config(task))
    module.configure_model()
    virtual = module.adapter.virtual_tokens
    assert module.adapted.training
    start = outputs(task, module.adapted, virtual)
    assert close(start, base_outputs(task)) == case.starts_as_base
    module.keep_start()
    weights = {name: p.detach().clone() for name, p in module.named_parameters()}
    trains = [name for name, p in module.named_parameters() if p.requires_grad]

    gradients = trained(task, module)
    without = {name for name in trains if name not in gradients.seen}
    assert {name for name in without if not any(part in name for part in case.without_gradient)} == set()
    moved = {name for name, p in module.named_parameters() if not torch.equal(p, weights[name])}
    assert moved <= set(trains)
    assert moved >= gradients.seen & set(trains)

    tuned = outputs(task, module.adapted, virtual)
    assert close(tuned, start) != case.trains_backbone
    base_is_where_it_says(task, module, start, tuned, virtual)
    saved_is_loaded(case, task, module, tuned, virtual, tmp_path)
    merged_is_tuned(case, task, module, tuned, virtual)


def base_is_where_it_says(task, module, start, tuned, virtual):
    flags = [p.requires_grad for p in module.parameters()]
    if module.adapter.base_is == "lost":
        with pytest.raises(UserError, match="base_is: lost"), module.as_base():
            pass
        assert not close(start, base_outputs(task))
        return
    with module.as_base():
        shown = 0 if module.adapter.base_is == "off" else virtual
        assert close(outputs(task, module.adapted, shown), base_outputs(task))
    assert torch.equal(outputs(task, module.adapted, virtual), tuned)
    assert [p.requires_grad for p in module.parameters()] == flags


def saved_is_loaded(case, task, module, tuned, virtual, folder):
    module.save_folder(folder)
    assert not list(folder.glob("*.bin"))
    again = task.module(case.config(task))
    again.load_folder(folder)
    assert torch.equal(outputs(task, again.adapted, virtual), tuned)
    if isinstance(module.adapter, Peft):
        plain = PeftModel.from_pretrained(task.backbone(), str(folder))
        assert close(outputs(task, plain, virtual, **case.forward), tuned)


def merged_is_tuned(case, task, module, tuned, virtual):
    refusal = case.unmerged.get(task.name, "" if module.adapter.merges else "cannot be merged")
    if refusal:
        with pytest.raises(UserError, match=refusal):
            module.adapter.merge(module.adapted)
        return
    merged = module.adapter.merge(module.adapted)
    assert type(merged) is type(task.backbone())
    assert {name for name, _ in merged.named_parameters()} == {name for name, _ in task.backbone().named_parameters()}
    assert close(outputs(task, merged, virtual), tuned)


@pytest.mark.parametrize(("case", "task"), [pytest.param(*run, id=ident(*run)) for run in REFUSED])
def test_refusals_say_why(case, task):
    with pytest.raises(UserError, match=case.refused[task.name]):
        task.module(case.config(task)).configure_model()


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case, task in DECAYED])
def test_weight_decay_pulls_to_the_base_or_leaves_alone(case):
    """What decay reaches, at its end: zero. The function is then the base's, or what it was at the start."""
    module = CAUSAL.module(case.config(CAUSAL))
    module.configure_model()
    virtual = module.adapter.virtual_tokens
    start = outputs(CAUSAL, module.adapted, virtual)
    for p in module.parameters():
        if p.requires_grad and id(p) not in module.exempt:
            p.data.zero_()
    end = outputs(CAUSAL, module.adapted, virtual)
    assert close(end, start) or close(end, base_outputs(CAUSAL))


def test_directions_are_never_decayed():
    """Decay would change no function, and the steps that follow it the more."""
    for config in (DeloraConfig(r=4, target_modules=CAUSAL.attention), HRAConfig(r=4, target_modules=CAUSAL.attention)):
        module = CAUSAL.module(config)
        module.configure_model()
        assert {id(p) for p in module.parameters() if p.requires_grad} <= module.exempt


def test_the_bridge_is_found_by_the_type():
    assert type(as_adapter(LoraConfig())).__name__ == "PeftLora"
    own = Peft(LoraConfig())
    assert as_adapter(own) is own


FEW = {
    "IA3": IA3Config(target_modules=["q_proj", "up_proj"], feedforward_modules=["up_proj"]),
    "LoRA": LoraConfig(target_modules=["q_proj"]),
    "PiSSA": LoraConfig(target_modules=["q_proj"], init_lora_weights="pissa"),
}
"""Four tensors each."""


@pytest.mark.parametrize("name", FEW)
def test_a_folder_that_lacks_trained_weights_is_refused(tmp_path, name):
    module = CAUSAL.module(FEW[name])
    module.configure_model()
    module.adapter.save(module.adapted, tmp_path)
    state = load_file(tmp_path / WEIGHTS_FILE)
    before = outputs(CAUSAL, module.adapted)
    renamed = {key.replace("self_attn", "attention").replace("mlp", "feed_forward"): x for key, x in state.items()}
    for damaged, missing in ((dict(list(state.items())[1:]), 1), (dict(list(state.items())[::2]), 2), (renamed, 4)):
        save_file(damaged, tmp_path / WEIGHTS_FILE)
        with pytest.raises(UserError, match=f"lacks {missing} of the 4 tensors"):
            module.adapter.load(module.adapted, tmp_path)
    assert torch.equal(outputs(CAUSAL, module.adapted), before)


@pytest.mark.parametrize("start", [True, "pissa"], ids=str)
def test_what_peft_holds_as_a_set_is_written_in_order(tmp_path, start):
    """Equal runs write equal bytes: a set is iterated by the process's hash seed."""
    names = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    module = CAUSAL.module(LoraConfig(target_modules=names, init_lora_weights=start))
    module.configure_model()
    module.adapter.save(module.adapted, tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["target_modules"] == names
    assert module.adapted.active_peft_config.target_modules == set(names), "as it was"


def test_the_bases_own_embedding_is_not_saved(tmp_path):
    """A grown one is: the reader's base has fewer rows."""
    for rows, held in ((0, False), (8, True)):
        backbone = load(CAUSAL.base, "causal_lm", Loading()).model
        if rows:
            backbone.resize_token_embeddings(backbone.config.vocab_size + rows)
        adapter = as_adapter(LoraConfig(target_modules=["embed_tokens"]))
        adapter.save(adapter.adapt(backbone), tmp_path)
        assert any("base_layer" in key for key in load_file(tmp_path / WEIGHTS_FILE)) == held


def test_tied_weights_are_not_merged():
    """The vocabulary layer of T5 shares the embedding's weight, which a merge would change as well."""
    task = TASKS["seq2seq"]
    module = task.module(LoraConfig(target_modules=["encoder.embed_tokens"]))
    module.configure_model()
    with pytest.raises(UserError, match=r"cannot be merged .*embed_tokens is used in several"):
        module.adapter.merge(module.adapted)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (PolyConfig(n_tasks=2), "no number of a task"),
        (XLoraConfig(adapters={"0": "x"}, use_trainable_adapters=True), "saves only the classifier"),
    ],
    ids=["poly", "xlora"],
)
def test_what_a_method_cannot_do_here_is_refused(config, reason):
    with pytest.raises(UserError, match=reason):
        as_adapter(config)


def test_xlora_with_recomputed_activations_is_refused():
    module = CAUSAL.module(XLoraConfig(adapters={"0": "x"}), loading=Loading(gradient_checkpointing=True))
    with pytest.raises(UserError, match="gradient_checkpointing: XLoraConfig"):
        module.configure_model()


def test_polytropon_writes_text():
    """``generate`` goes past the forward that PEFT gives the tasks to."""
    module = CAUSAL.module(PolyConfig(r=2, target_modules=["q_proj"]))
    module.configure_model()
    batch = next(iter(CAUSAL.loader()))
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    assert module.adapted.eval().generate(**inputs, max_new_tokens=2).shape[1] == inputs["input_ids"].shape[1] + 2


def test_a_shadow_over_layers_that_are_no_blocks_is_refused():
    with pytest.raises(UserError, match=r"name whole blocks, and model\.layers\.0\.self_attn\.q_proj of Llama"):
        CAUSAL.module(ShadowConfig(r=4, target_modules=["q_proj", "v_proj"])).configure_model()


NEEDY = {
    "num_virtual_tokens": (PromptTuningConfig, PromptEncoderConfig, PrefixTuningConfig, CartridgeConfig),
    "adapter_layers": (functools.partial(AdaptionPromptConfig, adapter_len=4),),
    "token_indices": (TrainableTokensConfig,),
    "adapters": (functools.partial(XLoraConfig, hidden_size=32),),
}


@pytest.mark.parametrize("option", NEEDY)
def test_an_option_without_a_default_is_named(option):
    for make in NEEDY[option]:
        with pytest.raises(UserError, match=f"says nothing about {option}, which it needs"):
            as_adapter(make())


def test_a_configuration_of_no_method_is_refused():
    with pytest.raises(UserError, match=r"peft\.PeftConfig is what .* share"):
        as_adapter(PeftConfig())
