"""First-order MAML and Reptile with Conv-4 (64 filters), 5-way 1-shot, against the plain loop and `higher`.

    python benchmarks/speed/first_order.py

First-order MAML takes 1 step; Reptile takes 5, each on half of a task's 80 images; its peers are the plain loop and
torch.optim.SGD on a copy of the net. Writes benchmarks/results/speed_first_order.json.
"""

import copy
from functools import partial

import maml
import peers
import rounds
import torch
from torch import Tensor

from kshot import Conv4, FewShot, Reptile

STEPS, MINIBATCHES = 5, 2


class ReptileLoop(peers.Loop):
    """theta - phi, with phi reached by plain gradient steps on lists of parameters."""

    def of_task(self, support_x, support_y, query_x, query_y):
        x, y = torch.cat([support_x, query_x]), torch.cat([support_y, query_y])
        phi = self.parameters
        for step in range(self.steps):
            own = slice(step % MINIBATCHES, None, MINIBATCHES)
            phi = [p.detach().requires_grad_() for p in phi]
            slopes = torch.autograd.grad(self.loss(self.net(phi, x[own]), y[own]), phi)
            phi = [p - self.rate * slope for p, slope in zip(phi, slopes)]
        return tuple(start.detach() - end.detach() for start, end in zip(self.parameters, phi))


class ReptileModule(peers.Peer):
    """theta - phi, with phi the parameters of a copied module after torch.optim.SGD."""

    def of_task(self, support_x, support_y, query_x, query_y):
        x, y = torch.cat([support_x, query_x]), torch.cat([support_y, query_y])
        model = copy.deepcopy(self.model)
        optimiser = torch.optim.SGD(model.parameters(), lr=self.rate)
        for step in range(self.steps):
            own = slice(step % MINIBATCHES, None, MINIBATCHES)
            optimiser.zero_grad()
            self.loss(model(x[own]), y[own]).backward()
            optimiser.step()
        return tuple(a.detach() - b.detach() for a, b in zip(self.parameters, model.parameters()))


def reptile(options) -> dict:
    """Gradients compared in float64 on one small task, then times in float32."""
    who = {"plain loop": ReptileLoop, "torch.optim.SGD": ReptileModule}
    generator = torch.Generator().manual_seed(1)
    learner = Reptile(Conv4(64, "transductive"), 5, steps=STEPS, minibatches=MINIBATCHES, rate=0.03125).double()
    small = FewShot(maml.images(), 5, 1, 2).sample(1, generator).to("cpu", torch.float64)
    own: list[Tensor] = peers.ours(learner, small)
    differences = {name: rounds.require_same(own, peer(learner).gradient(small), name) for name, peer in who.items()}
    learner.float()
    episodes = FewShot(maml.images(), 5, 1, 15).sample(options.tasks, generator)
    runs = {"kshot": lambda: peers.ours(learner, episodes)}
    runs |= {name: partial(peer(learner).gradient, episodes) for name, peer in who.items()}
    return dict(tasks=options.tasks, aim=1.7, difference=differences) | rounds.compare(
        runs, options.rounds, options.wall_rounds
    )


def main() -> None:
    options = rounds.arguments(__doc__)
    if options.only in "first-order MAML":
        who = {name: maml.PEERS[name] for name in ("plain loop", "higher")}
        rounds.write("first_order", {"first-order MAML": maml.measure(5, 1, 1, 1.7, options, order=1, who=who)})
    if options.only in "Reptile":
        rounds.write("first_order", {"Reptile": reptile(options)})


if __name__ == "__main__":
    main()
