"""Reads the wire's bytes: iterative, exact plain types only, every size checked against its limit before allocation.

Whatever is wrong with the bytes, the answer is a `WireError`. Every value has one encoding and no other is accepted.
"""

import struct
from collections import Counter
from itertools import pairwise

import numpy as np
import torch

from autograder.grading.protocol.wire import KINDS, NUMPY_DTYPES, TORCH_DTYPES, Handle, Limits, WireError, is_key

DEFAULT = Limits()
_CONSTANTS = {b"N": None, b"T": True, b"F": False}
# Upper bounds of what CPython, NumPy and torch keep for one, beside its contents; in bytes.
ITEM, CONTAINER, ARRAY, HANDLE = 160, 384, 2048, 1024


class Budget:
    """The memory and the handles that what arrives may still take: one budget for all replies of a test case."""

    def __init__(self, limits: Limits = DEFAULT):
        self.limits, self.memory, self.handles = limits, limits.memory, limits.handles

    def spend(self, memory: int, handles: int = 0) -> None:
        """Called before anything is built. Raises WireError when the budget is used up."""
        self.memory -= memory
        self.handles -= handles
        if self.memory < 0:
            raise WireError(f"more than {self.limits.memory} bytes in one test case")
        if self.handles < 0:
            raise WireError(f"more than {self.limits.handles} objects in one test case")


class _Open:
    """A container whose items are still to come. A set also notes where each begins: their order is part of it."""

    __slots__ = ("begins", "extra", "items", "missing", "tag")

    def __init__(self, tag: bytes, missing: int, extra=None):
        self.tag, self.missing, self.extra, self.items, self.begins = tag, missing, extra, [], []


def decode(payload, *, handle=None, recipe=None, variable=None, limits: Limits = DEFAULT, budget: Budget | None = None):
    """The value that `payload` holds, or WireError. Nothing in it points into `payload`, which nobody else may change.

    `handle(Handle)` gives what to put where a handle stands (the handle itself by default). Recipes are refused unless
    `recipe(kind, body)` is given: the judge gives none, so nothing it receives can make it import or build anything.
    `variable(tensor)` gives what to put where a tensor that requires gradients stands (by default, a leaf that does).
    """
    reader = _Reader(payload, limits, budget or Budget(limits))
    stack: list[_Open] = []
    while True:
        if stack and stack[-1].tag == b"<":
            stack[-1].begins.append(reader.at)
        value = reader.next(len(stack), handle, recipe is not None, variable)
        if isinstance(value, _Open):
            stack.append(value)
        elif not stack:
            break
        else:
            stack[-1].items.append(value)
        while stack and len(stack[-1].items) == stack[-1].missing:
            value = reader.close(stack.pop(), recipe)
            if not stack:
                break
            stack[-1].items.append(value)
        if not stack:
            break
    if reader.at != len(reader.payload):
        raise WireError(f"{len(reader.payload) - reader.at} bytes follow the value")
    return value


