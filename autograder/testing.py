"""What the author of a hidden test may use; it works the same under `autograder grade`, `otter run` and `grader.check`.

Under `autograder grade` a test runs outside the student's process and the grader tells this module which submission
is being judged. Anywhere else the fallbacks serve: a fixed seed, direct calls, files of the working folder.

A test draws its inputs with `rng`, asks the student's code, and only then computes what it expects: nothing that is
expected exists while the student's code runs. Gradients, training steps, timing and memory are measured in a `probe`,
which returns the numbers to judge; labels and expected values stay out of it, also out of a fresh one.
"""

import functools
import hashlib
import hmac
import json
import math
import os
import struct
import threading
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

__all__ = ["close", "device", "hidden_tasks", "mutable", "once", "probe", "rng", "submitted"]

WEIGHTS_MB = 64
FIXED = b"plain otter run"


@dataclass
class Judging:
    """One submission under judgement: its session, its keys, the files handed in, what `once` remembers."""

    session: object
    apart: object  # () -> a session in a fresh sandbox where no notebook was run
    submission_key: bytes
    assignment_key: bytes
    files: dict[str, bytes]
    memory: dict = field(default_factory=dict)


judging: ContextVar[Judging | None] = ContextVar("judging", default=None)
_memory: dict = {}
_alphabets: dict = {}
_lock = threading.Lock()


def rng(name: str) -> torch.Generator:
    """A generator for the inputs called `name`: another for each submission and name, the same at every re-grade."""
    now = judging.get()
    return torch.Generator().manual_seed(_seed(now.submission_key if now else FIXED, name))


def _seed(key: bytes, name: str) -> int:
    return int.from_bytes(hmac.digest(key, name.encode(), "sha256")[:7], "big")


def hidden_tasks(ways: int, shots: int, queries: int, tasks: int = 100, name: str = "tasks", alphabets: int = 8):
    """`kshot.Episodes` over Glyphs alphabets that no student has seen: N-way K-shot, `queries` a class.

    The alphabets come from a secret seed of the assignment, the episodes from one of the submission and `name`. Support
    and queries come in random order, so that nothing but the images tells a label.
    """
    from kshot.episodes import Episodes
    from kshot.glyphs import generate
    from kshot.tasks import FewShot

    now = judging.get()
    seed = _seed(now.assignment_key if now else FIXED, "alphabets")
    with _lock:
        if (seed, alphabets) not in _alphabets:
            _alphabets[seed, alphabets] = generate(seed=seed, alphabets=alphabets)[0]
        images = _alphabets[seed, alphabets]
    generator = rng(name)
    drawn = FewShot(images, ways, shots, queries).sample(tasks, generator)
    support = _shuffled(generator, drawn.support_x, drawn.support_y)
    return Episodes(*support, *_shuffled(generator, drawn.query_x, drawn.query_y))


