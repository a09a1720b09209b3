"""Settings of a training as plain data, so that a checkpoint can say what it was made with."""

import dataclasses
import hashlib
import inspect
import re
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

TENSOR = re.compile(r"(?P<dtype>\w+) \[(?P<shape>[\d, ]*)\] (?P<hash>[0-9a-f]{12})")  # what `describe` says of one


def describe(thing: Any) -> Any:
    """`thing` as JSON-able data that is equal for equal settings.

    Modules by their printed structure, tensors by shape and content hash, dataclasses and other objects by their
    public fields, functions by name and code.
    """
    if thing is None or isinstance(thing, bool | int | float | str):
        return thing
    if isinstance(thing, Tensor):
        content = thing.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        return f"{str(thing.dtype)[6:]} {list(thing.shape)} {hashlib.sha256(content).hexdigest()[:12]}"
    if isinstance(thing, nn.Module):
        return " ".join(repr(thing).split())
    if dataclasses.is_dataclass(thing):
        kept = [f.name for f in dataclasses.fields(thing) if f.name != "device"]  # the same numbers on any device
        own = {name: describe(getattr(thing, name)) for name in kept}
        return {"kind": type(thing).__name__, **own}
    if isinstance(thing, list | tuple):
        return [describe(each) for each in thing]
    if isinstance(thing, FunctionType):
        body = repr((thing.__code__.co_code, thing.__code__.co_consts)).encode()
        return f"{thing.__qualname__} {hashlib.sha256(re.sub(rb' at 0x[0-9a-f]+', b'', body)).hexdigest()[:8]}"
    if inspect.isroutine(thing):
        return thing.__qualname__
    if hasattr(thing, "item") and getattr(thing, "ndim", None) == 0:  # a NumPy number
        return describe(thing.item())
    own = vars(thing) if hasattr(thing, "__dict__") else {}
    public = {name: describe(value) for name, value in own.items() if not name.startswith("_")}
    return {"kind": type(thing).__qualname__, **public}


def other_data(stored: dict, wanted: dict) -> str:
    """Which characters a training drew its tasks from then and now, or "" where they are the same."""
    tables = [settings.get("tasks") for settings in (stored, wanted)]
    found = [TENSOR.fullmatch(str(table.get("images"))) if isinstance(table, dict) else None for table in tables]
    if None in found or found[0][0] == found[1][0]:
        return ""
    then, now = (match["shape"].split(", ")[0] for match in found)
    return f"{then} characters then, {now} now" if then != now else f"{then} characters then and now, drawn otherwise"


def difference(stored: dict, wanted: dict) -> str:
    """A sentence naming each setting that differs, or "" where none does; the hashes of tensors come last."""
    parts, hashes = [], []

    def name_both(name: str, then: Any, now: Any) -> None:
        found = [TENSOR.fullmatch(str(each)) for each in (then, now)]
        if all(found):
            (then, first), (now, second) = ((f"{each['dtype']} [{each['shape']}]", each["hash"]) for each in found)
            parts.append(f"{name} was {then}, is {now if now != then else 'as large, but holds other numbers'}")
            hashes.append(f"{name} {first}, {second}")
        else:
            parts.append(f"{name} was {then!r}, is {now!r}")

    for name in [*wanted, *(name for name in stored if name not in wanted)]:
        then, now = stored.get(name), wanted.get(name)
        if then == now:
            continue
        if isinstance(then, dict) and isinstance(now, dict):
            keys = [key for key in {**then, **now} if then.get(key) != now.get(key)]
            for key in keys:
                name_both(f"{name}.{key}", then.get(key), now.get(key))
        else:
            parts.append("{} was {}, is {}".format(name, *_around_the_difference(then, now)))
    return "; ".join(parts) + (f" (SHA-256: {'; '.join(hashes)})" if hashes else "")


def _around_the_difference(then: Any, now: Any) -> tuple[str, str]:
    texts = repr(then), repr(now)
    if max(map(len, texts)) <= 100:
        return texts
    same = next((i for i, (a, b) in enumerate(zip(*texts)) if a != b), min(map(len, texts)))
    start = max(0, same - 30)
    return tuple(f"…{text[start : start + 90]}…" for text in texts)
