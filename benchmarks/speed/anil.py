"""ANIL (the inner loop moves the head alone) with Conv-4 (64 filters), 5-way 1-shot, 5 steps, against two peers.

    python benchmarks/speed/anil.py

The plain loop computes the features once a task, as it should; `higher` patches the head alone. Writes
benchmarks/results/speed_anil.json.
"""

from functools import partial

import maml
import peers
import rounds
import torch
import torch.nn.functional as F

from kshot import MAML, Conv4, FewShot


class Loop(peers.Loop):
    """Features by the plain net, then steps on the head's weight and bias."""

    def of_task(self, support_x, support_y, query_x, query_y):
        body, head = self.model[0], self.parameters[-2:]
        z_support, z_query = body(support_x), body(query_x)
        for _ in range(self.steps):
            slopes = torch.autograd.grad(self.loss(F.linear(z_support, *head), support_y), head, create_graph=True)
            head = [p - self.rate * slope for p, slope in zip(head, slopes)]
        return torch.autograd.grad(self.loss(F.linear(z_query, *head), query_y), self.parameters)


class Higher(peers.Peer):
    """The head patched by `higher`, the features computed by the net itself."""

    def of_task(self, support_x, support_y, query_x, query_y):
        import higher

        body, head = self.model
        z_support, z_query = body(support_x), body(query_x)
        optimiser = torch.optim.SGD(head.parameters(), lr=self.rate)
        with higher.innerloop_ctx(head, optimiser, copy_initial_weights=False) as (inner, step):
            for _ in range(self.steps):
                step.step(self.loss(inner(z_support), support_y))
            return torch.autograd.grad(self.loss(inner(z_query), query_y), self.parameters)


PEERS = {"plain loop": Loop, "higher": Higher}


def measure(options) -> dict:
    """Gradients compared in float64 on one small task, then times in float32."""
    generator = torch.Generator().manual_seed(1)
    learner = MAML(Conv4(64, "transductive"), 5, steps=5, rate=0.125, adapts="head").double()
    small = FewShot(maml.images(), 5, 1, 1).sample(1, generator).to("cpu", torch.float64)
    own = peers.ours(learner, small)
    differences = {name: rounds.require_same(own, peer(learner).gradient(small), name) for name, peer in PEERS.items()}
    learner.float()
    episodes = FewShot(maml.images(), 5, 1, 15).sample(options.tasks, generator)
    runs = {"kshot": lambda: peers.ours(learner, episodes)}
    runs |= {name: partial(peer(learner).gradient, episodes) for name, peer in PEERS.items()}
    return dict(tasks=options.tasks, aim=1.6, difference=differences) | rounds.compare(
        runs, options.rounds, options.wall_rounds
    )


if __name__ == "__main__":
    rounds.write("anil", {"5-way 1-shot, 5 steps": measure(rounds.arguments(__doc__))})
