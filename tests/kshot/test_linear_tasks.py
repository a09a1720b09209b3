"""Linear regression tasks: every variant's inputs have the shape in space that it promises, and y stays w.x."""

import math

import pytest
import torch

from kshot.tasks import LinearRegression
from kshot.tasks.linear import INPUTS


@pytest.mark.parametrize("inputs", INPUTS)
def test_targets_are_one_linear_function_of_the_inputs(inputs, generator):
    episodes = LinearRegression(4, 9, 3, inputs=inputs).sample(50, generator)
    assert episodes.support_x.shape == (50, 9, 4) and episodes.query_y.shape == (50, 3, 1)
    assert episodes.support_y.dtype == torch.float32
    w = torch.linalg.pinv(episodes.support_x.double(), rtol=1e-5) @ episodes.support_y.double()
    torch.testing.assert_close((episodes.query_x.double() @ w).float(), episodes.query_y, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("inputs", INPUTS)
def test_same_seed_same_episodes(inputs):
    tasks = LinearRegression(4, 3, 2, inputs=inputs, noise=0.1)
    state = torch.get_rng_state()
    a, b, c = (tasks.sample(5, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(a.query_y, b.query_y) and not torch.equal(a.query_y, c.query_y)


@pytest.mark.parametrize("inputs", INPUTS)
def test_a_gpu_gets_the_same_episodes(inputs):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU here")
    here, there = (
        LinearRegression(4, 3, 2, inputs=inputs, device=device).sample(5, torch.Generator().manual_seed(0))
        for device in ("cpu", "cuda")
    )
    torch.testing.assert_close(there.query_y.cpu(), here.query_y, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("inputs", INPUTS)
def test_inputs_keep_the_length_of_normal_ones(inputs, generator):
    episodes = LinearRegression(6, 10, 10, inputs=inputs).sample(2000, generator)
    for x in (episodes.support_x, episodes.query_x):
        assert float(x.square().sum(-1).mean()) == pytest.approx(6, rel=0.05)


def test_weights_and_inputs_are_standard_normal(generator):
    episodes = LinearRegression(3, 4, 4).sample(5000, generator)
    x = episodes.support_x.flatten(0, 1)
    assert (x.T @ x / len(x) - torch.eye(3)).abs().max() < 0.05  # 5 standard errors
    assert float(episodes.query_y.square().mean()) == pytest.approx(3, rel=0.1)


def test_skewed_inputs_have_deviations_one_over_i_along_axes_that_differ_between_tasks(generator):
    episodes = LinearRegression(4, 4000, 1, inputs="skewed").sample(3, generator)
    covariance = episodes.support_x.mT @ episodes.support_x / 4000
    values, axes = torch.linalg.eigh(covariance)
    expected = torch.tensor([1 / 16, 1 / 9, 1 / 4, 1.0])
    expected = expected * 4 / expected.sum()
    assert ((values / expected - 1).abs() < 0.15).all()
    assert abs(float(axes[0, :, 3] @ axes[1, :, 3])) < 0.99


def test_a_subspace_has_half_the_dimensions_and_differs_between_tasks(generator):
    episodes = LinearRegression(6, 20, 2, inputs="subspace").sample(4, generator)
    together = torch.cat([episodes.support_x, episodes.query_x], 1)
    assert torch.linalg.matrix_rank(together, rtol=1e-4).tolist() == [3] * 4
    assert int(torch.linalg.matrix_rank(together.flatten(0, 1), rtol=1e-4)) == 6


def test_the_support_lies_in_one_orthant_and_queries_in_any(generator):
    episodes = LinearRegression(3, 20, 20, inputs="orthants").sample(200, generator)
    signs = episodes.support_x.sign()
    assert (signs == signs[:, :1]).all()
    assert len(signs[:, 0].unique(dim=0)) == 8
    share = (episodes.query_x.sign() == signs[:, :1]).float().mean()
    assert float(share) == pytest.approx(0.5, abs=0.03)


def test_queries_at_a_support_point_repeat_one_and_reach_each(generator):
    episodes = LinearRegression(3, 4, 30, inputs="at_support").sample(20, generator)
    same = (episodes.query_x[:, :, None] == episodes.support_x[:, None]).all(-1)  # [T, Q, S]
    assert (same.sum(-1) == 1).all() and same.any(1).all()
    target = (same.float() @ episodes.support_y)[..., 0]
    torch.testing.assert_close(episodes.query_y[..., 0], target, atol=1e-5, rtol=1e-5)


def test_scale_multiplies_the_inputs_and_so_the_targets():
    one, three = (LinearRegression(3, 4, 2, scale=s).sample(5, torch.Generator().manual_seed(0)) for s in (1, 3))
    torch.testing.assert_close(three.query_x, 3 * one.query_x)
    torch.testing.assert_close(three.support_y, 3 * one.support_y)


def test_noise_has_its_standard_deviation():
    clean, noisy = (LinearRegression(3, 10, 10, noise=n).sample(500, torch.Generator().manual_seed(0)) for n in (0, 2))
    assert torch.equal(clean.query_x, noisy.query_x)
    for side in ("support_y", "query_y"):
        assert float((getattr(noisy, side) - getattr(clean, side)).std()) == pytest.approx(2, rel=0.06)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (dict(dimension=0), "dimension must be at least 1"),
        (dict(shots=0), "shots must be at least 1"),
        (dict(noise=-0.1), "noise is a standard deviation"),
        (dict(scale=0.0), "scale must be above 0"),
        (dict(inputs="uniform"), "inputs must be one of normal, skewed, subspace, orthants, at_support, but is 'uni"),
        (dict(dimension=1, inputs="subspace"), "needs at least 2 dimensions"),
        (dict(noise=math.inf), "noise is a standard deviation"),
    ],
)
def test_refuses(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        LinearRegression(**{"dimension": 3, "shots": 2, "queries": 1} | arguments)
