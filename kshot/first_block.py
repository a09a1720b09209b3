"""Convolution, batch norm, pooling and ReLU of a net's first block at once, for images of few channels.

The first maps are the largest of a net, and on a CPU reading and writing them costs more than all the products behind
them. They need never be made: seen from one pooled pixel, the block is the largest of 0 and four affine functions of
the pixels around, and the mean and variance that batch norm asks for follow from those of the image patches,

    mean(w . p + b) = w . mean(p) + b        var(w . p + b) = w' cov(p) w.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

PIECE = 100_000  # numbers of a map worked on at once: the memory of larger ones is given back and asked for again


def fits(x: Tensor, convolution: nn.Conv2d, norm: nn.Module, pool: bool) -> bool:
    """Whether `embed` can be had, and is the faster way: few channels, on a CPU, no gradient of the images."""
    few = 9 * convolution.in_channels < convolution.out_channels
    even = x.shape[-1] % 2 == 0 and x.shape[-2] % 2 == 0
    return pool and few and even and norm.policy != "running" and x.device.type == "cpu" and not x.requires_grad


def embed(
    x: Tensor, tasks: int, convolution: nn.Conv2d, norm: nn.Module, given: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """relu(max_pool2d(norm(convolution(x)), 2)) for x [T*B, c, H, W]: [T*B, C, H/2, W/2] in channels_last.

    `given` are the statistics ([T, C], [T, C]) to normalise by; without, those of each task's own x. They are returned
    as `norm` returns them.
    """
    p = patches(x, tasks)
    w, b = convolution.weight.flatten(1), convolution.bias  # [C, 9c], [C]
    if given is None:
        m, cov = moments(p)
        given = m @ w.mT + b, (w @ cov * w).sum(-1)  # [T, C] each
    mean, variance = given
    scale = norm.weight * torch.rsqrt(variance + norm.epsilon)  # [T, C]
    shift = norm.bias + (b - mean) * scale
    used = given if norm.policy == "per_task" else None
    largest, _ = LargestOfFour.apply(p, torch.cat([scale[..., None] * w, shift[..., None]], -1))  # [T, N, C]
    height, width = x.shape[-2] // 2, x.shape[-1] // 2
    return largest.reshape(len(x), height, width, -1).permute(0, 3, 1, 2), used


def patches(x: Tensor, tasks: int) -> Tensor:
    """The 3x3 surroundings of all pixels of x [T*B, c, H, W], and a 1: [T, 4, 9c + 1, N].

    N = B * H/2 * W/2 counts the pooled pixels, the 4 the pixels that are pooled into each.
    """
    windows = F.pad(x, (1, 1, 1, 1)).unfold(2, 4, 2).unfold(3, 4, 2).unfold(4, 3, 1).unfold(5, 3, 1)
    windows = windows.unflatten(0, (tasks, -1)).permute(0, 5, 6, 2, 7, 8, 1, 3, 4)  # [T, 2, 2, c, 3, 3, B, H/2, W/2]
    return F.pad(windows.reshape(tasks, 4, 9 * x.shape[1], -1), (0, 0, 0, 1), value=1.0)


def moments(p: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [T, 9c] and covariance [T, 9c, 9c] of patches p [T, 4, 9c + 1, N]."""
    p = p[:, :, :-1]
    mean = p.mean((1, 3))
    p = p - mean[:, None, :, None]
    return mean, (p @ p.mT).sum(1) / (4 * p.shape[-1])


class LargestOfFour(Function):
    """max(0, w . p_1, ..., w . p_4) for p [T, 4, P, N] and w [T, C, P]: [T, N, C], and which it was (0 to 4).

    Given which, it is linear in w: `_Collected` is its transpose and `_Chosen` is itself, each the slope of the other.
    """

    @staticmethod
    def forward(p: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        all_best = torch.zeros(len(p), p.shape[-1], w.shape[1], dtype=p.dtype)
        all_which = torch.zeros_like(all_best)
        for piece, best, which in _pieces(p, all_best, all_which):
            larger = torch.empty_like(best)
            for place in range(4):  # comparisons written as numbers: on a CPU far faster than masks
                y = piece[:, place].mT @ w.mT
                torch.gt(y, best, out=larger)
                torch.maximum(which, larger.mul_(place + 1), out=which)
                torch.maximum(best, y, out=best)
        return all_best, all_which

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(inputs[0], output[1])

    @staticmethod
    def backward(ctx, slope: Tensor | None, _) -> tuple:
        if ctx.needs_input_grad[0]:  # `fits` cannot see that inside vmap
            raise NotImplementedError("the slope of the images is wanted: use Conv4(..., closed_form=False)")
        return None, None if slope is None else _Collected.apply(*ctx.saved_tensors, slope)

    @staticmethod
    def vmap(info, in_dims, *tensors) -> tuple:
        return _more_tasks(LargestOfFour, info, in_dims, tensors)


class _Collected(Function):
    """The sum over n of slope[n, c] * p[which[n, c], n]: [T, C, P]."""

    @staticmethod
    def forward(p: Tensor, which: Tensor, slope: Tensor) -> Tensor:
        total, own = 0, torch.empty_like(which)
        for place in range(4):
            torch.eq(which, place + 1, out=own)
            total = total + p[:, place] @ own.mul_(slope)
        return total.mT

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx, slope: Tensor) -> tuple:
        return None, None, _Chosen.apply(*ctx.saved_tensors, slope)

    @staticmethod
    def vmap(info, in_dims, *tensors) -> tuple:
        return _more_tasks(_Collected, info, in_dims, tensors)


class _Chosen(Function):
    """w[c] . p[which[n, c], n], or 0 where none was larger: [T, N, C]."""

    @staticmethod
    def forward(p: Tensor, which: Tensor, w: Tensor) -> Tensor:
        all_chosen = torch.zeros_like(which)
        for piece, here, chosen in _pieces(p, which, all_chosen):
            own = torch.empty_like(here)
            for place in range(4):
                torch.eq(here, place + 1, out=own)
                chosen.addcmul_(own, piece[:, place].mT @ w.mT)
        return all_chosen

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx, slope: Tensor) -> tuple:
        return None, None, _Collected.apply(*ctx.saved_tensors, slope)

    @staticmethod
    def vmap(info, in_dims, *tensors) -> tuple:
        return _more_tasks(_Chosen, info, in_dims, tensors)


def _pieces(p: Tensor, *maps: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Views of p [T, 4, P, N] and of maps [T, N, C], PIECE numbers of a map at a time."""
    size = max(1, PIECE // (len(p) * maps[0].shape[-1]))
    return zip(p.split(size, -1), *(each.split(size, 1) for each in maps))


def _more_tasks(function: type[Function], info, in_dims: tuple, tensors: tuple) -> tuple:
    """What a vmapped `function` is: the same with more tasks, as it treats its tasks one by one anyway."""
    many = info.batch_size
    moved = [x.expand(many, *x.shape) if d is None else x.movedim(d, 0) for x, d in zip(tensors, in_dims)]
    result = function.apply(*(x.flatten(0, 1) for x in moved))
    if isinstance(result, tuple):
        return tuple(each.unflatten(0, (many, -1)) for each in result), (0,) * len(result)
    return result.unflatten(0, (many, -1)), 0
