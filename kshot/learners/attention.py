"""Learners that attend: each position of the sequence looks at the earlier ones and at itself, never ahead."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kshot.black_box import BlackBox, require_mixed, weights_from
from kshot.causal import AttentionBlock, DenseBlock, Layer
from kshot.episodes import Episodes
from kshot.nets import Conv4

Cache = list[tuple[Tensor, Tensor]]  # keys and values [T, heads, L, width] of each layer


class SNAIL(BlackBox):
    """Dilated causal convolutions that gather, and attention that picks: a query is the last item of a sequence.

    Mishra et al., "A Simple Neural Attentive Meta-Learner" (2018), with the layers of its Omniglot model;
    `filters` is 128 there and attention keys and values are `filters // 2` and `filters // 4` times 1, 4, 8.
    ceil(log2(ways * shots + 1)) dense blocks reach back over the whole support; a longer one can still be attended
    to. The context is the input that each block saw. `shots` counts support examples a class, or in all for targets.
    """

    def __init__(
        self,
        net: Conv4 | None = None,
        *,
        inputs: int | None = None,
        ways: int | None = None,
        targets: int | None = None,
        shots: int = 1,
        filters: int = 64,
        seed: int = 0,
    ):
        super().__init__(net, inputs=inputs, ways=ways, targets=targets, shots=shots, filters=filters, seed=seed)
        reach = math.ceil(math.log2((ways or 1) * shots + 1))
        width = self.inputs + self.outputs
        blocks: list[nn.Module] = []
        with weights_from(seed):
            for scale in (1, 4, 8):
                blocks.append(AttentionBlock(width, scale * filters // 2, scale * filters // 4))
                width += scale * filters // 4
                for level in range(reach if scale < 8 else 0):
                    blocks.append(DenseBlock(width, 2**level, filters))
                    width += filters
            self.blocks = nn.ModuleList(blocks)
            self.out = nn.Linear(width, self.outputs)

    def read(self, z: Tensor, labels: Tensor) -> list[Tensor]:
        """The support as each block sees it: tensors [T, S, C], one a block."""
        x, seen = torch.cat([z, labels], -1), []
        for block in self.blocks:
            seen.append(x)
            x = block(x)
        return seen

    def answer(self, seen: list[Tensor], z: Tensor) -> Tensor:
        x = F.pad(z, (0, self.outputs))
        for block, past in zip(self.blocks, seen):
            x = block.last(past, x)
        return self.out(x)

    def losses(self, episodes: Episodes) -> Tensor:
        """The loss of the queries, each the last item of its own sequence: one number a task [T]."""
        require_mixed(episodes.support_y)
        return super().losses(episodes)

    def attention(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> list[Tensor]:
        """Where each query looks, block by block: [T, Q, S + 1], the last column for the query itself."""
        z_support, z = self.embed_both(support_x, query_x)
        x, looks = F.pad(z, (0, self.outputs)), []
        for block, past in zip(self.blocks, self.read(z_support, self.slots(support_y, z_support))):
            if isinstance(block, AttentionBlock):
                looks.append(block.weights(past, x))
            x = block.last(past, x)
        return looks


class InContextTransformer(BlackBox):
    """A small GPT that reads x_1, y_1, ..., x_K, y_K, x and predicts the y of every x from what came before.

    Garg et al., "What Can Transformers Learn In-Context?" (2022); `layers=3, width=64, heads=2` is their "tiny"
    model, `layers=12, width=256, heads=8` the one of their figures. The context h is the prompt's keys and values.
    `points` is the longest sequence of pairs it has positions for, the query included; more raise ValueError.
    """

    def __init__(
        self,
        inputs: int,
        targets: int = 1,
        *,
        layers: int = 3,
        width: int = 64,
        heads: int = 2,
        points: int = 41,
        seed: int = 0,
    ):
        own = dict(layers=layers, width=width, heads=heads, points=points, seed=seed)
        super().__init__(None, inputs=inputs, ways=None, targets=targets, **own)
        if width % heads:
            raise ValueError(f"width must be a multiple of heads, but width={width} and heads={heads}")
        self.points = points
        with weights_from(seed):
            self.read_x, self.read_y = nn.Linear(inputs, width), nn.Linear(targets, width)
            self.position = nn.Parameter(0.02 * torch.randn(2 * points - 1, width))
            self.layers = nn.ModuleList(Layer(width, heads) for _ in range(layers))
            self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, targets)
            for layer in self.layers:  # as in GPT-2: the sum over the layers keeps its size
                for linear in (layer.mix, layer.narrow):
                    nn.init.normal_(linear.weight, std=0.02 / math.sqrt(2 * layers))

    def tokens(self, z: Tensor, labels: Tensor) -> Tensor:
        """x_1, y_1, x_2, y_2, ... with their positions: z [T, L, d], labels [T, L, targets] -> [T, 2L, width]."""
        self._require_room(z.shape[1])
        x = torch.stack([self.read_x(z), self.read_y(labels)], 2).flatten(1, 2)
        return x + F.pad(self.position, (0, 0, 0, 1))[: x.shape[1]]  # the very last y is never looked at

    def read(self, z: Tensor, labels: Tensor) -> Cache:
        x, cache = self.tokens(z, labels), []
        for layer in self.layers:
            x, pair = layer(x)
            cache.append(pair)
        return cache

    def answer(self, cache: Cache, z: Tensor) -> Tensor:
        """Predictions [T, Q, targets]: each query attends to the prompt and to itself."""
        length = cache[0][0].shape[2]
        self._require_room(length // 2 + 1)
        x = self.read_x(z) + self.position[length]
        for layer, past in zip(self.layers, cache):
            x = layer.last(past, x)
        return self.out(self.norm(x))

    def stream(self, z: Tensor, labels: Tensor) -> Tensor:
        """Predictions [T, L, targets] of every item from those before it, in one causal pass."""
        x = self.tokens(z, labels)[:, :-1]
        for layer in self.layers:
            x, _ = layer(x)
        return self.out(self.norm(x[:, ::2]))

    def losses(self, episodes: Episodes) -> Tensor:
        """The squared error at every position of support and queries read as one sequence, averaged: [T]."""
        z = torch.cat([episodes.support_x, episodes.query_x], 1)
        y = torch.cat([episodes.support_y, episodes.query_y], 1)
        return self.misfit(self.stream(self.embed(z), self.slots(y, z)), y).mean(1)

    def _require_room(self, pairs: int) -> None:
        if pairs > self.points:
            raise ValueError(
                f"built for sequences of points={self.points} pairs, the query included, but this one has {pairs}"
            )
