"""The order in which a task's examples come, drawn anew for each task."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kshot.episodes import Episodes, TaskDistribution


@dataclass(frozen=True)
class Shuffled:
    """The tasks of another distribution, the support of each in a random order, and its queries too.

    FewShot gives class after class. What reads a task as a sequence could then tell a label from its place and
    never look at it.
    """

    tasks: TaskDistribution

    def sample(self, tasks: int, generator: torch.Generator) -> Episodes:
        """Draw `tasks` episodes; the orders are drawn after them, from the same `generator`."""
        drawn = self.tasks.sample(tasks, generator)
        support, query = drawn.support_x.shape[1], drawn.query_x.shape[1]
        first, then = (torch.rand(tasks, count, generator=generator).argsort(1) for count in (support, query))
        return Episodes(
            _reorder(drawn.support_x, first),
            None if drawn.support_y is None else _reorder(drawn.support_y, first),
            _reorder(drawn.query_x, then),
            _reorder(drawn.query_y, then),
        )


def _reorder(values: Tensor, order: Tensor) -> Tensor:
    order = order.view(*order.shape, *[1] * (values.dim() - 2)).to(values.device)
    return torch.take_along_dim(values, order, 1)
