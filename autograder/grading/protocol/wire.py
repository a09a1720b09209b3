"""The wire between sandbox and judge: plain data and tensors as bytes; nothing that arrives is ever executed.

A value is a one-byte tag and its body; containers hold their items' values in order. What may travel is listed
here and turned into bytes; `decode.py` reads them.
"""

import math
import struct
from dataclasses import dataclass

import numpy as np
import torch

TORCH_DTYPES = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint8, torch.int8, torch.int16),
    *(torch.int32, torch.int64, torch.bool, torch.complex64, torch.complex128),
)
NUMPY_DTYPES = tuple(
    np.dtype(name)
    for name in [
        "float16",
        "float32",
        "float64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "int8",
        "int16",
        "int32",
        "int64",
        "bool",
        "complex64",
        "complex128",
    ]
)
NESTED = 8  # how many calls of a test's own functions may be under way at once, one within the other
_META = torch.device("meta")
KINDS = ("function", "class", "instance", "module", "generator")
# The types of exception that travel; others arrive as their nearest ancestor here. Not StopIteration: raised through
# `all(map(f, inputs))` it would end the loop, and a test with it.
EXCEPTIONS = (
    *("ArithmeticError", "AssertionError", "AttributeError", "BufferError", "EOFError", "FileExistsError"),
    *("FileNotFoundError", "FloatingPointError", "ImportError", "IndexError", "IsADirectoryError", "KeyError"),
    *("LookupError", "MemoryError", "ModuleNotFoundError", "NameError", "NotADirectoryError", "NotImplementedError"),
    *("OSError", "OverflowError", "PermissionError", "RecursionError", "ReferenceError", "RuntimeError"),
    *("SyntaxError", "TimeoutError", "TypeError", "UnboundLocalError", "ValueError", "ZeroDivisionError"),
)


class WireError(ValueError):
    """Bytes that are no value of this wire, or a value that this wire does not carry."""


@dataclass(frozen=True)
class Limits:
    """What one frame may hold; memory and handles are those of a whole test case. Sizes are in bytes if not named."""

    frame: int = 1 << 28
    memory: int = 1 << 30  # as built
    items: int = 1_000_000
    depth: int = 64
    keys: int = 250_000  # of one dict or set
    collisions: int = 100  # keys of one dict or set with the same hash: each costs a comparison with all the others
    arrays: int = 10_000
    handles: int = 10_000
    dimensions: int = 16
    elements: int = 1 << 27
    integer: int = 2048
    text: int = 1 << 24


@dataclass(frozen=True)
class Handle:
    """An object that stays on the other side: an unguessable number, its kind, its name for messages."""

    number: bytes  # 16 bytes
    kind: str  # one of KINDS
    name: str


@dataclass(frozen=True)
class Recipe:
    """Something to rebuild inside the sandbox (an import, a dataclass, a probe's code). Travels inwards only."""

    kind: str
    body: object


def encode(value, opaque=None) -> bytearray:
    """The bytes of `value`. `opaque(object)` gives a wire value to send in place of anything that is not plain data.

    Raises WireError, with a sentence, for what the other side would refuse.
    """
    out, pending, items = bytearray(), [(value, 0)], 0
    while pending:
        item, level = pending.pop()
        items += 1
        if level > Limits.depth:
            raise WireError(f"the value is nested deeper than {Limits.depth} levels")
        if items > Limits.items:
            raise WireError(f"the value holds more than {Limits.items} items")
        children = _encode_one(item, out, opaque)
        if len(out) > Limits.frame:
            raise WireError(f"the value is larger than {Limits.frame >> 20} MB")
        pending.extend((child, level + 1) for child in reversed(children))
    return out


