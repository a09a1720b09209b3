"""What a hidden test hands to the student's code: plain data as it is, all else as a recipe to rebuild inside."""

import dataclasses
import dis
import importlib
import marshal
import sys
import types
from collections import OrderedDict

import numpy as np
import torch

from autograder.grading.judging.proxies import Inexpressible, is_proxy
from autograder.grading.protocol.wire import Recipe, WireError

# Packages that also exist inside the sandbox, beside Python's own: what they hold can travel in by name.
KNOWN_INSIDE = {"torch", "numpy", "kshot", "safetensors", "scipy", "matplotlib", *sys.stdlib_module_names}
KNOWN_INSIDE |= {"autograder.testing"}


class Outward:
    """Turns what a test passes in into wire values. One per request: it notes the mutable arguments and callbacks."""

    def __init__(self, case):
        self.case, self.mutable, self.building = case, [], set()

    def __call__(self, item, as_code: bool = False):
        kind = type(item)
        if is_proxy(item):
            return self.case.handle_of(item)
        if kind is Mutable:
            self.mutable.append(item.value)
            return Recipe("mutable", item.value)
        if kind is torch.nn.Parameter:
            return Recipe("parameter", [item.detach(), item.requires_grad])
        if kind is OrderedDict:
            return Recipe("ordered", list(item.items()))
        if kind is torch.Generator:
            return Recipe("generator", item.get_state())
        if kind is torch.device:
            return Recipe("device", str(item))
        if kind is torch.Size:
            return tuple(item)
        if kind is range:
            return list(item)
        if isinstance(item, types.ModuleType):
            return Recipe("import", [item.__name__, ""])
        if callable(item) and not isinstance(item, torch.nn.Module):
            return self._callable(item, as_code)
        if _place(kind) and (isinstance(item, torch.nn.Module) or dataclasses.is_dataclass(item)):
            return Recipe("object", [*_place(kind), dict(vars(item))])
        what = f"A test cannot hand an object of type {kind.__name__} to the student's code: "
        if isinstance(item, torch.optim.Optimizer):
            raise WireError(f"{what}its parameters would be copies. Make it and step it in a probe.")
        if isinstance(item, np.random.Generator):
            raise WireError(f"{what}hand over a torch.Generator, or numbers drawn from it.")
        if isinstance(item, torch.Tensor):
            raise WireError(f"{what}only plain CPU tensors travel (this one: {item.layout}, {item.dtype}).")
        raise WireError(f"{what}hand over plain data or tensors, or build it in a probe.")

    def _callable(self, item, as_code: bool):
        place = _place(item)
        if place:
            return Recipe("import", list(place))
        if as_code and isinstance(item, types.FunctionType):
            return self.code(item)
        if isinstance(item, type):
            raise WireError(f"The class {item.__name__} is the test's own: define it in a probe.")
        return Recipe("callback", self.case.lend(item))

    def code(self, function: types.FunctionType) -> Recipe:
        """A probe's function: its code, the global names it uses and the values it closes over."""
        if function in self.building:
            raise WireError(f"The probe {function.__name__} refers to itself: write it without recursion.")
        self.building.add(function)
        known = function.__globals__
        names = {name: known[name] for name in _names(function.__code__) & known.keys() if not name.startswith("__")}
        try:
            closed = [cell.cell_contents for cell in function.__closure__ or ()]
        except ValueError:
            raise WireError(
                f"The probe {function.__name__} uses a name that is defined below it: define it first."
            ) from None
        body = [
            marshal.dumps(_anonymous(function.__code__)),
            function.__name__,
            function.__defaults__,
            function.__kwdefaults__,
            {name: self._inside(value) for name, value in names.items()},
            [self._inside(value) for value in closed],
        ]
        self.building.discard(function)
        return Recipe("code", body)

    def _inside(self, value):
        return self(value, as_code=True) if isinstance(value, types.FunctionType) else value


def _names(code: types.CodeType) -> set[str]:
    """The global names that a function uses, and those that functions inside it do."""
    own = {part.argval for part in dis.get_instructions(code) if part.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return own.union(*(_names(constant) for constant in code.co_consts if isinstance(constant, types.CodeType)))


def _anonymous(code: types.CodeType) -> types.CodeType:
    """The code without the places that say which test it comes from."""
    inner = tuple(_anonymous(part) if isinstance(part, types.CodeType) else part for part in code.co_consts)
    return code.replace(co_filename="<probe>", co_qualname=code.co_name, co_firstlineno=1, co_consts=inner)


def _place(item) -> tuple[str, str] | None:
    """(module, path) by which `item` can be imported inside, or None."""
    path = getattr(item, "__qualname__", None) or getattr(item, "__name__", "")
    for module in (getattr(item, "__module__", None), "torch", "torch.nn.functional", "builtins", "math"):
        if not isinstance(module, str) or not _known(module):
            continue
        for candidate in (path, getattr(item, "__name__", "")):
            if candidate and _resolve(module, candidate) is item:
                return module, candidate
    return None


def _known(module: str) -> bool:
    return module in KNOWN_INSIDE or module.split(".")[0] in KNOWN_INSIDE


def _resolve(module: str, path: str):
    found = sys.modules.get(module) or importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name, None)
    return found


class Mutable:
    """Marks an argument whose changes in place the test wants to see."""

    def __init__(self, value):
        if type(value) not in (torch.Tensor, np.ndarray, list, dict, set):
            raise Inexpressible(
                f"mutable() marks tensors, arrays, lists, dicts and sets, not a {type(value).__name__}."
            )
        self.value = value


def update(mine, theirs) -> None:
    """Make the test's mutable argument look as the student's code left it. Raises AssertionError if it cannot."""
    if type(mine) is not type(theirs):
        raise AssertionError("the student's code replaced an argument by something else")
    if isinstance(mine, (torch.Tensor, np.ndarray)) and (mine.shape != theirs.shape or mine.dtype != theirs.dtype):
        raise AssertionError("the student's code changed an argument's shape or dtype")
    if isinstance(mine, torch.Tensor):
        mine.data.copy_(theirs.detach())
    elif isinstance(mine, list):
        mine[:] = theirs
    elif isinstance(mine, (dict, set)):
        mine.clear()
        mine.update(theirs)
    else:
        mine[...] = theirs
