"""Settings of a training as plain data, so that a checkpoint can say what it was made with."""

import dataclasses
import hashlib
import inspect
from typing import Any

import torch
from torch import Tensor, nn


def describe(thing: Any) -> Any:
    """`thing` as JSON-able data that is equal for equal settings.

    Modules by their printed structure, tensors by shape and content hash, dataclasses field by field, functions by
    qualified name.
    """
    if thing is None or isinstance(thing, bool | int | float | str):
        return thing
    if isinstance(thing, Tensor):
        content = thing.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        return f"{str(thing.dtype)[6:]} {list(thing.shape)} {hashlib.sha256(content).hexdigest()[:12]}"
    if isinstance(thing, nn.Module):
        return " ".join(repr(thing).split())
    if dataclasses.is_dataclass(thing):
        own = {f.name: describe(getattr(thing, f.name)) for f in dataclasses.fields(thing)}
        return {"kind": type(thing).__name__, **own}
    if isinstance(thing, list | tuple):
        return [describe(each) for each in thing]
    if inspect.isroutine(thing):
        return thing.__qualname__
    return type(thing).__qualname__


def difference(stored: dict, wanted: dict) -> str:
    """A sentence naming each setting that differs, or "" where none does."""
    parts = []
    for name in wanted:
        then, now = stored.get(name), wanted[name]
        if then == now:
            continue
        if isinstance(then, dict) and isinstance(now, dict):
            parts += [
                f"{name}.{key} was {then.get(key)!r}, is {now[key]!r}" for key in now if then.get(key) != now[key]
            ]
        else:
            parts.append(f"{name} was {_short(then)}, is {_short(now)}")
    return "; ".join(parts)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:200] + "…"
