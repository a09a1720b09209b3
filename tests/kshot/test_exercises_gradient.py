"""Lecture 04's exercises: each typical wrong answer gets its own sentence, right ones pass however they are written."""

import numpy as np
import pytest
import torch

from kshot.exercises import verdict
from kshot.exercises.gradient import query_loss, slope_of, support_loss


def grad(loss, theta, **options):
    return torch.autograd.grad(loss(theta), theta, **options)[0]


def step(loss, theta, alpha):
    return theta - alpha * grad(loss, theta, create_graph=True)


def step_with_func(loss, theta, alpha):
    return theta - alpha * torch.func.grad(loss)(theta)


def weights(a, alpha):
    return a * (1 - alpha * a) ** 2


def best_start(a, m, alpha):
    w = weights(a, alpha)
    return (w * m).sum() / w.sum()


def best_start_by_search(a, m, alpha):
    theta = torch.linspace(-3, 3, 2_000_001, dtype=torch.float64)
    after = sum(0.5 * float(k) * ((1 - alpha * float(k)) * (theta - float(x))) ** 2 for k, x in zip(a, m))
    return float(theta[after.argmin()])


def first_order(support, query, theta, alpha):
    return grad(query, theta - alpha * grad(support, theta))


def first_order_on_a_leaf(support, query, theta, alpha):
    phi = (theta - alpha * grad(support, theta)).detach().requires_grad_()
    query(phi).backward()
    return phi.grad


def first_order_from_theta(support, query, theta, alpha):
    return torch.autograd.grad(query(theta - alpha * grad(support, theta)), theta)[0]


RIGHT = [
    ("inner step", step),
    ("inner step", step_with_func),
    ("best start", best_start),
    ("best start", best_start_by_search),
    ("best start", lambda a, m, alpha: best_start(a, m, alpha).item()),
    ("best start", lambda a, m, alpha: best_start(a, m, alpha).reshape(1)),
    ("best start", lambda a, m, alpha: np.average(m, weights=weights(a, alpha))),
    ("best start", lambda a, m, alpha: np.sum(weights(a, alpha) * m) / np.sum(weights(a, alpha))),
    ("best start", lambda a, m, alpha: torch.sum(weights(a, alpha) * m) / torch.sum(weights(a, alpha))),
    ("best start", lambda a, m, alpha: sum(x * y for x, y in zip(weights(a, alpha), m)) / sum(weights(a, alpha))),
    ("first order", first_order),
    ("first order", first_order_on_a_leaf),
    ("first order", first_order_from_theta),
]


@pytest.mark.parametrize(("name", "answer"), RIGHT)
def test_a_right_answer_passes(name, answer):
    assert verdict(name, answer) is None


def test_the_second_order_that_the_inner_step_is_held_to_is_the_finite_difference():
    theta = torch.tensor([0.7, -1.2, 0.4], dtype=torch.float64)
    exact = slope_of(lambda own: query_loss(step(support_loss, own, 0.1)), theta)
    small = 1e-6 * torch.eye(3, dtype=torch.float64)

    def outer(theta):
        return query_loss(theta - 0.1 * slope_of(support_loss, theta))

    by_difference = torch.stack([(outer(theta + d) - outer(theta - d)) / 2e-6 for d in small])
    torch.testing.assert_close(exact, by_difference, rtol=1e-6, atol=1e-6)


def without_create_graph(loss, theta, alpha):
    return theta - alpha * grad(loss, theta)


def in_place(loss, theta, alpha):
    theta -= alpha * grad(loss, theta, create_graph=True)
    return theta


def on_data(loss, theta, alpha):
    theta.data -= alpha * grad(loss, theta)
    return theta


def in_place_without_a_graph(loss, theta, alpha):
    slope = grad(loss, theta)
    with torch.no_grad():
        return theta.sub_(alpha * slope)


def by_backward(loss, theta, alpha):
    loss(theta).backward(create_graph=True)
    return theta - alpha * theta.grad


