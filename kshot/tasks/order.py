"""The order in which a task's examples come, drawn anew for each task."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kshot.episodes import Episodes, TaskDistribution


@dataclass(frozen=True)
class Shuffled:
    """The tasks of another distribution, the support of each in a random order.

    FewShot gives the support class after class. What reads it as a sequence could then tell a label from its
    place and never look at it.
    """

    tasks: TaskDistribution

    def sample(self, tasks: int, generator: torch.Generator) -> Episodes:
        """Draw `tasks` episodes; the orders are drawn after them, from the same `generator`."""
        drawn = self.tasks.sample(tasks, generator)
        order = torch.rand(drawn.support_x.shape[:2], generator=generator).argsort(1).to(drawn.support_x.device)
        y = drawn.support_y
        y = None if y is None else _reorder(y, order)
        return Episodes(_reorder(drawn.support_x, order), y, drawn.query_x, drawn.query_y)


def _reorder(values: Tensor, order: Tensor) -> Tensor:
    return torch.take_along_dim(values, order.view(*order.shape, *[1] * (values.dim() - 2)), 1)
