"""What a hidden test holds instead of a student's object: calls and reads travel in, only plain data travels out.

A proxy never lets the student's object decide anything in the test's process: it is not compared, ordered, hashed,
measured or truth-tested. Where a test asks for that, it is told what to write instead.
"""

import builtins
import importlib
import marshal
import sys
import types
from collections import OrderedDict

import torch

from autograder.grading.wire import Handle, Recipe, WireError

# Modules that also exist inside the sandbox: what they hold can travel in by name.
KNOWN_INSIDE = ("torch", "numpy", "math", "random", "itertools", "functools", "collections", "builtins", "operator")
KNOWN_INSIDE += ("kshot", "safetensors", "scipy", "matplotlib", "autograder.testing", "copy", "time", "gc", "warnings")


class Inexpressible(TypeError):
    """A hidden test asked for something that a proxy cannot do; the message says what to write instead."""


class StudentError(Exception):
    """An exception of the student's that is of no built-in type."""


EXCEPTIONS = {
    name: kind
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, Exception) and kind.__module__ == "builtins"
    if name not in ("ExceptionGroup", "BaseExceptionGroup") and not issubclass(kind, UnicodeError)
}


def student_exception(kind: str, name: str, text: str) -> Exception:
    """An exception to raise in the test for what was reported: a built-in type by its name, else a StudentError."""
    if kind in EXCEPTIONS and kind != "Exception":
        return EXCEPTIONS[kind](text[:500])
    return StudentError(f"{name[:100]}: {text[:500]}")


def _refuse(instead: str):
    def refusal(self, *others):
        raise Inexpressible(f"{self!r} stays in the student's process: {instead}")

    return refusal


class Proxy:
    """A function, class, instance or module of the student's, as one test case sees it."""

    def __init__(self, session, handle: Handle, case: int):
        object.__setattr__(self, "_remote", (session, handle, case))

    def __call__(self, *args, **kwargs):
        return self._remote[0].call(self, args, kwargs)

    def __getattr__(self, name: str):
        if name.startswith("__") and name not in ("__name__", "__doc__"):
            raise AttributeError(name)
        return self._remote[0].ask("attribute", self, name)

    def __getitem__(self, key):
        return self._remote[0].ask("item", self, key)

    def __iter__(self):
        return self._remote[0].ask("iterate", self)

    def __repr__(self) -> str:
        handle = self._remote[1]
        return f"<the student's {handle.kind} {handle.name[:60]!r}>"

    __eq__ = __ne__ = _refuse("compare plain data that it returns, with close() where that is a tensor.")
    __lt__ = __le__ = __gt__ = __ge__ = _refuse("compare a number that it returns.")
    __bool__ = _refuse("ask `is None`, or for a plain bool.")
    __len__ = _refuse("take len(list(...)) of it.")
    __contains__ = _refuse("look in list(...) of it.")
    __hash__ = _refuse("it cannot be a key.")
    __float__ = __int__ = __index__ = _refuse("ask for a plain number.")
    __setattr__ = __setitem__ = __delattr__ = __delitem__ = _refuse("change it in a probe.")
    __enter__ = __exit__ = __reduce_ex__ = _refuse("use it in a probe.")


class GeneratorProxy(Proxy):
    """A generator or iterator: every `next` is one question to the student's process, and counts."""

    def __iter__(self):
        return self

    def __next__(self):
        return self._remote[0].ask("next", self)


class ModuleProxy(Proxy):
    """An nn.Module: `isinstance(p, torch.nn.Module)` holds by the reported kind, the object is never asked."""

    __class__ = property(lambda self: torch.nn.Module)


class ClassProxy(Proxy):
    """A class: calling it makes an instance inside."""


PROXIES = {"generator": GeneratorProxy, "module": ModuleProxy, "class": ClassProxy}


def is_proxy(item) -> bool:
    """Whether `item` is a proxy, whatever class it claims."""
    return issubclass(type(item), Proxy)


class Outward:
    """Turns what a test passes in into wire values. One per request: it notes the mutable arguments and callbacks."""

    def __init__(self, session):
        self.session, self.mutable, self.building = session, [], set()

    def __call__(self, item, as_code: bool = False):
        kind = type(item)
        if is_proxy(item):
            return self.session.handle_of(item)
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
        if _place(kind) and hasattr(item, "__dict__"):
            return Recipe("object", [*_place(kind), dict(vars(item))])
        raise WireError(f"A test cannot hand a {kind.__name__} to the student's code: hand over plain data or tensors.")

    def _callable(self, item, as_code: bool):
        place = _place(item)
        if place:
            return Recipe("import", list(place))
        if as_code and isinstance(item, types.FunctionType):
            return self.code(item)
        if isinstance(item, type):
            raise WireError(f"The class {item.__name__} is the test's own: define it in a probe.")
        return Recipe("callback", self.session.register(item))

    def code(self, function: types.FunctionType) -> Recipe:
        """A probe's function: its code, the global names it uses and the values it closes over."""
        if function in self.building:
            raise WireError(f"The probe {function.__name__} refers to itself: write it without recursion.")
        self.building.add(function)
        names = {name: function.__globals__[name] for name in _names(function.__code__) if name in function.__globals__}
        closed = [cell.cell_contents for cell in function.__closure__ or ()]
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
    nested = [_names(constant) for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return set(code.co_names).union(*nested)


def _anonymous(code: types.CodeType) -> types.CodeType:
    inner = tuple(_anonymous(part) if isinstance(part, types.CodeType) else part for part in code.co_consts)
    return code.replace(co_filename="<probe>", co_consts=inner)


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
    return any(module == name or module.startswith(name + ".") for name in KNOWN_INSIDE)


def _resolve(module: str, path: str):
    found = sys.modules.get(module) or importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name, None)
    return found


class Mutable:
    """Marks an argument whose changes in place the test wants to see."""

    def __init__(self, value):
        self.value = value


def update(mine, theirs) -> None:
    """Make the test's mutable argument look as the student's code left it. Raises AssertionError if it cannot."""
    if type(mine) is not type(theirs):
        raise AssertionError("the student's code replaced an argument by something else")
    if isinstance(mine, torch.Tensor):
        if mine.shape != theirs.shape or mine.dtype != theirs.dtype:
            raise AssertionError("the student's code changed an argument's shape or dtype")
        mine.data.copy_(theirs)
    elif isinstance(mine, list):
        mine[:] = theirs
    elif isinstance(mine, (dict, set)):
        mine.clear()
        mine.update(theirs)
    else:
        mine[...] = theirs
