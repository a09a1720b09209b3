"""The exercises of lecture 04: one inner step, the best start among parabolas, the first-order gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kshot.diagnosis import Diagnosis, close, numbers, tell

Loss = Callable[[Tensor], Tensor]  # theta [P] -> a number

RATE = 0.1
IN_PLACE = (
    "theta itself has moved: the next task needs the same start, so make a new tensor and leave theta where it is."
)
A_TUPLE = "torch.autograd.grad returns a tuple, one slope for each tensor asked for: take its first entry."
UNCALLED = "this takes the slope of a function: call the loss, torch.autograd.grad wants the number that it returns."
NO_GRAPH = "this takes a slope where no graph leads: after .detach(), call .requires_grad_() on the new tensor."
ONE_EACH = "[P], a number for each of theta's"


def examine_inner_step(step: Callable[[Loss, Tensor, float], Tensor]) -> str | None:
    """An answer maps loss, theta [P] and alpha to theta - alpha * d loss / d theta [P], and an outer gradient passes
    through the slope too."""
    theta = _theta()
    got, wrong = _run(step, theta, support_loss, theta, RATE)
    if wrong:
        return wrong
    start, slope = theta.detach(), slope_of(support_loss, theta)
    once = start - RATE * slope
    mistakes: list[Diagnosis] = [
        (start + RATE * slope, "this climbs: a step down goes against the slope, with a minus."),
        (start - slope, "the whole slope is taken: multiply it by alpha first."),
        (slope, "this is the slope at theta: the step goes from theta, alpha times the slope downhill."),
        (-RATE * slope, "this is the step alone: return where it ends, theta plus the step."),
        (start, "this is still theta: take alpha times the slope off it."),
        (once - RATE * slope_of(support_loss, once), "these are two steps: take one."),
    ]
    wrong = tell(got, once, mistakes, ONE_EACH)
    if wrong:
        return wrong
    if not got.requires_grad:
        return "the step lands in the right place, but it is cut off from theta: no outer gradient gets through it."
    outer = torch.ones_like(start)
    (through,) = torch.autograd.grad(got, theta, outer, allow_unused=True, materialize_grads=True)
    if close(through, torch.zeros_like(start)):
        return "the step starts from a copy of theta, which no outer gradient leaves: start from theta itself."
    if close(through, outer):
        return (
            "the step lands in the right place, but the outer gradient takes the slope for a constant: "
            "compute it with create_graph=True."
        )
    if theta.grad is not None:
        return (
            "backward() has left the inner slope in theta.grad, where the outer gradient would be added to it: "
            "use torch.autograd.grad, which only returns it."
        )
    expected = slope_of(lambda own: (own - RATE * slope_of(support_loss, own, create_graph=True)).sum(), theta)
    if not close(through, expected):
        if close(through, expected - outer):
            return (
                "the step lands in the right place, but theta is detached there, so the outer gradient passes through "
                "the slope alone: start from theta itself."
            )
        return f"the step lands in the right place, but d phi / d theta is off: {numbers(through, expected)}."
    return None


def examine_best_start(best: Callable[[Tensor, Tensor, float], Any]) -> str | None:
    """An answer maps curvatures a [n], minima m [n] and alpha to the start whose mean loss after a step is least.

    It is given NumPy arrays, as the lecture's A and M are, or tensors where it is written for those.
    """
    many = torch.tensor([0.5, 2.0, 5.0, 8.0]), torch.tensor([-2.0, 0.5, 1.5, 3.0])
    for a, m, alpha in ((*many, 0.1), (torch.tensor([1.0, 9.0]), torch.tensor([-1.0, 1.0]), 0.05)):
        got = _answer_in_numpy_or_torch(best, a, m, alpha)
        if isinstance(got, (int, float, np.ndarray, np.generic)):
            got = torch.as_tensor(np.asarray(got, dtype=float))
        if isinstance(got, Tensor) and got.numel() == 1:
            got = got.reshape(())
        left = 1 - alpha * a  # the share of the distance to its minimum that a task's step leaves

        def mean(weights: Tensor, m: Tensor = m) -> Tensor:
            return (weights * m).sum() / weights.sum()

        mistakes: list[Diagnosis] = [
            (
                mean(a),
                "this start is best before the step. After it, what is left of a task's distance to its minimum is "
                "1 - alpha a times as much, and that factor is missing.",
            ),
            (
                mean(a * left),
                "the factor 1 - alpha a is there once, the loss squares it: this is where the first-order "
                "gradient is zero.",
            ),
            (
                (a * left**2 * m).sum(),
                "these are the right weights, but their sum is not 1: divide by it.",
            ),
            (
                (a * left**2 * m).mean(),
                "these are the right weights, but dividing by n does not make a mean: divide by their sum.",
            ),
            (
                mean(left**2),
                "a steep task counts no more than a flat one here: its loss is a/2 times the squared distance, so "
                "the weight needs the curvature a.",
            ),
            (
                mean(a * (1 + alpha * a) ** 2),
                "here the distance grows by the step, 1 + alpha a: a step goes downhill, so it shrinks.",
            ),
            (
                mean(a**2 * left**2),
                "the curvature counts twice here: the loss is a/2 times the squared distance, so a stands once.",
            ),
            (m.mean(), "this is the plain mean of the minima, and no curvature is in it."),
            (mean(1 / a), "a steep task counts less here than a flat one: multiply by its curvature, not divide."),
        ]
        wrong = tell(got, mean(a * left**2), mistakes, "[], one number for all tasks")
        if wrong:
            return wrong
    return None


def examine_first_order(gradient: Callable[[Loss, Loss, Tensor, float], Tensor]) -> str | None:
    """An answer maps support_loss, query_loss, theta [P] and alpha to the slope of query_loss at phi [P], with
    phi = theta - alpha * d support_loss / d theta."""
    theta = _theta()
    got, wrong = _run(gradient, theta, support_loss, query_loss, theta, RATE)
    if wrong:
        return wrong
    start, inner = theta.detach(), slope_of(support_loss, theta)
    phi = start - RATE * inner
    expected = slope_of(query_loss, phi)
    exact = slope_of(lambda own: query_loss(own - RATE * slope_of(support_loss, own, create_graph=True)), theta)
    mistakes: list[Diagnosis] = [
        (
            slope_of(support_loss, phi),
            "the outer loss is taken on the support, which the step has already seen: take query_loss at phi.",
        ),
        (
            slope_of(query_loss, start),
            "this is the slope at theta, so the inner step counts for nothing: that is joint training. Take it at phi.",
        ),
        (inner, "this is the inner slope, of the support at theta: the outer slope is that of query_loss at phi."),
        (
            exact,
            "this is the exact gradient, of second order: leave out create_graph, so that the inner slope is a "
            "constant.",
        ),
        (inner + expected, "the inner slope is in it too, because backward() adds up in theta.grad: take it out."),
        (
            RATE * inner,
            "this is theta - phi, by which Reptile moves: first order takes the slope of query_loss at phi.",
        ),
        (phi, "this is phi itself: return the slope of query_loss there."),
        (-expected, "the sign is turned: return the slope, whoever uses it goes against it."),
        (RATE * expected, "this is alpha times too small: alpha belongs to the inner step alone."),
        (
            slope_of(query_loss, start + RATE * inner),
            "the inner step climbs: it goes against the slope, with a minus.",
        ),
        (slope_of(query_loss, start - inner), "the inner step takes the whole slope: multiply it by alpha."),
        (
            slope_of(query_loss, start - RATE * slope_of(query_loss, start)),
            "the inner step is taken on query_loss: it may only see support_loss.",
        ),
        (
            start - RATE * expected,
            "this is theta after an outer step: return the slope alone, whoever uses it takes the step.",
        ),
    ]
    return tell(got, expected, mistakes, ONE_EACH)


EXERCISES = {
    "inner step": examine_inner_step,
    "best start": examine_best_start,
    "first order": examine_first_order,
}


def support_loss(theta: Tensor) -> Tensor:
    """A loss of theta [3] whose curvature differs from place to place."""
    return (torch.sin(theta) - theta.new_tensor([0.9, 0.2, -0.4])).square().sum() + theta[0] * theta[1] ** 2


def query_loss(theta: Tensor) -> Tensor:
    """Another one, as queries give another loss than the support."""
    return (theta.exp() - theta.new_tensor([1.0, 0.5, 2.0])).square().sum() + theta[1] * theta[2]


def slope_of(loss: Loss, theta: Tensor, create_graph: bool = False) -> Tensor:
    """d loss / d theta at theta [P], detached unless `create_graph`."""
    own = theta if create_graph else theta.detach().clone().requires_grad_()
    return torch.autograd.grad(loss(own), own, create_graph=create_graph)[0]


def _theta() -> Tensor:
    return torch.tensor([0.7, -1.2, 0.4], dtype=torch.float64, requires_grad=True)


def _run(answer: Callable, theta: Tensor, *given: Any) -> tuple[Any, str | None]:
    """What `answer` returns, and what is wrong with its way there, if that can be told."""
    before = theta.detach().clone()
    try:
        got = answer(*given)
    except (RuntimeError, TypeError) as error:
        for words, sentence in (
            ("in-place", IN_PLACE),
            ("multiply sequence", A_TUPLE),
            ("'tuple'", A_TUPLE),
            ("'function' object is not iterable", UNCALLED),
            ("does not require grad", NO_GRAPH),
        ):
            if words in str(error):
                return None, sentence
        raise
    if not torch.equal(theta.detach(), before):
        return got, IN_PLACE
    return got, A_TUPLE if isinstance(got, tuple) and len(got) == 1 else None


def _answer_in_numpy_or_torch(best: Callable, a: Tensor, m: Tensor, alpha: float) -> Any:
    """What `best` returns for arrays, or for tensors where it calls functions that take nothing else."""
    try:
        return best(a.double().numpy().copy(), m.double().numpy().copy(), alpha)
    except TypeError as error:
        if "must be Tensor" not in str(error):
            raise
        return best(a.clone(), m.clone(), alpha)
