"""Nothing that finelab reads may run code, import what is not allowed, or write elsewhere than where it was told.

Each attack prepares something hostile and gives the command that meets it. It is either refused with one paragraph, or
without effect; the canary of ``conftest.py`` sees what ran. Sources of the attacks: CVE-2025-32434, CVE-2026-24747,
CVE-2026-31221, CVE-2026-1839, CVE-2026-4372, CVE-2023-47248, Lightning #21822, peft #2888, transformers #46482.
"""

import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from finelab.scripts.cli import main

ATTACKS: dict[str, Callable] = {}
SAYS: dict[str, str] = {}
Words = list


def attack(function):
    ATTACKS[function.__name__] = function
    return function


def refused(says: str) -> Callable:
    """An attack that is met with these words."""

    def register(function):
        SAYS[function.__name__] = says
        return attack(function)

    return register


def rename(old: str, new: str, says: str | None) -> None:
    ATTACKS[new] = ATTACKS.pop(old)
    if says is not None:
        SAYS[new] = says


def fit(world, old="", new="", *more) -> Words:
    return ["fit", "-c", world.config(old, new), *more]


REGULARIZER = "class_path: finelab.models.regularizers.L2SP"
ADAPTER = "class_path: peft.LoraConfig"
OPTIMIZER = "optimizer:\n      class_path: torch.optim.AdamW\n      init_args:\n        lr: 0.001"
EPOCHS = "max_epochs: 1"


# ---- classes that a configuration names


@refused("not allowed")
def a_module_that_acts_on_import_as_model(world):
    return fit(world, "class_path: finelab.models.SequenceClassifier", f"class_path: {world.module}.Canary")


@refused("not allowed")
def a_module_in_a_list(world):
    return fit(world, f"- {REGULARIZER}", f"- class_path: {world.module}.Canary\n    - {REGULARIZER}")


@refused("not allowed")
def a_module_in_nested_arguments(world):
    return fit(world, "class_path: finelab.data.Classification", f"class_path: {world.module}.inner.Canary")


@refused("not allowed")
def a_function_where_a_callable_is_taken(world):
    return fit(world, OPTIMIZER, f"optimizer: {world.module}.boom")


@refused("not allowed")
def a_function_of_os_where_a_callable_is_taken(world):
    return fit(world, OPTIMIZER, "optimizer: os.system")


@refused("not allowed")
def exec_where_a_callable_is_taken(world):
    return fit(world, OPTIMIZER, "optimizer: builtins.exec")


@refused("not allowed")
def a_function_in_a_callable_argument_of_an_allowed_class(world):
    callback = "lightning.pytorch.callbacks.LambdaCallback"
    return fit(
        world,
        EPOCHS,
        f"{EPOCHS}\n  callbacks: [{{class_path: {callback}, init_args: {{on_fit_start: {world.module}.boom}}}}]",
    )


@refused("not allowed")
def subprocess_in_a_callable_argument_of_an_allowed_class(world):
    callback = "lightning.pytorch.callbacks.LambdaCallback"
    return fit(
        world,
        EPOCHS,
        f"{EPOCHS}\n  callbacks: [{{class_path: {callback}, init_args: {{setup: subprocess.getoutput}}}}]",
    )


@refused("not allowed")
def import_module_through_an_allowed_package(world):
    return fit(world, OPTIMIZER, "optimizer: peft.auto.importlib.import_module")


@refused("not allowed")
def os_through_an_allowed_package(world):
    return fit(world, OPTIMIZER, "optimizer: lightning.pytorch.callbacks.model_checkpoint.os.system")


@refused("not allowed")
def torch_load_through_an_allowed_package(world):
    return fit(world, ADAPTER, "class_path: peft.utils.save_and_load.torch.load")


@refused("not allowed")
def a_class_of_lightning_that_is_not_allowed(world):
    return fit(world, EPOCHS, f"{EPOCHS}\n  logger: {{class_path: lightning.pytorch.cli.LightningCLI}}")


@refused("not allowed")
def arguments_for_a_class_that_is_not_allowed(world):
    return fit(world, ADAPTER, f"class_path: {world.module}.Canary\n      dict_kwargs: {{a: 1}}")


