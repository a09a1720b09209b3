"""The outer gradient of the inner loop written out, for stacked perceptrons: no graph is ever kept.

The steps phi_k+1 = phi_k - alpha g(phi_k), with g the slope on the support, turn the slope v of the loss on the queries
back into one at the start, step by step from the last one,

    v <- v - H_k (alpha v)        H_k the second derivatives of the loss on the support, at phi_k

and H_k times a vector is the change of g along it: one more pass forward and backward, of differentials. Pearlmutter,
"Fast Exact Multiplication by the Hessian" (1994).
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from kshot.functional import output_error_change, task_losses
from kshot.inner import Parameters
from kshot.stacked import DERIVATIVES, StackedMLP, Trail, linear

# By activation, where it bends: its second derivative over its first at h, given its value at h.
BENDING = {nn.Tanh: lambda value: -2 * value}


def outer_gradient(
    mlp: StackedMLP,
    theta: Parameters,
    rates: Mapping[str, Tensor],
    steps: int,
    order: int,
    tasks: tuple[Tensor, ...],
    learn_rates: bool,
) -> tuple[Tensor, Parameters, Parameters]:
    """The losses on the queries [T], and their slopes [T, *shape] by name: in theta, and in the rates' entries.

    rates: alpha by name, of the parameters that adapt;  tasks: support_x [T, S, *x], support_y, query_x, query_y;
    learn_rates: whether the slopes in the rates are wanted
    """
    support_x, support_y, query_x, query_y = tasks
    fast, every = set(rates), set(theta)
    points, trails = [theta], []
    for _ in range(steps):
        trails.append(mlp.trail(points[-1], support_x, support_y, every if order == 2 else fast))
        slopes = mlp.slopes(*trails[-1], fast)
        points.append(theta | {n: torch.addcmul(points[-1][n], rates[n], slopes[n], value=-1) for n in rates})
    trail = mlp.trail(points.pop(), query_x, query_y, every)
    v = mlp.slopes(*trail, every)
    of_rates = {name: torch.zeros_like(v[name]) for name in rates} if learn_rates else {}
    for point, own in zip(reversed(points), reversed(trails)):
        if of_rates:  # the slopes once more, rather than kept: they are as large as all weights of all tasks
            for name, slope in mlp.slopes(*own, fast).items():
                of_rates[name].addcmul_(v[name], slope, value=-1)
        if order == 2:
            product = hessian_vector_product(
                mlp, point, own, {name: rates[name] * v[name] for name in rates}, support_y
            )
            v = {name: v[name].sub_(product[name]) for name in v}
    return task_losses(trail[0][-1], query_y), v, of_rates


def hessian_vector_product(
    mlp: StackedMLP, point: Parameters, trail: Trail, direction: Parameters, y: Tensor
) -> Parameters:
    """H v: the change of every slope, [T, *shape], along `direction` (v [T, *shape] by name; 0 where not named).

    With R the change along v, layer by layer: R h = R x W' + x V' + v_b on the way up, R error = (R error_above) W +
    error_above V on the way down, each through the activation; the slope error' x changes by (R error)' x + error' R x.
    """
    values, errors = trail[0], trail[1][::-1]  # errors[i] is that of layer i
    arriving: list[Tensor | None] = []  # by how much each layer's input changes; None: not at all
    leaving: list[Tensor | None] = []  # its output, before the activation
    change = None
    for (weight, bias), value, kind in zip(mlp.layers, values, mlp.activations):
        arriving.append(change)
        change = None if change is None else linear(change, point[weight], None)
        if weight in direction:
            own = linear(value, direction[weight], direction.get(bias))
            change = own if change is None else change.add_(own)
        elif bias in direction:
            own = direction[bias][:, None].expand(-1, value.shape[1], -1)
            change = own if change is None else change.add_(own)
        leaving.append(change)
        if change is not None and kind is not None:
            change = change * DERIVATIVES[kind](values[len(leaving)])
    error, product = output_error_change(values[-1], y, change), {}
    for index in reversed(range(len(mlp.layers))):
        weight, bias = mlp.layers[index]
        product[weight] = error.mT @ values[index]
        if arriving[index] is not None:
            product[weight].baddbmm_(errors[index].mT, arriving[index])
        if bias is not None:
            product[bias] = error.sum(1)
        if index:
            error = error @ point[weight]
            if weight in direction:
                error.baddbmm_(errors[index], direction[weight])
            kind, value = mlp.activations[index - 1], values[index]
            if kind is not None:
                error = error * DERIVATIVES[kind](value)
            if kind in BENDING and leaving[index - 1] is not None:
                error.addcmul_(errors[index - 1], BENDING[kind](value) * leaving[index - 1])
    return product
