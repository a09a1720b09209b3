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
        # The formula itself: on a CPU as fast as F.batch_norm, torch.var_mean ten times slower; its slopes cost less.
        rows = pixels(x, tasks)
        mean = rows.mean(1)  # [T, C]
        variance = (rows - mean[:, None]).square().mean(1)
        return self._affine(x, tasks, mean, variance), (mean, variance) if self.policy == "per_task" else None

    def _affine(self, x: Tensor, tasks: int, mean: Tensor, variance: Tensor) -> Tensor:
        scale = self.weight * torch.rsqrt(variance + self.epsilon)  # [T, C]
        shift = self.bias - mean * scale
        normal = torch.addcmul(shift[:, None], pixels(x, tasks), scale[:, None])
        return normal.reshape(len(x), *x.shape[2:], -1).permute(0, 3, 1, 2)


def pixels(x: Tensor, tasks: int) -> Tensor:
    """All pixels of each task, [T, B*H*W, C], of x [T*B, C, H, W]: a view where x is in channels_last."""
    return x.permute(0, 2, 3, 1).reshape(tasks, -1, x.shape[1])


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
                x, statistics = norm(convolution(x), tasks, statistics)
                x = F.relu(F.max_pool2d(x, 2) if pool else x)  # pooling first: ReLU then touches a quarter
            used.append(statistics)
        x = x.unflatten(0, (tasks, size))
        return (x.flatten(2) if self.flatten else x), used