@refused("not allowed")
def letters_that_look_the_same(world):
    return fit(world, OPTIMIZER, "optimizer: оs.system")  # a Cyrillic o


@refused("not allowed")
def a_prefix_of_what_is_trusted(world):
    return fit(world, ADAPTER, f"class_path: {world.module}.Canary", "--trust-module", world.module[:-1])


@refused("not allowed")
def a_class_on_the_command_line(world):
    return fit(world, "", "", "--model.adapter", f"{world.module}.Canary")


@refused("not allowed")
def a_class_appended_on_the_command_line(world):
    return fit(world, "", "", f"--trainer.callbacks+={world.module}.Canary")


@refused("not allowed")
def a_class_as_json_on_the_command_line(world):
    return fit(world, "", "", "--model.adapter", json.dumps({"class_path": f"{world.module}.Canary"}))


@refused("not allowed")
def a_list_as_json_on_the_command_line(world):
    return fit(world, "", "", "--model.regularizers", json.dumps([{"class_path": f"{world.module}.Canary"}]))


def hidden(world, text) -> Path:
    file = world.here / "hidden.yaml"
    file.write_text(text)
    return file


@refused("not allowed")
def a_class_in_a_file_that_the_command_line_names(world):
    return fit(world, "", "", "--model.adapter", hidden(world, f"class_path: {world.module}.Canary\n"))


@refused("not allowed")
def a_class_in_a_file_that_the_configuration_names(world):
    file = hidden(world, f"class_path: {world.module}.Canary\n")
    old = f"adapter:\n      {ADAPTER}\n      init_args:\n        r: 2\n        target_modules: all-linear"
    return fit(world, old, f"adapter: {file}")


@refused("not allowed")
def help_for_a_class_that_is_not_allowed(world):
    return ["fit", "--model.adapter.help", f"{world.module}.Canary"]


def tampered(world, old, new, command="test", *more) -> Words:
    file = world.run / "config.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    return [command, "--run", world.run, *more]


@refused("not allowed")
def a_class_in_the_configuration_of_a_run(world):
    return tampered(world, ADAPTER, f"class_path: {world.module}.Canary")


@refused("not allowed")
def a_class_in_the_configuration_of_a_run_to_export(world):
    return tampered(world, ADAPTER, f"class_path: {world.module}.Canary", "export", "--output", "exported")


@refused("not allowed")
def a_class_in_the_configuration_of_a_run_to_predict(world):
    return tampered(world, "class_path: finelab.data.TextDataModule", "class_path: os.system", "predict")


@refused("not allowed")
def a_class_in_the_configuration_of_a_run_to_resume(world):
    (world.run / "record.json").unlink()
    state(world, b"")
    file = world.run / "config.yaml"
    file.write_text(file.read_text().replace(ADAPTER, f"class_path: {world.module}.Canary"))
    return ["fit", "--resume", world.run]


# ---- YAML that says Python


def tags(world) -> dict[str, str]:
    mark = str(world.mark)
    return {
        "apply": f'!!python/object/apply:os.mkdir ["{mark}"]',
        "new": f'!!python/object/new:os.mkdir ["{mark}"]',
        "module": f"!!python/module:{world.module}",
        "name": f"!!python/name:{world.module}.boom",
        "object": f"!!python/object:{world.module}.Canary {{}}",
    }


for tag in ("apply", "new", "module", "name", "object"):

    @attack
    def a_tag(world, tag=tag):
        return fit(world, "base: tiny://bert", f"base: {tags(world)[tag]}")

    rename("a_tag", f"the_tag_{tag}_in_a_configuration", "could not determine a constructor")

    @attack
    def a_tag_on_the_command_line(world, tag=tag):
        return fit(world, "", "", "--model.base", tags(world)[tag])

    rename("a_tag_on_the_command_line", f"the_tag_{tag}_on_the_command_line", "The base '!!python")


@refused("could not determine a constructor")
def a_tag_as_a_key(world):
    return fit(world, EPOCHS, f"{EPOCHS}\n  ? {tags(world)['apply']}\n  : 1")


