"""The metric family on Omniglot's 20 test alphabets: one table, in benchmarks/results/omniglot.json.

    KSHOT_DATA=... python benchmarks/omniglot.py

Every learner sees the same episodes (paired), all classes of an episode drawn from all test alphabets, no rotations.
The trained learners are the shipped checkpoints: `python benchmarks/train.py NAME` makes each from the 25 training
alphabets, with its best step chosen on the 5 validation alphabets. `--episodes` and `--threads` as you like.
"""

import argparse
import json
import time
from pathlib import Path

import torch

import kshot
from kshot.checkpoint import read, shipped

SETTINGS = {"5-way 1-shot": (5, 1, 5), "5-way 5-shot": (5, 5, 5), "20-way 1-shot": (20, 1, 2)}  # ways, shots, queries
SEED = 2026

# As printed in each paper's own table; None where it has not been checked against the paper. Their splits differ:
# random characters with rotations as classes, not whole alphabets, which is easier.
PAPERS = {
    "Prototypical": {"5-way 1-shot": 98.8, "5-way 5-shot": 99.7, "20-way 1-shot": 96.0},  # Snell et al. 2017
    "Relation": {"5-way 1-shot": 99.6, "5-way 5-shot": 99.8, "20-way 1-shot": 97.6},  # Sung et al. 2018
}


def learners() -> dict[str, torch.nn.Module]:
    """The rows of the table: the floors first."""
    trained = {
        kind: kshot.pretrained(f"{name}_omniglot")
        for kind, name in (
            ("Siamese", "siamese"),
            ("Matching", "matching"),
            ("Relation", "relation"),
            ("Prototypical", "protonet"),
        )
    }
    return {"Pixel neighbour": kshot.PixelNeighbour(), "Untrained net": kshot.Prototypical(kshot.Conv4())} | trained


def measure(episodes: int) -> dict:
    """Every learner on every setting; scores in per cent, `seconds` is the wall time of the evaluation."""
    images = kshot.omniglot().split("test").images
    rows = []
    for setting, (ways, shots, queries) in SETTINGS.items():
        rows.append({"learner": "Chance", "setting": setting, "mean": 100 / ways, "interval": 0.0, "paper": None})
        results = {}
        for name, learner in learners().items():
            start = time.perf_counter()
            results[name] = kshot.evaluate(learner, kshot.FewShot(images, ways, shots, queries), episodes, SEED)
            rows.append(
                {
                    "learner": name,
                    "setting": setting,
                    "mean": round(100 * results[name].mean, 2),
                    "interval": round(100 * results[name].interval, 2),
                    "paper": PAPERS.get(name, {}).get(setting),
                    "transductive": learner.transductive,
                    "seconds": round(time.perf_counter() - start, 1),
                }
            )
            print(f"{setting:14} {name:16} {results[name]}", flush=True)
    return {"episodes": episodes, "seed": SEED, "queries": {k: v[2] for k, v in SETTINGS.items()}, "rows": rows}


def trainings() -> dict[str, dict]:
    """How each shipped checkpoint was made: its settings, steps and best validation score."""
    made = {}
    for name in ("siamese_omniglot", "matching_omniglot", "relation_omniglot", "protonet_omniglot"):
        _, metadata = read(shipped(name))
        validation = metadata["history"]["validation"]
        kept = ("steps", "batch", "learning_rate", "schedule", "seed", "tasks")
        made[name] = {key: metadata["settings"][key] for key in kept} | {"best_validation": max(validation.values())}
        made[name]["cpu_seconds"] = round(metadata["history"]["cpu_seconds"])
    return made


def markdown(report: dict) -> str:
    """The table of README.md: ours with intervals, the papers' in brackets."""
    lines = ["| learner | " + " | ".join(SETTINGS) + " | CPU minutes of training |", "|---|---|---|---|---|"]
    minutes = {
        name: round(report["trainings"][f"{kind}_omniglot"]["cpu_seconds"] / 60)
        for name, kind in (
            ("Siamese", "siamese"),
            ("Matching", "matching"),
            ("Relation", "relation"),
            ("Prototypical", "protonet"),
        )
    }
    for name in dict.fromkeys(row["learner"] for row in report["rows"]):
        cells = []
        for row in (row for row in report["rows"] if row["learner"] == name):
            paper = f" ({row['paper']})" if row["paper"] else ""
            ours = f"{row['mean']:.1f} ± {row['interval']:.1f}" if row["interval"] else f"{row['mean']:.0f}"
            cells.append(ours + paper)
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {minutes.get(name, '–')} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    report = measure(arguments.episodes) | {"trainings": trainings()}
    path = Path(__file__).parent / "results" / "omniglot.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    print("\n" + markdown(report))
    print(f"\n{arguments.episodes} episodes, 95 % intervals, seed {SEED}; written to {path.name}")


if __name__ == "__main__":
    main()
