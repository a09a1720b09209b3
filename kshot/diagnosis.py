"""From a wrong answer to the sentence about it: what the exercises on tensors share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Diagnosis = tuple[Tensor, str]  # what a typical mistake would have returned, and its sentence

FEW = 4  # numbers that a sentence can hold


def tell(got: Any, expected: Tensor, mistakes: Sequence[Diagnosis], shape: str) -> str | None:
    """None where `got` is `expected`; else the sentence of the mistake it looks like, else what can be said."""
    if got is None or got is Ellipsis:
        return "your function returns nothing yet: end it with `return`."
    if not isinstance(got, Tensor):
        return f"your function returns a {type(got).__name__}: return a tensor {shape}."
    if close(got, expected):
        return None
    for result, sentence in mistakes:
        if close(got, result):
            return sentence
    if got.shape != expected.shape:
        return f"the result has shape {tuple(got.shape)}, expected {tuple(expected.shape)}: {shape}."
    if not torch.isfinite(got.double()).all():
        return "the result holds NaN or infinity: look for a division by zero or a square root of a negative number."
    if got.numel() <= FEW:
        return f"the values are off: {numbers(got, expected)}."
    index = (got.double() - expected.double()).abs().flatten().argmax()
    place = [int(i) for i in torch.unravel_index(index, got.shape)]
    return (
        f"the shape is right, the values are not: at {place} it has {got.flatten()[index].item():.3g}, "
        f"expected {expected.flatten()[index].item():.3g}."
    )


def numbers(got: Tensor, expected: Tensor) -> str:
    """Both results in words, for a sentence about a few numbers."""
    rows = [", ".join(f"{value:.3g}" for value in each.flatten().tolist()) for each in (got, expected)]
    return f"it has {rows[0]}, expected {rows[1]}"


def shaped(got: Any, expected: Tensor) -> bool:
    """Whether `got` is a tensor of the expected shape."""
    return isinstance(got, Tensor) and got.shape == expected.shape


def close(got: Tensor, expected: Tensor) -> bool:
    """Whether two tensors have one shape and, up to rounding, the same values."""
    return got.shape == expected.shape and torch.allclose(got.detach().double(), expected.double(), atol=1e-4)
