"""Lecture 04: the mathematics it shows is right, and its widgets are pure."""

import re

import numpy as np
import pytest
import torch

import kshot
from kshot import see
from kshot.tasks import Sinusoids


@pytest.fixture(scope="module")
def lecture(source) -> dict:
    """The lecture's own functions, run as they stand, without its trainings."""
    names: dict = {"GRID": torch.linspace(-5, 5, 101)[:, None], "tasks": Sinusoids(), "test": None}
    for beginning in ("import math", "def loss_of_each", "def tasks_panel", "def averages_panel", "def told"):
        exec(source.cell(beginning), names)
    for beginning in ("def found", "def perceptron", "def average_of_all", "def error", "def steepest", "def wilson"):
        exec(source.definition(beginning), names)
    names["in_race"] = {
        name: kshot.MAML(names["perceptron"](seed)) for seed, name in enumerate(("scratch", "joint", "MAML"))
    }
    for beginning in ("def inner_step", "def adapted", "def score", "def runners", "class Kept"):
        exec(source.cell(beginning), names)
    exec(source.definition("def hurt"), names)
    exec(source.definition("def leaving"), names)
    return names


@pytest.mark.parametrize("alpha", [0.0, 0.05, 0.1])
def test_the_three_starts_are_those_of_the_closed_forms(lecture, alpha):
    a, m = np.array([1.0, 9.0]), np.array([-1.0, 1.0])
    left = 1 - alpha * a
    expected = [(weight * m).sum() / weight.sum() for weight in (a, a * left, a * left**2)]
    assert np.abs(np.array(lecture["starts"](alpha)) - expected).max() <= 0.0026  # half a grid step


def test_the_lines_widget_starts_together_and_is_saved_apart(lecture, source):
    assert len(set(lecture["starts"](0.0))) == 1
    saved = eval(re.search(r"saved=(\{.*\}),", source.cell("see.Explorer(\n    parabolas"))[1])
    state = {"inner_rate": saved["inner_rate"], "start": np.array(saved["start"])}
    assert lecture["told"](state) == (
        "Your start -0.80: 7.30 before, 0.08 after",
        "Joint 0.80, first order 0.00, MAML -0.80",
    )
    assert lecture["found"](state)
    assert not lecture["found"]({"inner_rate": 0.1, "start": np.array([0.8, 0])})


def test_the_pictures_depend_on_their_state_alone(lecture, assert_pure):
    line = [{"inner_rate": rate, "start": np.array([at, 0.0])} for rate in (0.0, 0.1) for at in (-0.8, 0.8)]
    assert_pure(lecture["parabolas"], line)
    points = np.stack([np.linspace(-4, 4, 10), np.linspace(-3, 3, 10)], 1)
    assert_pure(lecture["runners"], [{"points": points, "steps": steps, "K": K} for steps in (0, 2) for K in (1, 6)])


def test_diverging_steps_can_be_drawn(lecture):
    points = np.stack([np.linspace(-4, 4, 10), np.full(10, 1e6)], 1)
    state = {"points": points, "steps": 20, "K": 6}
    assert "inf" in lecture["score"](state)
    see.Canvas(lecture["runners"]).pixels(state)
    assert lecture["hurt"](state)


@pytest.mark.parametrize(("after", "counts"), [(1.12, False), (2.5, True), (float("inf"), True)])
def test_a_first_step_that_hardly_hurts_is_no_answer_to_the_challenge(lecture, monkeypatch, after, counts):
    errors = {0: [4.0, 3.0, 1.0], 1: [4.0, 3.0, after]}
    monkeypatch.setitem(lecture, "adapted", lambda state, steps: ([], errors[steps]))
    assert lecture["hurt"]({}) is counts


@pytest.mark.parametrize("order", [1, 2])
def test_the_outer_gradient_shown_is_that_of_the_package(lecture, order, generator):
    learner, episodes = kshot.MAML(lecture["perceptron"](), order=order), Sinusoids().sample(3, generator)
    theta = dict(lecture["net"].named_parameters())
    ours = torch.autograd.grad(lecture["outer_loss"](theta, episodes, 0.01, order), list(theta.values()))
    for mine, its in zip(ours, torch.autograd.grad(learner.losses(episodes).mean(), list(learner.net.parameters()))):
        torch.testing.assert_close(mine, its, rtol=1e-4, atol=1e-6)


