"""What a run varies, as a short flat table: the columns of TensorBoard's HParams view and the title of a card."""

from typing import Any

Scalar = bool | int | float | str
SHOWN_OF_LONG_ADAPTERS = ("alpha", "dropout", "target_modules")
LONG = 6


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
    """E.g. ``LoraConfig r=8 + RDrop + L2SP``."""
    model = config.get("model", {}).get("init_args", {})
    rank = init_args(model.get("adapter")).get("r")
    adapter = class_name(model.get("adapter")).removesuffix("Config") + (f" r={rank}" if rank else "")
    return " + ".join(part for part in (adapter, *regularizer_names(config)) if part)


def trained_share(trainable: int, total: int) -> str:
    return f"{trainable:,} of {total:,} parameters ({trainable / max(total, 1):.2%})"


def statement(adapter: dict[str, Any]) -> str:
    """What an adapter says of itself, as a record holds it."""
    base = {"off": "switched off it is the base", "start": "its start is the base", "lost": "the base is lost"}
    merges = "merges into plain weights" if adapter["merges"] else "cannot be merged"
    return f"{adapter['name']} {merges}; {base[adapter['base_is']]}"


def regularizer_names(config: dict[str, Any]) -> list[str]:
    return [class_name(entry) for entry in config.get("model", {}).get("init_args", {}).get("regularizers") or []]


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
