"""A net and its head as a function of their parameters, for one task's batch."""

import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from kshot.inner import Parameters
from kshot.nets import Conv4, Statistics


class FunctionalNet:
    """outputs = g(parameters, x) for one task's x [B, *x], with parameters called as in the module that owns the two.

    net:  Conv4, or any module that maps [B, *x] to [B, D]; owned as `net`
    head: a Linear layer D -> N, owned as `head`, or None

    Raises ValueError where the net updates buffers in place as it runs, as batch norm's running averages: an inner
    loop could not take that back.
    """

    def __init__(self, net: nn.Module, head: nn.Linear | None):
        self._net, self.has_head = _OneTask(net), head is not None
        for name, module in net.named_modules():
            averaging = getattr(module, "track_running_stats", False) or getattr(module, "policy", "") == "running"
            if averaging:
                raise ValueError(
                    f"{name or 'the net'} ({type(module).__name__}) keeps running averages, updated in place whenever "
                    "it runs, which an inner loop cannot take back: use batch statistics (track_running_stats=False, "
                    'or for Conv4 batch_norm="per_task" or "transductive")'
                )

    def embed(self, parameters: Parameters, x: Tensor, given: Statistics | None = None) -> tuple[Tensor, Statistics]:
        """Features [B, D] of x [B, *x], and the statistics that a later call may be `given`."""
        own = {name: tensor for name, tensor in parameters.items() if name.startswith("net.")}
        before = [buffer._version for buffer in self._net.buffers()]
        result = functional_call(self._net, own, (x, given))
        if before != [buffer._version for buffer in self._net.buffers()]:
            raise ValueError("the net changed a buffer in place as it ran: it cannot be adapted functionally")
        return result

    def outputs(self, parameters: Parameters, z: Tensor) -> Tensor:
        """Logits [B, N] of features z [B, D], or z itself where there is no head."""
        if not self.has_head:
            return z
        weight = parameters["head.weight"]
        if z.shape[-1] != weight.shape[-1]:
            raise ValueError(
                f"the net gives {z.shape[-1]} features, but the head reads {weight.shape[-1]}: "
                f"say features={z.shape[-1]}"
            )
        return F.linear(z, weight, parameters["head.bias"])

    def __call__(self, parameters: Parameters, x: Tensor, given: Statistics | None = None) -> Tensor:
        """Logits [B, N] or outputs [B, d] for x [B, *x]."""
        return self.outputs(parameters, self.embed(parameters, x, given)[0])


class _OneTask(nn.Module):
    """A net for batches [B, *x], also where it wants [T, B, *x] and gives statistics."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, given: Statistics | None) -> tuple[Tensor, Statistics]:
        if not isinstance(self.net, Conv4):
            return self.net(x), []
        z, statistics = self.net.embed(x[None], given)
        return z[0], statistics


def width(net: nn.Module) -> int:
    """D, the number of features that `net` gives where its last maps are one pixel; ValueError if it does not tell."""
    linear = [module.out_features for module in net.modules() if isinstance(module, nn.Linear)]
    found = getattr(net, "channels", None) or (linear[-1] if linear else None)
    if found is None:
        raise ValueError(f"how many features does this {type(net).__name__} give? Say features=...")
    return found


def task_loss(outputs: Tensor, y: Tensor) -> Tensor:
    """The loss of one task: cross-entropy for class ids y [B], squared error for targets y [B, d]."""
    _require_width(outputs, y)
    return F.mse_loss(outputs, y) if y.is_floating_point() else F.cross_entropy(outputs, y)


def task_losses(outputs: Tensor, y: Tensor) -> Tensor:
    """The same for T tasks, [T]: outputs [T, B, N] and y [T, B], or outputs and y [T, B, d]."""
    _require_width(outputs, y)
    if y.is_floating_point():
        return (outputs - y).square().flatten(1).mean(1)
    return F.cross_entropy(outputs.mT, y, reduction="none").mean(1)


def output_error(outputs: Tensor, y: Tensor) -> Tensor:
    """d task_losses / d outputs, each task by itself: the shape of `outputs`."""
    _require_width(outputs, y)
    if y.is_floating_point():
        return (2 / outputs[0].numel()) * (outputs - y)
    return (outputs.softmax(-1) - F.one_hot(y, outputs.shape[-1])) / outputs.shape[1]


def output_error_change(outputs: Tensor, y: Tensor, change: Tensor) -> Tensor:
    """By how much `output_error` changes for a small `change` of the outputs, per unit: the shape of `outputs`."""
    if y.is_floating_point():
        return (2 / outputs[0].numel()) * change
    p = outputs.softmax(-1)
    return p * (change - (p * change).sum(-1, keepdim=True)) / outputs.shape[1]


def _require_width(outputs: Tensor, y: Tensor) -> None:
    """Raise ValueError where targets would be broadcast against outputs of another shape."""
    if y.is_floating_point() and outputs.shape != y.shape:
        raise ValueError(f"the targets are {tuple(y.shape)}, but the net gives {tuple(outputs.shape)}")