def by_backward_alone(loss, theta, alpha):
    loss(theta).backward()
    return theta - alpha * theta.grad


def cut_off(loss, theta, alpha):
    return theta.detach() - alpha * grad(loss, theta)


def from_a_copy(loss, theta, alpha):
    copy = theta.detach().clone().requires_grad_()
    return step(loss, copy, alpha)


def with_a_tuple(loss, theta, alpha):
    return theta - alpha * torch.autograd.grad(loss(theta), theta, create_graph=True)


def with_a_tuple_and_no_alpha(loss, theta, alpha):
    return theta - torch.autograd.grad(loss(theta), theta, create_graph=True)


def of_the_function_itself(loss, theta, alpha):
    return theta - alpha * torch.autograd.grad(loss, theta, create_graph=True)[0]


def with_another_inner_step(step):
    """First order, but with phi = step(support, query, theta, alpha)."""

    def gradient(support, query, theta, alpha):
        return grad(query, step(support, query, theta, alpha).detach().requires_grad_())

    return gradient


def moved_then_sloped(support, query, theta, alpha):
    theta.data -= alpha * grad(support, theta)
    return grad(query, theta)


def with_theta_grad(support, query, theta, alpha):
    support(theta).backward()
    query(theta - alpha * theta.grad.clone()).backward()
    return theta.grad


def mean(w, m):
    return (w * m).sum() / w.sum()


