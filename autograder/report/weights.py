"""Compares submitted checkpoints by the distance of their weights, not by their bytes."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch

from autograder.report.likeness import Pair

NEAR = 0.02  # weights retrained from another seed lie about 0.3 to 1.4 apart, an untrained start 0.2 from 20 steps on
MOST_VALUES = 1 << 15  # of a large network, evenly spaced ones are compared


@dataclass(frozen=True)
class Checkpoint:
    """One file of weights: whose, its tensors' names and shapes, and their values in one vector."""

    owner: int
    file: str
    shapes: tuple
    values: np.ndarray


def read_checkpoint(owner: int, file: str, tensors: dict[str, torch.Tensor]) -> Checkpoint | None:
    """The floating-point weights, each tensor divided by its root mean square so that none drowns another.

    None where there is nothing to compare.
    """
    floats = {name: tensor for name, tensor in sorted(tensors.items()) if tensor.is_floating_point() and tensor.numel()}
    if not floats:
        return None
    step = -(-sum(tensor.numel() for tensor in floats.values()) // MOST_VALUES)
    parts = []
    for tensor in floats.values():
        flat = torch.nan_to_num(tensor.flatten()[::step].float(), posinf=0.0, neginf=0.0)
        parts.append(flat / flat.square().mean().sqrt().clamp(min=1e-30))
    shapes = tuple((name, tuple(tensor.shape)) for name, tensor in floats.items())
    return Checkpoint(owner, file, shapes, torch.cat(parts).numpy())


def distance(first: Checkpoint, second: Checkpoint) -> float:
    """Root mean square difference of two networks of the same shapes: 0 for equal weights, 1.4 for unrelated ones."""
    return float(np.sqrt(np.mean(np.square(first.values - second.values, dtype=np.float64))))


def near(checkpoints: list[Checkpoint]) -> list[Pair]:
    """Pairs of owners with nearly the same weights; `share` is 1 minus the distance."""
    by_shape: dict[tuple, list[Checkpoint]] = defaultdict(list)
    for checkpoint in checkpoints:
        by_shape[checkpoint.shapes].append(checkpoint)
    best: dict[tuple[int, int], float] = {}
    for same in by_shape.values():
        for first, second in _candidates(same):
            apart = distance(first, second)
            key = tuple(sorted((first.owner, second.owner)))
            if key[0] != key[1] and apart <= NEAR:
                best[key] = min(best.get(key, NEAR), apart)
    pairs = [Pair(first, second, 1 - apart) for (first, second), apart in best.items()]
    return sorted(pairs, key=lambda pair: (-pair.share, pair.first, pair.second))


def _candidates(same: list[Checkpoint]) -> list[tuple[Checkpoint, Checkpoint]]:
    """Pairs whose squared distance by one matrix product is small: rounding may add some, `distance` decides."""
    values = np.stack([checkpoint.values for checkpoint in same])
    square = np.einsum("ij,ij->i", values, values)
    apart = square[:, None] + square[None, :] - 2 * (values @ values.T)
    limit = (2 * NEAR) ** 2 * values.shape[1]
    return [(same[a], same[b]) for a, b in np.argwhere(np.triu(apart <= limit, 1))]
