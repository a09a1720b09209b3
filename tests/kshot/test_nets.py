"""TaskNorm against torch's own batch normalisation, one task at a time; and no leak between tasks."""

import pytest
import torch
import torch.nn.functional as F

from kshot import Conv4, Prototypical
from kshot.nets import Moments, TaskNorm, block


@pytest.mark.parametrize("policy", ["per_task", "transductive"])
def test_each_task_is_normalised_like_a_batch_of_its_own(policy, generator):
    norm = TaskNorm(3, policy).double()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, -2.0, 0.5]))
        norm.bias.copy_(torch.tensor([0.1, 0.2, -0.3]))
    x = torch.randn(2 * 4, 3, 5, 5, generator=generator, dtype=torch.float64)
    y, _ = norm(x, tasks=2, given=None)
    for own, result in zip(x.chunk(2), y.chunk(2)):
        assert torch.allclose(result, F.batch_norm(own, None, None, norm.weight, norm.bias, True), atol=1e-9)


def test_the_query_is_normalised_by_the_support(generator):
    norm = TaskNorm(2).double()
    support, query = (torch.randn(3, 2, 4, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    _, statistics = norm(support, 1, None)
    y, _ = norm(query, 1, statistics)
    mean, var = support.mean((0, 2, 3)), support.var((0, 2, 3), correction=0)
    assert torch.allclose(y, F.batch_norm(query, mean, var), atol=1e-9)


def test_transductive_means_support_and_query_together(generator):
    learner = Prototypical(Conv4(4, "transductive"))
    support, query = (torch.rand(1, n, 1, 28, 28, generator=generator) for n in (3, 2))
    together = learner.net(torch.cat([support, query], 1))
    z_support, z_query = learner.embed_both(support, query)
    assert torch.allclose(torch.cat([z_support, z_query], 1), together, atol=1e-5)
    assert not torch.allclose(learner.net(support), z_support, atol=1e-3)


def test_gradients_flow_through_the_statistics(generator):
    """Against finite differences in float64: the support's statistics are part of what is learned."""
    norm = TaskNorm(2).double()
    query = torch.randn(2, 2, 2, 2, generator=generator, dtype=torch.float64)

    def f(support):
        return norm(query, 1, norm(support, 1, None)[1])[0].square().sum()

    support = torch.randn(2, 2, 2, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(f, (support,))
    assert torch.autograd.gradgradcheck(f, (support,))


@pytest.mark.parametrize("policy", ["per_task", "transductive"])
@pytest.mark.parametrize("pool", [True, False])
def test_a_block_is_its_parts_one_after_the_other(policy, pool, generator):
    """Also where the norm's weight is negative, so that the largest of four comes from the smallest."""
    convolution, norm = torch.nn.Conv2d(2, 5, 3, padding=1).double(), TaskNorm(5, policy).double()
    with torch.no_grad():
        for parameter in (*convolution.parameters(), *norm.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        norm.weight[:3] = torch.tensor([-1.5, -0.1, 0.7])
    support, query = (torch.randn(6, 2, 6, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    weights = torch.randn(6, 5, 6 // (2 if pool else 1), 4 // (2 if pool else 1), generator=generator).double()

    def parts(x, given):
        x, used = norm(convolution(x), 2, given)
        return F.relu(F.max_pool2d(x, 2) if pool else x), used

    def at_once(x, given):
        return block(x, 2, convolution, norm, pool, given)

    results = []
    for way in (parts, at_once):
        y, used = way(support, None)
        if used is not None:
            y = y + way(query, used)[0]
        own = torch.autograd.grad((weights * y).sum(), (*convolution.parameters(), *norm.parameters()))
        results.append([y, *(used or ()), *own])
    assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(*results, strict=True))


def test_moments_and_their_slopes(generator):
    rows = torch.randn(2, 7, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    mean, variance = Moments.apply(rows)
    assert torch.allclose(mean, rows.mean(1)) and torch.allclose(variance, rows.var(1, correction=0))
    assert torch.autograd.gradcheck(Moments.apply, rows)
    assert torch.autograd.gradgradcheck(lambda rows: Moments.apply(rows)[1].square() * 3, rows)


def test_running_averages_follow_the_tasks_and_rule_at_evaluation(generator):
    norm = TaskNorm(1, "running", momentum=0.5)
    x = 3 + 2 * torch.randn(64, 1, 8, 8, generator=generator)
    for _ in range(30):
        norm(x, tasks=1, given=None)
    assert norm.running_mean.item() == pytest.approx(x.mean().item(), abs=1e-3)
    assert norm.running_var.item() == pytest.approx(x.var().item(), rel=1e-3)
    norm.eval()
    once, _ = norm(x[:1], 1, None)
    assert torch.allclose(once, norm(x, 1, None)[0][:1], atol=1e-5), "at evaluation an image stands alone"


def test_conv4_shapes_and_seed(generator):
    x = torch.rand(2, 3, 1, 28, 28, generator=generator)
    assert Conv4(16)(x).shape == (2, 3, 16)
    maps = Conv4(16, pools=(True, True, False, False), flatten=False)
    assert maps(x).shape == (2, 3, 16, 7, 7)
    torch.manual_seed(5)
    first = Conv4(16, seed=1)
    torch.manual_seed(6)
    assert torch.equal(first(x), Conv4(16, seed=1)(x)), "the weights come from the seed alone"
    assert not torch.equal(first(x), Conv4(16, seed=2)(x))


def test_building_a_net_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    Conv4(8)
    assert torch.equal(torch.rand(1), expected)


def test_unknown_policy_is_refused():
    with pytest.raises(ValueError, match="batch_norm must be one of per_task, transductive, running"):
        Conv4(8, "pooled")


def test_in_training_running_averages_keep_tasks_apart_too(generator):
    norm, x = TaskNorm(2, "running").double(), torch.randn(6, 2, 4, 4, generator=generator, dtype=torch.float64)
    y, _ = norm(x, tasks=2, given=None)
    for own, result in zip(x.chunk(2), y.chunk(2)):
        assert torch.allclose(result, F.batch_norm(own, None, None, training=True), atol=1e-9)
