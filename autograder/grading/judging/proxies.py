"""What a hidden test holds instead of a student's object: calls and reads travel in, only plain data travels out.

A proxy never lets the student's object decide anything in the test's process: it is not compared, ordered, hashed,
measured or truth-tested. Where a test asks for that, it is told what to write instead.
"""

import builtins

import torch

from autograder.grading.protocol.wire import EXCEPTIONS, Handle


class Inexpressible(TypeError):
    """A hidden test asked for something that a proxy cannot do; the message says what to write instead."""


class StudentError(Exception):
    """An exception of the student's that is of no built-in type."""


def student_exception(kind: str, name: str, text: str) -> Exception:
    """An exception to raise in the test for what was reported: a built-in type by its name, else a StudentError."""
    if kind in EXCEPTIONS:
        return getattr(builtins, kind)(text[:500])
    return StudentError(f"{name[:100]}: {text[:500]}")


def _refuse(instead: str):
    def refusal(self, *others, **named):
        raise Inexpressible(f"{self!r} stays in the student's process: {instead}")

    return refusal


_NUMBER = _refuse("it is no number. Ask for a plain number or tensor, or calculate in a probe.")
# What Python, NumPy and torch look for in an object before they give up on it, and what a test should write instead.
_INSPECTED = "its source and signature cannot be read here. Test what it returns, or inspect it in a probe."
_SWAPPED = "its parameters cannot be swapped from here. Use its load_state_dict(), or functional_call() in a probe."
_NO_ARRAY = "it is no array. Ask for a plain tensor or array."
_LOOKED_FOR = {
    **dict.fromkeys(("__wrapped__", "__code__", "__defaults__", "__kwdefaults__", "__closure__"), _INSPECTED),
    **dict.fromkeys(("_parameters", "_buffers", "_modules"), _SWAPPED),
    **dict.fromkeys(("__array__", "__array_interface__", "__array_struct__"), _NO_ARRAY),
    "__bases__": "ask issubclass() in a probe.",
}


class Proxy:
    """An object of the student's, as one test case sees it."""

    __slots__ = ("_remote",)
    __doc__ = property(lambda self: self._remote[0].ask("attribute", self, "__doc__"))

    def __init__(self, case, handle: Handle):
        object.__setattr__(self, "_remote", (case, handle))

    def __getattr__(self, name: str):
        if name in _LOOKED_FOR:
            _refuse(_LOOKED_FOR[name])(self)
        if name.startswith("__") and name != "__name__":
            raise AttributeError(f"{self!r} shows no {name}: look at it in a probe.")
        return self._remote[0].ask("attribute", self, name)

    def __getitem__(self, key):
        return self._remote[0].ask("item", self, key)

    def __iter__(self):
        return self._remote[0].ask("iterate", self)

    def __repr__(self) -> str:
        handle = self._remote[1]
        return f"<the student's {handle.kind} {handle.name[:60]!r}>"

    def __format__(self, specification: str) -> str:
        if specification:
            _NUMBER(self)
        return repr(self)

    @classmethod
    def __torch_function__(cls, function, kinds, args=(), kwargs=None):
        name = getattr(function, "__name__", "a function")
        raise Inexpressible(f"torch's {name} cannot use an object of the student's: ask for a plain tensor.")

    __eq__ = __ne__ = _refuse("compare plain data that it returns, with close() where that is a tensor.")
    __lt__ = __le__ = __gt__ = __ge__ = _refuse("compare a number that it returns.")
    __bool__ = _refuse("ask `is None`, or for a plain bool.")
    __len__ = _refuse("take len(list(...)) of it, or ask for a plain list or tensor.")
    __contains__ = _refuse("look in list(...) of it.")
    __hash__ = _refuse("it cannot be a key.")
    __float__ = __int__ = __index__ = __complex__ = __abs__ = __neg__ = __pos__ = __round__ = __invert__ = _NUMBER
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __matmul__ = __rmatmul__ = _NUMBER
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = _NUMBER
    __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = _NUMBER
    __array_ufunc__ = __array_function__ = _refuse("NumPy cannot use it. Ask for a plain tensor or array.")
    __setattr__ = __setitem__ = __delattr__ = __delitem__ = _refuse("change it in a probe.")
    __enter__ = __exit__ = __await__ = __aiter__ = _refuse("use it in a probe.")
    __copy__ = __deepcopy__ = _refuse("hand it on as it is, or copy it in a probe.")
    __reduce_ex__ = __reduce__ = _refuse("it cannot be pickled. Ask for its state_dict() or other plain data.")
    __instancecheck__ = _refuse("ask isinstance() in a probe.")
    __mro_entries__ = _refuse("subclass it in a probe.")
    __dir__ = _refuse("list its names in a probe.")


class GeneratorProxy(Proxy):
    """A generator or iterator: every `next` is one question to the student's process, and counts."""

    __slots__, __doc__ = (), Proxy.__doc__

    def __iter__(self):
        return self

    def __next__(self):
        return self._remote[0].ask("next", self)


class CallableProxy(Proxy):
    """A function, a class (a call makes an instance inside), or anything else that can be called."""

    __slots__, __doc__ = (), Proxy.__doc__

    def __call__(self, *args, **kwargs):
        return self._remote[0].call(self, args, kwargs)


class ModuleProxy(CallableProxy):
    """An nn.Module: `isinstance(p, torch.nn.Module)` holds by the reported kind, the object is never asked."""

    __slots__, __doc__ = (), Proxy.__doc__
    __class__ = property(lambda self: torch.nn.Module)


PROXIES = {
    "function": CallableProxy,
    "class": CallableProxy,
    "instance": Proxy,
    "module": ModuleProxy,
    "generator": GeneratorProxy,
}


def is_proxy(item) -> bool:
    """Whether `item` is a proxy, whatever class it claims."""
    return issubclass(type(item), Proxy)
