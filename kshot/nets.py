"""Networks that embed images, with batch normalisation that keeps the tasks of a batch apart."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kshot import first_block

Statistics = list[tuple[Tensor, Tensor]]  # one (mean, variance), each [T, C], per normalised layer

POLICIES = {
    "per_task": "each task is normalised by the statistics of its own support: a query never sees other queries",
    "transductive": "each task is normalised by the statistics of its support and its queries together",
    "running": "training as `transductive`; evaluation by averages over the training tasks",
}


class TaskNorm(nn.Module):
    """Batch normalisation (Ioffe and Szegedy, 2015) whose statistics are those of one task, never of the batch.

    `policy` is one of POLICIES; the idea of statistics from the support is that of Bronskill et al., "TaskNorm"
    (2020). Raises ValueError on another policy.
    """

    def __init__(self, channels: int, policy: str = "per_task", momentum: float = 0.02, epsilon: float = 1e-5):
        super().__init__()
        if policy not in POLICIES:
            raise ValueError(f"batch_norm must be one of {', '.join(POLICIES)}, but is {policy!r}")
        self.policy, self.momentum, self.epsilon = policy, momentum, epsilon
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        if policy == "running":
            self.register_buffer("running_mean", torch.zeros(channels))
            self.register_buffer("running_var", torch.ones(channels))

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, {self.policy}, momentum={self.momentum}, epsilon={self.epsilon}"

    def forward(self, x: Tensor, tasks: int, given: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple | None]:
        """Normalise x [T*B, C, H, W]; returns it with the statistics ([T, C], [T, C]) a later call may be `given`."""
        if given is not None:
            return self._affine(x, tasks, *given), given
        if self.policy == "running" and not self.training:
            normal = F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.epsilon)
            return normal, None
        if self.policy == "running":
            averages, own = (self.running_mean, self.running_var), (self.weight, self.bias)
            normal = [F.batch_norm(of, *averages, *own, True, self.momentum, self.epsilon) for of in x.chunk(tasks)]
            return torch.cat(normal), None
        mean, variance = Moments.apply(pixels(x, tasks))
        return self._affine(x, tasks, mean, variance), (mean, variance) if self.policy == "per_task" else None

    def _affine(self, x: Tensor, tasks: int, mean: Tensor, variance: Tensor) -> Tensor:
        scale = self.weight * torch.rsqrt(variance + self.epsilon)  # [T, C]
        return affine(x, tasks, scale, self.bias - mean * scale)


def block(
    x: Tensor, tasks: int, convolution: nn.Conv2d, norm: TaskNorm, pool: bool, given: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
    """relu(max_pool2d(norm(convolution(x)), 2)) for x [T*B, c, H, W], and the statistics as `norm` returns them.

    A line that rises may be applied after the largest of four was taken, to a quarter of the numbers. So the sign of
    the norm's weight goes into the convolution's, where it costs nothing, and what is left of it only scales.
    """
    if not pool or norm.policy == "running":
        x, used = norm(convolution(x), tasks, given)
        return F.relu(F.max_pool2d(x, 2) if pool else x), used
    sign = torch.where(norm.weight < 0, -1.0, 1.0).to(x.dtype)  # [C]
    x = F.conv2d(x, convolution.weight * sign[:, None, None, None], convolution.bias * sign, padding=1)
    rows = pixels(x, tasks)
    mean, variance = Moments.apply(rows) if given is None else (given[0] * sign, given[1])
    scale = norm.weight * sign * torch.rsqrt(variance + norm.epsilon)  # [T, C], none negative
    used = (mean * sign, variance) if norm.policy == "per_task" else None
    x = F.max_pool2d(images(rows, x.shape), 2)  # made anew from rows, or vmap could not differentiate it twice
    return F.relu(affine(x, tasks, scale, norm.bias - mean * scale)), used


class Moments(torch.autograd.Function):
    """Mean and variance [T, C] of rows [T, M, C], over M.

    On a CPU torch.var_mean takes ten times as long, and the slopes of its formula pass over all rows five times
    instead of once. They are written so that they can be differentiated again.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(rows: Tensor) -> tuple[Tensor, Tensor]:
        mean = rows.mean(1)
        away = rows - mean[:, None]
        return mean, away.mul_(away).mean(1)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.save_for_backward(inputs[0], output[0])

    @staticmethod
    def backward(ctx, of_mean: Tensor, of_variance: Tensor) -> Tensor:
        rows, mean = ctx.saved_tensors
        slope = (2 / rows.shape[1]) * of_variance
        return torch.addcmul((of_mean / rows.shape[1] - mean * slope)[:, None], rows, slope[:, None])


