"""Where to compute: the device asked for, or a sentence that says why not."""

import torch


def device(name: str = "auto") -> torch.device:
    """The device called `name`: "cpu", "cuda", "cuda:1", "mps", or "auto" (a CUDA GPU where there is one, else CPU).

    Raises ValueError where this machine, or this build of torch, has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and not index.isdigit()):
        raise ValueError(f'a device is "cpu", "cuda", "cuda:1", ..., "mps" or "auto", but {name!r} was asked for')
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ValueError(f'there is no MPS device here ({_build()}): it needs a Mac with an Apple chip; use "cpu"')
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f'there is no CUDA GPU here ({_build()}): use "cpu", or "auto" to take what there is')
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise ValueError(f"{name!r} was asked for, but this machine has only {torch.cuda.device_count()} CUDA GPU(s)")
    return torch.device(name)


def _build() -> str:
    cuda = f"CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    return f"torch {torch.__version__}, {cuda}"
