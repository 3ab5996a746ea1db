"""jsonargparse's tree of messages as one paragraph: the file and line, the key, the value, the nearest valid name.

Its messages are exact but nested in the types that were tried. The deepest line is the cause, and the keys and classes
above it lead there. What is not recognised is passed on whole.
"""

import difflib
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

from lightning.pytorch import Trainer

from ..contracts.config_file import nearest
from ..contracts.errors import UserError
from ..contracts.run import RunPlace
from .allowlist import refusal
from .invocation import Invocation
from .names import argument_names, known_class_paths
from .places import find_class, find_key, places

KEY = re.compile(r'Parser key "(?:fit\.|validate\.|test\.|predict\.)?([\w.]+)":')
LISTS = {"model.regularizers": "finelab.models.regularizers", "model.learning_rates": "finelab.models"}
GIVEN_CLASS = re.compile(r"Given value: (?:\{'class_path': ')?([\w.]+)")
CLASS = re.compile(r"(?:given class_path '|Got value: Namespace\(class_path=')([\w.]+)'")


@dataclass(frozen=True)
class Fault:
    """One line of the tree.

    Args:
        kind: which of ``FAULTS`` it is.
        found: what the pattern's groups found.
        depth: indentation.
        key: dotted, without ``init_args`` and list positions.
        classes: the class paths above it, outermost first.
    """

    kind: str
    found: tuple[str, ...]
    depth: int
    key: str
    classes: tuple[str, ...]


FAULTS = {
    "denied": re.compile(r"Importing '([\w.]+)' is not allowed"),
    "option": re.compile(r"(?<!Subcommand )Option '([\w.]+)' is not accepted"),
    "attribute": re.compile(r"module '([\w.]+)' has no attribute '(\w+)'"),
    "module": re.compile(r"No module named '([\w.]+)'"),
    "required": re.compile(r"the following arguments are required: (.+)"),
    "subclass": re.compile(r"Import path (?:([\w.]+) )?does not correspond to a subclass of (\w+)"),
    "short": re.compile(r"Expected a dot import path string: (.+)"),
    "type": re.compile(r"Expected an? (?!path but)(.+?)(?:\. Got value.*)?$"),
    "invalid": re.compile(r"(Not a valid subclass of \w+)"),
}
PLAIN = {
    "unknown": re.compile(r"Subcommand '\w+' does not accept option '([\w.]+)'"),
    "stray": re.compile(r"unrecognized arguments: (\S+)"),
    "help": re.compile(r"argument --(?:model|data): expected one argument()"),
    "link": re.compile(r"Call to compute_fn of link .* failed: (.+)", re.DOTALL),
}


def explain(message: str, invocation: Invocation) -> str:
    """One paragraph for the user."""
    for kind, pattern in PLAIN.items():
        if match := pattern.search(message):
            return {"unknown": unknown_key, "stray": stray, "help": help_of_no_class, "link": seeds}[kind](
                match.group(1), invocation
            )
    faults = read_faults(message)
    if not faults:
        return f"The configuration is wrong: {' '.join(message.split())}"
    order = [*FAULTS, "broken"]
    fault = min(faults, key=lambda fault: (-fault.depth, order.index(fault.kind)))
    if fault.kind == "subclass":
        expected = [f.found[1] for f in faults if f.kind == "subclass" and (f.depth, f.key) == (fault.depth, fault.key)]
        return not_a_subclass(fault, list(dict.fromkeys(expected)), message, invocation)
    same = [f.found[0] for f in faults if f.kind == "type" and (f.depth, f.key) == (fault.depth, fault.key)]
    if fault.kind == "type" or (fault.kind == "short" and set(same) - {"<class 'NoneType'>"}):
        return wrong_type(fault, list(dict.fromkeys(same)), message, invocation)
    return RENDERERS[fault.kind](fault, invocation)


def read_faults(message: str) -> list[Fault]:
    """Every recognised line with the keys and classes above it."""
    above: list[tuple[int, str, str]] = []
    faults: list[Fault] = []
    for line in message.splitlines():
        depth = len(line) - len(line.lstrip())
        if not line.strip() or line.lstrip().startswith(("Given value", "Subtypes", "Errors", "- Does not validate")):
            continue
        above = [entry for entry in above if entry[0] < depth]
        above += [(depth, "key", match) for match in KEY.findall(line)]
        above += [(depth, "class", match) for match in CLASS.findall(line)]
        for kind, pattern in FAULTS.items():
            if match := pattern.search(line):
                faults.append(fault_at(kind, match.groups(), depth, above))
                break
        else:
            if above and above[-1][1] == "class" and above[-1][0] < depth:
                faults.append(fault_at("broken", (line.strip(),), depth, above))
    return faults


