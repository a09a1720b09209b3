"""Second-order MAML on sinusoids: 25 tasks of 10 shots, a perceptron 1-40-40-1, one outer gradient, three peers.

    python benchmarks/speed/sinusoids.py

Writes benchmarks/results/speed_sinusoids.json.
"""

from functools import partial

import maml
import peers
import rounds
import torch
from torch import nn

from kshot import MAML
from kshot.tasks import Sinusoids

SETTINGS = {"1 step": (1, 12.0), "5 steps": (5, 14.0)}  # inner steps, aim
TASKS = 25


def measure(steps: int, aim: float, options) -> dict:
    """Gradients compared in float64, then times in float32."""
    generator = torch.Generator().manual_seed(0)
    episodes = Sinusoids(shots=10, queries=10).sample(TASKS, generator)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(1, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 1))
    learner = MAML(net, steps=steps, rate=0.0078125).double()
    exact = episodes.to("cpu", torch.float64)
    own = peers.ours(learner, exact)
    who = maml.PEERS
    differences = {name: rounds.require_same(own, peer(learner).gradient(exact), name) for name, peer in who.items()}
    learner.float()
    runs = {"kshot": lambda: peers.ours(learner, episodes)}
    runs |= {name: partial(peer(learner).gradient, episodes) for name, peer in who.items()}
    return dict(tasks=TASKS, aim=aim, difference=differences) | rounds.compare(
        runs, options.rounds, options.wall_rounds
    )


def main() -> None:
    options = rounds.arguments(__doc__)
    for name, setting in SETTINGS.items():
        if options.only in name:
            rounds.write("sinusoids", {name: measure(*setting, options)})


if __name__ == "__main__":
    main()
