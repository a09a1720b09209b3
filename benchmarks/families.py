"""Three families of meta-learners on Omniglot's 20 test alphabets: one backbone, one budget, the same test episodes.

    KSHOT_DATA=... python benchmarks/families.py

Every learner embeds with Conv4 of 32 filters and was trained for about five CPU minutes (`python benchmarks/train.py
maml_omniglot_5way`, and so on), its best step chosen on the 5 validation alphabets. Each is measured inductively (its
batch statistics come from the support) and transductively (from the task's queries too, with the same weights). Beside
the scores: accuracy as shots, ways and inner steps leave the training's, the time of one task, and the size of what is
kept of D_train. Writes benchmarks/results/families.json. `--episodes` and `--threads` as you like.
"""

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import kshot
from kshot.checkpoint import SHIPPED, read
from kshot.nets import TaskNorm
from kshot.tasks.order import Shuffled

SEED = 2026
FAMILY = {
    "protonet": ("Prototypical", "metric"),
    "maml": ("MAML", "gradient"),
    "first_order": ("First-order MAML", "gradient"),
    "anil": ("ANIL", "gradient"),
    "reptile": ("Reptile", "gradient"),
    "neural_process": ("Neural process", "black box"),
    "lstm": ("LSTM", "black box"),
    "mann": ("MANN", "black box"),
    "meta_network": ("Meta network", "black box"),
    "snail": ("SNAIL", "black box"),
}
FLOORS = ("Chance", "Pixel neighbour", "Untrained net")
SHOTS, WAYS, STEPS = (1, 2, 3, 5, 10), (2, 3, 4, 5, 10, 20), (0, 1, 2, 3, 5, 10, 20)


def trained(ways: int) -> dict[str, nn.Module]:
    """The shipped learners for `ways` ways, by key of FAMILY."""
    found = {key: f"{key}_omniglot_{ways}way" for key in FAMILY}
    return {key: kshot.pretrained(name) for key, name in found.items() if (SHIPPED / f"{name}.safetensors").exists()}


@contextmanager
def transductively(learner: nn.Module) -> Iterator[nn.Module]:
    """A copy of `learner` whose batch statistics are those of all that it is shown at once."""
    copy = deepcopy(learner)
    for norm in copy.modules():
        if isinstance(norm, TaskNorm):
            norm.policy = "transductive"
    yield copy


def tasks(ways: int, shots: int, queries: int) -> Shuffled:
    """Episodes of the test alphabets, the support in random order."""
    return Shuffled(kshot.FewShot(kshot.omniglot().split("test").images, ways, shots, queries))


def numbers(kept: Any) -> int:
    """How many numbers a context holds: what `adapt` returned, whatever its shape."""
    if isinstance(kept, Tensor):
        return kept.numel()
    parts = kept.values() if isinstance(kept, dict) else kept if isinstance(kept, list | tuple) else ()
    return sum(numbers(part) for part in parts)


def cost(learner: nn.Module, distribution: Shuffled) -> tuple[float, int]:
    """Milliseconds to adapt to one task and answer its queries (the median of 20), and the numbers kept in between."""
    episode, seconds = distribution.sample(1, torch.Generator().manual_seed(SEED)), []
    with torch.no_grad():
        kept = learner.adapt(episode.support_x, episode.support_y)
        for _ in range(20):
            start = time.perf_counter()
            learner(episode.support_x, episode.support_y, episode.query_x)
            seconds.append(time.perf_counter() - start)
    return round(1000 * sorted(seconds)[10], 2), numbers(kept)


def shown(result: kshot.Result) -> dict[str, float]:
    """Mean and 95 % interval in per cent."""
    return {"mean": round(100 * result.mean, 2), "interval": round(100 * result.interval, 2)}


