"""Drawing episodes: 5-way 1-shot with 15 queries a class, from 1,623 characters by 20 writers, to float images.

    python benchmarks/speed/sampling.py

Peers: easyfsl's TaskSampler with its collation on float images held in memory (mended: it calls its base class with an
argument that torch no longer takes), and a plain loop that draws and copies class by class. What is checked first is
that each draws the right number of different images with their labels. Writes benchmarks/results/speed_sampling.json.
"""

import importlib
import sys
import types
from pathlib import Path

import rounds
import torch
from torch import Tensor
from torch.utils.data import Sampler

from kshot import FewShot

WAYS, SHOTS, QUERIES, TASKS = 5, 1, 15, 32


def images() -> Tensor:
    """As many images as Omniglot's, uint8 [1623, 20, 1, 28, 28]; the time does not depend on what they show."""
    return torch.randint(256, (1623, 20, 1, 28, 28), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


class Easyfsl:
    """TaskSampler, one image after the other from the data set, and its collation."""

    def __init__(self, drawn: Tensor):
        self.x = drawn.flatten(0, 1).float() / 255
        self.y = torch.arange(len(drawn)).repeat_interleave(drawn.shape[1]).tolist()
        self.sampler = _task_sampler()(self, WAYS, SHOTS, QUERIES, TASKS)

    def get_labels(self) -> list[int]:
        """The label of every image, as easyfsl asks for it."""
        return self.y

    def __call__(self) -> list:
        """TASKS episodes as (support_x, support_y, query_x, query_y)."""
        return [
            self.sampler.episodic_collate_fn([(self.x[i], self.y[i]) for i in indices])[:4] for indices in self.sampler
        ]


def _task_sampler() -> type:
    """easyfsl's TaskSampler, imported past the packages that would want torchvision."""
    folder = Path(importlib.util.find_spec("easyfsl").origin).parent
    for name in ("samplers", "datasets"):
        package = types.ModuleType(f"easyfsl.{name}")
        package.__path__ = [str(folder / name)]
        sys.modules[f"easyfsl.{name}"] = package
    sys.modules["easyfsl.datasets"].FewShotDataset = object
    module = importlib.import_module("easyfsl.samplers.task_sampler")
    Sampler.__init__ = lambda self, data_source=None: None
    return module.TaskSampler


class PlainLoop:
    """Class by class, image by image, as tutorials write it."""

    def __init__(self, drawn: Tensor):
        self.drawn = drawn

    def __call__(self) -> list:
        """TASKS episodes as (support_x, support_y, query_x, query_y)."""
        episodes = []
        for _ in range(TASKS):
            support, queries = [], []
            for character in torch.randperm(len(self.drawn))[:WAYS].tolist():
                chosen = torch.randperm(self.drawn.shape[1])[: SHOTS + QUERIES]
                x = self.drawn[character, chosen].float() / 255
                support.append(x[:SHOTS])
                queries.append(x[SHOTS:])
            y = torch.arange(WAYS)
            sides = (torch.cat(support), y.repeat_interleave(SHOTS), torch.cat(queries), y.repeat_interleave(QUERIES))
            episodes.append(sides)
        return episodes


def require_episodes(episodes: list, who: str) -> None:
    """Raise RuntimeError where an episode is not one."""
    for support_x, support_y, query_x, query_y in episodes:
        together = torch.cat([support_x, query_x]).flatten(1)
        right = (
            support_x.shape == (WAYS * SHOTS, 1, 28, 28)
            and support_x.dtype == torch.float32
            and torch.equal(torch.bincount(support_y), torch.full((WAYS,), SHOTS))
            and torch.equal(torch.bincount(query_y), torch.full((WAYS,), QUERIES))
            and len(together.unique(dim=0)) == len(together)
        )
        if not right:
            raise RuntimeError(f"{who} did not draw a {WAYS}-way {SHOTS}-shot episode")


def main() -> None:
    options = rounds.arguments(__doc__)
    drawn, generator = images(), torch.Generator().manual_seed(0)
    tasks = FewShot(drawn, WAYS, SHOTS, QUERIES)
    runs = {
        "kshot": lambda: tasks.sample(TASKS, generator),
        "easyfsl": Easyfsl(drawn),
        "plain loop": PlainLoop(drawn),
    }
    for name, run in runs.items():
        made = run()
        each = (
            [(e.support_x[0], e.support_y[0], e.query_x[0], e.query_y[0]) for e in made.split(1)]
            if name == "kshot"
            else made
        )
        require_episodes(each, name)
    compared = rounds.compare(runs, options.rounds, options.wall_rounds)
    seconds = compared["cpu_one_thread"]["seconds"]
    speed = {name: round(TASKS / each) for name, each in seconds.items()}
    rounds.write("sampling", {"5-way 1-shot": dict(tasks=TASKS, aim=6.0, episodes_per_second=speed) | compared})


if __name__ == "__main__":
    main()
