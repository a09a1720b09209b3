"""Blocks that look back, never ahead. Each has two views: a whole sequence, and what one more item would become."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def attention_weights(q: Tensor, k: Tensor, own: Tensor) -> Tensor:
    """How much each query looks at S keys and, last, at itself: softmax over the keys, rows sum to 1.

    q and own [..., Q, D] (the queries' own keys), k [..., S, D] -> [..., Q, S + 1].
    """
    scores = torch.cat([q @ k.mT, (q * own).sum(-1, keepdim=True)], -1)
    return (scores / math.sqrt(q.shape[-1])).softmax(-1)


def attend(q: Tensor, past: tuple[Tensor, Tensor], own: tuple[Tensor, Tensor]) -> Tensor:
    """Each query's mix of the S values and its own: q [..., Q, D], past (k, v) [..., S, D], own [..., Q, D]."""
    weights = attention_weights(q, past[0], own[0])
    return weights[..., :-1] @ past[1] + weights[..., -1:] * own[1]


class AttentionBlock(nn.Module):
    """Causal attention with one head; what it finds is appended to its input."""

    def __init__(self, width: int, keys: int, values: int):
        super().__init__()
        self.query, self.key, self.value = nn.Linear(width, keys), nn.Linear(width, keys), nn.Linear(width, values)

    def forward(self, x: Tensor) -> Tensor:
        """A whole sequence [T, L, C] -> [T, L, C + values]."""
        found = F.scaled_dot_product_attention(self.query(x), self.key(x), self.value(x), is_causal=True)
        return torch.cat([x, found], -1)

    def last(self, past: Tensor, x: Tensor) -> Tensor:
        """What each of x [T, Q, C] would become at the end of the sequence past [T, S, C]."""
        found = attend(self.query(x), (self.key(past), self.value(past)), (self.key(x), self.value(x)))
        return torch.cat([x, found], -1)

    def weights(self, past: Tensor, x: Tensor) -> Tensor:
        """How much each of x [T, Q, C] looks at each of past [T, S, C] and, last, at itself: [T, Q, S + 1]."""
        return attention_weights(self.query(x), self.key(past), self.key(x))


class DenseBlock(nn.Module):
    """Causal convolution over the positions t - dilation and t; what it finds is appended to its input."""

    def __init__(self, width: int, dilation: int, filters: int):
        super().__init__()
        self.dilation = dilation
        self.convolution = nn.Linear(2 * width, 2 * filters)  # of the two positions it sees

    def extra_repr(self) -> str:
        return f"dilation={self.dilation}"

    def forward(self, x: Tensor) -> Tensor:
        """A whole sequence [T, L, C] -> [T, L, C + filters]; before the start there are zeros."""
        return self._append(F.pad(x, (0, 0, self.dilation, 0))[:, : x.shape[1]], x)

    def last(self, past: Tensor, x: Tensor) -> Tensor:
        """What each of x [T, Q, C] would become at the end of the sequence past [T, S, C]."""
        if past.shape[1] < self.dilation:
            return self._append(torch.zeros_like(x), x)
        return self._append(past[:, -self.dilation, None].expand_as(x), x)

    def _append(self, earlier: Tensor, x: Tensor) -> Tensor:
        what, gate = self.convolution(torch.cat([earlier, x], -1)).chunk(2, -1)
        return torch.cat([x, what.tanh() * gate.sigmoid()], -1)


class Layer(nn.Module):
    """One layer of GPT-2: causal attention with several heads, then a small perceptron, each added to its input."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [T, heads, L, width / heads] of x [T, L, width]."""
        q, k, v = self.qkv(self.norm(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return q, k, v

    def finish(self, x: Tensor, found: Tensor) -> Tensor:
        """x [T, L, width] with what attention found [T, heads, L, width / heads] and the perceptron added."""
        x = x + self.mix(found.transpose(1, 2).flatten(2))
        return x + self.narrow(F.gelu(self.widen(self.norm_2(x))))

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """A whole sequence [T, L, width] -> the same shape, with its keys and values."""
        q, k, v = self.project(x)
        return self.finish(x, F.scaled_dot_product_attention(q, k, v, is_causal=True)), (k, v)

    def last(self, past: tuple[Tensor, Tensor], x: Tensor) -> Tensor:
        """What each of x [T, Q, width] would become at the end of a sequence with these keys and values."""
        q, k, v = self.project(x)
        return self.finish(x, attend(q, past, (k, v)))
