"""A state goes to the disk and back as it was, and holds nothing that could run."""

import json
import math
from collections import Counter, OrderedDict, namedtuple

import numpy
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from finelab.callbacks.state_file import TREE, read_state, state_file, write_state
from finelab.contracts.errors import UserError

UNUSUAL = {"complex32", "complex128", "float8_e8m0fnu", "float8_e4m3fnuz", "float8_e5m2fnuz", "float4_e2m1fn_x2"}
DTYPES = [
    *("bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64", "float16", "bfloat16"),
    *("float32", "float64", "complex64", "float8_e4m3fn", "float8_e5m2", *sorted(UNUSUAL)),
]


def there_and_back(tree, tmp_path):
    write_state(tree, tmp_path / "state")
    return read_state(tmp_path / "state")


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.filterwarnings("ignore:ComplexHalf")
def test_tensors_of_every_dtype(name, tmp_path):
    dtype = getattr(torch, name)
    values = torch.randint(0, 2 if name == "bool" else 256, (96,), dtype=torch.uint8).view(dtype).reshape(3, -1)
    tree = {"whole": values, "scalar": values[1, 0], "empty": values[:0], "turned": values.t(), "part": values[1:]}
    found = there_and_back(tree, tmp_path)
    for key, value in tree.items():
        assert (found[key].dtype, found[key].shape) == (dtype, value.shape), key
        assert torch.equal(as_bytes(found[key]), as_bytes(value)), key