def table(episodes: int) -> list[dict]:
    """Every learner at 5 and at 20 ways, each trained for its own."""
    rows = []
    for ways, queries in ((5, 5), (20, 2)):
        setting, distribution = f"{ways}-way 1-shot", tasks(ways, 1, queries)
        floors = {"Pixel neighbour": kshot.PixelNeighbour(), "Untrained net": kshot.Prototypical(kshot.Conv4(32))}
        rows.append({"learner": "Chance", "family": "floor", "setting": setting, "mean": 100 / ways, "interval": 0.0})
        for name, learner in floors.items():
            result = kshot.evaluate(learner, distribution, episodes, SEED)
            rows.append({"learner": name, "family": "floor", "setting": setting, "transductive": False} | shown(result))
        for key, learner in trained(ways).items():
            name, family = FAMILY[key]
            history = read(SHIPPED / f"{key}_omniglot_{ways}way.safetensors")[1]["history"]
            milliseconds, kept = cost(learner, distribution)
            common = {"learner": name, "family": family, "setting": setting}
            common |= {"train_seconds": round(history["cpu_seconds"]), "milliseconds_a_task": milliseconds}
            common |= {"context_numbers": kept}
            result = kshot.evaluate(learner, distribution, episodes, SEED)
            rows.append(common | {"transductive": False} | shown(result))
            with transductively(learner) as other:
                joint = kshot.evaluate(other, distribution, episodes, SEED)
            rows.append(common | {"transductive": True} | shown(joint))
            print(f"{setting:14} {name:18} {result}   transductive {joint}   {milliseconds} ms", flush=True)
    return rows


def beyond(episodes: int) -> dict[str, list[dict]]:
    """The 5-way 1-shot learners on other shots and ways than they were trained for, and with other inner steps.

    A learner that cannot be asked has no row.
    """
    curves: dict[str, list[dict]] = {"shots": [], "ways": [], "steps": []}
    for key, learner in trained(5).items():
        name = FAMILY[key][0]
        asked = [("shots", shots, tasks(5, shots, 5)) for shots in SHOTS]
        asked += [("ways", ways, tasks(ways, 1, 5 if ways < 10 else 2)) for ways in WAYS]
        for what, value, distribution in asked:
            try:
                result = kshot.evaluate(learner, distribution, episodes, SEED)
            except ValueError as error:
                print(f"{name}, {value} {what}: {error}")
                continue
            curves[what].append({"learner": name, what: value} | shown(result))
        if hasattr(learner, "evaluation_steps"):
            for steps in STEPS:
                learner.evaluation_steps = steps
                result = kshot.evaluate(learner, tasks(5, 1, 5), episodes, SEED)
                curves["steps"].append({"learner": name, "steps": steps} | shown(result))
    return curves


def markdown(report: dict) -> str:
    """The table: inductive scores, transductive ones in brackets."""
    settings = list(dict.fromkeys(row["setting"] for row in report["rows"]))
    lines = [
        "| learner | family | " + " | ".join(settings) + " | ms a task | numbers kept |",
        "|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(row["learner"] for row in report["rows"]):
        own = [row for row in report["rows"] if row["learner"] == name]
        cells = []
        for setting in settings:
            here = {row.get("transductive", False): row for row in own if row["setting"] == setting}
            cells.append(entry(here.get(False), here.get(True)))
        first = own[0]
        kept = f"{first['context_numbers']:,}" if "context_numbers" in first else "–"
        cost = f"{first.get('milliseconds_a_task', '–')} | {kept}"
        lines.append(f"| {name} | {first['family']} | " + " | ".join(cells) + f" | {cost} |")
    return "\n".join(lines)


def entry(inductive: dict | None, transductive: dict | None) -> str:
    """`93.9 ± 0.7 (94.8)`, the transductive mean in brackets; a dash where nothing was measured."""
    if inductive is None:
        return "–"
    half = f" ± {inductive['interval']:.1f}" if inductive["interval"] else ""
    return f"{inductive['mean']:.1f}{half}" + (f" ({transductive['mean']:.1f})" if transductive else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=600)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    report = {"episodes": arguments.episodes, "seed": SEED, "rows": table(arguments.episodes)}
    report |= beyond(max(100, arguments.episodes // 3))
    path = Path(__file__).parent / "results" / "families.json"
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"\n{markdown(report)}\n\n{arguments.episodes} episodes, 95 % intervals, seed {SEED}; written to {path.name}")


if __name__ == "__main__":
    main()
