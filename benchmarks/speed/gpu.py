"""On a CUDA GPU: tasks batched by vmap against tasks looped, second-order MAML with Conv-4, with peak memory.

    python benchmarks/speed/gpu.py

Gradients are compared in float64 first. Where there is no CUDA GPU it says so and writes nothing; else it writes
benchmarks/results/speed_gpu.json.
"""

import json
import statistics
import time

import maml
import peers
import rounds
import torch

from kshot import MAML, Conv4, Episodes, FewShot

WAYS = {"loop": ("loop", None), "vmap": ("vmap", None), "vmap, 4 at once": ("vmap", 4)}  # engine, chunk_size


def once(learner: MAML, episodes: Episodes) -> float:
    """Seconds of one outer gradient, the GPU's work included."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    peers.ours(learner, episodes)
    torch.cuda.synchronize()
    return time.perf_counter() - start


def measure(ways: int, shots: int, steps: int, options) -> dict:
    """Seconds (median), peak memory in MB, and how many times faster than the loop."""
    generator = torch.Generator().manual_seed(1)
    learners = {}
    for name, (engine, chunk_size) in WAYS.items():
        net = Conv4(64, "transductive")
        learners[name] = MAML(net, ways, steps=steps, rate=0.125, engine=engine, chunk_size=chunk_size).cuda()
    small = FewShot(maml.images(), ways, 1, 1).sample(2, generator).to("cuda", torch.float64)
    exact = {name: peers.ours(learner.double(), small) for name, learner in learners.items()}
    for name, gradients in exact.items():
        rounds.require_same(exact["loop"], gradients, name)
    episodes = FewShot(maml.images(), ways, shots, 15).sample(options.tasks, generator).to("cuda")
    seconds: dict[str, list[float]] = {name: [] for name in learners}
    memory = {}
    for number in range(options.rounds + 2):
        for name, learner in learners.items():
            torch.cuda.reset_peak_memory_stats()
            took = once(learner.float(), episodes)
            memory[name] = round(torch.cuda.max_memory_allocated() / 2**20)
            if number >= 2:  # the first rounds warm up
                seconds[name].append(took)
    return {
        "tasks": options.tasks,
        "seconds": {name: round(statistics.median(times), 5) for name, times in seconds.items()},
        "times_faster_than_loop": {
            name: round(statistics.median(a / b for a, b in zip(seconds["loop"], times)), 2)
            for name, times in seconds.items()
        },
        "peak_memory_mb": memory,
    }


def main() -> None:
    options = rounds.arguments(__doc__)
    if not torch.cuda.is_available():
        print("There is no CUDA GPU here, so the GPU table is not measured.")
        return
    settings = {}
    for name, (ways, shots, steps, _) in maml.SETTINGS.items():
        if options.only in name:
            settings[name] = measure(ways, shots, steps, options)
            print(name, settings[name], flush=True)
    report = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "settings": settings}
    (rounds.RESULTS / "speed_gpu.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