def _encode_one(item, out: bytearray, opaque) -> list:
    """Append the tag and body of `item`; return the items that must follow it."""
    kind = type(item)
    if item is None:
        out += b"N"
    elif kind is bool:
        out += b"T" if item else b"F"
    elif kind is int:
        size = item.bit_length() // 8 + 1
        out += b"i" + _count(size, Limits.integer, "bytes of an integer") + item.to_bytes(size, "big", signed=True)
    elif kind is float:
        out += b"f" + struct.pack(">d", item)
    elif kind is complex:
        out += b"c" + struct.pack(">dd", item.real, item.imag)
    elif kind is str:
        body = item.encode("utf-8", "replace")
        out += b"s" + _count(len(body), Limits.text, "bytes of text") + body
    elif kind is bytes:
        out += b"b" + _count(len(item), Limits.frame, "bytes") + item
    elif kind in (tuple, list):
        out += (b"(" if kind is tuple else b"[") + _count(len(item), Limits.items, "items")
        return list(item)
    elif kind is set and all(map(is_key, item)):
        out += b"<" + _count(len(item), Limits.keys, "items of a set")
        return sorted(item, key=encode)
    elif kind is dict and all(map(is_key, item)):
        out += b"{" + _count(len(item), Limits.keys, "keys")
        return [part for pair in item.items() for part in pair]
    elif kind is slice:
        out += b":"
        return [item.start, item.stop, item.step]
    elif kind is torch.dtype and item in TORCH_DTYPES:
        out += b"d" + bytes([TORCH_DTYPES.index(item)])
    elif isinstance(item, np.dtype) and item in NUMPY_DTYPES:
        out += b"D" + bytes([NUMPY_DTYPES.index(item)])
    elif kind is torch.Tensor and item.layout is torch.strided and item.dtype in TORCH_DTYPES and item.device != _META:
        tag = b"v" if item.requires_grad else b"t"
        _encode_array(out, tag, TORCH_DTYPES.index(item.dtype), tuple(item.shape), _bytes_of(item))
    elif kind is np.ndarray and item.dtype in NUMPY_DTYPES:
        _encode_array(out, b"n", NUMPY_DTYPES.index(item.dtype), item.shape, item.tobytes())
    elif isinstance(item, np.generic) and item.dtype in NUMPY_DTYPES:
        _encode_array(out, b"g", NUMPY_DTYPES.index(item.dtype), (), item.tobytes())
    elif kind is Handle:
        name = item.name.encode("utf-8", "replace")[:200].decode("utf-8", "ignore").encode()
        out += b"h" + item.number + bytes([KINDS.index(item.kind)]) + struct.pack(">I", len(name)) + name
    elif kind is Recipe:
        name = item.kind.encode()
        out += b"r" + struct.pack(">I", len(name)) + name
        return [item.body]
    elif opaque is not None:
        return [opaque(item)]
    else:
        raise WireError(f"a {kind.__name__} is not plain data")
    return []


def is_key(item) -> bool:
    """Whether `item` may be a key of a dict or an item of a set: plain, hashable, of exact types."""
    pending = [item]
    while pending:
        part = pending.pop()
        if type(part) is tuple:
            pending.extend(part)
        elif part is not None and type(part) not in (bool, int, float, complex, str, bytes):
            return False
    return True


def _count(number: int, limit: int, what: str) -> bytes:
    if number > limit:
        raise WireError(f"{number} {what}, at most {limit} are allowed")
    return struct.pack(">I", number)


def _bytes_of(tensor: torch.Tensor):
    """The numbers of a tensor, as a buffer."""
    try:
        plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
        return plain.reshape(-1).view(torch.uint8).numpy() if plain.numel() else b""
    except (RuntimeError, NotImplementedError):
        raise WireError("a tensor inside vmap, grad or another transform of torch has no numbers yet") from None


def _encode_array(out: bytearray, tag: bytes, dtype: int, shape: tuple, raw) -> None:
    if len(out) + len(raw) > Limits.frame:
        raise WireError(f"the value is larger than {Limits.frame >> 20} MB")
    if len(shape) > Limits.dimensions or math.prod(max(size, 1) for size in shape) > Limits.elements:
        raise WireError(f"an array of {len(shape)} dimensions and {math.prod(shape)} elements")
    out += tag + bytes([dtype, len(shape)]) + struct.pack(f">{len(shape)}Q", *shape)
    out += memoryview(raw)
