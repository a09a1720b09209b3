"""What the author of a hidden test may use; it works the same under `autograder grade`, `otter run` and `grader.check`.

Under `autograder grade` a test runs outside the student's process and the grader tells this module which submission
is being judged. Anywhere else the fallbacks serve: a fixed seed, direct calls, files of the working folder.
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

    The alphabets come from a secret seed of the assignment, the episodes from one of the submission and `name`.
    """
    from kshot.glyphs import generate
    from kshot.tasks import FewShot

    now = judging.get()
    seed = _seed(now.assignment_key if now else FIXED, "alphabets")
    with _lock:
        if (seed, alphabets) not in _alphabets:
            _alphabets[seed, alphabets] = generate(seed=seed, alphabets=alphabets)[0]
        images = _alphabets[seed, alphabets]
    return FewShot(images, ways, shots, queries).sample(tasks, rng(name))


def close(got, expected, rtol: float = 1e-4, atol: float = 1e-5) -> bool:
    """True if `got` is exactly of `expected`'s kind, shape and dtype, finite, and near it; else raises AssertionError.

    Numbers, tensors and NumPy arrays. |got - expected| <= atol + rtol * |expected| everywhere.
    """
    if isinstance(expected, (bool, int, float)) and not isinstance(expected, np.generic):
        if type(got) is not type(expected):
            raise AssertionError(f"expected a {type(expected).__name__}, got {_described(got)}")
        got, expected = torch.tensor(got), torch.tensor(expected)
    elif isinstance(expected, (np.ndarray, np.generic)):
        if not isinstance(got, (np.ndarray, np.generic)):
            raise AssertionError(f"expected a NumPy array, got {_described(got)}")
        if got.dtype != expected.dtype:
            raise AssertionError(f"expected dtype {expected.dtype}, got {got.dtype}")
        got, expected = torch.as_tensor(np.asarray(got)), torch.as_tensor(np.asarray(expected))
    elif type(got) is not torch.Tensor and type(got) is not torch.nn.Parameter:
        raise AssertionError(f"expected a tensor, got {_described(got)}")
    got, expected = got.detach().cpu(), expected.detach().cpu()
    if got.shape != expected.shape:
        raise AssertionError(f"expected shape {list(expected.shape)}, got {list(got.shape)}")
    if got.dtype != expected.dtype:
        raise AssertionError(f"expected dtype {expected.dtype}, got {got.dtype}")
    if not got.is_floating_point() and not got.is_complex():
        wrong = int((got != expected).sum())
        if wrong:
            raise AssertionError(f"{wrong} of {got.numel()} values are wrong")
        return True
    if not bool(torch.isfinite(got).all()):
        raise AssertionError("some values are not finite (NaN or infinity)")
    error = (got.to(_wide(got)) - expected.to(_wide(expected))).abs()
    bad = ~(error <= atol + rtol * expected.to(_wide(expected)).abs())
    if bool(bad.any()):
        raise AssertionError(f"{int(bad.sum())} of {got.numel()} values are off, by up to {error.max().item():.3g}")
    return True


def _wide(tensor: torch.Tensor) -> torch.dtype:
    return torch.complex128 if tensor.is_complex() else torch.float64


def _described(item) -> str:
    return "None" if item is None else f"a {type(item).__name__}"


def probe(function=None, *, fresh: bool = False):
    """Make `function`, the test author's, run inside the student's process and return plain data.

    It may close over the student's names, plain data and modules. With `fresh=True` it runs in a fresh sandbox in which
    no student code was run. It must hold no expected value: the student's code shares the process.
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
    """Mark an argument of a student's function: its changes in place are copied back into `value` after the call."""
    if judging.get() is None:
        return value
    from autograder.grading.proxies import Mutable

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

    Read outside the sandbox: only numbers come in, every size is checked before anything is built, and the code that
    then uses them is the test's own. Raises AssertionError, for the student, where the file is missing or unusable.
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
    """Where student code computes: inside a probe the slot's GPU if it has one; everywhere else the CPU."""
    return torch.device(os.environ.get("AUTOGRADER_DEVICE", "cpu"))


def keys(secret: bytes, assignment: str, submission: bytes) -> tuple[bytes, bytes]:
    """(of the submission, of the assignment): HMACs under the instructor's secret, from which all seeds are drawn."""
    digest = hashlib.sha256(submission).hexdigest()
    of_assignment = hmac.digest(secret, f"assignment\0{assignment}".encode(), "sha256")
    return hmac.digest(secret, f"submission\0{assignment}\0{digest}".encode(), "sha256"), of_assignment