def fault_at(kind: str, found: tuple[str, ...], depth: int, above: list[tuple[int, str, str]]) -> Fault:
    key = ".".join(name for _, what, name in above if what == "key")
    return Fault(kind, found, depth, key, tuple(name for _, what, name in above if what == "class"))


# ---- one function per kind of fault


def unknown_option(fault: Fault, invocation: Invocation) -> str:
    (option,) = fault.found
    owner = fault.classes[-1] if fault.classes else ""
    place = find_key(invocation, f"{fault.key}.{option}", owner)
    if not owner:
        return f"{place.sets()}, but there is no such key."
    names = argument_names(owner)
    if not names and fault.key in LISTS:
        return (
            f"{place.sets()}, but no class stands before it: append one with --{fault.key}+={LISTS[fault.key]}.CLASS."
        )
    return f"{place.sets()}, but {owner} takes no {option!r}; {nearest(option.split('.')[0], names)}"


def unknown_class(fault: Fault, invocation: Invocation) -> str:
    missing = ".".join(fault.found)
    path = next((path for path in reversed(fault.classes) if path.startswith(missing)), missing)
    place = find_class(invocation, fault.key, path)
    package = path.rpartition(".")[0]
    what = f"{package} has no such class" if path == missing else f"there is no {missing}"
    return f"{place.sets()}, but {what}; {nearest_path(path, known_class_paths(package))}"


def nearest_path(path: str, known: list[str]) -> str:
    """The nearest by the class's own name, then by the whole path."""
    by_name = {candidate.rpartition(".")[2]: candidate for candidate in reversed(known)}
    written = path.rpartition(".")[2]
    same_letters = [name for name in by_name if name.lower() == written.lower()]
    name = same_letters or difflib.get_close_matches(written, list(by_name), 1)
    near = [by_name[name[0]]] if name else difflib.get_close_matches(path, known, 1)
    return f"did you mean {near[0]!r}?" if near else "check the class's module and name."


def denied(fault: Fault, invocation: Invocation) -> str:
    place = find_class(invocation, fault.key, fault.found[0])
    return f"{place.sets()}, which is not allowed. {refusal(fault.found[0])}"


def missing(fault: Fault, invocation: Invocation) -> str:
    names = [re.sub(r"^(fit|validate|test|predict)\.", "", name) for name in fault.found[0].split(", ")]
    said = ", ".join(names)
    if not fault.classes:
        configs = ", ".join(map(str, invocation.configs)) or "the command line"
        return f"{configs} says nothing about {said}; give it in a config file (-c) or as --{names[0]} VALUE."
    place = find_class(invocation, fault.key, fault.classes[-1])
    return f"{place.sets()}, but says nothing about {said}, which it needs; give it under {place.init_args(names[0])}."


def not_a_subclass(fault: Fault, expected: list[str], message: str, invocation: Invocation) -> str:
    path = fault.found[0] or next(iter(GIVEN_CLASS.findall(message)), "")
    place = find_class(invocation, fault.key, path)
    return f"{place.sets()}, but {path} is no {' and no '.join(expected)}; name a class that is."


def short_name(fault: Fault, invocation: Invocation) -> str:
    (name,) = fault.found
    place = find_class(invocation, fault.key, name)
    package = f"finelab.models.{'adapters' if fault.key.endswith('adapter') else 'regularizers'}"
    return f"{place.sets()}, which is no full import path of a class; {nearest_path(name, known_class_paths(package))}"


def invalid_class(fault: Fault, invocation: Invocation) -> str:
    place = find_key(invocation, fault.key)
    return f"{place.sets()}, which is not understood: {fault.found[0]}; write {{class_path: ..., init_args: {{...}}}}."


def broken_class(fault: Fault, invocation: Invocation) -> str:
    place = find_class(invocation, fault.key, fault.classes[-1])
    return f"{place.sets()}, which cannot be used: {fault.found[0]}"