class _Reader:
    """Takes one value after another from a payload, never past its end, never beyond the limits."""

    def __init__(self, payload, limits: Limits, budget: Budget):
        if len(payload) > limits.frame:
            raise WireError(f"the frame is longer than {limits.frame} bytes")
        self.payload, self.limits, self.budget, self.at = memoryview(payload), limits, budget, 0
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
        body = self.take(self.number(limit, "bytes of text"))
        self.budget.spend(4 * len(body))  # one letter beyond U+FFFF makes all the others as wide
        try:
            return str(body, "utf-8")
        except UnicodeDecodeError:
            raise WireError("text is not UTF-8") from None

    def next(self, depth: int, handle, recipes: bool, variable):
        """The next leaf, or an `_Open` container."""
        self.items += 1
        self.budget.spend(ITEM)
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
            body = self.take(self.number(self.limits.frame, "bytes"))
            self.budget.spend(len(body))
            return bytes(body)
        if tag in (b"[", b"("):
            return self.container(tag, self.number(self.limits.items, "items"))
        if tag == b"<":
            return self.container(tag, self.number(self.limits.keys, "items of a set"))
        if tag == b"{":
            return self.container(tag, 2 * self.number(self.limits.keys, "keys"))
        if tag == b":":
            return self.container(tag, 3)
        if tag == b"d":
            return self.dtype(TORCH_DTYPES)
        if tag == b"D":
            return self.dtype(NUMPY_DTYPES)
        if tag in (b"t", b"n", b"g"):
            return self.array(tag)
        if tag == b"v":
            leaf = self.array(tag)
            return leaf.requires_grad_() if variable is None else variable(leaf)
        if tag == b"h":
            number, kind = bytes(self.take(16)), self.take(1)[0]
            self.budget.spend(HANDLE, handles=1)
            if kind >= len(KINDS):
                raise WireError("a handle of an unknown kind")
            found = Handle(number, KINDS[kind], self.text(200))
            return found if handle is None else handle(found)
        if tag == b"r" and recipes:
            return self.container(tag, 1, self.text(200))
        raise WireError("an unknown tag")

    def container(self, tag: bytes, missing: int, extra=None) -> _Open:
        """An open container. Its items pay for themselves as they come."""
        self.budget.spend(CONTAINER)
        return _Open(tag, missing, extra)

    def close(self, container: _Open, recipe):
        """The container with all its items."""
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
        if not all(map(is_key, keys)):
            raise WireError("a key is not plain hashable data")
        if not keys:
            return set() if tag == b"<" else {}
        if max(Counter(map(hash, keys)).values()) > self.limits.collisions:
            raise WireError(f"more than {self.limits.collisions} keys with the same hash")
        built = set(keys) if tag == b"<" else dict(zip(keys, items[1::2]))
        if len(built) != len(keys):
            raise WireError("a key occurs twice")
        ends = [*container.begins[1:], self.at]
        encoded = [bytes(self.payload[begin:end]) for begin, end in zip(container.begins, ends)]
        if any(first >= second for first, second in pairwise(encoded)):
            raise WireError("the items of a set are out of order")
        return built

    def integer(self) -> int:
        body = self.take(self.number(self.limits.integer, "bytes of an integer"))
        self.budget.spend(2 * len(body))
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
        kind = self.dtype(TORCH_DTYPES if tag in b"tv" else NUMPY_DTYPES)
        if tag == b"v" and not (kind.is_floating_point or kind.is_complex):
            raise WireError("a tensor of whole numbers that requires gradients")
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
        self.budget.spend(ARRAY + len(raw))
        if kind in (torch.bool, np.dtype(bool)) and elements and np.frombuffer(raw, np.uint8).max() > 1:
            raise WireError("a truth value that is neither 0 nor 1")
        if tag in b"tv":
            if not elements:
                return torch.empty(shape, dtype=kind)
            return torch.frombuffer(bytearray(raw), dtype=kind).reshape(shape)
        array = np.frombuffer(raw, kind).copy().reshape(shape)
        return array[()] if tag == b"g" else array


def variables(value) -> tuple[torch.Tensor, ...]:
    """The tensors that require gradients in nested lists, tuples and dicts."""
    found, pending = [], [value]
    while pending:
        item = pending.pop()
        if isinstance(item, torch.Tensor):
            found += [item] if item.requires_grad else []
        elif type(item) in (list, tuple):
            pending += item
        elif type(item) is dict:
            pending += item.values()
    return tuple(found)


def severed(tensor: torch.Tensor, refusal: Exception, inputs: tuple = ()) -> torch.Tensor:
    """`tensor` as the result of a computation whose graph stayed on the other side: gradients raise `refusal`.

    `inputs` are the tensors that it was computed from, as far as this side knows them.
    """
    return _Severed.apply([tensor], refusal, *(inputs or [torch.zeros((), requires_grad=True)]))


class _Severed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, box, refusal, *inputs):
        ctx.refusal = refusal
        return box.pop()

    @staticmethod
    def backward(ctx, *gradients):
        raise ctx.refusal
