"""The peers: Conv-4 and its inner loop as papers' code writes them, and the libraries `higher` and `torchopt`.

Each gives the mean over tasks of the outer gradient, in the order of `Peer.parameters`. Nets are in torch's default
layout, batch norm is torch's own with the statistics of the batch, ReLU comes before pooling.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kshot import Conv4, Episodes
from kshot.gradient_based import GradientLearner


def twin(net: nn.Module) -> nn.Sequential:
    """An ordinary module with copies of the net's weights."""
    if not isinstance(net, Conv4):
        return copy.deepcopy(net)
    blocks = []
    for convolution, norm in zip(net.convolutions, net.norms):
        own = nn.BatchNorm2d(net.channels, eps=norm.epsilon, track_running_stats=False)
        own.load_state_dict(norm.state_dict())
        plain = copy.deepcopy(convolution).to(memory_format=torch.contiguous_format)
        blocks += [plain, own, nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*blocks, nn.Flatten())


def in_their_order(learner: GradientLearner, gradients: dict[str, Tensor]) -> list[Tensor]:
    """Our gradients, called by name, in the order of the twin's parameters: block by block."""
    if not isinstance(learner.net, Conv4):
        return list(gradients.values())
    blocks = range(len(learner.net.pools))
    names = [
        f"net.{part}.{b}.{kind}" for b in blocks for part in ("convolutions", "norms") for kind in ("weight", "bias")
    ]
    return [gradients[name] for name in names] + [gradients[n] for n in gradients if n.startswith("head.")]


def ours(learner: GradientLearner, episodes: Episodes) -> list[Tensor]:
    """The gradient of the mean loss, by kshot."""
    theta = learner.theta()
    gradients = torch.autograd.grad(learner.losses(episodes).mean(), list(theta.values()))
    return in_their_order(learner, dict(zip(theta, gradients)))


def tasks_of(episodes: Episodes) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """(support_x, support_y, query_x, query_y) of each task."""
    return list(zip(episodes.support_x, episodes.support_y, episodes.query_x, episodes.query_y))


class Peer:
    """MAML by somebody else's means, from the same start as `learner`."""

    def __init__(self, learner: GradientLearner):
        parts = [twin(learner.net)] + ([copy.deepcopy(learner.head)] if learner.head is not None else [])
        self.model = nn.Sequential(*parts).to(next(learner.parameters()).dtype)
        self.steps, self.order = learner.steps, learner.order
        self.rate = learner.alpha.initial
        self.loss = F.mse_loss if learner.ways is None else F.cross_entropy

    @property
    def parameters(self) -> list[Tensor]:
        return list(self.model.parameters())

    def gradient(self, episodes: Episodes) -> list[Tensor]:
        """The outer gradient, the mean over tasks."""
        total = [torch.zeros_like(p) for p in self.parameters]
        for task in tasks_of(episodes):
            for sum_, each in zip(total, self.of_task(*task)):
                sum_.add_(each, alpha=1 / episodes.tasks)
        return total

    def of_task(self, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> tuple[Tensor, ...]:
        raise NotImplementedError


class Loop(Peer):
    """The plain reference loop: the net as a function of a list of parameters, each step written out."""

    def of_task(self, support_x, support_y, query_x, query_y):
        theta = self.parameters
        phi = theta
        for _ in range(self.steps):
            slopes = torch.autograd.grad(
                self.loss(self.net(phi, support_x), support_y), phi, create_graph=self.order == 2
            )
            phi = [p - self.rate * slope for p, slope in zip(phi, slopes)]
        return torch.autograd.grad(self.loss(self.net(phi, query_x), query_y), theta)

    def net(self, parameters: list[Tensor], x: Tensor) -> Tensor:
        given = iter(parameters)
        for module in self.model.modules():
            if isinstance(module, nn.Conv2d):
                x = F.conv2d(x, next(given), next(given), padding=1)
            elif isinstance(module, nn.BatchNorm2d):
                x = F.batch_norm(x, None, None, next(given), next(given), training=True, eps=module.eps)
            elif isinstance(module, nn.Linear):
                x = F.linear(x, next(given), next(given))
            elif not isinstance(module, nn.Sequential):
                x = module(x)
        return x


class Higher(Peer):
    """`higher` (Grefenstette et al., 2019): a differentiable SGD on a patched module."""

    def of_task(self, support_x, support_y, query_x, query_y):
        import higher

        optimiser = torch.optim.SGD(self.model.parameters(), lr=self.rate)
        held = (lambda slopes: [slope.detach() for slope in slopes]) if self.order == 1 else None
        with higher.innerloop_ctx(self.model, optimiser, copy_initial_weights=False) as (inner, step):
            for _ in range(self.steps):
                step.step(self.loss(inner(support_x), support_y), grad_callback=held)
            return torch.autograd.grad(self.loss(inner(query_x), query_y), self.parameters)


class TorchOpt(Peer):
    """`torchopt` (Ren et al., 2023): MetaSGD on the module itself, whose state is put back after each task."""

    def of_task(self, support_x, support_y, query_x, query_y):
        import torchopt

        start = self.parameters
        optimiser = torchopt.MetaSGD(self.model, lr=self.rate)
        before = torchopt.extract_state_dict(self.model, by="reference")
        for _ in range(self.steps):
            optimiser.step(self.loss(self.model(support_x), support_y))
        gradients = torch.autograd.grad(self.loss(self.model(query_x), query_y), start)
        torchopt.recover_state_dict(self.model, before)
        return gradients
