"""Meta-evaluation: scores on fresh tasks, with intervals, paired across learners."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kshot.episodes import Episodes, TaskDistribution

CHUNK = 10  # tasks drawn at once; fixed, so that a seed means the same episodes for every learner
CPU_CHUNK = 2  # of them predicted at once on a CPU: with more, twice the time goes into memory given back and forth


@dataclass(frozen=True)
class Result:
    """A score with its 95 % interval: `values` [episodes] holds one score an episode."""

    values: Tensor
    percent: bool = True
    seed: int | None = None

    @property
    def mean(self) -> float:
        """The mean over episodes."""
        return float(self.values.mean())

    @property
    def interval(self) -> float:
        """Half the width of the 95 % interval of the mean: 1.96 standard errors."""
        return 1.96 * float(self.values.std()) / math.sqrt(len(self.values))

    def __sub__(self, other: "Result") -> "Result":
        """The paired difference, episode by episode; both must come from the same seed and tasks."""
        if len(self.values) != len(other.values):
            raise ValueError(
                f"{len(self.values)} and {len(other.values)} episodes cannot be paired: use the same number"
            )
        if self.seed != other.seed:
            raise ValueError(f"episodes of seeds {self.seed} and {other.seed} cannot be paired: use the same seed")
        return Result(self.values - other.values, self.percent, self.seed)

    def __str__(self) -> str:
        if self.percent:
            return f"{100 * self.mean:.1f} ± {100 * self.interval:.1f} %"
        return f"{self.mean:.3g} ± {self.interval:.2g}"

    __repr__ = __str__


def score(learner: nn.Module, episodes: Episodes) -> Tensor:
    """One number a task [T]: accuracy for class ids, mean squared error for targets."""
    prediction = learner(episodes.support_x, episodes.support_y, episodes.query_x)
    if episodes.query_y.is_floating_point():
        return (prediction - episodes.query_y).square().flatten(1).mean(1)
    return (prediction.argmax(-1) == episodes.query_y).float().mean(1)


@torch.no_grad()
def evaluate(learner: nn.Module, tasks: TaskDistribution, episodes: int = 600, seed: int = 0) -> Result:
    """Accuracy (or squared error) on `episodes` fresh tasks, with no autograd graph.

    The same `seed` and tasks give every learner the same episodes, so that `evaluate(a, ...) - evaluate(b, ...)`
    is a paired comparison. The learner is put in evaluation mode and back.
    """
    if episodes < 2:
        raise ValueError(f"an interval needs at least 2 episodes, but {episodes} were asked for")
    generator = torch.Generator().manual_seed(seed)
    modes, values, percent = {module: module.training for module in learner.modules()}, [], True
    learner.eval()
    try:
        while sum(map(len, values)) < episodes:
            drawn = place(tasks.sample(CHUNK, generator), learner)
            percent = not drawn.query_y.is_floating_point()
            at_once = CPU_CHUNK if drawn.query_x.device.type == "cpu" else CHUNK
            values += [score(learner, some).cpu() for some in drawn.split(at_once)]
    finally:
        for module, mode in modes.items():
            module.training = mode
    return Result(torch.cat(values)[:episodes], percent, seed)


def place(episodes: Episodes, learner: nn.Module) -> Episodes:
    """The episodes where the learner's parameters are, in their precision; as they are for one without parameters."""
    first = next(learner.parameters(), None)
    return episodes if first is None else episodes.to(first.device, first.dtype)
