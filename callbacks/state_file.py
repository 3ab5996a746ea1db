"""A tree of plain values and tensors as one safetensors file: the tensors as they are, the rest as JSON beside them.

Nothing in such a file can run code: it is read by safetensors and by ``json``, and what it may hold is listed here.
"""

import json
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..contracts.errors import UserError
from ..contracts.files import write_through
from ..contracts.state_folder import INSTEAD

TREE = "tree"
LARGEST_PLAIN = 2**63
"""From here on, integers travel as hexadecimal text: Python limits the digits of decimal ones."""
DTYPES = {
    torch.float64: "F64",
    torch.int64: "I64",
    torch.uint64: "U64",
    torch.complex64: "C64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.uint32: "U32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int16: "I16",
    torch.uint16: "U16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}
"""The name that safetensors has for a dtype; the bytes of any other go as U8, with its name in the tree."""


@dataclass(frozen=True)
class StateFile:
    """A tree, ready to be written: everything that could be refused has been looked at.

    Args:
        header: of the safetensors format, its length before it.
        tensors: in the order of the file.
    """

    header: bytes
    tensors: tuple[Tensor, ...]

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return len(self.header) + sum(tensor.nbytes for tensor in self.tensors)

    def write(self, path: Path) -> str:
        """Write a new file, flush it to the disk, and give its sha256; one tensor at a time is copied to the CPU."""
        return write_through(path, self._chunks())

    def _chunks(self) -> Iterator[bytes | memoryview]:
        yield self.header
        for tensor in self.tensors:
            plain = tensor.cpu().resolve_conj().resolve_neg().contiguous()
            # A single element may have any stride and counts as contiguous, and is no view of bytes unless it is 1.
            yield plain.as_strided((plain.numel(),), (1,)).view(torch.uint8).numpy().data


def state_file(tree: dict[str, Any]) -> StateFile:
    """Lay a tree out.

    Args:
        tree: dictionaries with keys that are integers or text, lists, tuples, None, truth values, numbers, text and
            tensors. An ``OrderedDict`` comes back as a dictionary, a parameter as a tensor, and tensors that share
            memory come back apart.

    Raises:
        UserError: something else is in it; its place in the tree is named.
    """
    tensors: dict[str, Tensor] = {}
    plain = json.dumps(_encoded(tree, "", tensors), separators=(",", ":")).encode()
    # A tensor of bytes: the format's own metadata is limited in size.
    tensors[TREE] = torch.frombuffer(bytearray(plain), dtype=torch.uint8)
    # The largest elements first, so that each tensor lies at a multiple of its element's size.
    names = sorted(tensors, key=lambda name: -tensors[name].element_size())
    header, start = {}, 0
    for name in names:
        tensor = tensors[name]
        known = tensor.dtype in DTYPES
        shape = list(tensor.shape) if known else [tensor.nbytes]
        stop = start + tensor.nbytes
        header[name] = {"dtype": DTYPES.get(tensor.dtype, "U8"), "shape": shape, "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return StateFile(len(text).to_bytes(8, "little") + text, tuple(tensors[name] for name in names))


def write_state(tree: dict[str, Any], path: Path) -> str:
    """Raises:
    UserError: as ``state_file``.
    """
    return state_file(tree).write(path)


def read_state(path: Path) -> dict[str, Any]:
    """What ``write_state`` wrote; nothing in the file can run code.

    Raises:
        UserError: it is another file, or a damaged one.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        tree = _decoded(json.loads(bytes(tensors.pop(TREE).numpy())), tensors)
        if not isinstance(tree, dict):
            raise ValueError(f"it holds a {type(tree).__name__}")
    except (SafetensorError, OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path} cannot be read as a training state ({type(error).__name__}: {reason}): it is damaged, "
            f"or no file of finelab. Nothing in it was run. {INSTEAD}"
        ) from error
    return tree


def _encoded(value: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    kind = type(value)
    if kind is int and abs(value) >= LARGEST_PLAIN:
        return {"int": hex(value)}
    if value is None or kind in (bool, int, float, str):
        return value
    if kind in (Tensor, nn.Parameter, nn.Buffer):
        return _tensor(value.detach(), place, tensors)
    if kind in (dict, OrderedDict):
        return {"dict": [[_key(key, place), _encoded(item, f"{place}.{key}", tensors)] for key, item in value.items()]}
    if kind in (list, tuple):
        items = [_encoded(item, f"{place}[{index}]", tensors) for index, item in enumerate(value)]
        return {"tuple": items} if kind is tuple else items
    raise _refused(place, f"is a {kind.__module__}.{kind.__qualname__}")


def _tensor(value: Tensor, place: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    if value.layout is not torch.strided or value.is_quantized or value.is_meta:
        raise _refused(place, f"is a tensor that has no plain values ({value.layout}, {value.dtype}, {value.device})")
    name = str(len(tensors))
    tensors[name] = value
    if value.dtype in DTYPES:
        return {"tensor": name}
    return {"tensor": name, "dtype": str(value.dtype).removeprefix("torch."), "shape": list(value.shape)}


def _key(key: Any, place: str) -> Any:
    if type(key) not in (int, str):
        raise _refused(place, f"has the key {key!r}, a {type(key).__name__}")
    return _encoded(key, place, {})


def _refused(place: str, what: str) -> UserError:
    return UserError(
        f"The training state cannot be saved: {place.removeprefix('.') or 'it'} {what}. A state holds dictionaries, "
        "lists, tuples, numbers, text, None and tensors, and never a pickle: give such values in the state_dict (or "
        "state) of the callback or method that this belongs to."
    )


def _decoded(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_decoded(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return _restored(tensors[value["tensor"]], **{key: x for key, x in value.items() if key != "tensor"})
    ((kind, content),) = value.items()
    if kind == "int":
        return int(content, 16)
    if kind == "tuple":
        return tuple(_decoded(item, tensors) for item in content)
    if kind == "dict":
        return {_decoded(key, tensors): _decoded(item, tensors) for key, item in content}
    raise ValueError(f"it names the kind {kind!r}")


def _restored(tensor: Tensor, dtype: str | None = None, shape: list[int] | None = None) -> Tensor:
    if dtype is None or shape is None:
        return tensor
    found = vars(torch).get(dtype)
    if not isinstance(found, torch.dtype):
        raise ValueError(f"it names the dtype {dtype!r}")
    return tensor.view(found).reshape(shape)