def wrong_type(fault: Fault, expected: list[str], message: str, invocation: Invocation) -> str:
    place = find_key(invocation, fault.key, fault.classes[-1] if fault.classes else "")
    if place.value is None:
        values = re.findall(r"(?:Given|Got) value: (.{1,80})", message)
        place = replace(place, value=values[0] if values else None)
    if fault.key in LISTS and "<class 'list'>" in expected:
        return (
            f"{place.sets()}, but it is a list: append to it with --{fault.key}+={LISTS[fault.key]}.CLASS on the "
            f"command line, or write a list in YAML, each entry starting with - class_path: {LISTS[fault.key]}.CLASS."
        )
    return f"{place.sets()}, but expected is {' or '.join(map(type_name, expected))}."


def type_name(text: str) -> str:
    name = re.sub(r"^<class '(?:.*\.)?(\w+)'>$", r"\1", text)
    return {"NoneType": "null", "bool": "true or false", "int": "an integer", "float": "a number"}.get(name, name)


def unknown_key(key: str, invocation: Invocation) -> str:
    place = find_key(invocation, key)
    group, _, name = key.partition(".")
    return f"{place.sets()}, but {group} has no key {name!r}; {nearest(name, group_keys(group))}"


def group_keys(group: str) -> list[str]:
    if group == "run":
        return [field.name for field in fields(RunPlace)]
    return [name for name in inspect.signature(Trainer.__init__).parameters if name != "self"]


def stray(word: str, invocation: Invocation) -> str:
    key = word.lstrip("-").partition("=")[0]
    if word.startswith("--") and key.partition(".")[0] in ("trainer", "run"):
        return unknown_key(key, invocation)
    return f"The command line holds {word!r}, which belongs to no option; options are written --KEY VALUE."


def help_of_no_class(_: str, invocation: Invocation) -> str:
    """``--model.regularizers.help``, of which the parser says only that --model lacks its value."""
    key = next((key for key, value in invocation.options() if value is None and key.startswith(("model", "data"))), "")
    if key.endswith(".help"):
        return f"The command line holds --{key}, which needs a class: --{key} {LISTS.get(key[:-5], 'PACKAGE')}.CLASS."
    return f"The command line sets --{key} to nothing; give it a value."


def seeds(reason: str, invocation: Invocation) -> str:
    return f"{find_key(invocation, 'seeds').where}: {reason}."


RENDERERS: dict[str, Callable[[Fault, Invocation], str]] = {
    "denied": denied,
    "option": unknown_option,
    "attribute": unknown_class,
    "module": unknown_class,
    "required": missing,
    "short": short_name,
    "invalid": invalid_class,
    "broken": broken_class,
}


REASON = re.compile(r"- (.+(?:\n(?! *(?:- |Subtypes:|Errors:)).+)*)")
"""One type's refusal, with the lines that belong to it."""
OTHER_TYPES = ("Expected a <class", "Import path", "Does not validate")
"""What is said of types that are not meant: parsing has found the class already."""
OTHER_CLASS = re.compile(r"Import path ([\w.]+) does not correspond")
OURS = {"finelab", "peft"}
PARSERS = {"jsonargparse", "lightning", "lightning_fabric"}


def reason_of(error: BaseException, invocation: Invocation) -> BaseException:
    """What to raise when something could not be built.

    The parser wraps whatever a constructor raises. An error about what a constructor was given becomes a paragraph: it
    was raised by the parser, by Lightning, or deliberately by a class of ours or of peft. Any other is a mistake in
    somebody's code and comes back as it is, for the sake of its traceback.
    """
    first: BaseException = error
    while raised_in(first) in PARSERS and first.__cause__ is not None:
        first = first.__cause__
    package = raised_in(first)
    if isinstance(first, UserError) or not (package in PARSERS or (package in OURS and isinstance(first, ValueError))):
        return first
    return UserError(explain_building(error, invocation))


def raised_in(error: BaseException) -> str:
    """The top-level package whose code raised it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] if trace else ""


def explain_building(error: BaseException, invocation: Invocation) -> str:
    """A constructor refused what it was given."""
    message = str(error)
    if "Errors:" in message:  # of every type that was tried; what was given follows at length
        tried = message.partition("Errors:")[2].partition("Given value")[0]
        reasons = [reason for reason in re.findall(REASON, tried) if not reason.startswith(OTHER_TYPES)]
        message = "; ".join(reasons) or tried
        classes = OTHER_CLASS.findall(tried)
        named = next((place for place in places(invocation) if classes and place.value == classes[-1]), None)
        if reasons and named is not None:
            return f"{named.sets()}, which cannot be built: {' '.join(message.split())}"
    configs = " and ".join(map(str, invocation.configs)) or "The command line"
    return f"{configs} can be read, but what it describes cannot be built: {' '.join(message.split())}"