def as_bytes(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def test_another_reader_of_the_format_finds_the_same_tensors(tmp_path):
    tree = {
        "a": torch.randn(5),
        "b": [torch.arange(3), torch.ones((), dtype=torch.bfloat16)],
        "c": torch.rand(2, 3) > 0.5,
    }
    size = state_file(tree).size
    digest = write_state(tree, tmp_path / "state")
    found = load_file(tmp_path / "state")
    assert (
        torch.equal(found["0"], tree["a"])
        and torch.equal(found["1"], tree["b"][0])
        and torch.equal(found["3"], tree["c"])
    )
    assert found["2"].dtype is torch.bfloat16 and found["2"].shape == ()
    content = (tmp_path / "state").read_bytes()
    assert size == len(content)
    import hashlib

    assert digest == hashlib.sha256(content).hexdigest()


def test_plain_values_keep_their_types(tmp_path):
    tree = {
        "none": None,
        "truth": [True, False, 1, 0],
        "integers": [0, -1, 2**63, -(2**63), 2**64, 10**5000, -(10**5000)],
        "floats": [0.1, -0.0, math.inf, -math.inf, 1e-320, 1.7976931348623157e308],
        "text": ["", "ä\u2028\x00", "\ud800", '"}{', "日本"],
        "tuples": ((), (1,), ((1, (2,)), [3])),
        "lists": [[], [[]], {}],
        1: {2: {-3: "keys"}, 10**30: "large", "1": "text", "tensor": "a name of ours", "dict": [], "": 0},
    }
    found = there_and_back(tree, tmp_path)
    assert found == tree
    assert repr_of(found) == repr_of(tree)
    assert list(found) == list(tree) and list(found[1]) == list(tree[1])


def repr_of(value):
    """Tells 1 from True and 0.0 from -0.0, and (1,) from [1]; integers in hexadecimal, of any length."""
    if isinstance(value, dict):
        return {repr_of(key): repr_of(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return (type(value).__name__, *map(repr_of, value))
    return hex(value) if type(value) is int else repr(value)


def test_not_a_number_comes_back(tmp_path):
    found = there_and_back({"nan": float("nan"), "tensor": torch.tensor([math.nan, -0.0])}, tmp_path)
    assert math.isnan(found["nan"]) and math.isnan(found["tensor"][0]) and found["tensor"][1].signbit()


def test_shared_memory_and_parameters_come_back_apart(tmp_path):
    storage = torch.arange(10.0)
    tree = {"a": storage[:5], "b": storage[3:], "c": nn.Parameter(storage), "turned": torch.eye(3)[::2].t()}
    found = there_and_back(tree, tmp_path)
    found["a"].zero_()
    assert torch.equal(found["b"], storage[3:]) and torch.equal(found["c"], storage)
    assert type(found["c"]) is torch.Tensor and torch.equal(found["turned"], tree["turned"])


def test_conjugates_and_negatives_are_what_they_show(tmp_path):
    values = torch.tensor([1 + 2j, 3 - 4j])
    found = there_and_back({"conjugate": values.conj(), "imaginary": values.conj().imag}, tmp_path)
    assert torch.equal(found["conjugate"], torch.tensor([1 - 2j, 3 + 4j]))
    assert torch.equal(found["imaginary"], torch.tensor([-2.0, 4.0]))


def test_a_single_element_may_have_any_stride(tmp_path):
    """As a column of one row has, or one that was expanded."""
    tree = {"column": torch.arange(6).as_strided((1,), (0,)), "expanded": torch.tensor(2.5).expand(1, 1)}
    found = there_and_back(tree, tmp_path)
    assert found["column"].tolist() == [0] and found["expanded"].tolist() == [[2.5]]


def test_a_state_of_a_whole_optimizer(tmp_path):
    layer = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    found = there_and_back({"optimizer": optimizer.state_dict(), "state": layer.state_dict()}, tmp_path)
    again = nn.Linear(3, 2)
    second = torch.optim.AdamW(again.parameters())
    again.load_state_dict(found["state"])
    second.load_state_dict(found["optimizer"])
    assert all(torch.equal(a, b) for a, b in zip(layer.parameters(), again.parameters(), strict=True))
    assert str(second.state_dict()) == str(optimizer.state_dict())


Pair = namedtuple("Pair", "a b")
REFUSED = {
    "a number of numpy": (numpy.float64(1), "numpy.float64"),
    "an array": (numpy.ones(2), "numpy.ndarray"),
    "a set": ({1}, "builtins.set"),
    "bytes": (b"x", "builtins.bytes"),
    "a function": (print, "builtin_function_or_method"),
    "a class": (nn.Linear, "builtins.type"),
    "a module": (nn.Identity(), "Identity"),
    "a complex number": (1j, "builtins.complex"),
    "a named tuple": (Pair(1, 2), "Pair"),
    "a counter": (Counter("a"), "collections.Counter"),
    "a sparse tensor": (torch.eye(2).to_sparse(), "sparse"),
    "a tensor without values": (torch.empty(2, device="meta"), "meta"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_anything_else_is_refused_with_its_place(what, tmp_path):
    value, named = REFUSED[what]
    with pytest.raises(UserError, match=r"callbacks\.Mine\[1\]\.7 ") as refused:
        write_state({"callbacks": {"Mine": [0, {7: value}]}}, tmp_path / "state")
    assert named in str(refused.value) and not (tmp_path / "state").exists()


@pytest.mark.parametrize("key", [True, None, 1.5, (1,)], ids=repr)
def test_keys_are_integers_or_text(key, tmp_path):
    with pytest.raises(UserError, match="a.b has the key"):
        write_state({"a": {"b": {key: 1}}}, tmp_path / "state")


def test_an_ordered_dictionary_becomes_a_dictionary(tmp_path):
    assert there_and_back({"a": OrderedDict(b=1)}, tmp_path) == {"a": {"b": 1}}


def hand_made(plain, **tensors):
    """A file that is what it says, whatever it says."""
    from safetensors.torch import save

    text = plain if isinstance(plain, bytes) else json.dumps(plain).encode()
    return save({TREE: torch.frombuffer(bytearray(text), dtype=torch.uint8), **tensors})


FOREIGN = {
    "empty": b"",
    "short": b"\x08\x00",
    "a zip": b"PK\x03\x04" + bytes(100),
    "a pickle": b"\x80\x04\x95" + bytes(100),
    "a header of 2^63 bytes": (2**63).to_bytes(8, "little") + b"{}",
    "a header of 2^40 bytes": (2**40).to_bytes(8, "little") + b"{}",
    "a header that is no JSON": (8).to_bytes(8, "little") + b"{{{{{{{{",
    "a header of nested lists": (90_000_000).to_bytes(8, "little") + b"[" * 90_000_000,
    "no tree": None,
    "an empty tree": b" ",
    "a list": [],
    "a tree of bytes that are no text": b"\xff\xfe",
    "JSON of nested lists": b"[" * 1_000_000,
    "nested dictionaries": b'{"dict":[["a",' * 100_000,
    "a number of thousands of digits": b'{"dict":[["a",' + b"9" * 100_000 + b"]]}",
    "an unknown kind": {"dict": [["a", {"class": "os.system"}]]},
    "two kinds": {"dict": [["a", {"tuple": [], "int": "1"}]]},
    "a tensor that is not there": {"dict": [["a", {"tensor": "7"}]]},
    "a tensor of no name": {"dict": [["a", {"tensor": ["7"]}]]},
    "a dtype that is a function": {"dict": [["a", {"tensor": "x", "dtype": "load", "shape": [1]}]]},
    "a shape that does not fit": {"dict": [["a", {"tensor": "x", "dtype": "float64", "shape": [10**12]}]]},
    "keys that cannot be": {"dict": [[[1], 2]]},
    "a pair of three": {"dict": [[1, 2, 3]]},
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_foreign_file_is_refused(what, tmp_path):
    content = FOREIGN[what]
    if what == "no tree":
        from safetensors.torch import save

        content = save({"a": torch.ones(1)})
    elif not isinstance(content, bytes) or what.startswith(("an empty tree", "a tree", "JSON", "nested", "a number")):
        content = hand_made(content, x=torch.zeros(8, dtype=torch.uint8))
    (tmp_path / "state").write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as a training state") as refused:
        read_state(tmp_path / "state")
    assert len(str(refused.value)) < 700 and "\n" not in str(refused.value)
