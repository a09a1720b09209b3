"""Learners without anything to train: the floors that every table prints, and the oracles that know the family.

All are for regression: support_x [T, S, *x], support_y [T, S, d], and predictions [T, Q, d].
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from kshot.tasks.curves import JITTER, squared_exponential


class Classical(nn.Module):
    """A learner with no parameters; a subclass gives `learn` and `predict`."""

    transductive = False

    def learn(self, x: Tensor, y: Tensor) -> Any:
        """What is kept of a support x [T, S, D], y [T, S, d]."""
        raise NotImplementedError

    def predict(self, adapted: Any, query_x: Tensor) -> Tensor:
        """Targets [T, Q, d] of query_x [T, Q, *x]."""
        raise NotImplementedError

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Any:
        """Learn from the support; raises ValueError where it holds class ids or nothing instead of targets."""
        if support_y is None or support_y.dim() != 3:
            held = "no labels" if support_y is None else f"labels of shape {tuple(support_y.shape)}"
            raise ValueError(f"{type(self).__name__} predicts targets [T, S, d], but the support holds {held}")
        return self.learn(support_x.flatten(2), support_y)

    def forward(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        """y = f(D_train, x): targets [T, Q, d]."""
        return self.predict(self.adapt(support_x, support_y), query_x)


class Zero(Classical):
    """The floor: always zero. Its squared error is the mean square of the targets."""

    def learn(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.zeros_like(y[:, :1])

    def predict(self, adapted: Tensor, query_x: Tensor) -> Tensor:
        return adapted.expand(-1, query_x.shape[1], -1)


class Average(Zero):
    """The mean of the support's targets, whatever is asked."""

    def learn(self, x: Tensor, y: Tensor) -> Tensor:
        return y.mean(1, keepdim=True)


class NearestNeighbours(Classical):
    """The mean target of the k support points nearest to the query (Euclidean), or of all where there are fewer."""

    def __init__(self, k: int = 3):
        super().__init__()
        if k < 1:
            raise ValueError(f"k must be at least 1, but is {k}")
        self.k = k

    def extra_repr(self) -> str:
        return f"k={self.k}"

    def learn(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return x, y

    def predict(self, adapted: tuple[Tensor, Tensor], query_x: Tensor) -> Tensor:
        x, y = adapted
        distance = torch.cdist(query_x.flatten(2), x, compute_mode="donot_use_mm_for_euclid_dist")  # [T, Q, S]
        nearest = distance.topk(min(self.k, x.shape[1]), largest=False).indices  # [T, Q, k]
        tasks = torch.arange(len(x), device=x.device)[:, None, None]
        return y[tasks, nearest].mean(2)


class LeastSquares(Classical):
    """y = w.phi(x) with the w of least norm among those of least squared error; a subclass may give other features."""

    def features(self, x: Tensor) -> Tensor:
        """phi(x): [T, B, D] -> [T, B, F]; here x itself, with no constant."""
        return x

    def learn(self, x: Tensor, y: Tensor) -> Tensor:
        phi = self.features(x).double()  # float32 is too coarse where there are about as many examples as features
        return (torch.linalg.pinv(phi) @ y.double()).to(y.dtype)  # [T, F, d]

    def predict(self, adapted: Tensor, query_x: Tensor) -> Tensor:
        return self.features(query_x.flatten(2)) @ adapted


class SinusoidOracle(LeastSquares):
    """Knows the family A sin(x - phase) = a sin x + b cos x, and so has two numbers to find, by least squares."""

    def features(self, x: Tensor) -> Tensor:
        return torch.cat([x.sin(), x.cos()], -1)


class Ridge(LeastSquares):
    """The mean of what w may be, given the support, where w ~ N(0, I) and the targets have noise: the best under noise.

    `noise` is the noise's standard deviation; without any, this is least squares.
    """

    def __init__(self, noise: float):
        super().__init__()
        if not noise > 0:
            raise ValueError(f"noise must be above 0, but is {noise}: without noise use LeastSquares")
        self.noise = noise

    def extra_repr(self) -> str:
        return f"noise={self.noise}"

    def learn(self, x: Tensor, y: Tensor) -> Tensor:
        phi = self.features(x).double()
        precision = phi.mT @ phi + self.noise**2 * torch.eye(phi.shape[-1], dtype=phi.dtype, device=phi.device)
        return torch.linalg.solve(precision, phi.mT @ y.double()).to(y.dtype)  # [T, F, d]


class AveragedProducts(LeastSquares):
    """y = w.x with w the mean of y x over the support: right on average where x ~ N(0, I), and cheap.

    The baseline "averaging" of Garg et al., "What Can Transformers Learn In-Context?" (2022).
    """

    def learn(self, x: Tensor, y: Tensor) -> Tensor:
        return x.mT @ y / x.shape[1]


class Posterior(NamedTuple):
    """What a Gaussian process keeps of D_train, in float64."""

    x: Tensor  # [T, S, D]
    factor: Tensor  # [T, S, S], lower: its product with its transpose is the covariance of the support's targets
    weights: Tensor  # [T, S, d], the inverse covariance times the targets


class GaussianProcess(Classical):
    """The exact posterior under the squared-exponential covariance: the best any learner can do on its own curves.

    length_scale, scale, noise: those of the curves, as in `GaussianProcessCurves`
    Rasmussen and Williams, "Gaussian Processes for Machine Learning" (2006), algorithm 2.1.
    """

    def __init__(self, length_scale: float = 0.4, scale: float = 1.0, noise: float = 0.02):
        super().__init__()
        if not (length_scale > 0 and scale > 0 and noise >= 0):
            raise ValueError(
                "length_scale and scale must be above 0 and noise at least 0, but they are "
                f"{length_scale}, {scale} and {noise}"
            )
        self.length_scale, self.scale, self.noise = length_scale, scale, noise

    def extra_repr(self) -> str:
        return f"length_scale={self.length_scale}, scale={self.scale}, noise={self.noise}"

    @property
    def own_variance(self) -> float:
        """The variance that a target has apart from the other targets: the noise's."""
        return self.noise**2 + JITTER * self.scale**2

    def learn(self, x: Tensor, y: Tensor) -> Posterior:
        x, y = x.double(), y.double()
        covariance = squared_exponential(x, x, self.length_scale, self.scale)
        covariance.diagonal(dim1=1, dim2=2).add_(self.own_variance)
        factor = torch.linalg.cholesky(covariance)
        return Posterior(x, factor, torch.cholesky_solve(y, factor))

    def predict(self, adapted: Posterior, query_x: Tensor) -> Tensor:
        return self.posterior(adapted, query_x).mean

    def posterior(self, adapted: Posterior, query_x: Tensor) -> Normal:
        """The distribution of each query's target alone [T, Q, d], noise included."""
        across = squared_exponential(query_x.flatten(2).double(), adapted.x, self.length_scale, self.scale)  # [T, Q, S]
        explained = torch.linalg.solve_triangular(adapted.factor, across.mT, upper=False).square().sum(1)  # [T, Q]
        mean = across @ adapted.weights
        variance = (self.scale**2 - explained).clamp(min=0) + self.own_variance
        deviation = variance.sqrt()[..., None].expand_as(mean)
        return Normal(mean.to(query_x.dtype), deviation.to(query_x.dtype))

    def distribution(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Normal:
        """p(y | x, D_train) for each query alone: mean and standard deviation [T, Q, d], noise included."""
        return self.posterior(self.adapt(support_x, support_y), query_x)
