"""Linear regression in d dimensions, as tasks for learning in context, with inputs that training did not show."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kshot.episodes import Episodes
from kshot.tasks.curves import check_counts, check_not_negative, noise_like

INPUTS = {
    "normal": "x ~ N(0, I)",
    "skewed": "the i-th of d random orthogonal directions has a standard deviation in proportion to 1/i, E|x|^2 = d",
    "subspace": "all x of a task lie in one random subspace of d/2 dimensions, E|x|^2 = d",
    "orthants": "the support lies in one random orthant (each coordinate keeps its sign), queries are drawn as ever",
    "at_support": "each query repeats the x of a random support example",
}


@dataclass(frozen=True)
class LinearRegression:
    """y = w.x with a new w ~ N(0, I) for each task and x ~ N(0, I), or as `inputs` says.

    dimension: d, the length of x
    noise:     standard deviation of the noise on all targets
    inputs:    one of INPUTS
    scale:     a factor on every x
    device:    where the episodes live; the same seed gives the same ones on each

    The variants are those of Garg et al., "What Can Transformers Learn In-Context?" (2022), section 4, except that
    each task has its own directions here. Raises ValueError where a count is below 1, the noise is negative, `scale`
    is not above 0 or `inputs` is another word.
    """

    dimension: int
    shots: int
    queries: int
    noise: float = 0.0
    inputs: str = "normal"
    scale: float = 1.0
    device: torch.device | str = "cpu"

    def __post_init__(self) -> None:
        check_counts(dimension=self.dimension, shots=self.shots, queries=self.queries)
        check_not_negative(noise=self.noise)
        if not self.scale > 0:
            raise ValueError(f"scale must be above 0, but is {self.scale}")
        if self.inputs not in INPUTS:
            raise ValueError(f"inputs must be one of {', '.join(INPUTS)}, but is {self.inputs!r}")
        if self.inputs == "subspace" and self.dimension < 2:
            raise ValueError("a subspace of half the dimension needs at least 2 dimensions, but there is 1")

    def sample(self, tasks: int, generator: torch.Generator) -> Episodes:
        """Draw `tasks` episodes: x [T, K, d] and y [T, K, 1] with K = shots, or queries."""
        w = torch.randn(tasks, self.dimension, 1, generator=generator).to(self.device)
        x = torch.randn(tasks, self.shots + self.queries, self.dimension, generator=generator).to(self.device)
        x = self.scale * self._inputs(x, generator)
        y = x @ w + noise_like(x, self.noise, generator)
        return Episodes(x[:, : self.shots], y[:, : self.shots], x[:, self.shots :], y[:, self.shots :])

    def _inputs(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Standard normal x [T, S + Q, d] made into what `inputs` asks for."""
        tasks, _, d = x.shape
        if self.inputs in ("skewed", "subspace"):
            place = torch.arange(d, device=x.device)
            deviations = 1 / (1 + place) if self.inputs == "skewed" else (place < d // 2).float()  # [d]
            deviations = deviations * (d / deviations.square().sum()).sqrt()
            axes = torch.linalg.qr(torch.randn(tasks, d, d, generator=generator)).Q.to(x.device)  # [T, d, d]
            return (x * deviations) @ axes.mT
        support, query = x[:, : self.shots], x[:, self.shots :]
        if self.inputs == "orthants":
            signs = (2 * torch.randint(2, (tasks, 1, d), generator=generator) - 1).to(x.device)
            support = support.abs() * signs
        if self.inputs == "at_support":
            which = torch.randint(self.shots, (tasks, self.queries, 1), generator=generator).to(x.device)
            query = support.gather(1, which.expand(-1, -1, d))
        return torch.cat([support, query], 1)
