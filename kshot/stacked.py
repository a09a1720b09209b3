"""Many copies of one small multilayer perceptron at once, each with its own weights, and their slopes in closed form.

With nets this small, time goes into starting operations, not into arithmetic. So all tasks share one batched product a
layer, and the inner slopes are written out (backpropagation as four products) instead of being found by automatic
differentiation, whose own graph would then have to be differentiated again.
"""

import torch
from torch import Tensor, nn

from kshot.functional import output_error, task_losses
from kshot.inner import Parameters, Slopes

# By activation: the derivative at h, given the activation's value at h.
DERIVATIVES = {nn.ReLU: torch.sign, nn.Tanh: lambda value: 1 - value * value}

Trail = tuple[list[Tensor], list[Tensor]]  # what StackedMLP.forward and .backward return


class StackedMLP:
    """The function of an `nn.Sequential` of Linear layers with ReLU or Tanh between them, for T tasks at once.

    A parameter is [*shape], shared by all tasks, or [T, *shape], one for each.
    """

    def __init__(self, net: nn.Sequential, head: nn.Linear | None = None):
        self.layers: list[tuple[str, str | None]] = []  # names of weight and bias
        self.activations: list[type[nn.Module] | None] = []  # what follows each layer
        named = [(f"net.{name}", module) for name, module in net.named_children()]
        for name, module in named + ([("head", head)] if head is not None else []):
            if isinstance(module, nn.Linear):
                self.layers.append((f"{name}.weight", f"{name}.bias" if module.bias is not None else None))
                self.activations.append(None)
            else:
                self.activations[-1] = type(module)

    @staticmethod
    def fits(net: nn.Module) -> bool:
        """Whether `net` is such a perceptron: layers that alternate, the last one linear, nothing shared or hooked."""
        modules = list(net._modules.values()) if type(net) is nn.Sequential else []  # with those that come twice
        kinds, parameters = [type(module) for module in modules], [p for m in modules for p in m.parameters()]
        return (
            len(kinds) % 2 == 1
            and all(kind is nn.Linear for kind in kinds[::2])
            and all(kind in DERIVATIVES for kind in kinds[1::2])
            and all(set(module._parameters) == {"weight", "bias"} for module in modules[::2])
            and len(set(map(id, parameters))) == len(parameters)
            and not any(module._forward_hooks or module._forward_pre_hooks for module in (net, *modules))
        )

    def __call__(self, parameters: Parameters, x: Tensor) -> Tensor:
        """Outputs [T, B, d] for inputs [T, B, x]."""
        return self.forward(parameters, x)[-1]

    def forward(self, parameters: Parameters, x: Tensor) -> list[Tensor]:
        """The input of every layer, and last the output: each [T, B, width]."""
        values = [x]
        for (weight, bias), activation in zip(self.layers, self.activations):
            h = linear(values[-1], parameters[weight], None if bias is None else parameters[bias])
            values.append(h if activation is None else torch.relu(h) if activation is nn.ReLU else torch.tanh(h))
        return values

    def backward(self, parameters: Parameters, values: list[Tensor], error: Tensor, wanted: set[str]) -> list[Tensor]:
        """d loss / d output of each layer before its activation, [T, B, width], the last layer's first.

        It ends with the lowest layer that has a `wanted` parameter.

        values: what `forward` returned;  error: d loss / d output of the net, [T, B, d]
        """
        errors = [error]
        for index in range(len(self.layers) - 1, self.lowest(wanted), -1):
            error = error @ parameters[self.layers[index][0]]
            if self.activations[index - 1] is not None:
                error = error * DERIVATIVES[self.activations[index - 1]](values[index])
            errors.append(error)
        return errors

    def trail(self, parameters: Parameters, x: Tensor, y: Tensor, wanted: set[str]) -> Trail:
        """The values of a pass forward and the errors of the loss's pass backward, for x [T, B, d], y [T, B, ...]."""
        values = self.forward(parameters, x)
        return values, self.backward(parameters, values, output_error(values[-1], y), wanted)

    def slopes(self, values: list[Tensor], errors: list[Tensor], wanted: set[str]) -> Parameters:
        """The slopes [T, *shape] of the `wanted` parameters, from what `forward` and `backward` returned."""
        slopes = {}
        for index, error in zip(reversed(range(len(self.layers))), errors):
            weight, bias = self.layers[index]
            if weight in wanted:
                slopes[weight] = error.mT @ values[index]  # [T, out, in]
            if bias in wanted:
                slopes[bias] = error.sum(1)  # [T, out]
        return slopes

    def lowest(self, wanted: set[str]) -> int:
        """The first layer that has a `wanted` parameter."""
        return min(index for index, names in enumerate(self.layers) if wanted.intersection(names))


def stacked_slopes(mlp: StackedMLP, theta: Parameters, x: Tensor, y: Tensor, order: int) -> Slopes:
    """Slopes of each task's loss on x [T, B, d], y [T, B, ...], for `descend`; orders as in `autograd_slopes`.

    They report the losses [T].
    """

    def slopes(phi: Parameters) -> tuple[Tensor, Parameters]:
        with torch.set_grad_enabled(order == 2):
            values, errors = mlp.trail(theta | phi, x, y, set(phi))
            return task_losses(values[-1], y).detach(), mlp.slopes(values, errors, set(phi))

    return slopes


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x W' + b for x [T, B, in], with W [out, in] and b [out] shared, or [T, out, in] and [T, out] one a task."""
    if weight.dim() == 2 and (bias is None or bias.dim() == 1):
        return torch.nn.functional.linear(x, weight, bias)
    if weight.dim() == 2:
        weight = weight.expand(len(x), -1, -1)
    if bias is None:
        return x @ weight.mT
    return torch.baddbmm(bias.unsqueeze(-2), x, weight.mT)
