"""Fast and slow weights: each example's loss gradient becomes weights that are looked up and added to the slow ones."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import grad, vmap

from kshot.black_box import BlackBox, weights_from
from kshot.nets import Conv4


class FastWeights(NamedTuple):
    """What a Meta Network keeps of D_train."""

    q: Tensor  # [T, W, D], fast weights of the representation, one matrix a task
    keys: Tensor  # [T, S, W], the representation of each support example
    values: Tensor  # [T, S, N, W], fast weights of the output, one matrix a support example


class Generator(nn.Module):
    """Turns a gradient into fast weights, one coordinate at a time: the same small network for all of them.

    It sees each coordinate relative to the size of its gradient, and the logarithm of that size.
    """

    def __init__(self, hidden: int):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def forward(self, gradient: Tensor) -> Tensor:
        """Gradients [..., rows, columns] -> fast weights of the same shape."""
        size = (gradient.square().mean((-2, -1), keepdim=True) + 1e-12).sqrt()
        features = torch.stack([gradient / size, (size.log() / 10).expand_as(gradient)], -1)
        return self.net(features).squeeze(-1) / gradient.shape[-1] ** 0.5


class MetaNetwork(BlackBox):
    """Meta Networks in miniature (Munkhdalai and Yu, "Meta Networks", 2017).

        slow    u(z) = relu(Q z),  answer V u(z)
        grads   the gradient of each support example's own loss, with respect to Q and V
        fast    Q* = d(mean_k grad_Q),  V*_k = m(grad_V of example k)
        answer  u = relu(Q z) + relu(Q* z),  a_k = softmax_k(strength * cosine(u, u_k)),  V u + (sum_k a_k V*_k) u

    d and m are small networks, shared by all coordinates. The paper's embedding and base learner are whole
    convolutional networks and all their layers get fast weights; here `net` stays slow and Q and V get them.
    """

    def __init__(
        self,
        net: Conv4 | None = None,
        *,
        inputs: int | None = None,
        ways: int | None = None,
        targets: int | None = None,
        width: int = 64,
        generator: int = 16,
        seed: int = 0,
    ):
        own = dict(width=width, generator=generator, seed=seed)
        super().__init__(net, inputs=inputs, ways=ways, targets=targets, **own)
        with weights_from(seed):
            self.q = nn.Parameter(nn.Linear(self.inputs, width, bias=False).weight.detach())
            self.v = nn.Parameter(nn.Linear(width, self.outputs, bias=False).weight.detach())
            self.d, self.m = Generator(generator), Generator(generator)
        self.log_strength = nn.Parameter(torch.tensor(2.3))

    def example_loss(self, slow: tuple[Tensor, Tensor], z: Tensor, label: Tensor) -> Tensor:
        """The loss of the slow weights (Q, V) on one example z [D] with label slot [N or d]: a number."""
        q, v = slow
        predicted = v @ F.relu(q @ z)
        if self.ways is None:
            return (predicted - label).square().sum()
        return -(label * predicted.log_softmax(-1)).sum()

    def represent(self, fast_q: Tensor, z: Tensor) -> Tensor:
        """u of z [T, B, D] with slow and fast weights side by side: [T, B, W]."""
        return F.relu(z @ self.q.mT) + F.relu(z @ fast_q.mT)

    def read(self, z: Tensor, labels: Tensor) -> FastWeights:
        gradient = grad(self.example_loss)  # of the slow weights, for one example
        per_example = vmap(vmap(gradient, (None, 0, 0)), (None, 0, 0))
        grad_q, grad_v = per_example((self.q, self.v), z, labels)  # [T, S, W, D], [T, S, N, W]
        fast_q = self.d(grad_q.sum(1) / max(z.shape[1], 1))  # [T, W, D]
        return FastWeights(fast_q, self.represent(fast_q, z), self.m(grad_v))

    def answer(self, fast: FastWeights, z: Tensor) -> Tensor:
        u = self.represent(fast.q, z)  # [T, Q, W]
        likeness = F.normalize(u, dim=-1) @ F.normalize(fast.keys, dim=-1).mT  # [T, Q, S]
        attention = (self.log_strength.exp() * likeness).softmax(-1)
        answers = torch.einsum("tsnw,tqw->tqsn", fast.values, u)  # by each example's own fast weights
        return u @ self.v.mT + torch.einsum("tqs,tqsn->tqn", attention, answers)