def affine(x: Tensor, tasks: int, scale: Tensor, shift: Tensor) -> Tensor:
    """x * scale + shift for x [T*B, C, H, W], with scale and shift [T, C]."""
    return images(torch.addcmul(shift[:, None], pixels(x, tasks), scale[:, None]), x.shape)


def pixels(x: Tensor, tasks: int) -> Tensor:
    """All pixels of each task, [T, B*H*W, C], of x [T*B, C, H, W]: a view where x is in channels_last."""
    return x.permute(0, 2, 3, 1).reshape(tasks, -1, x.shape[1])


def images(rows: Tensor, shape: torch.Size) -> Tensor:
    """The inverse of `pixels`: x of `shape` [T*B, C, H, W], in channels_last."""
    return rows.reshape(shape[0], *shape[2:], shape[1]).permute(0, 3, 1, 2)


class Conv4(nn.Module):
    """The backbone of most few-shot papers: four blocks of 3x3 convolution, TaskNorm, pooling, ReLU.

    Maps images [T, B, in_channels, H, W] to embeddings [T, B, channels * h * w] (h = w = 1 for 28x28), or to
    maps [T, B, channels, h, w] with `flatten=False`. `pools` says which blocks halve the size. Weights are drawn
    from `seed`. With `closed_form` the first block never makes its maps where that is faster (kshot/first_block.py):
    the same function. Source: Vinyals et al., "Matching Networks for One Shot Learning" (2016), section 4.1.
    """

    def __init__(
        self,
        channels: int = 64,
        batch_norm: str = "per_task",
        *,
        in_channels: int = 1,
        pools: Sequence[bool] = (True, True, True, True),
        flatten: bool = True,
        seed: int = 0,
        closed_form: bool = True,
    ):
        super().__init__()
        self.closed_form = closed_form
        self.channels, self.pools, self.flatten, self.seed = channels, tuple(pools), flatten, seed
        widths = [in_channels] + [channels] * len(self.pools)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPUs too
            self.convolutions = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in pairwise(widths))
        self.norms = nn.ModuleList(TaskNorm(channels, batch_norm) for _ in self.pools)
        self.to(memory_format=torch.channels_last)

    def extra_repr(self) -> str:
        return f"pools={self.pools}, flatten={self.flatten}, seed={self.seed}"

    @property
    def transductive(self) -> bool:
        """Whether the statistics mix a task's queries, so that support and query must pass together."""
        policy = self.norms[0].policy
        return policy == "transductive" or (policy == "running" and self.training)

    def forward(self, x: Tensor) -> Tensor:
        """Embed x [T, B, in_channels, H, W] with its own statistics."""
        return self.embed(x)[0]

    def embed(self, x: Tensor, given: Statistics | None = None) -> tuple[Tensor, Statistics]:
        """Embed x with its own statistics or those `given`; returns ([T, B, ...], the statistics used)."""
        if len(x) == 1 or x.device.type != "cpu":
            return self._embed(x, given)
        # On a CPU one task after the other, so that the maps stay in its cache.
        each = [
            self._embed(own, given and [layer and (layer[0][t : t + 1], layer[1][t : t + 1]) for layer in given])
            for t, own in enumerate(x.split(1))
        ]
        layers = zip(*(used for _, used in each))  # for each layer, the statistics of all tasks
        used = [None if layer[0] is None else tuple(map(torch.cat, zip(*layer))) for layer in layers]
        return torch.cat([z for z, _ in each]), used

    def _embed(self, x: Tensor, given: Statistics | None) -> tuple[Tensor, Statistics]:
        tasks, size = x.shape[:2]
        given = given or [None] * len(self.pools)
        x, used = x.flatten(0, 1), []
        for convolution, norm, pool, statistics in zip(self.convolutions, self.norms, self.pools, given):
            if not used and self.closed_form and first_block.fits(x, convolution, norm, pool):
                x, statistics = first_block.embed(x, tasks, convolution, norm, statistics)
            else:
                x, statistics = block(x, tasks, convolution, norm, pool, statistics)
            used.append(statistics)
        x = x.unflatten(0, (tasks, size))
        return (x.flatten(2) if self.flatten else x), used