@refused("could not determine a constructor")
def a_tag_in_the_configuration_of_a_run(world):
    return tampered(world, "base: tiny://bert", f"base: {tags(world)['apply']}")


@refused("hidden.yaml")
def a_tag_in_a_file_that_the_command_line_names(world):
    return fit(world, "", "", "--model.adapter", hidden(world, f"class_path: {tags(world)['apply']}\n"))


@attack
def a_tag_in_a_row_of_data(world):
    rows = [{"text": tags(world)["apply"], "label": "a"}, {"text": "fine", "label": "b"}]
    (world.here / "rows.jsonl").write_text("\n".join(map(json.dumps, rows * 8)))
    return fit(world, "", "", "--data.source", "rows.jsonl", "--run.root", "new")


# ---- pickles


def chat(world, template: dict, adapter: dict) -> Words:
    """A language model on conversations."""
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    rows = [{"messages": [turns[0], turns[1] | {"content": f"b{i}"}]} for i in range(40)]
    (world.here / "chat.jsonl").write_text("\n".join(map(json.dumps, rows)))
    content = yaml.safe_load(world.config().read_text())
    content["model"]["class_path"] = "finelab.models.CausalLM"
    content["model"]["init_args"] |= {"base": "tiny://llama", "adapter": adapter, "regularizers": []}
    content["data"]["init_args"] |= {
        "source": str(world.here / "chat.jsonl"),
        "template": {"class_path": "finelab.data.Messages", "init_args": template},
        "cache_dir": str(world.here / "cache"),
    }
    (world.here / "chat.yaml").write_text(yaml.safe_dump(content))
    return ["fit", "-c", world.here / "chat.yaml"]


@refused("is no training state|pickles")
def a_pickle_as_a_training_state(world):
    return fit(world, "", "", "--ckpt_path", world.torch_bomb(world.here / "last.ckpt"))


def state(world, content: bytes, **said) -> Path:
    """A training state of the run that whoever made it has sealed."""
    from finelab.contracts.state_folder import TENSORS, write_manifest

    folder = world.run / "checkpoints" / "state-00000001"
    folder.mkdir()
    (folder / TENSORS).write_bytes(content)
    write_manifest(folder, {"step": 1, **said})
    return folder


def configured(world) -> dict:
    return {"config": yaml.safe_load((world.run / "config.yaml").read_text()), "events": {}}


def start(world, folder) -> Words:
    return ["fit", "-c", world.run / "config.yaml", "--run.root", "new", "--run.name", "x", "--ckpt_path", folder]


@refused("cannot be read as a training state")
def a_pickle_inside_a_training_state(world):
    return start(world, state(world, world.bomb, **configured(world)))


@refused("is no training state of a run")
def a_training_state_of_something_else(world):
    from finelab.callbacks.state_file import write_state

    write_state({"global_step": 1, "_instantiator": f"{world.module}.boom"}, world.here / "made")
    return start(world, state(world, (world.here / "made").read_bytes(), **configured(world)))


@refused("does not say what its run was")
def a_training_state_without_a_configuration(world):
    return start(world, state(world, world.bomb))


@refused("not allowed")
def a_class_in_the_configuration_of_a_training_state(world):
    (world.run / "record.json").unlink()
    said = json.loads(json.dumps(configured(world)).replace("peft.LoraConfig", f"{world.module}.Canary"))
    state(world, world.bomb, **said)
    tampered(world, ADAPTER, f"class_path: {world.module}.Canary")
    return ["fit", "--resume", world.run]


@refused("has no training state")
def a_run_with_only_a_pickle_to_resume(world):
    shutil.rmtree(world.run / "checkpoints")
    (world.run / "checkpoints").mkdir()
    (world.run / "record.json").unlink()
    world.torch_bomb(world.run / "checkpoints" / "last.ckpt")
    return ["fit", "--resume", world.run]


@refused("never pickles")
def a_pickle_in_the_place_of_an_adapter(world):
    (world.best / "adapter_model.safetensors").unlink()
    world.torch_bomb(world.best / "adapter_model.bin")
    return ["test", "--run", world.run]


