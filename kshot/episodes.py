"""What every learner reads and every task distribution gives: a batch of episodes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Episodes:
    """T tasks at once, each a small training set (support) and the inputs to predict (query).

    support_x: [T, S, *x]
    support_y: [T, S] class ids 0..N-1, or [T, S, d] targets, or None where the support is unlabelled
    query_x:   [T, Q, *x]
    query_y:   [T, Q] or [T, Q, d]

    Raises ValueError where the four do not describe the same tasks, where class ids are negative or
    fractional, or where an image or target is not finite.
    """

    support_x: Tensor
    support_y: Tensor | None
    query_x: Tensor
    query_y: Tensor

    def __post_init__(self) -> None:
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
        if len({len(part) for part in given.values()}) > 1:
            sizes = ", ".join(f"{name} {tuple(part.shape)}" for name, part in given.items())
            raise ValueError(f"every part of Episodes starts with the same number of tasks, but these differ: {sizes}")
        for side, x, y in (("support", self.support_x, self.support_y), ("query", self.query_x, self.query_y)):
            _check_side(side, x, y)
        if self.support_y is not None and not self.support_y.is_floating_point() and self.query_y.numel():
            asked = int(self.query_y.max())
            if asked >= self.ways:
                raise ValueError(f"query_y holds class {asked}, but the support has only classes 0..{self.ways - 1}")

    @classmethod
    def unchecked(cls, support_x: Tensor, support_y: Tensor | None, query_x: Tensor, query_y: Tensor) -> "Episodes":
        """Episodes that are right by construction: looking through every image costs more than drawing them."""
        made = object.__new__(cls)
        for name, part in dict(support_x=support_x, support_y=support_y, query_x=query_x, query_y=query_y).items():
            object.__setattr__(made, name, part)
        return made

    @property
    def tasks(self) -> int:
        """T, the number of tasks."""
        return len(self.query_x)

    @property
    def ways(self) -> int:
        """N, the number of classes, read from the support's class ids."""
        return ways_of(self.support_y)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "Episodes":
        """The same episodes on `device`, images and targets in `dtype` if it is given."""
        return self._each(lambda part: part.to(device, dtype if part.is_floating_point() else None))

    def __getitem__(self, tasks: slice) -> "Episodes":
        """The episodes of a slice of the tasks: `episodes[:8]`."""
        return self._each(lambda part: part[tasks])

    def split(self, size: int) -> Iterator["Episodes"]:
        """These episodes in chunks of at most `size` tasks."""
        for start in range(0, self.tasks, size):
            yield self[start : start + size]

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Episodes":
        parts = {each.name: getattr(self, each.name) for each in fields(self)}
        changed = {name: part if part is None else change(part) for name, part in parts.items()}
        return Episodes.unchecked(**changed)  # they were checked before: checking again would wait for the GPU


class TaskDistribution(Protocol):
    """Anything that can be asked for tasks."""

    def sample(self, tasks: int, generator: torch.Generator) -> Episodes:
        """Draw `tasks` i.i.d. tasks; every random number comes from the CPU `generator`."""
        ...


def ways_of(support_y: Tensor | None) -> int:
    """N, the number of classes in a support of class ids [T, S].

    Raises ValueError where the support is unlabelled or holds targets instead of class ids.
    """
    if support_y is None or support_y.is_floating_point():
        kind = "no labels" if support_y is None else f"targets of shape {tuple(support_y.shape)}"
        raise ValueError(f"a classifier needs class ids [T, S] in support_y, but the support holds {kind}")
    return int(support_y.max()) + 1


def one_hot(y: Tensor, ways: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Class ids [T, S] as indicators [T, S, N] of 0 and 1; raises ValueError on a label outside 0..N-1."""
    if y.numel() and not 0 <= int(y.min()) <= int(y.max()) < ways:
        bad = int(y.max()) if int(y.max()) >= ways else int(y.min())
        raise ValueError(f"labels hold class {bad}, but ways={ways}: relabel the classes 0..{ways - 1} in each episode")
    return F.one_hot(y, ways).to(dtype)


def _check_side(side: str, x: Tensor, y: Tensor | None) -> None:
    if 0 in x.shape[:2]:
        raise ValueError(f"{side}_x is empty: it has shape {tuple(x.shape)}")
    if x.is_floating_point() and not torch.isfinite(x).all():
        raise ValueError(f"{side}_x holds values that are not finite (NaN or infinity): clean the images first")
    if y is None:
        return
    if y.shape[:2] != x.shape[:2]:
        raise ValueError(f"{side}_x holds {tuple(x.shape[:2])} (tasks, examples) but {side}_y {tuple(y.shape[:2])}")
    if y.is_floating_point():
        if y.dim() == 2:
            raise ValueError(
                f"{side}_y has fractional class ids ({y.dtype}): use whole numbers (targets have three axes)"
            )
        if not torch.isfinite(y).all():
            raise ValueError(f"{side}_y holds targets that are not finite (NaN or infinity)")
    elif y.dtype != torch.int64:
        raise ValueError(f"{side}_y holds class ids of type {y.dtype}: use torch.int64, as `labels.long()` gives")
    elif y.numel() and int(y.min()) < 0:
        raise ValueError(f"{side}_y holds class {int(y.min())}: relabel the classes 0..N-1 within each episode")
