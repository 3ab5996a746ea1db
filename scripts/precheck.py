"""What can be refused in a fraction of a second, before torch is imported and before any class is."""

import re

from ..contracts.config_file import Entry, nearest
from ..contracts.errors import UserError
from .allowlist import is_allowed, refusal
from .invocation import Invocation

KEYS = ("seeds", "run", "monitor", "evaluate_test", "trainer", "model", "data")
"""The top-level keys of every command; a test compares them with the parser's own."""

LINKED = {
    "model.seeds": "the top-level key seeds",
    "model.labels": "the data",
    "data.seed": "the top-level key seeds (its data seed)",
    "data.base": "model.init_args.base",
    "data.revision": "model.init_args.loading.revision",
}
FLAGS = ("print_config", "help")
CLASS_KEYS = re.compile(r"(model|data|.*\.class_path|trainer\.(callbacks|logger|strategy|profiler|plugins)|.*\+)")
DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
SEEDS = (
    "finelab has three seeds instead, so that arms can be paired: write seeds: 1, or seeds: {data: 1, init: 1, "
    "train: 1} (order and splits; new weights; dropout and noise). seed_everything would not pair the data order."
)


def precheck(invocation: Invocation) -> None:
    """Read the config files and the options for what needs no class to be judged.

    Raises:
        UserError: YAML that cannot be read, an unknown top-level key, ``seed_everything``, no model or no data, or a
            class outside the allowed packages.
    """
    said = set()
    for entries in invocation.entries.values():
        check_arguments_of_classes(entries)
        for entry in entries:
            if "." not in entry.key:
                check_top_level(entry.key, entry.key, entry.value, entry.where)
            check_not_linked(entry.key, entry.where)
            if entry.key.endswith(".class_path") and entry.value:
                check_class(entry.key, entry.value, entry.where, invocation.trusted)
        said |= {entry.key for entry in entries if entry.value is not None}
    for key, value in invocation.options():
        check_top_level(key.split(".")[0].rstrip("+"), f"--{key}", value, "The command line")
        check_not_linked(f"--{key}", "The command line")
        if invocation.resumed is not None and key in ("run.root", "run.name"):
            raise UserError(
                f"The command line sets --{key} {value}, but a run goes on in its own directory, {invocation.resumed}; "
                "move or rename that folder, or start a new run with --ckpt_path."
            )
        if value and CLASS_KEYS.fullmatch(key) and DOTTED.fullmatch(value):
            check_class(f"--{key}", value, "The command line", invocation.trusted)
        said.add(key)
    if not any(key.split(".")[-1].rstrip("=") in FLAGS for key in said) and "-h" not in invocation.arguments:
        check_model_and_data(said, invocation)


def check_model_and_data(said: set[str], invocation: Invocation) -> None:
    missing = [name for name in ("model", "data") if not said & {name, f"{name}.class_path"}]
    if missing:
        where = " and ".join(map(str, invocation.configs)) or "The command line"
        raise UserError(
            f"{where} names no class for {' and '.join(missing)}; write {missing[0]}: {{class_path: ..., init_args: "
            "{...}}, as in pkg://finelab.configs/quickstart.yaml, or give a config file that does with -c."
        )


def check_arguments_of_classes(entries: list[Entry]) -> None:
    """Refuse arguments beside ``class_path`` instead of under ``init_args``: the parser would blame the base class."""
    classes = {entry.key.removesuffix(".class_path") for entry in entries if entry.key.endswith(".class_path")}
    for entry in entries:
        parent, _, name = entry.key.rpartition(".")
        if parent in classes and name not in ("class_path", "init_args", "dict_kwargs"):
            raise UserError(
                f"{entry.where} sets {entry.key} beside class_path; arguments of the class belong under "
                f"{parent}.init_args: write {parent}.init_args.{name}."
            )


def check_top_level(name: str, key: str, value: str | None, where: str) -> None:
    said = f"{key} {value}" if key.startswith("--") and value else f"{key}: {value}" if value is not None else key
    if name == "seed_everything":
        raise UserError(f"{where} sets {said}, which is refused: {SEEDS}")
    if name not in ((*KEYS, *FLAGS) if key.startswith("--") else KEYS):
        raise UserError(f"{where} sets {said}, but there is no key {name!r} at the top level; {nearest(name, [*KEYS])}")


def check_not_linked(key: str, where: str) -> None:
    source = LINKED.get(key.removeprefix("--").replace(".init_args.", "."))
    if source is not None:
        raise UserError(f"{where} sets {key}, which is filled from {source} and would be overwritten; remove it.")


def check_class(key: str, path: str, where: str, trusted: tuple[str, ...]) -> None:
    if not is_allowed(path, trusted):
        between = " " if key.startswith("--") else ": "
        raise UserError(f"{where} sets {key}{between}{path}, which is not allowed. {refusal(path)}")
