"""The inner loop on losses whose steps are known in closed form, and the rates it takes them at."""

import pytest
import torch
from torch import nn

from kshot.inner import autograd_slopes, descend, functional_slopes, require_finite
from kshot.inner_rates import InnerRates, chosen

SLOPES = {"autograd": autograd_slopes, "functional": functional_slopes}
NAMES = ["net.0.weight", "net.0.bias", "net.2.weight", "net.20.weight", "head.weight", "head.bias"]


def parabola(phi):
    """a/2 (phi - c)^2 with a = 3, c = 2: each step multiplies phi - c by 1 - alpha * a."""
    return 1.5 * (phi["w"] - 2).square().sum()


@pytest.mark.parametrize("slopes", SLOPES.values(), ids=SLOPES)
@pytest.mark.parametrize(("order", "through"), [(2, (1 - 0.1 * 3) ** 4), (1, 1.0)])
def test_steps_on_a_parabola_and_what_an_outer_gradient_sees_of_them(slopes, order, through):
    theta = torch.tensor([5.0, -1.0], dtype=torch.float64, requires_grad=True)
    phi = descend(slopes(parabola, order), {"w": theta}, {"w": torch.tensor(0.1)}, steps=4)["w"]
    assert torch.allclose(phi, 2 + 0.7**4 * (theta - 2))
    (slope,) = torch.autograd.grad(phi.sum(), theta)
    assert torch.allclose(slope, torch.full_like(slope, through))


def test_in_evaluation_no_step_hangs_on_the_one_before():
    theta = torch.tensor([5.0], requires_grad=True)
    with torch.no_grad():
        phi = descend(autograd_slopes(parabola, 0), {"w": theta}, {"w": torch.tensor(0.1)}, steps=2)["w"]
    assert phi.grad_fn is None and not phi.requires_grad
    assert torch.allclose(phi, 2 + 0.7**2 * (theta.detach() - 2))


def test_the_start_is_not_changed():
    theta = torch.tensor([5.0], requires_grad=True)
    descend(autograd_slopes(parabola, 2), {"w": theta}, {"w": torch.tensor(0.1)}, steps=3)
    assert theta.item() == 5.0


def test_every_step_is_watched_before_it_is_taken():
    seen = []
    start = {"w": torch.tensor([3.0], requires_grad=True)}
    descend(autograd_slopes(parabola, 1), start, {"w": torch.tensor(0.1)}, 3, lambda *now: seen.append(now))
    assert [step for step, _ in seen] == [0, 1, 2]
    assert [value.item() for _, value in seen] == pytest.approx([1.5, 1.5 * 0.7**2, 1.5 * 0.7**4])


def test_a_loss_that_is_not_finite_is_reported_with_its_step_and_a_rate_to_try():
    require_finite(3, torch.ones(2), 0.5)
    with pytest.raises(FloatingPointError, match=r"after 1 inner step: the inner rate 0\.5 diverges, try 0\.05"):
        require_finite(1, torch.tensor([1.0, torch.nan]), 0.5)
    with pytest.raises(FloatingPointError, match="after 4 inner steps"):
        require_finite(4, torch.tensor(torch.inf), 0.5)


@pytest.mark.parametrize(
    ("adapts", "expected"),
    [
        ("all", NAMES),
        ("head", ["head.weight", "head.bias"]),
        ("net.2", ["net.2.weight"]),  # and not net.20
        (("net.0.bias", "head"), ["net.0.bias", "head.weight", "head.bias"]),
    ],
)
def test_which_parameters_adapt(adapts, expected):
    assert chosen(NAMES, adapts) == expected


def test_no_parameter_of_that_name():
    with pytest.raises(ValueError, match=r"no parameter is called 'body'.*prefixes of net\.0\.weight"):
        chosen(NAMES, "body")


@pytest.mark.parametrize(("kind", "count"), [("one", 1), ("layer", 2), ("parameter", 4)])
def test_as_many_rates_as_their_kind_says(kind, count):
    parameters = dict(nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).named_parameters())
    rates = InnerRates(parameters, 0.2, kind, learned=True)
    assert len(list(rates.parameters())) == count
    alpha = rates()
    assert list(alpha) == list(parameters)
    assert all(torch.equal(alpha[name].expand_as(p), torch.full_like(p, 0.2)) for name, p in parameters.items())
    assert (alpha["0.weight"] is alpha["0.bias"]) == (kind != "parameter")
    assert (alpha["0.weight"] is alpha["2.weight"]) == (kind == "one")


def test_rates_that_are_given_are_not_learned_but_saved():
    rates = InnerRates({"w": torch.zeros(2, dtype=torch.float64)}, 0.2, "one", learned=False)
    assert not list(rates.parameters()) and len(rates.state_dict()) == 1
    rates.load_state_dict({name: torch.full_like(rate, 0.4) for name, rate in rates.state_dict().items()})
    assert rates()["w"] == 0.4 == rates.largest()


def test_layers_whose_names_differ_in_a_dot_have_rates_of_their_own():
    parameters = {"a_b.weight": torch.zeros(2), "a.b.weight": torch.zeros(3)}
    assert len(list(InnerRates(parameters, 0.1, "layer", learned=True).parameters())) == 2
    alpha = InnerRates(parameters, 0.1, "parameter", learned=True)()
    assert [alpha[name].shape for name in parameters] == [(2,), (3,)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0.1, "each", False), "rates must be one of one, layer, parameter"), ((0.0, "one", False), "must be positive")],
)
def test_rates_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        InnerRates({"w": torch.zeros(2)}, *arguments)
