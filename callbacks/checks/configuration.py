"""What the run is, where it differs from what is shipped."""

import importlib.resources
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from ...contracts.finding import Finding, ok
from ..factors import Scalar, changed, class_name, factors, init_args, method
from .check import Check, Subject

OWN = ("model", "data", "run", "seeds")
"""Keys that every configuration sets for itself."""


class Configuration(Check):
    section = "configuration"

    def look(self, subject: Subject) -> Iterable[Finding]:
        config = dict(subject.config)
        if "model" in config:
            yield ok("method", f"{class_name(config['model'])} on {factors(config)['base']}: {method(config)}")
            yield ok("optimizer", listed(init_args(config["model"]).get("optimizer")))
        if "data" in config:
            yield ok("rows", listed(config["data"]))
        yield ok("differs from defaults.yaml", "; ".join(differences(config)) or "nothing")


def listed(entry: Any) -> str:
    """A class and its settings that are not at their defaults, but for lists and sections."""
    settings = {key: class_name(value) or value for key, value in changed(entry).items()}
    plain = [f"{key} {value}" for key, value in settings.items() if isinstance(value, Scalar)]
    return f"{class_name(entry)} ({', '.join(plain)})" if plain else class_name(entry)


def differences(config: Mapping[str, Any]) -> list[str]:
    """``key value (default)`` of every key of defaults.yaml that has another value."""
    text = importlib.resources.files("finelab.configs").joinpath("defaults.yaml").read_text(encoding="utf-8")
    usual = flattened(yaml.safe_load(text))
    set_here = flattened({key: value for key, value in config.items() if key not in OWN})
    return [
        f"{key} {set_here[key]} ({value})"
        for key, value in usual.items()
        if key in set_here and set_here[key] != value and not isinstance(value, list)
    ]


def flattened(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found |= flattened(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
