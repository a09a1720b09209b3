"""Curves: what is drawn has the distribution that was asked for, and comes from the generator alone."""

import math

import pytest
import torch

from kshot.tasks import GaussianProcessCurves, SineOrLine, Sinusoids, sinusoid
from kshot.tasks.curves import squared_exponential

DISTRIBUTIONS = [Sinusoids(noise=0.1), SineOrLine(), GaussianProcessCurves()]


@pytest.mark.parametrize("tasks", DISTRIBUTIONS, ids=lambda tasks: type(tasks).__name__)
def test_same_seed_same_episodes_and_nothing_from_the_global_generator(tasks):
    state = torch.get_rng_state()
    a, b, c = (tasks.sample(6, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(a.query_y, b.query_y) and torch.equal(a.support_x, b.support_x)
    assert a.query_y.shape != c.query_y.shape or not torch.equal(a.query_y, c.query_y)
    assert a.support_y.dtype == a.query_x.dtype == torch.float32
    assert a.support_x.shape[2:] == a.support_y.shape[2:] == (1,)


@pytest.mark.parametrize("tasks", DISTRIBUTIONS, ids=lambda tasks: type(tasks).__name__)
def test_a_gpu_gets_the_same_episodes(tasks):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU here")
    fields = {name: getattr(tasks, name) for name in tasks.__dataclass_fields__}
    there = type(tasks)(**fields | {"device": "cuda"}).sample(5, torch.Generator().manual_seed(0))
    here = tasks.sample(5, torch.Generator().manual_seed(0))
    assert there.query_x.is_cuda
    torch.testing.assert_close(there.query_y.cpu(), here.query_y, atol=1e-4, rtol=1e-4)


def test_sinusoids_without_noise_are_the_drawn_sinusoids():
    tasks = Sinusoids(shots=3, queries=4, amplitude=(2.0, 6.0), x=(-1.0, 3.0))
    amplitude, phase = tasks.draw(400, torch.Generator().manual_seed(5))
    episodes = tasks.sample(400, torch.Generator().manual_seed(5))
    assert episodes.support_x.shape == (400, 3, 1) and episodes.query_x.shape == (400, 4, 1)
    for t in (0, 7, 399):
        a, shift = float(amplitude[t]), float(phase[t])
        expected = [a * math.sin(x - shift) for x in episodes.query_x[t, :, 0].tolist()]
        assert episodes.query_y[t, :, 0].tolist() == pytest.approx(expected, abs=1e-5)
    for drawn, (low, high) in ((amplitude, (2, 6)), (phase, (0, math.pi)), (episodes.query_x, (-1, 3))):
        assert low <= drawn.min() < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < drawn.max() <= high


def test_noise_on_sinusoids_has_its_standard_deviation_on_both_sides():
    tasks = Sinusoids(shots=20, queries=20, noise=0.5)
    amplitude, phase = tasks.draw(500, torch.Generator().manual_seed(0))
    episodes = tasks.sample(500, torch.Generator().manual_seed(0))
    for x, y in ((episodes.support_x, episodes.support_y), (episodes.query_x, episodes.query_y)):
        residual = y - sinusoid(amplitude, phase, x)  # 10 000 draws: the standard error of their deviation is 0.0035
        assert float(residual.std()) == pytest.approx(0.5, abs=0.02)


def test_the_best_prediction_without_a_support_is_the_known_one(generator):
    """E[y | x] = -E[A] (2 / pi) cos x; its squared error, 3.006, is the floor of every start before it adapts."""
    episodes = Sinusoids().sample(20_000, generator)
    guess = -2.55 * 2 / math.pi * torch.cos(episodes.query_x)
    errors = (episodes.query_y - guess).square().flatten(1).mean(1)
    interval = 1.96 * float(errors.std()) / math.sqrt(20_000)
    assert abs(float(errors.mean()) - 3.006) < 2 * interval < 0.2


def test_sine_or_line_is_a_fair_coin_and_each_side_is_what_it_says():
    tasks = SineOrLine(shots=3, queries=5, noise=0.0)
    line, first, second = tasks.draw(4000, torch.Generator().manual_seed(2))
    episodes = tasks.sample(4000, torch.Generator().manual_seed(2))
    assert abs(float(line.float().mean()) - 0.5) < 0.04  # 5 standard errors
    x, y = episodes.query_x[..., 0], episodes.query_y[..., 0]
    torch.testing.assert_close(y[line], first[line, None] * x[line] + second[line, None])
    torch.testing.assert_close(y[~line], first[~line, None] * torch.sin(x[~line] - second[~line, None]))
    assert first[line].min() < -2.9 and first[line].max() > 2.9 and first[~line].min() >= 0.1


def test_curves_have_the_covariance_of_the_kernel(generator):
    """The same x for all curves by a constant interval: variance s^2 + noise^2, covariance s^2."""
    tasks = GaussianProcessCurves(shots=2, queries=1, scale=1.5, noise=0.5, x=(0.3, 0.3))
    episodes = tasks.sample(20_000, generator)
    y = torch.cat([episodes.support_y, episodes.query_y], 1)[..., 0]
    covariance = y.T @ y / len(y)
    expected = torch.full((3, 3), 2.25) + 0.25 * torch.eye(3)
    assert (covariance - expected).abs().max() < 0.12  # 5 standard errors of the variance's estimate, 0.025


def test_the_correlation_of_two_points_falls_with_their_distance_as_the_kernel_says(generator):
    tasks = GaussianProcessCurves(shots=1, queries=1, length_scale=0.5, noise=0.0)
    episodes = tasks.sample(60_000, generator)
    distance = (episodes.support_x - episodes.query_x).abs().flatten()
    product = (episodes.support_y * episodes.query_y).flatten()
    for low in (0.0, 0.4, 0.8, 1.5):
        here = (distance >= low) & (distance < low + 0.1)
        expected = torch.exp(-distance[here].square() / (2 * 0.5**2)).mean()
        assert abs(float(product[here].mean() - expected)) < 5 * math.sqrt(2 / float(here.sum()))


def test_the_kernel_equals_its_formula(generator):
    a, b = torch.randn(2, 3, 2, generator=generator), torch.randn(2, 4, 2, generator=generator)
    kernel = squared_exponential(a, b, 0.7, 2.0)
    for i in range(3):
        for j in range(4):
            distance = float(torch.dist(a[1, i], b[1, j]))
            assert float(kernel[1, i, j]) == pytest.approx(4 * math.exp(-(distance**2) / (2 * 0.49)), rel=1e-4)


def test_counts_of_points_reach_both_ends_and_stay_the_same_within_a_call(generator):
    tasks = GaussianProcessCurves(shots=(3, 5), queries=(1, 2))
    drawn = [tasks.sample(2, generator) for _ in range(60)]
    assert {episodes.support_x.shape[1] for episodes in drawn} == {3, 4, 5}
    assert {episodes.query_x.shape[1] for episodes in drawn} == {1, 2}


def test_many_points_close_together_do_not_break_the_draw(generator):
    episodes = GaussianProcessCurves(shots=60, queries=60, noise=0.0, length_scale=2.0).sample(20, generator)
    assert torch.isfinite(episodes.query_y).all() and 0.5 < float(episodes.query_y.std()) < 1.5


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Sinusoids(shots=0), "shots must be at least 1, but is 0"),
        (lambda: Sinusoids(amplitude=(5.0, 0.1)), r"amplitude must be an interval \(low, high\), but is \(5.0, 0.1\)"),
        (lambda: Sinusoids(x=(0.0, math.inf)), "x must be an interval"),
        (lambda: Sinusoids(noise=-1.0), "noise is a standard deviation"),
        (lambda: SineOrLine(queries=0), "queries must be at least 1"),
        (lambda: GaussianProcessCurves(shots=(3, 2)), "shots must be an interval"),
        (lambda: GaussianProcessCurves(queries=0), "queries must be at least 1"),
        (lambda: GaussianProcessCurves(length_scale=0.0), "length_scale must be above 0"),
        (lambda: GaussianProcessCurves(noise=math.nan), "noise is a standard deviation"),
    ],
)
def test_refuses(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
