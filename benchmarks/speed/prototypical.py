"""Prototypical networks with Conv-4 (64 filters): one gradient, against the reference method and easyfsl's.

    python benchmarks/speed/prototypical.py

Both peers go episode by episode: support and queries pass the plain net together, as in Snell et al.'s own code, then
"reference" takes its formulas and "easyfsl" that library's `PrototypicalNetworks` (its distances squared, as in the
paper). Writes benchmarks/results/speed_prototypical.json.
"""

import importlib
import sys
import types
from functools import partial
from pathlib import Path

import maml
import peers
import rounds
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kshot import Conv4, Episodes, FewShot, Prototypical

SETTINGS = {"5-way 1-shot": (5, 1), "20-way 5-shot": (20, 5)}  # ways, shots


def easyfsl_method() -> type[nn.Module]:
    """easyfsl's PrototypicalNetworks, imported past its package, which would want torchvision."""
    methods = types.ModuleType("easyfsl.methods")
    methods.__path__ = [str(Path(importlib.util.find_spec("easyfsl").origin).parent / "methods")]
    sys.modules["easyfsl.methods"] = methods
    return importlib.import_module("easyfsl.methods.prototypical_networks").PrototypicalNetworks


class Reference:
    """Snell et al.'s loss, episode by episode."""

    def __init__(self, net: Conv4):
        self.model = peers.twin(net).to(net.convolutions[0].weight.dtype)

    def gradient(self, episodes: Episodes) -> list[Tensor]:
        """The gradient of the mean loss."""
        parameters = list(self.model.parameters())
        total = [torch.zeros_like(p) for p in parameters]
        for support_x, support_y, query_x, query_y in peers.tasks_of(episodes):
            z = self.model(torch.cat([support_x, query_x]))
            scores = self.scores(z[: len(support_x)], support_y, z[len(support_x) :])
            for sum_, each in zip(total, torch.autograd.grad(F.cross_entropy(scores, query_y), parameters)):
                sum_.add_(each, alpha=1 / episodes.tasks)
        return total

    def scores(self, z_support: Tensor, y: Tensor, z: Tensor) -> Tensor:
        prototypes = torch.stack([z_support[y == label].mean(0) for label in range(int(y.max()) + 1)])
        return -(z[:, None] - prototypes[None]).pow(2).sum(2)


class Easyfsl(Reference):
    """The same with easyfsl's classifier on the features."""

    def __init__(self, net: Conv4):
        super().__init__(net)
        self.classifier = easyfsl_method()()

    def scores(self, z_support: Tensor, y: Tensor, z: Tensor) -> Tensor:
        self.classifier.process_support_set(z_support, y)
        return -self.classifier(z).square()


PEERS = {"reference": Reference, "easyfsl": Easyfsl}


def ours(learner: Prototypical, episodes: Episodes) -> list[Tensor]:
    """The gradient of the mean loss, in the peers' order."""
    names, parameters = zip(*learner.named_parameters())
    gradients = dict(zip(names, torch.autograd.grad(learner.losses(episodes).mean(), parameters)))
    return peers.in_their_order(learner, gradients)


def measure(ways: int, shots: int, options) -> dict:
    """Gradients compared in float64 on one small task, then times in float32."""
    generator = torch.Generator().manual_seed(1)
    learner = Prototypical(Conv4(64, "transductive")).double()
    small = FewShot(maml.images(), ways, 1, 1).sample(1, generator).to("cpu", torch.float64)
    own = ours(learner, small)
    differences = {
        name: rounds.require_same(own, peer(learner.net).gradient(small), name, 1e-7) for name, peer in PEERS.items()
    }
    learner.float()
    episodes = FewShot(maml.images(), ways, shots, 15).sample(options.tasks, generator)
    runs = {"kshot": lambda: ours(learner, episodes)}
    runs |= {name: partial(peer(learner.net).gradient, episodes) for name, peer in PEERS.items()}
    return dict(tasks=options.tasks, aim=1.6, difference=differences) | rounds.compare(
        runs, options.rounds, options.wall_rounds
    )


def main() -> None:
    options = rounds.arguments(__doc__)
    for name, setting in SETTINGS.items():
        if options.only in name:
            rounds.write("prototypical", {name: measure(*setting, options)})


if __name__ == "__main__":
    main()
