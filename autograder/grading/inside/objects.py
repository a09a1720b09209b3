"""Inside the sandbox: what leaves as plain data, what stays behind as a handle, how the judge's recipes are rebuilt."""

import importlib
import marshal
import os
import types
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterator

import torch

from autograder.grading.protocol.decode import decode
from autograder.grading.protocol.wire import TORCH_DTYPES, Handle, WireError, encode

_AS_DICT = (OrderedDict, defaultdict, Counter, types.MappingProxyType)
_AS_LIST = (range, type({}.keys()), type({}.values()), type({}.items()))


class Objects:
    """The table of objects that the judge may refer to, until it says that the test case is over."""

    def __init__(self, callback):
        self.callback, self.table, self.mutable, self.key = callback, {}, [], bytes(8)

    def begin(self, key: bytes) -> None:
        """Every handle given so far loses its meaning; the numbers of those to come begin with `key`."""
        self.table.clear()
        self.key = key

    def __getitem__(self, handle: Handle):
        if handle.number not in self.table:
            raise WireError("a handle of another test case")
        return self.table[handle.number]

    def pack(self, value) -> bytearray:
        """The bytes of `value`; what is not plain data goes as a handle."""
        return encode(value, self._opaque)

    def unpack(self, payload, variable=None):
        """The judge's value: handles become the objects they stand for, recipes what they describe."""
        self.mutable = []
        return decode(payload, handle=self.__getitem__, recipe=self._build, variable=variable)

    def _opaque(self, item):
        kind = type(item)
        if isinstance(item, torch.Tensor) and _is_plain(item):
            return item.detach().as_subclass(torch.Tensor).requires_grad_(item.requires_grad)
        if kind in _AS_DICT:
            return dict(item)
        if kind in _AS_LIST:
            return list(item)
        if kind is torch.Size:
            return tuple(item)
        if kind is frozenset:
            return set(item)
        number = self.key + os.urandom(8)
        self.table[number] = item
        return Handle(number, _kind(item), str(getattr(item, "__name__", kind.__name__)))

    def _build(self, kind: str, body):
        if kind == "import":
            return _imported(*body)
        if kind == "object":
            built = object.__new__(_imported(*body[:2]))
            built.__dict__.update(body[2])
            return built
        if kind == "parameter":
            return torch.nn.Parameter(body[0], requires_grad=body[1])
        if kind == "ordered":
            return OrderedDict(body)
        if kind == "generator":
            generator = torch.Generator()
            generator.set_state(body)
            return generator
        if kind == "device":
            return torch.device(body)
        if kind == "callback":
            return self.callback(body)
        if kind == "mutable":
            self.mutable.append(body)
            return body
        if kind == "code":
            return _function(*body)
        raise WireError(f"an unknown recipe {kind!r}")


def _is_plain(tensor: torch.Tensor) -> bool:
    return tensor.layout is torch.strided and tensor.dtype in TORCH_DTYPES and tensor.device.type != "meta"


def _kind(item) -> str:
    if isinstance(item, torch.nn.Module):
        return "module"
    if isinstance(item, type):
        return "class"
    if isinstance(item, Iterator):
        return "generator"
    return "function" if callable(item) else "instance"


def _imported(module: str, path: str):
    found = importlib.import_module(module)
    for name in path.split(".") if path else ():
        found = getattr(found, name)
    return found


def _function(code: bytes, name: str, defaults, keywords, names: dict, closure: list):
    """A probe: the test author's function with its global names and closed-over values."""
    space = {"__builtins__": __builtins__, "__name__": "probe", **names}
    cells = tuple(types.CellType(value) for value in closure)
    built = types.FunctionType(marshal.loads(code), space, name, defaults, cells)
    built.__kwdefaults__ = keywords
    return built
