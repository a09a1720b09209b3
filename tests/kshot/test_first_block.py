"""The first block in closed form against convolution, norm, pooling and ReLU one after the other."""

import pytest
import torch
import torch.nn.functional as F

from kshot import Conv4
from kshot.first_block import LargestOfFour, embed, fits, moments, patches
from kshot.nets import TaskNorm


def parts(generator, channels=12, in_channels=1, policy="per_task"):
    convolution = torch.nn.Conv2d(in_channels, channels, 3, padding=1).double()
    norm = TaskNorm(channels, policy).double()
    with torch.no_grad():
        for parameter in (*convolution.parameters(), *norm.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return convolution, norm


def images(generator, tasks=2, size=3, in_channels=1):
    x = torch.rand(tasks * size, in_channels, 8, 6, generator=generator, dtype=torch.float64)
    return x * (x > 0.6)  # blank regions, where all four pixels tie


@pytest.mark.parametrize("in_channels", [1, 2])
def test_it_is_the_block(generator, in_channels):
    convolution, norm = parts(generator, 20, in_channels)
    x, query = (images(generator, in_channels=in_channels) for _ in range(2))
    y, statistics = embed(x, 2, convolution, norm, None)
    normal, expected = norm(convolution(x), 2, None)
    assert torch.allclose(y, F.relu(F.max_pool2d(normal, 2)), atol=1e-12)
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(statistics, expected))
    y, _ = embed(query, 2, convolution, norm, statistics)
    normal, _ = norm(convolution(query), 2, expected)
    assert torch.allclose(y, F.relu(F.max_pool2d(normal, 2)), atol=1e-12)


def test_moments_are_those_of_unfolded_patches(generator):
    x = images(generator, tasks=1, in_channels=2)
    mean, covariance = moments(patches(x, 1))
    columns = F.unfold(x, 3, padding=1).permute(1, 0, 2).flatten(1)  # [9c, pixels]
    assert torch.allclose(mean[0], columns.mean(1))
    assert torch.allclose(covariance[0], torch.cov(columns, correction=0))


def test_first_and_second_slopes_against_finite_differences(generator):
    p = torch.randn(2, 4, 3, 5, generator=generator, dtype=torch.float64)
    w = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64, requires_grad=True)

    def largest(w):
        return LargestOfFour.apply(p, w)[0]

    assert torch.autograd.gradcheck(largest, w)
    assert torch.autograd.gradgradcheck(lambda w: largest(w).square(), w)


def test_slopes_of_the_block_are_those_of_its_parts(generator):
    convolution, norm = parts(generator)
    x, weights = images(generator), torch.randn(6, 12, 4, 3, generator=generator, dtype=torch.float64)
    parameters = [*convolution.parameters(), *norm.parameters()]

    def slopes(y):
        first = torch.autograd.grad((y * weights).sum(), parameters, create_graph=True)
        size = sum(slope.square().sum() for slope in first)
        return [*first, *torch.autograd.grad(size, parameters, allow_unused=True, materialize_grads=True)]

    made = slopes(F.relu(F.max_pool2d(norm(convolution(x), 2, None)[0], 2)))
    for ours, theirs in zip(slopes(embed(x, 2, convolution, norm, None)[0]), made):
        assert torch.allclose(ours, theirs, rtol=1e-8, atol=1e-8)


def test_vmap_over_nets_is_one_net_at_a_time(generator):
    convolution, norm = parts(generator)
    x = images(generator)
    many = torch.randn(3, *convolution.weight.shape, generator=generator, dtype=torch.float64)

    def f(weight):
        call = torch.func.functional_call
        module = torch.nn.Module()
        module.forward = lambda: embed(x, 2, convolution, norm, None)[0].square().sum()
        module.convolution = convolution
        return call(module, {"convolution.weight": weight}, ())

    together = torch.vmap(torch.func.grad(f))(many)
    for weight, slope in zip(many, together):
        assert torch.allclose(slope, torch.func.grad(f)(weight), atol=1e-9)


def test_where_it_does_not_fit(generator):
    convolution, norm = parts(generator)
    x = images(generator)
    assert fits(x, convolution, norm, True)
    assert not fits(x, convolution, norm, False), "no pooling"
    assert not fits(x[..., :5], convolution, norm, True), "an odd width"
    assert not fits(x.clone().requires_grad_(), convolution, norm, True), "the slope of the images is wanted"
    assert not fits(x, *parts(generator, 9), True), "as many patch entries as channels"
    assert not fits(x, *parts(generator, policy="running"), True), "averages to be kept"


def test_a_net_may_be_asked_not_to_use_it(generator):
    x = torch.rand(2, 3, 1, 28, 28, generator=generator)
    with_it, without = Conv4(16), Conv4(16, closed_form=False)
    assert torch.allclose(with_it(x), without(x), atol=1e-5)
    assert repr(with_it) == repr(without), "the same function, so the same settings"


@pytest.mark.parametrize("piece", [1, 50, 333])
def test_large_maps_are_worked_on_in_pieces(piece, generator, monkeypatch):
    p = torch.randn(2, 4, 3, 17, generator=generator, dtype=torch.float64)
    w = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64, requires_grad=True)

    def everything():
        y, which = LargestOfFour.apply(p, w)
        (slope,) = torch.autograd.grad(y.square().sum(), w, create_graph=True)
        return [y, which, slope, *torch.autograd.grad(slope.square().sum(), w)]

    whole = everything()
    monkeypatch.setattr("kshot.first_block.PIECE", piece)
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(everything(), whole, strict=True))


def test_a_slope_of_the_images_inside_vmap_is_refused_rather_than_wrong(generator):
    net = Conv4(12, "transductive", pools=(True,)).double()
    x = torch.rand(2, 1, 3, 1, 8, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    with pytest.raises(NotImplementedError, match="closed_form=False"):
        torch.autograd.grad(torch.vmap(net)(x).sum(), x)
