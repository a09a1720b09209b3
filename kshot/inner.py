"""The inner loop: gradient steps on one task, as a function of the parameters that they start from.

MAML, ANIL, Reptile and whatever else adapts by gradient descent take these steps. Nothing is updated in place: each
step makes new tensors, so that an outer gradient can pass through all of them.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Parameters = dict[str, Tensor]  # by name, as `dict(module.named_parameters())` gives them
Loss = Callable[[Parameters], Tensor]
Slopes = Callable[[Parameters], tuple[Tensor, Parameters]]
Watch = Callable[[int, Tensor], None]


def descend(
    slopes: Slopes,
    start: Parameters,
    rates: Mapping[str, Tensor],
    steps: int,
    watch: Watch | None = None,
) -> Parameters:
    """phi <- phi - alpha * d loss / d phi, `steps` times, starting from phi = `start`.

    slopes: maps phi to its loss and the loss's slope in every parameter; it also decides what an outer gradient sees
    rates:  alpha by name: one number, or one for each entry of the parameter
    watch:  is told the loss at phi before each step (step 0 is the first)
    """
    phi = start
    for step in range(steps):
        value, slope = slopes(phi)
        if watch is not None:
            watch(step, value)
        phi = {name: torch.addcmul(phi[name], rates[name], slope[name], value=-1) for name in phi}
    return phi


def autograd_slopes(loss: Loss, order: int) -> Slopes:
    """Slopes of `loss` by torch.autograd, of an order that says what an outer gradient will see of them.

    2: how they depend on phi (they carry the graph of their own computation);
    1: constants, so that d phi' / d phi is taken for the identity;
    0: nothing, for evaluation: phi is cut off from what came before.
    """

    def slopes(phi: Parameters) -> tuple[Tensor, Parameters]:
        if order == 0:
            phi = {name: tensor.detach().requires_grad_() for name, tensor in phi.items()}
        with torch.enable_grad():
            value = loss(phi)
        of = tuple(phi.values())
        slope = torch.autograd.grad(value, of, create_graph=order == 2, allow_unused=True, materialize_grads=True)
        return value.detach(), dict(zip(phi, slope))

    return slopes


def functional_slopes(loss: Loss, order: int) -> Slopes:
    """The same by torch.func, which torch.vmap can follow."""

    def slopes(phi: Parameters) -> tuple[Tensor, Parameters]:
        slope, value = torch.func.grad_and_value(loss)(phi)
        if order < 2:
            slope = {name: tensor.detach() for name, tensor in slope.items()}
        return value, slope

    return slopes


def require_finite(step: int, value: Tensor, rate: float) -> None:
    """Raise FloatingPointError where an inner loss is no longer finite, with a rate to try."""
    if not torch.isfinite(value).all():
        if step == 0:
            raise FloatingPointError("the inner loss is not finite before any step: look at the data and at the start")
        taken = f"{step} inner step{'' if step == 1 else 's'}"
        raise FloatingPointError(
            f"the inner loss is no longer finite after {taken}: the inner rate {rate:g} diverges, try {rate / 10:g}"
        )
