"""Second-order MAML with Conv-4 (64 filters) on 28x28 images: one outer gradient, against three peers.

    python benchmarks/speed/maml.py

15 queries a class. All loop over the tasks, so that the ratios do not depend on how many there are (`--tasks`). Writes
benchmarks/results/speed_maml.json.
"""

from functools import partial

import peers
import rounds
import torch

from kshot import MAML, Conv4, FewShot

# name: ways, shots, inner steps, aim
SETTINGS = {
    "5-way 1-shot, 1 step": (5, 1, 1, 1.5),
    "5-way 1-shot, 5 steps": (5, 1, 5, 1.15),
    "20-way 5-shot, 1 step": (20, 5, 1, 1.0),
    "20-way 5-shot, 5 steps": (20, 5, 5, 1.0),
}
PEERS = {"plain loop": peers.Loop, "higher": peers.Higher, "torchopt": peers.TorchOpt}


def images() -> torch.Tensor:
    """Sparse strokes as uint8 [60, 20, 1, 28, 28]: the time does not depend on what is drawn."""
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(60, 20, 1, 28, 28, generator=generator) > 0.85).to(torch.uint8) * 255


def measure(ways: int, shots: int, steps: int, aim: float, options, order: int = 2, who=PEERS) -> dict:
    """Gradients compared in float64 on one small task (1 shot, 1 query), then times in float32."""
    generator = torch.Generator().manual_seed(1)
    learner = MAML(Conv4(64, "transductive"), ways, steps=steps, rate=0.125, order=order).double()
    small = FewShot(images(), ways, 1, 1).sample(1, generator).to("cpu", torch.float64)
    own = peers.ours(learner, small)
    differences = {name: rounds.require_same(own, peer(learner).gradient(small), name) for name, peer in who.items()}
    learner.float()
    tasks = options.tasks
    episodes = FewShot(images(), ways, shots, 15).sample(tasks, generator)
    others = {name: peer(learner) for name, peer in who.items()}
    work = tasks * rounds.flops(lambda: others["plain loop"].gradient(episodes[:1]))
    runs = {"kshot": lambda: peers.ours(learner, episodes)}
    runs |= {name: partial(peer.gradient, episodes) for name, peer in others.items()}
    compared = rounds.compare(runs, options.rounds, options.wall_rounds)
    speed = work / compared["cpu_one_thread"]["seconds"]["kshot"] / 1e9
    peak = rounds.convolution_peak()
    return {
        **dict(tasks=tasks, aim=aim, difference=differences, gflop=round(work / 1e9, 1)),
        **dict(gflop_per_second=round(speed, 1), convolution_peak=round(peak, 1), share_of_peak=round(speed / peak, 3)),
        **compared,
    }


def main() -> None:
    options = rounds.arguments(__doc__)
    for name, setting in SETTINGS.items():
        if options.only in name:
            rounds.write("maml", {name: measure(*setting, options)})


if __name__ == "__main__":
    main()
