"""What a run varies, as a short flat table: the columns of TensorBoard's HParams view and the title of a card."""

import dataclasses
import importlib
import inspect
import json
from typing import Any

Scalar = bool | int | float | str
SHOWN_OF_LONG_ADAPTERS = ("alpha", "dropout", "target_modules")
LONG = 6
FILLED_IN = ("runtime_config", "loftq_config")
"""Sections of peft.LoraConfig that the parser writes out where nobody gave them."""


def factors(config: dict[str, Any]) -> dict[str, Scalar]:
    """Adapter, regularizers with their weights, optimizer, batch size and seeds of a resolved configuration.

    The rest of the configuration is logged as text; in a table it would hide what matters.
    """
    model = config.get("model", {}).get("init_args", {})
    data = config.get("data", {}).get("init_args", {})
    trainer = config.get("trainer", {})
    found: dict[str, Any] = {"base": short_base(model.get("base", "")), "adapter": class_name(model.get("adapter"))}
    found |= {f"adapter/{key}": value for key, value in adapter_settings(model.get("adapter")).items()}
    for key, prefix in (("regularizers", "reg"), ("learning_rates", "lr")):
        for entry in model.get(key) or []:
            name = f"{prefix}/{class_name(entry)}"
            found |= {f"{name}.{option}": value for option, value in init_args(entry).items()} or {name: True}
    found["optimizer"] = class_name(model.get("optimizer"))
    found |= {key: init_args(model.get("optimizer")).get(key) for key in ("lr", "weight_decay")}
    found["schedule"] = class_name(model.get("schedule"))
    found["data"] = data.get("source") or class_name(config.get("data"))
    found |= {"batch_size": data.get("batch_size"), "max_epochs": trainer.get("max_epochs")}
    if (parts := trainer.get("accumulate_grad_batches")) != 1:
        found["accumulation"] = parts
    if (steps := trainer.get("max_steps")) != -1:
        found["max_steps"] = steps
    found |= {"precision": trainer.get("precision")}
    seeds = config.get("seeds")
    found |= {f"seed/{key}": value for key, value in seeds.items()} if isinstance(seeds, dict) else {"seed": seeds}
    return {key: value for key, value in found.items() if isinstance(value, Scalar) and value != ""}


def method(config: dict[str, Any]) -> str:
    """What trains, with the settings that are not at their defaults, e.g. ``Lora r=8 use_dora=True + RDrop``."""
    model = config.get("model", {}).get("init_args", {})
    adapter, rank = model.get("adapter"), init_args(model.get("adapter")).get("r")
    own = {key: value for key, value in changed(adapter).items() if not key.endswith(SHOWN_OF_LONG_ADAPTERS)}
    parts = [titled(class_name(adapter).removesuffix("Config"), ({"r": rank} if rank else {}) | own)]
    for key in ("regularizers", "learning_rates"):
        parts += [titled(class_name(entry), changed(entry)) for entry in model.get(key) or []]
    return " + ".join(part for part in parts if part)


def titled(name: str, settings: dict[str, Any]) -> str:
    return " ".join([name, *(f"{key}={value}" for key, value in settings.items() if isinstance(value, Scalar))])


def described(entry: Any) -> dict[str, Any]:
    """A class of a configuration, and its settings that are not at their defaults, as JSON has them."""
    return {"class": entry["class_path"], "settings": json.loads(json.dumps(changed(entry)), parse_constant=str)}


def changed(entry: Any) -> dict[str, Any]:
    """The arguments that are not at their defaults."""
    arguments = init_args(entry)
    module, _, name = entry["class_path"].rpartition(".") if arguments else ("", "", "")
    if not module:
        return {}
    cls = getattr(importlib.import_module(module), name)
    usual = {key: parameter.default for key, parameter in inspect.signature(cls).parameters.items()}
    for field in dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ():
        if field.default_factory is not dataclasses.MISSING:
            usual[field.name] = field.default_factory()
    skipped = [key for key in FILLED_IN if key == "runtime_config" or arguments.get("init_lora_weights") != "loftq"]
    return {k: v for k, v in arguments.items() if k not in skipped and v != usual.get(k, inspect.Parameter.empty)}


def trained_share(trainable: int, total: int) -> str:
    return f"{trainable:,} of {total:,} parameters ({trainable / max(total, 1):.2%})"


def statement(adapter: dict[str, Any]) -> str:
    """What an adapter says of itself, as a record holds it."""
    base = {"off": "switched off it is the base", "start": "its start is the base", "lost": "the base is lost"}
    merges = "merges into plain weights" if adapter["merges"] else "cannot be merged"
    return f"{adapter['name']} {merges}; {base[adapter['base_is']]}"


def adapter_settings(entry: Any) -> dict[str, Any]:
    """All settings of a small adapter; of a PEFT configuration with its dozens, rank, alphas, dropouts and targets."""
    settings = {key: value for key, value in init_args(entry).items() if isinstance(value, Scalar)}
    if len(settings) <= LONG:
        return settings
    return {k: v for k, v in settings.items() if k == "r" or any(k.endswith(part) for part in SHOWN_OF_LONG_ADAPTERS)}


def class_name(entry: Any) -> str:
    return str(entry.get("class_path", "")).rpartition(".")[2] if isinstance(entry, dict) else ""


def init_args(entry: Any) -> dict[str, Any]:
    return (entry.get("init_args") or {}) if isinstance(entry, dict) else {}


def short_base(base: str) -> str:
    """The part of a base's name that tells it from others: the hub id, or what names the folder or the package."""
    if base.startswith("pkg://"):
        return base.removeprefix("pkg://").partition("/")[0]
    return base.rstrip("/").rpartition("/")[2] if base.startswith(("/", ".", "~")) else base