@refused("never pickles")
def a_pickle_in_the_place_of_an_adapter_that_the_manifest_admits(world):
    (world.best / "adapter_model.safetensors").unlink()
    world.torch_bomb(world.best / "adapter_model.bin")
    manifest = json.loads((world.best / "finelab.json").read_text())
    del manifest["files"]["adapter_model.safetensors"]
    (world.best / "finelab.json").write_text(json.dumps(manifest))
    return ["test", "--run", world.run]


@refused("is no file of safetensors")
def a_pickle_under_the_name_of_safetensors(world):
    resealed(world, {}, world.bomb)
    return ["test", "--run", world.run]


@refused("no file named model.safetensors")
def a_base_with_pickles_only(world):
    folder = world.base()
    (folder / "model.safetensors").unlink()
    world.torch_bomb(folder / "pytorch_model.bin")
    return fit(world, "base: tiny://bert", f"base: {folder}")


@refused("never pickles")
def a_base_whose_index_names_pickles(world):
    folder = world.base()
    (folder / "model.safetensors").unlink()
    world.torch_bomb(folder / "evil.bin")
    index = {"metadata": {}, "weight_map": {"embeddings.word_embeddings.weight": "evil.bin"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return fit(world, "base: tiny://bert", f"base: {folder}")


@refused("pickle")
def a_pickle_that_an_adapter_starts_from(world):
    file = world.torch_bomb(world.here / "start.bin")
    options = {
        "num_virtual_tokens": 2,
        "num_tasks": 1,
        "task_type": "CAUSAL_LM",
        "prompt_tuning_init": "ONLY_SOURCE_SHARED",
    }
    options["prompt_tuning_init_state_dict_path"] = str(file)
    return chat(world, {}, {"class_path": "peft.MultitaskPromptTuningConfig", "init_args": options})


@refused("pickle")
def a_pickle_in_the_cache_of_an_init(world):
    file = world.torch_bomb(world.here / "cache.pt")
    return fit(
        world,
        f"{ADAPTER}\n      init_args:\n        r: 2",
        f"{ADAPTER}\n      init_args:\n        init_lora_weights: corda\n        corda_config: "
        f"{{class_path: peft.tuners.lora.config.CordaConfig, init_args: {{cache_file: {file}}}}}\n        r: 2",
    )


# ---- folders that bring code, or ask for some


def edited(file: Path, **more) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | more))


def code_in(folder: Path, world) -> None:
    (folder / "evil.py").write_text(f"import os\nos.mkdir({str(world.mark)!r})\n")


@refused("custom code")
def a_base_of_an_unknown_type_with_code(world):
    folder = world.base()
    code_in(folder, world)
    edited(folder / "config.json", model_type="evil", auto_map={"AutoConfig": "evil.C", "AutoModel": "evil.M"})
    return fit(world, "base: tiny://bert", f"base: {folder}")


@attack
def a_base_of_a_known_type_with_code(world):
    folder = world.base()
    code_in(folder, world)
    edited(folder / "config.json", auto_map={"AutoModel": "evil.M", "AutoConfig": "evil.C"}, trust_remote_code=True)
    return fit(world, "base: tiny://bert", f"base: {folder}", "--run.root", "new")


@attack
def a_base_that_asks_for_a_kernel_of_the_hub(world):
    folder = world.base()
    edited(folder / "config.json", _attn_implementation="evil/kernel", _attn_implementation_internal="evil/kernel")
    return fit(world, "base: tiny://bert", f"base: {folder}", "--run.root", "new")