WRONG = [
    ("inner step", without_create_graph, "create_graph=True"),
    ("inner step", by_backward_alone, "create_graph=True"),
    ("inner step", in_place, "theta itself has moved"),
    ("inner step", on_data, "theta itself has moved"),
    ("inner step", in_place_without_a_graph, "theta itself has moved"),
    ("inner step", by_backward, "left the inner slope in theta.grad"),
    ("inner step", cut_off, "it is cut off from theta"),
    ("inner step", with_a_tuple, "grad returns a tuple"),
    ("inner step", with_a_tuple_and_no_alpha, "grad returns a tuple"),
    ("inner step", lambda loss, theta, alpha: (step(loss, theta, alpha),), "grad returns a tuple"),
    ("inner step", of_the_function_itself, "this takes the slope of a function: call the loss"),
    (
        "inner step",
        lambda loss, theta, alpha: theta.detach() - alpha * grad(loss, theta, create_graph=True),
        "theta is detached there",
    ),
    ("inner step", lambda loss, theta, alpha: step(loss, step(loss, theta, alpha), alpha), "these are two steps"),
    ("inner step", from_a_copy, "starts from a copy of theta"),
    ("inner step", lambda loss, theta, alpha: step(loss, theta, -alpha), "this climbs"),
    ("inner step", lambda loss, theta, alpha: step(loss, theta, 1), "the whole slope is taken"),
    ("inner step", lambda loss, theta, alpha: grad(loss, theta, create_graph=True), "this is the slope at theta: the"),
    ("inner step", lambda loss, theta, alpha: -alpha * grad(loss, theta), "this is the step alone"),
    ("inner step", lambda loss, theta, alpha: theta, "this is still theta"),
    ("inner step", lambda loss, theta, alpha: None, "returns nothing yet"),
    ("inner step", lambda loss, theta, alpha: [step(loss, theta, alpha)], "returns a list"),
    ("inner step", lambda loss, theta, alpha: step(loss, theta, alpha).sum(), r"has shape \(\), expected \(3,\)"),
    ("inner step", lambda loss, theta, alpha: step(loss, theta, alpha) + 1, "the values are off"),
    (
        "inner step",
        lambda loss, theta, alpha: step(loss, theta, alpha).detach() + theta * 2 - theta.detach() * 2,
        "d phi / d theta is off",
    ),
    ("best start", lambda a, m, alpha: mean(a, m), "this start is best before the step"),
    ("best start", lambda a, m, alpha: mean(a * (1 - alpha * a), m), "the factor 1 - alpha a is there once"),
    ("best start", lambda a, m, alpha: (weights(a, alpha) * m).sum(), "their sum is not 1"),
    ("best start", lambda a, m, alpha: (weights(a, alpha) * m).mean(), "dividing by n does not make a mean"),
    ("best start", lambda a, m, alpha: mean((1 - alpha * a) ** 2, m), "counts no more than a flat one"),
    ("best start", lambda a, m, alpha: mean(a * (1 + alpha * a) ** 2, m), "here the distance grows"),
    ("best start", lambda a, m, alpha: m.mean(), "this is the plain mean of the minima"),
    ("best start", lambda a, m, alpha: mean(1 / a, m), "counts less here than a flat one"),
    ("best start", lambda a, m, alpha: mean(a**2 * (1 - alpha * a) ** 2, m), "the curvature counts twice"),
    (
        "best start",
        lambda a, m, alpha: str(best_start(a, m, alpha)),
        r"returns a str: return a tensor \[\], one number",
    ),
    ("best start", lambda a, m, alpha: np.dot(m) / a, "your code stops with TypeError: dot"),
    ("best start", lambda a, m, alpha: -0.8, "the values are off"),
    ("best start", lambda a, m, alpha: weights(a, alpha), r"has shape \(4,\), expected \(\)"),
    ("best start", lambda a, m, alpha: best_start(a, m, alpha) + 1, "the values are off"),
    ("first order", lambda s, q, theta, alpha: first_order(s, s, theta, alpha), "the outer loss is taken on the"),
    ("first order", lambda s, q, theta, alpha: grad(q, theta), "that is joint training"),
    ("first order", lambda s, q, theta, alpha: grad(s, theta), "this is the inner slope, of the support"),
    (
        "first order",
        lambda s, q, theta, alpha: torch.autograd.grad(q(step(s, theta, alpha)), theta)[0],
        "this is the exact gradient, of second order",
    ),
    ("first order", with_theta_grad, "because backward\\(\\) adds up in theta.grad"),
    ("first order", lambda s, q, theta, alpha: alpha * grad(s, theta), "by which Reptile moves"),
    ("first order", lambda s, q, theta, alpha: theta - alpha * grad(s, theta), "this is phi itself"),
    ("first order", lambda s, q, theta, alpha: -first_order(s, q, theta, alpha), "the sign is turned"),
    ("first order", lambda s, q, theta, alpha: alpha * first_order(s, q, theta, alpha), "alpha times too small"),
    (
        "first order",
        lambda s, q, theta, alpha: grad(q, (theta - alpha * grad(s, theta)).detach()),
        r"call .requires_grad_\(\) on the new tensor",
    ),
    ("first order", moved_then_sloped, "theta itself has moved"),
    ("first order", lambda s, q, theta, alpha: (first_order(s, q, theta, alpha),), "grad returns a tuple"),
    (
        "first order",
        with_another_inner_step(lambda s, q, theta, alpha: theta + alpha * grad(s, theta)),
        "the inner step climbs",
    ),
    (
        "first order",
        with_another_inner_step(lambda s, q, theta, alpha: theta - grad(s, theta)),
        "the inner step takes the whole slope",
    ),
    (
        "first order",
        with_another_inner_step(lambda s, q, theta, alpha: theta - alpha * grad(q, theta)),
        "the inner step is taken on query_loss",
    ),
    (
        "first order",
        lambda s, q, theta, alpha: theta - alpha * first_order(s, q, theta, alpha),
        "this is theta after an outer step",
    ),
    ("first order", lambda s, q, theta, alpha: query_loss(theta), r"has shape \(\), expected \(3,\)"),
]


@pytest.mark.filterwarnings("ignore:Using backward")  # that is what the answer is told off for
@pytest.mark.parametrize(("name", "answer", "sentence"), WRONG)
def test_a_typical_wrong_answer_gets_its_sentence(name, answer, sentence, assert_told):
    assert_told(name, answer, sentence, WRONG)
