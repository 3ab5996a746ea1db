"""A tree of plain values and tensors as one safetensors file: the tensors as they are, the rest as JSON beside them."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

TREE = "tree"


def write_state(tree: dict[str, Any], path: Path) -> None:
    """Raises:
    TypeError: a value is neither a plain one nor a tensor; its place in the tree is named.
    """
    tensors: dict[str, Tensor] = {}
    plain = _encoded(tree, "", tensors)
    # The JSON travels as bytes: the format's own metadata is limited in size.
    tensors[TREE] = torch.frombuffer(bytearray(json.dumps(plain).encode()), dtype=torch.uint8)
    save_file(tensors, path)


def read_state(path: Path) -> dict[str, Any]:
    """What ``write_state`` wrote; nothing in the file can run code."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    return _decoded(json.loads(bytes(tensors.pop(TREE).numpy())), tensors)


def _encoded(value: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Tensor):
        name = f"{len(tensors)}"
        tensors[name] = value.detach().cpu().clone().contiguous()
        return {"tensor": name}
    if isinstance(value, dict):
        pairs = [
            [_encoded(key, place, tensors), _encoded(item, f"{place}.{key}", tensors)] for key, item in value.items()
        ]
        return {"dict": pairs}
    if isinstance(value, list | tuple):
        items = [_encoded(item, f"{place}[{index}]", tensors) for index, item in enumerate(value)]
        return {"tuple": items} if isinstance(value, tuple) else items
    raise TypeError(f"{place or 'the state'} is a {type(value).__name__}, which is neither plain nor a tensor")


def _decoded(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_decoded(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "tuple":
        return tuple(_decoded(item, tensors) for item in content)
    return {key: _decoded(item, tensors) for key, item in content}
