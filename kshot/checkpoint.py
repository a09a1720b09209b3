"""Trained weights on disk: safetensors with metadata, never pickle."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

SHIPPED = Path(__file__).parent.parent / "datasets" / "checkpoints"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used, with the reason."""


def save(path: Path | str, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Write `tensors` and `metadata` (anything JSON holds) to `path`, whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        # clone: safetensors refuses weights that share memory, and wants plain layouts
        layout = torch.contiguous_format
        plain = {name: tensor.detach().cpu().clone(memory_format=layout) for name, tensor in tensors.items()}
        save_file(plain, scratch, {"kshot": json.dumps(metadata)})
        scratch.chmod(0o644)  # safetensors makes files that only their owner may read
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def read(path: Path | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the metadata of a checkpoint.

    Raises FileNotFoundError where there is none, CheckpointError where it is truncated or not a checkpoint of kshot.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no checkpoint at {path}")
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder: name a file in it")
    try:
        with safe_open(path, framework="pt") as stored:
            metadata = json.loads((stored.metadata() or {}).get("kshot", "null"))
            tensors = {name: stored.get_tensor(name).clone() for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, OSError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}): it is truncated or no safetensors file; delete it to start again"
        ) from error
    if not isinstance(metadata, dict):
        raise CheckpointError(f"{path} was not written by kshot: its header lacks the entry 'kshot'")
    return tensors, metadata


def load(path: Path | str, learner: nn.Module) -> dict[str, Any]:
    """Put the weights at `path` into `learner`; returns the metadata.

    Raises CheckpointError, leaving the learner as it was, where the weights are those of another learner.
    """
    tensors, metadata = read(path)
    own = learner.state_dict()
    for name in sorted(own.keys() | tensors.keys()):
        if name not in tensors or name not in own:
            where = "the checkpoint lacks" if name not in tensors else "the learner has no"
            raise CheckpointError(f"{path} belongs to another learner than this {_name(learner)}: {where} {name!r}")
        if own[name].shape != tensors[name].shape:
            raise CheckpointError(
                f"{path} belongs to another learner than this {_name(learner)}: {name!r} has shape "
                f"{tuple(tensors[name].shape)} there and {tuple(own[name].shape)} here"
            )
    learner.load_state_dict(tensors)
    return metadata


def shipped(name: str) -> Path:
    """The path of a checkpoint that comes with the course; raises KeyError naming those there are."""
    path = SHIPPED / f"{name}.safetensors"
    if not path.exists():
        known = ", ".join(sorted(found.stem for found in SHIPPED.glob("*.safetensors"))) or "none"
        raise KeyError(f"no checkpoint is called {name!r}; the course ships: {known}")
    return path


def _name(learner: nn.Module) -> str:
    return type(learner).__name__
