"""Distributions over one-dimensional regression tasks: sinusoids, sines or lines, Gaussian-process curves."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from kshot.episodes import Episodes

JITTER = 1e-8  # added to a kernel's diagonal, relative to its scale: points may lie on top of each other


def sinusoid(amplitude: Tensor, phase: Tensor, x: Tensor) -> Tensor:
    """A sin(x - phase): amplitude [T] and phase [T], x [T, K, 1] -> [T, K, 1]."""
    return amplitude[:, None, None] * torch.sin(x - phase[:, None, None])


@dataclass(frozen=True)
class Sinusoids:
    """y = A sin(x - phase), a new amplitude A and phase for each task (Finn et al., "MAML", 2017, section 5.1).

    shots, queries:      points in the support and in the query
    amplitude, phase, x: the ends of the interval that each is drawn from, uniformly
    noise:               standard deviation of the noise on all targets
    device:              where the episodes live; the same seed gives the same ones on each

    Raises ValueError where a count is below 1, an interval ends before it starts, or the noise is negative.
    """

    shots: int = 10
    queries: int = 10
    amplitude: tuple[float, float] = (0.1, 5.0)
    phase: tuple[float, float] = (0.0, math.pi)
    x: tuple[float, float] = (-5.0, 5.0)
    noise: float = 0.0
    device: torch.device | str = "cpu"

    def __post_init__(self) -> None:
        check_counts(shots=self.shots, queries=self.queries)
        check_intervals(amplitude=self.amplitude, phase=self.phase, x=self.x)
        check_not_negative(noise=self.noise)

    def draw(self, tasks: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """What makes each task: amplitude [T] and phase [T], on the CPU; `sample` begins with the same draw."""
        unit = torch.rand(2, tasks, generator=generator)
        return between(self.amplitude, unit[0]), between(self.phase, unit[1])

    def sample(self, tasks: int, generator: torch.Generator) -> Episodes:
        """Draw `tasks` episodes: x [T, K, 1] and y [T, K, 1] with K = shots, or queries."""
        amplitude, phase = (each.to(self.device) for each in self.draw(tasks, generator))
        points = self.shots + self.queries
        x = between(self.x, torch.rand(tasks, points, 1, generator=generator)).to(self.device)
        noise = noise_like(x, self.noise, generator)
        return split_episodes(x, sinusoid(amplitude, phase, x) + noise, self.shots)


@dataclass(frozen=True)
class SineOrLine:
    """A coin for each task: a sine as in `Sinusoids`, or a line with slope and intercept between -3 and 3.

    Few noisy points often fit both: the tasks for which a learner should be unsure (Finn et al., "Probabilistic
    Model-Agnostic Meta-Learning", 2018). x lies between -5 and 5, `noise` is on all targets.
    """

    shots: int = 5
    queries: int = 10
    noise: float = 0.3
    device: torch.device | str = "cpu"

    AMPLITUDE, PHASE, LINE, X = (0.1, 5.0), (0.0, math.pi), (-3.0, 3.0), (-5.0, 5.0)

    def __post_init__(self) -> None:
        check_counts(shots=self.shots, queries=self.queries)
        check_not_negative(noise=self.noise)

    def draw(self, tasks: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Each task's coin [T] (True: a line) and two numbers [T]: amplitude and phase, or slope and intercept."""
        coin, first, second = torch.rand(3, tasks, generator=generator)
        line = coin < 0.5
        first = torch.where(line, between(self.LINE, first), between(self.AMPLITUDE, first))
        second = torch.where(line, between(self.LINE, second), between(self.PHASE, second))
        return line, first, second

    def sample(self, tasks: int, generator: torch.Generator) -> Episodes:
        """Draw `tasks` episodes: x [T, K, 1] and y [T, K, 1] with K = shots, or queries."""
        line, first, second = (each.to(self.device) for each in self.draw(tasks, generator))
        points = self.shots + self.queries
        x = between(self.X, torch.rand(tasks, points, 1, generator=generator)).to(self.device)
        straight = first[:, None, None] * x + second[:, None, None]
        y = torch.where(line[:, None, None], straight, sinusoid(first, second, x))
        return split_episodes(x, y + noise_like(x, self.noise, generator), self.shots)


def squared_exponential(a: Tensor, b: Tensor, length_scale: float, scale: float) -> Tensor:
    """The covariance s^2 exp(-|a - b|^2 / 2 l^2) of all pairs: a [T, A, d], b [T, B, d] -> [T, A, B]."""
    squared = (a[:, :, None] - b[:, None]).square().sum(-1)
    return scale**2 * torch.exp(-squared / (2 * length_scale**2))


@dataclass(frozen=True)
class GaussianProcessCurves:
    """Curves from a Gaussian process with the squared-exponential covariance, the tasks of neural processes.

    shots, queries: points in the support and in the query: a number, or the least and the most, from which every
                    call of `sample` draws one number for all its tasks
    length_scale:   how far apart two points are still alike, in units of x
    scale:          standard deviation of the curves
    noise:          standard deviation of the noise on all targets

    Garnelo et al., "Conditional Neural Processes" (2018); the defaults are those of the authors' code.
    """

    shots: int | tuple[int, int] = (3, 9)
    queries: int | tuple[int, int] = (2, 9)
    length_scale: float = 0.4
    scale: float = 1.0
    x: tuple[float, float] = (-2.0, 2.0)
    noise: float = 0.02
    device: torch.device | str = "cpu"

    def __post_init__(self) -> None:
        for name in ("shots", "queries"):
            least, most = ends(getattr(self, name))
            check_counts(**{name: least})
            check_intervals(**{name: (least, most)})
        check_intervals(x=self.x)
        check_not_negative(noise=self.noise)
        for name in ("length_scale", "scale"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, but is {getattr(self, name)}")

    def sample(self, tasks: int, generator: torch.Generator) -> Episodes:
        """Draw `tasks` episodes with as many points each: x [T, K, 1] and y [T, K, 1]."""
        shots, queries = (count(getattr(self, name), generator) for name in ("shots", "queries"))
        x = between(self.x, torch.rand(tasks, shots + queries, 1, generator=generator)).to(self.device)
        standard = torch.randn(tasks, shots + queries, 1, generator=generator, dtype=torch.float64).to(self.device)
        covariance = squared_exponential(x.double(), x.double(), self.length_scale, self.scale)
        covariance.diagonal(dim1=1, dim2=2).add_(self.noise**2 + JITTER * self.scale**2)
        y = torch.linalg.cholesky(covariance) @ standard  # float64: close points make it nearly singular
        return split_episodes(x, y.float(), shots)


def between(interval: tuple[float, float], unit: Tensor) -> Tensor:
    """Numbers in [0, 1) stretched to the interval."""
    low, high = interval
    return low + (high - low) * unit


def noise_like(x: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    """Normal noise [T, K, 1] for inputs x [T, K, *] of that standard deviation, drawn on the CPU."""
    return (deviation * torch.randn(*x.shape[:2], 1, generator=generator)).to(x.device)


def split_episodes(x: Tensor, y: Tensor, shots: int) -> Episodes:
    """The first `shots` points are the support, the others the query."""
    return Episodes(x[:, :shots], y[:, :shots], x[:, shots:], y[:, shots:])


def ends(counts: int | tuple[int, int]) -> tuple[int, int]:
    """The least and the most of a number, or of a pair of them."""
    return (counts, counts) if isinstance(counts, int) else counts


def count(counts: int | tuple[int, int], generator: torch.Generator) -> int:
    """One number between the least and the most, both possible."""
    least, most = ends(counts)
    return int(torch.randint(least, most + 1, (), generator=generator))


def check_counts(**counts: int) -> None:
    """Raise ValueError, in a sentence, for a count below 1."""
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, but is {value}")


def check_intervals(**intervals: tuple[float, float]) -> None:
    """Raise ValueError, in a sentence, for an interval that ends before it starts or is not finite."""
    for name, (low, high) in intervals.items():
        if not -math.inf < low <= high < math.inf:
            raise ValueError(f"{name} must be an interval (low, high), but is {(low, high)}")


def check_not_negative(**deviations: float) -> None:
    """Raise ValueError, in a sentence, for a negative or endless standard deviation."""
    for name, value in deviations.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} is a standard deviation: it must be at least 0, but is {value}")
