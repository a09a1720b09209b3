"""Floors and oracles against closed forms, in float64 and one task at a time."""

import math

import numpy as np
import pytest
import torch

from kshot.learners.classical import (
    Average,
    AveragedProducts,
    GaussianProcess,
    LeastSquares,
    NearestNeighbours,
    Ridge,
    SinusoidOracle,
    Zero,
)
from kshot.scores import evaluate
from kshot.tasks import GaussianProcessCurves, LinearRegression, Sinusoids

LEARNERS = [
    Zero(),
    Average(),
    NearestNeighbours(2),
    LeastSquares(),
    Ridge(0.5),
    AveragedProducts(),
    SinusoidOracle(),
    GaussianProcess(0.6, 1.2, 0.1),
]


@pytest.fixture(params=LEARNERS, ids=lambda learner: type(learner).__name__)
def learner(request):
    return request.param


@pytest.fixture
def episodes(generator):
    """Two targets an example: no learner may mix them up."""
    one = LinearRegression(3, 6, 4, noise=0.3).sample(5, generator)
    both = {side: torch.cat([getattr(one, side), -2 * getattr(one, side) + 1], 2) for side in ("support_y", "query_y")}
    return type(one)(one.support_x, both["support_y"], one.query_x, both["query_y"])


def test_contract(learner, episodes, generator):
    together = learner(episodes.support_x, episodes.support_y, episodes.query_x)
    assert together.shape == episodes.query_y.shape and together.dtype == torch.float32
    adapted = learner.adapt(episodes.support_x, episodes.support_y)
    assert torch.equal(learner.predict(adapted, episodes.query_x), together)
    for t in range(5):
        alone = learner(*(part[t : t + 1] for part in (episodes.support_x, episodes.support_y, episodes.query_x)))
        torch.testing.assert_close(alone[0], together[t])
    first = learner(episodes.support_x, episodes.support_y, episodes.query_x[:, :1])
    torch.testing.assert_close(first, together[:, :1])
    order = torch.randperm(6, generator=generator)
    torch.testing.assert_close(
        learner(episodes.support_x[:, order], episodes.support_y[:, order], episodes.query_x), together
    )
    assert not learner.transductive and not list(learner.parameters())


def test_targets_do_not_touch_one_another(learner, episodes):
    together = learner(episodes.support_x, episodes.support_y, episodes.query_x)
    alone = learner(episodes.support_x, episodes.support_y[..., 1:], episodes.query_x)
    torch.testing.assert_close(alone, together[..., 1:])


def test_refuses_class_ids(learner, episodes):
    with pytest.raises(ValueError, match=r"predicts targets \[T, S, d\], but the support holds labels of shape"):
        learner.adapt(episodes.support_x, torch.zeros(5, 6, dtype=torch.long))
    with pytest.raises(ValueError, match="the support holds no labels"):
        learner.adapt(episodes.support_x, None)


def test_zero_average_and_averaged_products_equal_their_formulas(episodes):
    x, y, q = episodes.support_x, episodes.support_y, episodes.query_x
    assert not Zero()(x, y, q).any()
    w = sum(x[0, i, :, None] * y[0, i] for i in range(6)) / 6
    torch.testing.assert_close(AveragedProducts()(x, y, q)[0], q[0] @ w)
    for row in Average()(x, y, q)[0]:
        torch.testing.assert_close(row, sum(y[0]) / 6)


@pytest.mark.parametrize("k", [1, 3, 50])
def test_nearest_neighbours_equal_a_loop(k, episodes):
    predicted = NearestNeighbours(k)(episodes.support_x, episodes.support_y, episodes.query_x)
    for t in range(5):
        for q in range(4):
            distances = [float(torch.dist(episodes.query_x[t, q], x)) for x in episodes.support_x[t]]
            nearest = sorted(range(6), key=distances.__getitem__)[:k]
            torch.testing.assert_close(predicted[t, q], episodes.support_y[t, nearest].mean(0))


def test_neighbours_far_from_the_origin_are_still_told_apart():
    x = 1e4 + torch.tensor([[[0.0], [1.0], [2.0]]])
    assert NearestNeighbours(1)(x, torch.tensor([[[0.0], [1.0], [2.0]]]), x + 0.2).flatten().tolist() == [0, 1, 2]


@pytest.mark.parametrize("shots", [2, 3, 8])
def test_least_squares_equals_numpy(shots, generator):
    """Fewer examples than dimensions (least norm), as many (interpolation), and more."""
    episodes = LinearRegression(3, shots, 4, noise=0.5).sample(6, generator)
    predicted = LeastSquares()(episodes.support_x, episodes.support_y, episodes.query_x)
    for t in range(6):
        x, y = (part[t].double().numpy() for part in (episodes.support_x, episodes.support_y))
        w = np.linalg.lstsq(x, y, rcond=None)[0]
        np.testing.assert_allclose(predicted[t].numpy(), episodes.query_x[t].double().numpy() @ w, atol=1e-4, rtol=1e-4)