def test_a_task_that_diverges_spoils_no_other(lecture, generator):
    episodes = Sinusoids(queries=20).sample(5, generator)
    episodes.support_y[3] *= 1e9
    learner = kshot.MAML(lecture["perceptron"]())
    values = lecture["error"](learner, 30, 0.05, episodes).values
    alone = torch.cat([lecture["error"](learner, 30, 0.05, episodes[t : t + 1]).values for t in (0, 1, 2, 4)])
    assert values[3] == torch.inf
    torch.testing.assert_close(values[[0, 1, 2, 4]], alone, rtol=1e-3, atol=1e-4)
    assert torch.isfinite(alone).all()


def test_a_task_whose_answers_overflow_has_an_infinite_error(lecture, generator, monkeypatch):
    class Overflows:
        def eval(self):
            return self

        def __call__(self, support_x, support_y, query_x):
            y_hat = torch.zeros_like(query_x)
            y_hat[0], y_hat[1] = torch.nan, torch.inf
            return y_hat

    monkeypatch.setattr(kshot, "MAML", lambda *_, **__: Overflows())
    values = lecture["error"](type("Learner", (), {"net": None}), 1, 0.01, Sinusoids().sample(3, generator)).values
    assert values[:2].tolist() == [torch.inf] * 2
    assert torch.isfinite(values[2])


def test_the_best_single_curve_has_the_error_that_the_lecture_says(lecture, generator):
    episodes = Sinusoids(queries=50).sample(20_000, generator)
    errors = (lecture["average_of_all"](episodes.query_x) - episodes.query_y).square().mean((1, 2))
    assert abs(errors.mean() - 3.006) < 4 * errors.std() / 20_000**0.5
    assert 4 * errors.std() / 20_000**0.5 < 0.1


def test_the_steepest_curvature_is_the_largest_eigenvalue(lecture, generator, monkeypatch):
    net = torch.nn.Linear(3, 1)
    monkeypatch.setitem(lecture, "net", net)
    x, y = torch.randn(8, 3, generator=generator), torch.randn(8, 1, generator=generator)
    inputs = torch.cat([x, torch.ones(8, 1)], 1)
    expected = torch.linalg.eigvalsh(2 / 8 * inputs.T @ inputs)[-1]
    theta = dict(net.named_parameters())
    for weights in (theta, lecture["inner_step"](theta, x, y, 0.01, 1)):
        torch.testing.assert_close(lecture["steepest"](weights, x, y), expected, rtol=1e-2, atol=0)


def test_what_a_step_moves_and_where_to_is_that_of_a_loop_over_tasks(lecture, generator):
    episodes = lecture["test"] = Sinusoids(queries=20).sample(3, generator)
    theta, expected = dict(lecture["net"].named_parameters()), []
    for x, y, query_x, query_y in zip(episodes.support_x, episodes.support_y, episodes.query_x, episodes.query_y):
        phi = lecture["inner_step"](theta, x, y, 0.01, 1)
        before, after = (torch.func.functional_call(lecture["net"], w, query_x) for w in (theta, phi))
        way, wanted = (after - before).flatten(), (query_y - before).flatten()
        step = torch.cat([(phi[name] - theta[name]).flatten() for name in theta])
        cosine = way @ wanted / (way.norm() * wanted.norm())
        expected.append([each.item() for each in (step.norm(), way.norm() / 20**0.5, cosine)])
    got = lecture["leaving"](kshot.MAML(lecture["perceptron"](), rate=0.01))
    torch.testing.assert_close(torch.stack([r.values for r in got], 1), torch.tensor(expected), rtol=1e-4, atol=1e-6)


def test_second_order_keeps_a_like_amount_for_every_step_and_first_order_none(lecture):
    second, first = ([lecture["kept"](order, steps) for steps in (1, 2, 3, 4)] for order in (2, 1))
    grown = np.diff(second)
    assert first[0] == first[-1] < second[0]
    assert grown.min() == pytest.approx(grown.max(), rel=0.01)
    assert grown.min() > 0.5 * first[0]


@pytest.mark.parametrize("hits", [0, 10, 63])
def test_wilsons_interval_ends_where_the_share_is_1_96_standard_errors_away(lecture, hits):
    share = hits / 100
    ends = lecture["wilson"](kshot.Result(torch.tensor([1.0] * hits + [0.0] * (100 - hits))))
    assert ends[0] <= 100 * share < ends[1]
    for end in (each / 100 for each in ends):
        assert abs(abs(share - end) - 1.96 * (end * (1 - end) / 100) ** 0.5) < 1e-6
