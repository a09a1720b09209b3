"""The wire between sandbox and judge: plain data and tensors as bytes; nothing that arrives is ever executed.

A value is a one-byte tag and its body; containers hold their items' values in order. What may travel is listed
here and turned into bytes; `decode.py` reads them.
"""

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
_META = torch.device("meta")
KINDS = ("function", "class", "instance", "module", "generator")


class WireError(ValueError):
    """Bytes that are no value of this wire, or a value that this wire does not carry."""


@dataclass(frozen=True)
class Limits:
    """What one frame may hold. Sizes are in bytes unless the name says otherwise."""

    frame: int = 1 << 28
    items: int = 1_000_000
    depth: int = 64
    keys: int = 10_000  # of one dict or set: bounds what colliding hashes can cost
    arrays: int = 10_000
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
    """The bytes of `value`. `opaque(object)` gives a wire value to send in place of anything that is not plain data."""
    out, pending = bytearray(), [(value, 0)]
    while pending:
        item, level = pending.pop()
        if level > Limits.depth:
            raise WireError(f"the value is nested deeper than {Limits.depth} levels")
        children = _encode_one(item, out, opaque)
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
        body = item.to_bytes((item.bit_length() // 8) + 1, "big", signed=True)
        out += b"i" + struct.pack(">I", len(body)) + body
    elif kind is float:
        out += b"f" + struct.pack(">d", item)
    elif kind is complex:
        out += b"c" + struct.pack(">dd", item.real, item.imag)
    elif kind is str:
        body = item.encode("utf-8", "replace")
        out += b"s" + struct.pack(">I", len(body)) + body
    elif kind is bytes:
        out += b"b" + struct.pack(">I", len(item)) + item
    elif kind in (tuple, list, set):
        out += {tuple: b"(", list: b"[", set: b"<"}[kind] + struct.pack(">I", len(item))
        return sorted(item, key=encode) if kind is set else list(item)
    elif kind is dict:
        out += b"{" + struct.pack(">I", len(item))
        return [part for pair in item.items() for part in pair]
    elif kind is slice:
        out += b":"
        return [item.start, item.stop, item.step]
    elif kind is torch.dtype and item in TORCH_DTYPES:
        out += b"d" + bytes([TORCH_DTYPES.index(item)])
    elif isinstance(item, np.dtype) and item in NUMPY_DTYPES:
        out += b"D" + bytes([NUMPY_DTYPES.index(item)])
    elif kind is torch.Tensor and item.layout is torch.strided and item.dtype in TORCH_DTYPES and item.device != _META:
        plain = item.detach().cpu().resolve_conj().resolve_neg().contiguous()
        raw = plain.reshape(-1).view(torch.uint8).numpy() if plain.numel() else b""
        _encode_array(out, b"t", TORCH_DTYPES.index(item.dtype), tuple(plain.shape), raw)
    elif kind is np.ndarray and item.dtype in NUMPY_DTYPES:
        _encode_array(out, b"n", NUMPY_DTYPES.index(item.dtype), item.shape, _native(item).tobytes())
    elif isinstance(item, np.generic) and item.dtype in NUMPY_DTYPES:
        _encode_array(out, b"g", NUMPY_DTYPES.index(item.dtype), (), _native(np.asarray(item)).tobytes())
    elif kind is Handle:
        name = item.name.encode("utf-8", "replace")[:200]
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


def _native(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))


def _encode_array(out: bytearray, tag: bytes, dtype: int, shape: tuple, raw) -> None:
    out += tag + bytes([dtype, len(shape)]) + struct.pack(f">{len(shape)}Q", *shape)
    out += memoryview(raw)
