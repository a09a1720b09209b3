"""Glyphs beside Omniglot: how hard, how fast, whose hand, and what a learner trained on Glyphs alone can read.

    KSHOT_DATA=... python benchmarks/glyphs.py

Prints one table and writes benchmarks/results/glyphs.json. Without Omniglot its columns stay empty; without the
shipped checkpoint `protonet_glyphs` (`python benchmarks/train.py protonet_glyphs`) the transfer is left out, and both
are said. `--episodes`, `--seed` and `--threads` as you like.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import torch
from torch import Tensor

import kshot
from kshot.checkpoint import read, shipped
from kshot.glyphs import generate

RESULTS = Path(__file__).parent / "results" / "glyphs.json"


def generation() -> dict:
    """Seconds to draw the whole set, and five alphabets; the process's peak memory in MB, torch included."""
    seconds = {}
    for alphabets in (50, 5):
        start = time.perf_counter(), time.process_time()
        generate(seed=0, alphabets=alphabets)
        seconds[f"{alphabets} alphabets"] = {
            "wall": round(time.perf_counter() - start[0], 2),
            "cpu": round(time.process_time() - start[1], 2),
        }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # kilobytes on Linux
    return {"seconds": seconds, "peak_memory_mb": round(peak)}


def moments(images: Tensor) -> Tensor:
    """Centre, spread, correlation and ink of drawings: [..., 28, 28] in 0..1 -> [..., 6]."""
    axis, ink = torch.arange(28.0), images.sum((-1, -2)).clamp_min(1e-3)
    columns, rows = images.sum(-2) / ink[..., None], images.sum(-1) / ink[..., None]
    x, y = columns @ axis, rows @ axis
    xx, yy = (columns @ axis**2 - x**2).clamp_min(0), (rows @ axis**2 - y**2).clamp_min(0)
    xy = (images @ axis) @ axis / ink - x * y
    return torch.stack([x, y, xx.sqrt(), yy.sqrt(), xy / (xx * yy + 1).sqrt(), ink], -1)


def writers(characters: kshot.Characters) -> kshot.Result:
    """How often a writer is recognised by six moments, in characters of the alphabet not seen from them.

    Half of an alphabet's characters tell how each writer differs from the others; each drawing of the other half is
    given to the writer whose difference is nearest. One value an alphabet. Chance is 1 in 20.
    """
    values = []
    for which in characters.alphabet.unique():
        own = moments(characters.images[characters.alphabet == which][:, :, 0].float() / 255)  # [C, D, 6]
        own = own - own.mean(1, keepdim=True)
        own = own / own.flatten(0, 1).std(0)
        half = len(own) // 2
        nearest = torch.cdist(own[half:], own[:half].mean(0).expand(len(own) - half, -1, -1)).argmin(-1)
        values.append((nearest == torch.arange(own.shape[1])).float().mean())
    return kshot.Result(torch.stack(values))


def row(what: str, data: str, result: kshot.Result | float, note: str = "") -> dict:
    """One line of the table, in per cent."""
    fixed = isinstance(result, float)
    mean, interval = (result, 0.0) if fixed else (100 * result.mean, 100 * result.interval)
    return {"what": what, "data": data, "mean": round(mean, 2), "interval": round(interval, 2), "note": note}


def measure(episodes: int, seed: int) -> tuple[list[dict], list[str]]:
    """The rows of the table, and what is missing from it."""
    missing, data = [], {"Glyphs (seed 0)": kshot.glyphs()}
    try:
        data["Omniglot"] = kshot.omniglot()
    except FileNotFoundError as error:
        missing.append(str(error))
    rows = []
    for name, characters in data.items():
        tasks = kshot.FewShot(characters.images, ways=5, shots=1, queries=1)
        floor = kshot.evaluate(kshot.PixelNeighbour(), tasks, episodes, seed)
        rows.append(row("Pixel neighbour, 5-way 1-shot", name, floor, f"{episodes} episodes; chance 20"))
        rows.append(row("Writer told by six moments", name, writers(characters), "50 alphabets; chance 5"))
    if "Omniglot" in data:
        rows += transfer(data["Omniglot"].split("test").images, episodes, seed, missing)
    return rows, missing


def transfer(images: Tensor, episodes: int, seed: int, missing: list[str]) -> list[dict]:
    """The prototypical network trained on Glyphs alone, and the floors, on Omniglot's test alphabets."""
    learners = {"Pixel neighbour": kshot.PixelNeighbour(), "Untrained net": kshot.Prototypical(kshot.Conv4())}
    try:
        learners["Trained on Glyphs alone"] = kshot.pretrained("protonet_glyphs")
    except KeyError as error:
        missing.append(error.args[0])
    rows = []
    for ways, queries in ((5, 5), (20, 2)):
        data = f"Omniglot test, {ways}-way 1-shot"
        rows.append(row("Chance", data, 100 / ways))
        for name, learner in learners.items():
            result = kshot.evaluate(learner, kshot.FewShot(images, ways, 1, queries), episodes, seed)
            rows.append(row(name, data, result, f"{episodes} episodes"))
    return rows


def training() -> dict | None:
    """How the shipped checkpoint was made; None without one."""
    try:
        _, metadata = read(shipped("protonet_glyphs"))
    except KeyError:
        return None
    kept = ("steps", "batch", "learning_rate", "schedule", "seed", "tasks")
    made = {key: metadata["settings"][key] for key in kept}
    return made | {"cpu_seconds": round(metadata["history"]["cpu_seconds"])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cost = generation()
    rows, missing = measure(arguments.episodes, arguments.seed)
    print(f"{'':32}{'':32}{'%':>6}  95 %")
    for line in rows:
        print(f"{line['what']:32}{line['data']:32}{line['mean']:6.1f}  ±{line['interval']:.1f}  {line['note']}")
    for alphabets, seconds in cost["seconds"].items():
        print(f"drawing {alphabets}: {seconds['wall']} s ({seconds['cpu']} s of CPU)")
    print(f"peak memory: {cost['peak_memory_mb']} MB")
    for sentence in missing:
        print(f"left out: {sentence}")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    settings = {"episodes": arguments.episodes, "seed": arguments.seed, "threads": arguments.threads}
    record = {"settings": settings, "generation": cost, "rows": rows, "training": training(), "missing": missing}
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
