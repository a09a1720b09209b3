"""Losses of many tasks and their outer gradients, without keeping the graphs of all tasks at once.

The gradient of each task is computed together with its loss and kept; backward only weighs them. Memory is then that
of one task (`each_alone`) or of one chunk (`vectorised`), and one gradient a task, however many tasks a step has. No
slope reaches the tasks' own tensors.

`vectorised` differentiates inside vmap. The other way round, a backward through the vmap of an inner loop, is silently
wrong at second order where the net holds torch's own batch norm (its double backward mixes the tasks).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Task = tuple[Tensor, Tensor, Tensor, Tensor]  # support_x [S, *x], support_y [S], query_x [Q, *x], query_y [Q]
TaskLoss = Callable[..., Tensor]  # (list of parameters, support_x, support_y, query_x, query_y) -> one number
Outer = Callable[
    [list[Tensor], Task], tuple[Tensor, list[Tensor]]
]  # losses [T], gradients [T, *shape] of each parameter


def losses(parameters: Sequence[Tensor], tasks: Task, outer: Outer) -> Tensor:
    """The loss of each task, [T], differentiable once with respect to `parameters`."""
    if not torch.is_grad_enabled():
        with torch.enable_grad():  # inner steps need slopes even where nobody needs the outer one
            return outer([p.detach() for p in parameters], tasks)[0]
    return _Losses.apply(tasks, outer, *parameters)


class _Losses(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tasks: Task, outer: Outer, *parameters: Tensor) -> Tensor:
        with torch.enable_grad():
            values, gradients = outer([p.detach() for p in parameters], tasks)
        ctx.save_for_backward(*gradients)
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx, weights: Tensor) -> tuple:
        weighed = [(weights @ each.reshape(len(each), -1)).view(each.shape[1:]) for each in ctx.saved_tensors]
        return None, None, *weighed


def each_alone(task_loss: TaskLoss) -> Outer:
    """One task after the other."""

    def outer(parameters: list[Tensor], tasks: Task) -> tuple[Tensor, list[Tensor]]:
        values, gradients = [], []
        for task in zip(*tasks):
            leaves = [tensor.detach().requires_grad_() for tensor in parameters]
            value = task_loss(leaves, *task)
            gradients.append(torch.autograd.grad(value, leaves, allow_unused=True, materialize_grads=True))
            values.append(value.detach())
        return torch.stack(values), [torch.stack(each) for each in zip(*gradients)]

    return outer


def vectorised(task_loss: TaskLoss, chunk_size: int | None) -> Outer:
    """As `each_alone`, `chunk_size` tasks at once (all where it is None).

    Raises RuntimeError, naming the loop, where torch.vmap has no rule for what the net does.
    """

    def outer(parameters: list[Tensor], tasks: Task) -> tuple[Tensor, list[Tensor]]:
        plain = [
            each.clone(memory_format=torch.contiguous_format) for each in parameters
        ]  # it has none for other layouts
        one = torch.func.grad_and_value(task_loss)
        try:
            gradients, values = torch.vmap(one, (None, 0, 0, 0, 0), chunk_size=chunk_size)(plain, *tasks)
        except RuntimeError as error:
            if "inside vmap" not in str(error):
                raise
            raise RuntimeError(f'torch.vmap cannot take this net\'s slopes, engine="loop" can: {error}') from error
        return values, gradients

    return outer