def test_least_squares_interpolates_and_then_knows_the_function():
    """600 tasks, no noise: with 3 examples in 3 dimensions w is known, with 1 a third of it is."""
    known = evaluate(LeastSquares(), LinearRegression(3, 3, 1))
    third = evaluate(LeastSquares(), LinearRegression(3, 1, 5))
    assert known.mean < 1e-6
    assert abs(third.mean - 2) < 2 * third.interval < 0.8  # d - k


def test_ridge_is_the_posterior_mean_of_the_weights():
    """One dimension by hand, least squares where noise vanishes, and unbeaten by other strengths under noise."""
    x, y = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[1.0], [3.0]]])
    assert float(Ridge(0.5)(x, y, torch.ones(1, 1, 1))) == pytest.approx((1 + 6) / (1 + 4 + 0.25))
    episodes = LinearRegression(3, 5, 4).sample(6, torch.Generator().manual_seed(0))
    parts = episodes.support_x, episodes.support_y, episodes.query_x
    torch.testing.assert_close(Ridge(1e-5)(*parts), LeastSquares()(*parts), atol=1e-3, rtol=1e-3)
    tasks = LinearRegression(4, 8, 10, noise=0.5)  # with fewer examples least squares has no finite mean error
    best = evaluate(Ridge(0.5), tasks)
    for other in (Ridge(0.1), Ridge(2.0), LeastSquares()):
        worse = evaluate(other, tasks) - best
        assert worse.mean > worse.interval


def test_the_sinusoid_oracle_needs_two_points_and_no_more():
    assert evaluate(SinusoidOracle(), Sinusoids(shots=10)).mean < 1e-8
    assert float(evaluate(SinusoidOracle(), Sinusoids(shots=2)).values.median()) < 1e-8
    assert evaluate(SinusoidOracle(), Sinusoids(shots=1)).mean > 0.5


def test_the_gaussian_process_equals_the_closed_form_of_two_points():
    l, s, n = 0.5, 1.3, 0.2
    x, y, at = (0.1, 0.7), (1.0, -0.5), 0.4

    def k(a, b):
        return s**2 * math.exp(-((a - b) ** 2) / (2 * l**2))

    a, b, d = k(0, 0) + n**2, k(*x), k(0, 0) + n**2
    inverse = np.array([[d, -b], [-b, a]]) / (a * d - b * b)
    across = np.array([k(at, x[0]), k(at, x[1])])
    mean, variance = across @ inverse @ np.array(y), k(0, 0) + n**2 - across @ inverse @ across
    posterior = GaussianProcess(l, s, n).distribution(
        *(torch.tensor(values, dtype=torch.float64).view(1, -1, 1) for values in (x, y, [at]))
    )
    assert float(posterior.mean) == pytest.approx(mean, abs=1e-6)
    assert float(posterior.variance) == pytest.approx(variance, abs=1e-6)


def test_the_gaussian_process_is_calibrated_and_unbeaten_on_its_own_curves(generator):
    episodes = GaussianProcessCurves(shots=6, queries=10, noise=0.1).sample(2000, generator)
    parts = episodes.support_x, episodes.support_y, episodes.query_x
    exact = GaussianProcess(noise=0.1).distribution(*parts)
    standard = (episodes.query_y - exact.mean) / exact.stddev
    assert float(standard.square().mean()) == pytest.approx(1, abs=0.05)
    assert float((standard.abs() < 1.645).float().mean()) == pytest.approx(0.9, abs=0.01)

    def nll(learner):
        return float(-learner.distribution(*parts).log_prob(episodes.query_y).mean())

    for wrong in (GaussianProcess(0.2, noise=0.1), GaussianProcess(0.8, noise=0.1), GaussianProcess(noise=0.4)):
        assert nll(wrong) > nll(GaussianProcess(noise=0.1)) + 0.1


def test_the_gaussian_process_survives_repeated_points_without_noise():
    x = torch.zeros(1, 5, 1)
    posterior = GaussianProcess(noise=0.0).distribution(x, torch.ones(1, 5, 1), torch.tensor([[[0.0], [9.0]]]))
    assert posterior.mean.flatten().tolist() == pytest.approx([1, 0], abs=1e-3)
    assert posterior.stddev.flatten().tolist() == pytest.approx([0, 1], abs=1e-3)


def test_refuses_settings_that_mean_nothing():
    with pytest.raises(ValueError, match="k must be at least 1, but is 0"):
        NearestNeighbours(0)
    with pytest.raises(ValueError, match="without noise use LeastSquares"):
        Ridge(0.0)
    with pytest.raises(ValueError, match="length_scale and scale must be above 0"):
        GaussianProcess(length_scale=0.0)
