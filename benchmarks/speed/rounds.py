"""Measuring: several ways to compute one thing, in interleaved rounds of one run, as medians and ratios.

Only ratios of the same run mean anything: a machine's speed changes from minute to minute. CPU time (with one thread)
is what a busy machine leaves standing; wall time with two threads is what a reader with two cores waits for.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

RESULTS = Path(__file__).parent.parent / "results"


def arguments(description: str) -> argparse.Namespace:
    """The options that every script has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="rounds with one thread, in CPU time")
    parser.add_argument("--wall-rounds", type=int, default=3, help="rounds with two threads, in wall time")
    parser.add_argument("--tasks", type=int, default=16, help="tasks an outer step")
    parser.add_argument("--only", default="", help="only settings whose name holds this")
    return parser.parse_args()


def require_same(ours: Sequence[Tensor], theirs: Sequence[Tensor], peer: str, tolerance: float = 1e-9) -> float:
    """The largest difference, relative to the largest gradient; raises RuntimeError where it is no rounding error."""
    if len(ours) != len(theirs):
        raise RuntimeError(f"{peer} has {len(theirs)} gradients, not {len(ours)}")
    largest = max(float(gradient.abs().max()) for gradient in ours)
    worst = max(float((a - b).abs().max()) for a, b in zip(ours, theirs)) / largest
    if not worst < tolerance:
        raise RuntimeError(
            f"the gradients of {peer} differ by {worst:.1e}: nothing is timed that computes another thing"
        )
    return worst


def compare(runs: dict[str, Callable[[], object]], rounds: int, wall_rounds: int) -> dict:
    """Seconds and ratios of `runs`, whose first entry is ours; a ratio above 1 says that ours is faster.

    Each round times every run once; a ratio is the median over the rounds of theirs / ours within a round.
    """
    return {
        "cpu_one_thread": _rounds(runs, rounds, 1, time.process_time),
        "wall_two_threads": _rounds(runs, wall_rounds, 2, time.perf_counter),
    }


def _rounds(runs: dict[str, Callable[[], object]], rounds: int, threads: int, clock: Callable[[], float]) -> dict:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    # glibc gives memory back after each operation until a large block was freed once, as in any process that has loaded
    # data: without this, whether a small net's tensors are asked for anew each time is a matter of chance.
    torch.zeros(4_000_000)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    try:
        for number in range(rounds + 1):
            for name, run in runs.items():
                start = clock()
                run()
                if number:  # the first round warms up
                    seconds[name].append(clock() - start)
    finally:
        torch.set_num_threads(before)
    ours = next(iter(runs))
    ratios = {name: [b / a for a, b in zip(seconds[ours], seconds[name])] for name in runs if name != ours}
    return {
        "rounds": rounds,
        "seconds": {name: round(statistics.median(times), 6) for name, times in seconds.items()} if rounds else {},
        "ratios": {name: round(statistics.median(each), 2) for name, each in ratios.items()} if rounds else {},
        "ratio_range": {name: [round(min(each), 2), round(max(each), 2)] for name, each in ratios.items()}
        if rounds
        else {},
    }


def best_peer(compared: dict) -> tuple[str, float]:
    """The peer that comes nearest to ours (or beats it) in CPU time, and its ratio."""
    return min(compared["cpu_one_thread"]["ratios"].items(), key=lambda item: item[1])


def flops(run: Callable[[], object]) -> int:
    """Floating-point operations in the products and convolutions of `run()`."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def convolution_peak() -> float:
    """GFLOP/s of the fastest convolution of Conv-4's kind (64 to 64 channels, 3x3) on one thread, best of many."""
    torch.set_num_threads(1)
    best = 0.0
    for size, side in ((75, 14), (100, 14), (75, 7)):
        x = torch.randn(size, 64, side, side).contiguous(memory_format=torch.channels_last)
        w = torch.randn(64, 64, 3, 3).contiguous(memory_format=torch.channels_last)
        for _ in range(20):
            start = time.process_time()
            torch.conv2d(x, w, padding=1)
            best = max(best, 2 * size * side * side * 64 * 64 * 9 / (time.process_time() - start) / 1e9)
    return best


def machine() -> dict:
    """What the figures were measured on; the load is that of the last minute, this run included."""
    return {
        "torch": torch.__version__,
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def write(name: str, settings: dict[str, dict], **more: object) -> None:
    """Keep the measured `settings` (by name) in benchmarks/results/speed_{name}.json; others there stay."""
    path = RESULTS / f"speed_{name}.json"
    kept = json.loads(path.read_text())["settings"] if path.exists() else {}
    report = {"machine": machine(), **more, "settings": kept | settings}
    path.write_text(json.dumps(report, indent=1) + "\n")
    for setting, entry in settings.items():
        peer, ratio = best_peer(entry)
        share = f", {entry['share_of_peak']:.0%} of the convolution peak" if entry.get("share_of_peak") else ""
        print(f"{name} {setting}: {ratio:.2f} x {peer} (aim {entry.get('aim', '–')}){share}", flush=True)