@attack
def a_tokenizer_with_code(world):
    folder = world.base()
    code_in(folder, world)
    edited(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.T", "evil.F"]}, tokenizer_class="EvilT")
    return fit(world, "base: tiny://bert", f"base: {folder}", "--run.root", "new")


@refused("gave no tokenizer")
def a_base_with_a_dtype_that_is_a_function(world):
    folder = world.base()
    edited(folder / "config.json", torch_dtype="load", dtype="load")
    return fit(world, "base: tiny://bert", f"base: {folder}", "--run.root", "new")


def resealed(world, config: dict, weights: bytes | None = None) -> None:
    """Changes of an adapter folder by someone who can write its manifest as well."""
    from finelab.contracts.files import file_digest

    if config:
        edited(world.best / "adapter_config.json", **config)
    if weights is not None:
        (world.best / "adapter_model.safetensors").write_bytes(weights)
    manifest = json.loads((world.best / "finelab.json").read_text())
    manifest["files"] = {name: file_digest(world.best / name) for name in manifest["files"]}
    (world.best / "finelab.json").write_text(json.dumps(manifest))


OTHER, UNKNOWN = "was written by another adapter", "does not know of LoraConfig"
TRAPS = {
    "remote_code": ({"tokenizer_kwargs": {"trust_remote_code": True}, "tokenizer_name_or_path": "evil/code"}, UNKNOWN),
    "mapping": ({"auto_mapping": {"parent_library": "MODULE", "base_model_class": "Canary"}}, OTHER),
    "megatron": ({"megatron_core": "MODULE", "megatron_config": {"a": 1}}, OTHER),
    "base": ({"base_model_name_or_path": "evil/base", "revision": "main"}, None),
    "other_method": ({"peft_type": "XLORA", "adapters": {"0": "evil"}}, f"{OTHER}|{UNKNOWN}"),
    "unknown_keys": ({"_target_": "MODULE.boom", "_component_": "MODULE.boom", "class_path": "MODULE.C"}, UNKNOWN),
    "nested_class": ({"corda_config": {"class_path": "MODULE.Canary"}}, OTHER),
}
for trap in TRAPS:

    @attack
    def a_trap(world, trap=trap):
        resealed(world, json.loads(json.dumps(TRAPS[trap][0]).replace("MODULE", world.module)))
        return ["test", "--run", world.run]

    rename("a_trap", f"the_trap_{trap}_in_an_adapter_folder", TRAPS[trap][1])


@refused("valid prefix")
def megatron_in_a_configuration(world):
    return fit(
        world,
        "r: 2",
        f"r: 2\n        megatron_core: {world.module}\n        megatron_config: {{a: 1}}",
        "--run.root",
        "new",
    )


@refused("with the tokenizer")
def code_in_the_tokenizer_of_a_prompt(world):
    return fit(
        world,
        f"{ADAPTER}\n      init_args:\n        r: 2\n        target_modules: all-linear",
        "class_path: peft.PromptTuningConfig\n      init_args: {num_virtual_tokens: 2, prompt_tuning_init: TEXT, "
        f"prompt_tuning_init_text: hello, tokenizer_name_or_path: {coded_tokenizer(world)}, "
        "tokenizer_kwargs: {trust_remote_code: true}}",
        "--run.root",
        "new",
    )


def coded_tokenizer(world) -> Path:
    folder = world.base()
    code_in(folder, world)
    edited(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.T", "evil.F"]}, tokenizer_class="EvilT")
    return folder


@refused("target is")
def a_target_that_is_a_path_in_a_manifest(world):
    edited(world.best / "finelab.json", target=f"{world.module}.Canary")
    return ["test", "--run", world.run]


# ---- templates


INJECTIONS = {
    "subclasses": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "globals": "{{ messages.append.__globals__['os'].mkdir('MARK') }}",
    "cycler": "{{ cycler.__init__.__globals__.os.mkdir('MARK') }}",
    "attribute": "{{ (messages|attr('__class__'))|attr('__base__') }}",
    "format": "{{ '{0.__class__.__init__.__globals__}'.format(raise_exception) }}",
    "import": "{% import 'os' as os %}{{ os.mkdir('MARK') }}",
    "mutation": "{{ messages.clear() }}{{ messages.append('x') }}",
}
for injection in INJECTIONS:

    @attack
    def a_template(world, injection=injection):
        text = INJECTIONS[injection].replace("MARK", str(world.mark))
        return chat(world, {"chat_template": text}, {"class_path": "peft.LoraConfig", "init_args": {"r": 2}})

    rename("a_template", f"a_chat_template_that_reaches_for_{injection}", "unsafe|no loader|should begin")


# ---- paths


for number, name in enumerate(("../escaped", "/tmp/escaped", "a/../../escaped", "..", ".escaped", "escaped\n", "a b")):

    @attack
    def a_run_name(world, name=name):
        return fit(world, "", "", f"--run.name={name}")

    rename("a_run_name", f"a_run_name_that_leaves_its_root_{number}", "cannot be a run's folder name")


@refused("exists already")
def a_run_name_that_is_a_link(world):
    (world.here / "kept").mkdir()
    (world.here / "links").mkdir()
    (world.here / "links" / "mine").symlink_to(world.here / "kept")
    return fit(world, "", "", "--run.root", "links", "--run.name", "mine")


@refused("leaves the package's folder")
def a_package_path_that_leaves_its_package(world):
    return fit(world, "base: tiny://bert", "base: pkg://finelab.configs/../../../../../../etc")


@refused("not a folder of that package")
def a_package_that_acts_on_import_as_base(world):
    return fit(world, "base: tiny://bert", f"base: pkg://{world.module}/x")


@refused("not a folder of that package")
def a_package_inside_of_one_that_acts_on_import_as_base(world):
    return fit(world, "base: tiny://bert", f"base: pkg://{world.module}.inner/x")


@refused("does not exist")
def a_package_inside_of_one_that_acts_on_import_as_configuration(world):
    return ["fit", "-c", f"pkg://{world.module}.inner/x.yaml"]


def listed(world, name) -> Words:
    manifest = json.loads((world.best / "finelab.json").read_text())
    manifest["files"][name] = "0" * 64
    (world.best / "finelab.json").write_text(json.dumps(manifest))
    return ["test", "--run", world.run]


@refused("lies outside")
def a_manifest_that_names_a_file_above(world):
    (world.here / "secret").write_text("x")
    return listed(world, "../../../../secret")


@refused("lies outside")
def a_manifest_that_names_an_absolute_file(world):
    return listed(world, "/etc/hostname")


@refused("is a link")
def weights_behind_a_link(world):
    file = world.best / "adapter_model.safetensors"
    file.rename(world.here / "elsewhere.safetensors")
    file.symlink_to(world.here / "elsewhere.safetensors")
    return ["test", "--run", world.run]


@refused("does not list")
def weights_that_no_manifest_lists(world):
    manifest = json.loads((world.best / "finelab.json").read_text())
    del manifest["files"]["adapter_model.safetensors"]
    (world.best / "finelab.json").write_text(json.dumps(manifest))
    return ["test", "--run", world.run]


@refused("does not list")
def a_manifest_without_files(world):
    manifest = json.loads((world.best / "finelab.json").read_text())
    del manifest["files"]
    (world.best / "finelab.json").write_text(json.dumps(manifest))
    return ["test", "--run", world.run]


@refused("does not list")
def a_manifest_that_is_a_list(world):
    (world.best / "finelab.json").write_text("[]")
    return ["test", "--run", world.run]


@refused("not valid JSON")
def a_manifest_of_nested_lists(world):
    (world.best / "finelab.json").write_text("[" * 1_000_000)
    return ["test", "--run", world.run]


@refused("is a link to")
def checkpoints_behind_a_link_to_resume(world):
    (world.run / "record.json").unlink()
    (world.run / "checkpoints").rename(world.here / "elsewhere")
    (world.here / "elsewhere" / ".mine.part-00000000").mkdir()
    (world.run / "checkpoints").symlink_to(world.here / "elsewhere")
    return ["fit", "--resume", world.run]


# ---- data


def data(world, name, content: bytes) -> Words:
    (world.here / name).write_bytes(content)
    return fit(world, "", "", "--data.source", name)


@refused("as Parquet")
def a_pickle_named_parquet(world):
    return data(world, "rows.parquet", world.bomb)


@refused("UTF-8")
def a_pickle_named_jsonl(world):
    return data(world, "rows.jsonl", world.bomb)


@refused("damaged gzip")
def a_pickle_named_jsonl_gz(world):
    return data(world, "rows.jsonl.gz", world.bomb)


@refused("ends in none")
def a_pickle_of_rows(world):
    return data(world, "rows.pkl", world.bomb)


@refused("ends in none")
def an_archive_that_would_unpack_above(world):
    with zipfile.ZipFile(world.here / "rows.zip", "w") as archive:
        archive.writestr("../../escaped.jsonl", "{}")
    return fit(world, "", "", "--data.source", "rows.zip")


@refused("ends in none")
def a_script_as_a_data_set(world):
    return data(world, "rows.py", f"import os\nos.mkdir({str(world.mark)!r})\n".encode())


@refused("holds no train")
def a_folder_with_a_script_as_a_data_set(world):
    (world.here / "rows").mkdir()
    (world.here / "rows" / "rows.py").write_text(f"import os\nos.mkdir({str(world.mark)!r})\n")
    return fit(world, "", "", "--data.source", "rows")


@attack
def a_column_of_a_pickled_type(world):
    """Arrow's own extension type for Python (CVE-2023-47248)."""
    import pyarrow
    import pyarrow.parquet

    said = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": world.bomb}
    fields = [pyarrow.field("text", pyarrow.string(), metadata=said), pyarrow.field("label", pyarrow.string())]
    table = pyarrow.table([["a", "b"] * 8, ["x", "y"] * 8], schema=pyarrow.schema(fields))
    pyarrow.parquet.write_table(table, world.here / "rows.parquet")
    return fit(world, "", "", "--data.source", "rows.parquet", "--run.root", "new")


@attack
def ids_that_are_paths(world):
    rows = [{"id": f"../../escaped{i}", "text": f"a {i}", "label": "xy"[i % 2]} for i in range(16)]
    (world.here / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return fit(world, "", "", "--data.source", "rows.jsonl", "--run.root", "new")


@attack
def labels_that_are_paths_and_markup(world):
    labels = ("../../escaped", "<script>alert(1)</script>")
    rows = [{"text": f"a {i}", "label": labels[i % 2]} for i in range(16)]
    (world.here / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return fit(world, "", "", "--data.source", "rows.jsonl", "--run.root", "new")


# ---- the corpus, met


HARMLESS = ATTACKS.keys() - SAYS.keys()
"""Without effect: the command succeeds, since what was tried is plain text or a key that nobody reads."""


FAST = {
    *("a_module_in_a_list", "a_function_in_a_callable_argument_of_an_allowed_class", "os_through_an_allowed_package"),
    *("a_class_in_a_file_that_the_command_line_names", "a_class_in_the_configuration_of_a_run"),
    *("the_tag_apply_in_a_configuration", "a_pickle_as_a_training_state", "a_pickle_inside_a_training_state"),
    *(
        "a_pickle_in_the_place_of_an_adapter",
        "a_base_whose_index_names_pickles",
        "the_trap_remote_code_in_an_adapter_folder",
    ),
    *("a_chat_template_that_reaches_for_globals", "a_run_name_that_leaves_its_root_0", "weights_behind_a_link"),
    *("a_package_inside_of_one_that_acts_on_import_as_base", "a_manifest_that_names_a_file_above"),
}
"""One or two of each kind; all of them run in make test-all."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in FAST else [pytest.mark.slow]) for name in ATTACKS]
)
def test_the_attack_does_nothing(name, world, capsys):
    words = [str(word) for word in ATTACKS[name](world)]
    code = main(words)
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    assert code == (0 if name in HARMLESS else 2), printed
    if code:
        (said,) = [line for line in printed.err.splitlines() if line.startswith("finelab: ")]
        assert re.search(SAYS[name], said), said


def test_the_corpus_is_large():
    assert len(ATTACKS) >= 40 and ATTACKS.keys() >= HARMLESS


def test_the_canary_sings(world):
    """The corpus would prove nothing if its bombs were duds."""
    import pickle

    os.path.exists(world.mark) and os.rmdir(world.mark)
    pickle.loads(world.bomb)
    assert world.mark.exists()
    world.mark.rmdir()
    yaml.load(tags(world)["apply"], yaml.UnsafeLoader)
    assert world.mark.exists()
    world.mark.rmdir()
    import importlib
    import sys

    importlib.import_module(f"{world.module}.inner")
    assert world.mark.exists()
    world.mark.rmdir()
    del sys.modules[world.module]
