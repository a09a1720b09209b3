"""The neural process: a set is read by encoding each pair and taking the mean."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal

from kshot.black_box import BlackBox, Context, weights_from
from kshot.episodes import Episodes
from kshot.nets import Conv4


def in_one_order(x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """The same support x [T, S, *x], y in an order that its content decides, whatever order it was given in.

    Sums in floating point depend on the order of their terms in the last bits; in one order they cannot. Each
    example is ranked by a sum of its bits times fixed random numbers: whole numbers, where order leaves no trace.
    """
    rank = _fingerprint(x) if y is None else _fingerprint(x) * 3 + _fingerprint(y)  # [T, S]
    order = rank.argsort(dim=1, stable=True)
    return _arrange(x, order), None if y is None else _arrange(y, order)


def _fingerprint(values: Tensor) -> Tensor:
    bits = values.detach().flatten(2) if values.dim() > 2 else values.detach()[..., None]
    if bits.is_floating_point():
        bits = bits.double().view(torch.int64)
    factors = torch.randint(-(2**62), 2**62, bits.shape[-1:], generator=torch.Generator().manual_seed(0))
    return (bits * factors.to(bits.device)).sum(-1)  # overflow wraps, the same way in any order


def _arrange(values: Tensor, order: Tensor) -> Tensor:
    return torch.take_along_dim(values, order.view(*order.shape, *[1] * (values.dim() - 2)), 1)


def perceptron(sizes: list[int]) -> nn.Sequential:
    """Linear layers of these sizes with ReLU between them."""
    layers = [part for i, o in pairwise(sizes) for part in (nn.Linear(i, o), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


class NeuralProcess(BlackBox):
    """r = mean_k encode(z_k, y_k), and the answer to x is decode(r, z): the conditional neural process.

    Garnelo et al., "Conditional Neural Processes" (2018). The support is a set: its order changes no bit of the
    answer. For targets the answer is a Normal (`distribution`), its standard deviation at least `floor`, and the
    loss is its negative log-likelihood at queries and support, as in the paper's code.
    """

    def __init__(
        self,
        net: Conv4 | None = None,
        *,
        inputs: int | None = None,
        ways: int | None = None,
        targets: int | None = None,
        width: int = 128,
        layers: int = 3,
        floor: float = 0.1,
        seed: int = 0,
    ):
        own = dict(width=width, layers=layers, floor=floor, seed=seed)
        super().__init__(net, inputs=inputs, ways=ways, targets=targets, **own)
        self.floor = floor
        answer = self.outputs if ways else 2 * self.outputs  # a mean and a spread for each target
        with weights_from(seed):
            self.encode = perceptron([self.inputs + self.outputs] + [width] * layers)
            self.decode = perceptron([width + self.inputs] + [width] * (layers - 1) + [answer])

    def read(self, z: Tensor, labels: Tensor) -> Tensor:
        """The mean of the encoded pairs [T, width]; of no pairs, zero."""
        return self.encode(torch.cat([z, labels], -1)).sum(1) / max(z.shape[1], 1)

    def answer(self, h: Tensor, z: Tensor) -> Tensor:
        return self._decode(h, z)[..., : self.outputs]

    def _decode(self, h: Tensor, z: Tensor) -> Tensor:
        return self.decode(torch.cat([h[:, None].expand(-1, z.shape[1], -1), z], -1))  # [T, Q, N or 2d]

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Context:
        """The mean of the encoded support, in whatever order it comes."""
        return super().adapt(*in_one_order(support_x, support_y))

    def forward(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        """y = f(D_train, x): logits [T, Q, N] or mean predictions [T, Q, d]."""
        return super().forward(*in_one_order(support_x, support_y), query_x)

    def distribution(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Normal:
        """The predicted Normal of each target [T, Q, d]; raises ValueError for a learner of class ids."""
        if self.targets is None:
            raise ValueError("class ids have no Normal distribution: take the softmax of the logits")
        support_x, support_y = in_one_order(support_x, support_y)
        z_support, z = self.embed_both(support_x, query_x)
        mean, spread = self._decode(self.read(z_support, self.slots(support_y, z_support)), z).chunk(2, -1)
        return Normal(mean, self.floor + (1 - self.floor) * F.softplus(spread))

    def losses(self, episodes: Episodes) -> Tensor:
        """Cross-entropy of the queries; for targets, the negative log-likelihood of queries and support: [T]."""
        if self.ways:
            return super().losses(episodes)
        x = torch.cat([episodes.support_x, episodes.query_x], 1)
        y = torch.cat([episodes.support_y, episodes.query_y], 1)
        predicted = self.distribution(episodes.support_x, episodes.support_y, x)
        return -predicted.log_prob(y).sum(-1).mean(1)
