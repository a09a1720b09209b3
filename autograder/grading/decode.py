"""Reads the wire's bytes: iterative, exact plain types only, every size checked against its limit before allocation.

Whatever is wrong with the bytes, the answer is a `WireError`.
"""

import struct

import numpy as np
import torch

from autograder.grading.wire import KINDS, NUMPY_DTYPES, TORCH_DTYPES, Handle, Limits, WireError

DEFAULT = Limits()
_CONSTANTS = {b"N": None, b"T": True, b"F": False}


class _Open:
    """A container whose items are still to come."""

    __slots__ = ("extra", "items", "missing", "tag")

    def __init__(self, tag: bytes, missing: int, extra=None):
        self.tag, self.missing, self.extra, self.items = tag, missing, extra, []


def decode(payload, *, handle=None, recipe=None, limits: Limits = DEFAULT):
    """The value that `payload` (bytes) holds, or WireError.

    `handle(Handle)` gives what to put where a handle stands (the handle itself by default). Recipes are refused unless
    `recipe(kind, body)` is given: the judge gives none, so nothing it receives can make it import or build anything.
    """
    reader = _Reader(payload, limits)
    stack: list[_Open] = []
    while True:
        value = reader.next(len(stack), handle, recipe is not None)
        if isinstance(value, _Open):
            stack.append(value)
        elif not stack:
            break
        else:
            stack[-1].items.append(value)
        while stack and len(stack[-1].items) == stack[-1].missing:
            value = _close(stack.pop(), recipe)
            if not stack:
                break
            stack[-1].items.append(value)
        if not stack:
            break
    if reader.at != len(reader.payload):
        raise WireError(f"{len(reader.payload) - reader.at} bytes follow the value")
    return value


def _close(container: _Open, recipe):
    tag, items = container.tag, container.items
    if tag == b"[":
        return items
    if tag == b"(":
        return tuple(items)
    if tag == b":":
        return slice(*items)
    if tag == b"r":
        return recipe(container.extra, items[0])
    keys = items if tag == b"<" else items[::2]
    if not all(_hashable(key) for key in keys):
        raise WireError("a key is not plain hashable data")
    built = set(keys) if tag == b"<" else dict(zip(keys, items[1::2]))
    if len(built) != len(keys):
        raise WireError("a key occurs twice")
    return built


def _hashable(key) -> bool:
    pending = [key]
    while pending:
        part = pending.pop()
        if type(part) is tuple:
            pending.extend(part)
        elif part is not None and type(part) not in (bool, int, float, complex, str, bytes):
            return False
    return True


class _Reader:
    """Takes one value after another from a payload, never past its end, never beyond the limits."""

    def __init__(self, payload, limits: Limits):
        if len(payload) > limits.frame:
            raise WireError(f"the frame is longer than {limits.frame} bytes")
        self.payload, self.limits, self.at = memoryview(bytes(payload)), limits, 0
        self.items = self.arrays = 0

    def take(self, size: int) -> memoryview:
        if size > len(self.payload) - self.at:
            raise WireError("the bytes end inside a value")
        self.at += size
        return self.payload[self.at - size : self.at]

    def number(self, limit: int, what: str) -> int:
        (value,) = struct.unpack(">I", self.take(4))
        if value > limit:
            raise WireError(f"{value} {what}, at most {limit} are allowed")
        return value

    def text(self, limit: int) -> str:
        try:
            return str(self.take(self.number(limit, "bytes of text")), "utf-8")
        except UnicodeDecodeError:
            raise WireError("text is not UTF-8") from None

    def next(self, depth: int, handle, recipes: bool):
        """The next leaf, or an `_Open` container."""
        self.items += 1
        if self.items > self.limits.items:
            raise WireError(f"more than {self.limits.items} items")
        if depth > self.limits.depth:
            raise WireError(f"nested deeper than {self.limits.depth} levels")
        tag = bytes(self.take(1))
        if tag in _CONSTANTS:
            return _CONSTANTS[tag]
        if tag == b"i":
            return self.integer()
        if tag == b"f":
            return struct.unpack(">d", self.take(8))[0]
        if tag == b"c":
            return complex(*struct.unpack(">dd", self.take(16)))
        if tag == b"s":
            return self.text(self.limits.text)
        if tag == b"b":
            return bytes(self.take(self.number(self.limits.frame, "bytes")))
        if tag in (b"[", b"("):
            return _Open(tag, self.number(self.limits.items, "items"))
        if tag == b"<":
            return _Open(tag, self.number(self.limits.keys, "items of a set"))
        if tag == b"{":
            return _Open(tag, 2 * self.number(self.limits.keys, "keys"))
        if tag == b":":
            return _Open(tag, 3)
        if tag == b"d":
            return self.dtype(TORCH_DTYPES)
        if tag == b"D":
            return self.dtype(NUMPY_DTYPES)
        if tag in (b"t", b"n", b"g"):
            return self.array(tag)
        if tag == b"h":
            number, kind = bytes(self.take(16)), self.take(1)[0]
            if kind >= len(KINDS):
                raise WireError("a handle of an unknown kind")
            found = Handle(number, KINDS[kind], self.text(200))
            return found if handle is None else handle(found)
        if tag == b"r" and recipes:
            return _Open(tag, 1, self.text(200))
        raise WireError("an unknown tag")

    def integer(self) -> int:
        body = self.take(self.number(self.limits.integer, "bytes of an integer"))
        value = int.from_bytes(body, "big", signed=True)
        if len(body) != value.bit_length() // 8 + 1:
            raise WireError("an integer in more bytes than it needs")
        return value

    def dtype(self, known: tuple):
        code = self.take(1)[0]
        if code >= len(known):
            raise WireError("an unknown dtype")
        return known[code]

    def array(self, tag: bytes):
        """A tensor, array or NumPy scalar, copied out of the payload."""
        self.arrays += 1
        if self.arrays > self.limits.arrays:
            raise WireError(f"more than {self.limits.arrays} arrays")
        kind = self.dtype(TORCH_DTYPES if tag == b"t" else NUMPY_DTYPES)
        dimensions = self.take(1)[0]
        if dimensions > (0 if tag == b"g" else self.limits.dimensions):
            raise WireError(f"an array of {dimensions} dimensions")
        shape = struct.unpack(f">{dimensions}Q", self.take(8 * dimensions))
        elements = extent = 1
        for size in shape:
            elements, extent = elements * size, extent * max(size, 1)
            if extent > self.limits.elements:
                raise WireError("an array of too many elements")
        raw = self.take(elements * kind.itemsize)
        if kind in (torch.bool, np.dtype(bool)) and elements and np.frombuffer(raw, np.uint8).max() > 1:
            raise WireError("a truth value that is neither 0 nor 1")
        if tag == b"t":
            if not elements:
                return torch.empty(shape, dtype=kind)
            return torch.frombuffer(bytearray(raw), dtype=kind).reshape(shape)
        array = np.frombuffer(raw, kind).copy().reshape(shape)
        return array[()] if tag == b"g" else array