def _shuffled(generator: torch.Generator, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The examples of each task, x [T, B, ...] and y [T, B], in an order of the task's own."""
    order = torch.rand(y.shape, generator=generator).argsort(1)
    return x[torch.arange(len(x))[:, None], order], y.gather(1, order)


def close(got, expected, rtol: float = 1e-4, atol: float = 1e-5) -> bool:
    """True if `got` is exactly of `expected`'s kind, shape and dtype, finite, and near it; else raises AssertionError.

    Numbers, tensors and NumPy arrays. |got - expected| <= atol + rtol * |expected| everywhere, or, for integers and
    truth values, equality. Raises TypeError or ValueError where nothing can be near to `expected`.
    """
    kind = _kind(expected)
    if kind is None:
        raise TypeError(
            f"close() compares numbers, tensors and arrays, not a {type(expected).__name__}: "
            "compare other plain data with ==, and the parts of a list one by one"
        )
    if _kind(got) != kind:
        raise AssertionError(f"expected {_article(kind)}, got {_described(got)}")
    if kind in ("bool", "int"):
        if got != expected:
            raise AssertionError("the value is wrong")
        return True
    if kind in ("tensor", "NumPy array"):
        if got.shape != expected.shape:
            raise AssertionError(f"expected shape {list(expected.shape)}, got {list(got.shape)}")
        if got.dtype != expected.dtype:
            raise AssertionError(f"expected dtype {expected.dtype}, got {got.dtype}")
    got, expected = _tensor(got), _tensor(expected)
    if not got.is_floating_point() and not got.is_complex():
        wrong = int((got != expected).sum())
        if wrong:
            raise AssertionError(f"{wrong} of {got.numel()} values are wrong")
        return True
    if not bool(torch.isfinite(got).all()):
        raise AssertionError("some values are not finite (NaN or infinity)")
    if not bool(torch.isfinite(expected).all()):
        raise ValueError("the expected value holds NaN or infinity: nothing is close to that")
    wide = torch.complex128 if got.is_complex() else torch.float64
    error = (got.to(wide) - expected.to(wide)).abs()
    bad = ~(error <= atol + rtol * expected.to(wide).abs())
    if bool(bad.any()):
        raise AssertionError(f"{int(bad.sum())} of {got.numel()} values are off, by up to {error.max().item():.3g}")
    return True


def _kind(item) -> str | None:
    """What `item` is, of the kinds that can be compared; exact types only, so that nothing lies about itself."""
    if type(item) in (bool, int, float, complex):
        return type(item).__name__
    if (type(item) is np.ndarray or type(item).__module__ == "numpy") and _is_number(item):
        return "NumPy array"
    if type(item) in (torch.Tensor, torch.nn.Parameter) and item.layout is torch.strided:
        return "tensor"
    return None


def _is_number(item) -> bool:
    return isinstance(item, (np.ndarray, np.generic)) and item.dtype.kind in "biufc"


def _tensor(item) -> torch.Tensor:
    if type(item) in (float, complex):
        return torch.tensor(item, dtype=torch.float64 if type(item) is float else torch.complex128)
    return torch.as_tensor(np.asarray(item)) if not isinstance(item, torch.Tensor) else item.detach().cpu()


def _article(kind: str) -> str:
    return f"an {kind}" if kind == "int" else f"a {kind}"


def _described(item) -> str:
    return "None" if item is None else _article(type(item).__name__)


def probe(function=None, *, fresh: bool = False):
    """Make `function`, the test author's, run inside the student's process and return plain data.

    It may close over the student's names, plain data and modules. With `fresh=True` it runs in a fresh sandbox in which
    no student code was run. It must hold no label and no expected value: the student's code shares the process, or,
    beside a fresh one, the GPU.
    """
    if function is None:
        return functools.partial(probe, fresh=fresh)

    @functools.wraps(function)
    def run(*args, **kwargs):
        now = judging.get()
        if now is None:
            return function(*args, **kwargs)
        return (now.apart() if fresh else now.session).probe(function, args, kwargs)

    return run


def mutable(value):
    """Mark an argument of a student's function: its changes in place are copied back into `value` after the call.

    A tensor, an array, a list, a dict or a set. Use it only to test the change itself: code that changes an input could
    otherwise change what is expected of it.
    """
    if judging.get() is None:
        return value
    from autograder.grading.judging.outward import Mutable

    return Mutable(value)


def once(name: str, compute):
    """`compute()`, run once per submission and remembered under `name`: a ladder of cases shares one evaluation."""
    now = judging.get()
    memory = now.memory if now else _memory
    if name not in memory:
        try:
            memory[name] = (True, compute())
        except Exception as error:
            memory[name] = (False, error)
    worked, result = memory[name]
    if not worked:
        raise result
    return result


def submitted(name: str) -> dict[str, torch.Tensor]:
    """The weights that were handed in as the safetensors file `name`, by tensor name.

    Read outside the sandbox: only numbers come in, every size is checked before anything is built. A fresh probe can
    load them into the homework's own network and return its predictions, which the test then scores. Raises
    AssertionError, for the student, where the file is missing or unusable.
    """
    now = judging.get()
    here = Path(name)
    content = now.files.get(name) if now else here.read_bytes() if here.is_file() else None
    if content is None:
        raise AssertionError(f"no file {name} was handed in")
    return read_weights(content, name)


def read_weights(content: bytes, name: str) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, or AssertionError: at most 64 MB, 2,000 tensors, floats and integers only."""
    from safetensors.torch import load

    if len(content) > WEIGHTS_MB << 20:
        raise AssertionError(f"{name} is larger than {WEIGHTS_MB} MB")
    try:
        (size,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + size]) if size < 1 << 20 else None
        tensors = [entry for key, entry in header.items() if key != "__metadata__"]
        dtypes = {entry["dtype"] for entry in tensors}
        counts = [math.prod(entry["shape"]) for entry in tensors]
        sizes = [max(entry["shape"], default=0) for entry in tensors]
        if len(tensors) > 2000 or not dtypes <= {"F16", "BF16", "F32", "F64", "I64", "I32", "I8", "U8"}:
            raise ValueError
        if any(count > 1 << 26 for count in counts) or any(size > 1 << 26 for size in sizes):
            raise ValueError
        return load(content)
    except Exception:
        raise AssertionError(f"{name} is not a safetensors file of weights") from None


def device() -> torch.device:
    """Where student code computes: inside a probe the slot's GPU if it has one; everywhere else the CPU.

    A test itself stays on the CPU, with its labels and what it expects: student code can read what is on its GPU.
    """
    return torch.device("cpu" if judging.get() else os.environ.get("AUTOGRADER_DEVICE", "cpu"))


def keys(secret: bytes, assignment: str, submission: bytes) -> tuple[bytes, bytes]:
    """(of the submission, of the assignment): HMACs under the instructor's secret, from which all seeds are drawn."""
    digest = hashlib.sha256(submission).hexdigest()
    of_assignment = hmac.digest(secret, f"assignment\0{assignment}".encode(), "sha256")
    return hmac.digest(secret, f"submission\0{assignment}\0{digest}".encode(), "sha256"), of_assignment
