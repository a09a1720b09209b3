"""Lecture 06: what it computes is right, its pictures are pure, and its sentences outlive new rows in the results."""

import re

import numpy as np
import pytest
import torch

import kshot
from kshot import see
from kshot.data import Characters
from kshot.tasks import Sinusoids


@pytest.fixture(scope="module")
def lecture(source) -> dict:
    """The lecture's own functions and pictures, run as they stand, its learners untrained."""
    names: dict = {
        "again": kshot.Result(torch.tensor([0.97, 0.98, 1.0])),
        "x": torch.linspace(-5, 5, 201)[None, :, None],
    }
    whole = ("import json", "COLOURS = ", "class Attention", "def perceptron", "def missed", "encode, decode")
    whole += (
        "def g(",
        "def gradient",
        "def by_likeness",
        "POINTS = ",
        "def duel",
        "def fought",
        "def percent",
        "def told",
    )
    whole += ("def ring", "def answer", "def flat", "results = ", "def affordable", "def amount", "def market")
    whole += (
        "def dearer_and_worse",
        "FAMILY = ",
        "DASHES = ",
        "TICKS = ",
        "def stretch",
        "def likeness",
        "def stepping",
    )
    for beginning in (*whole, "def both"):
        exec(
            re.split(r"^(?:exam|tags_read) = ", source.cell(beginning), flags=re.MULTILINE)[0], names
        )  # only what is defined
    return names


def duels(**changes):
    return {"crest": np.array([2.5, 3.0]), "K": 10, "steps": 1, "rate": 0.01, "curve": "sine"} | changes


def test_the_duel_depends_on_its_state_alone(lecture, assert_pure):
    far = [duels(crest=np.array([0.0, 9.0])), duels(steps=20, rate=0.003), duels(K=2), duels(curve="square")]
    assert_pure(lecture["ring"], [duels(), *far])


def test_the_market_and_the_lines_depend_on_their_state_alone(lecture, assert_pure):
    states = [
        {"setting": setting, "bill": bill, "budget": np.array([1.0, -0.5])}
        for setting in lecture["SETTINGS"]
        for bill in lecture["BILLS"]
    ]
    assert_pure(lecture["market"], states)
    assert_pure(lecture["stretch"], [{"against": against} for against in lecture["AXES"]])


def test_diverging_steps_can_be_drawn(lecture):
    state = duels(crest=np.array([2.5, 1e6]), steps=60)
    assert "the steps diverge" in lecture["told"](state)
    see.Canvas(lecture["ring"]).pixels(state)


@pytest.mark.parametrize("name", ["black box", "gradient", "metric"])
def test_each_function_is_the_learner_that_the_package_has(lecture, name, generator):
    e = Sinusoids(shots=7, queries=5).sample(4, generator)
    ours = {"black box": "black_box", "gradient": "gradient", "metric": "by_likeness"}[name]
    given = e.support_x, e.support_y, e.query_x
    with torch.no_grad():
        torch.testing.assert_close(lecture[ours](*given), lecture["trio"][name](*given), rtol=1e-4, atol=1e-5)


def test_keep_stepping_steps_every_task_by_itself(lecture, generator):
    e = Sinusoids(shots=7, queries=5).sample(3, generator)
    got = lecture["gradient"](e.support_x, e.support_y, e.query_x, steps=4, rate=0.02)
    for t in range(3):
        net = lecture["perceptron"](1, 1)
        for w, start in zip(net.parameters(), lecture["theta"]):
            w.data = start.clone()
        for _ in range(4):
            slopes = torch.autograd.grad((net(e.support_x[t]) - e.support_y[t]).square().mean(), list(net.parameters()))
            for w, slope in zip(net.parameters(), slopes):
                w.data -= 0.02 * slope
        torch.testing.assert_close(got[t], net(e.query_x[t]).detach(), rtol=1e-4, atol=1e-5)


def test_the_metric_learner_is_a_mean_weighted_by_likeness_and_scales_with_its_targets(lecture, generator):
    e = Sinusoids(shots=4, queries=3).sample(2, generator)
    with torch.no_grad():
        got = lecture["by_likeness"](e.support_x, e.support_y, e.query_x)
        high = lecture["by_likeness"](e.support_x, 10 * e.support_y, e.query_x)
        for t in range(2):
            for q in range(3):
                z = lecture["embed"](e.query_x[t, q])
                gaps = [(lecture["embed"](x_k) - z).square().sum().item() for x_k in e.support_x[t]]
                weights = np.exp(-np.array(gaps)) / np.exp(-np.array(gaps)).sum()
                assert got[t, q].item() == pytest.approx(float(weights @ e.support_y[t, :, 0].numpy()), rel=1e-4)
    torch.testing.assert_close(high, 10 * got)


def test_the_share_missed_is_one_for_zero_and_none_for_the_truth(lecture, generator):
    e = Sinusoids(queries=20).sample(50, generator)
    at_zero = lecture["missed"](lambda x_k, y_k, x: 0 * x, e)
    assert at_zero.mean == pytest.approx(1)
    assert at_zero.interval == pytest.approx(0, abs=1e-6)
    half = lecture["missed"](lambda x_k, y_k, x: e.query_y / 2, e)
    assert half.mean == pytest.approx(0.25)
    assert lecture["missed"](lambda x_k, y_k, x: e.query_y, e).mean == 0


def test_the_dots_and_bars_of_the_arena_are_those_computed_beside_it(lecture, generator):
    images = torch.randint(256, (8, 4, 1, 28, 28), generator=generator).to(torch.uint8)
    characters = Characters(images, torch.arange(8), tuple("abcdefgh"), (0,), "made for a test")
    learner = kshot.Prototypical(kshot.Conv4(8))
    arena = see.arena(learner, characters=characters, seed=2, answer=lecture["answer"])
    for _ in range(2):
        (*glyphs, query), (shown,) = arena.glyphs, arena.state()["answers"]
        glyphs = torch.stack(glyphs)
        torch.testing.assert_close(lecture["flat"](learner, glyphs, query).detach(), shown["map"], rtol=1e-3, atol=1e-4)
        bars = lecture["answer"](learner, glyphs, arena.labels, query).detach()
        torch.testing.assert_close(bars, shown["p"])
        torch.testing.assert_close(bars, see.probabilities(learner, glyphs, arena.labels, query))
        arena.swap(0, 3)


def coins(Z, count, generator) -> dict:
    """Both questions about the same drawings, embedded as Z [C, 3, D]."""
    alphabet = torch.zeros(len(Z), dtype=torch.long)
    seed = int(torch.randint(1000, (), generator=generator))
    return {
        by: kshot.CharacterOrWriter(255 * Z, alphabet, by).sample(count, torch.Generator().manual_seed(seed))
        for by in ("character", "writer")
    }


def test_no_nearest_drawing_is_right_on_both_questions(lecture, generator):
    lecture["questions"] = coins(torch.randn(30, 3, 6, generator=generator), 400, generator)
    score, both_right = lecture["both"](lecture["likeness"])
    assert both_right == 0
    assert score.mean <= 0.5


def test_where_character_and_pen_add_up_steps_read_both_questions(lecture, generator):
    character, pen = torch.randn(30, 1, 40, generator=generator), torch.randn(1, 3, 40, generator=generator)
    lecture["questions"] = coins(character + pen, 100, generator)
    assert lecture["both"](lambda z_k, y_k, z: lecture["stepping"](z_k, y_k, z, 500))[1] == 100


def test_the_stepped_head_ends_at_least_squares(lecture, generator):
    z_k, z = torch.randn(2, 4, 9, generator=generator), torch.randn(2, 1, 9, generator=generator)
    y_k = torch.tensor([[0, 1, 1, 2], [1, 0, 1, 2]])
    got = lecture["stepping"](z_k, y_k, z, 5000)
    for t in range(2):
        y = torch.nn.functional.one_hot(y_k[t], 3).float()
        w = torch.linalg.pinv(z_k[t] - z_k[t].mean(0)) @ (y - y.mean(0))
        torch.testing.assert_close(got[t], (z[t] - z_k[t].mean(0)) @ w, rtol=1e-3, atol=1e-3)


def test_the_smallest_budget_buys_a_learner_as_good_as_the_best_and_a_smaller_one_does_not(lecture):
    for setting in lecture["SETTINGS"]:
        for words, bill in lecture["BILLS"].items():
            state = {"setting": setting, "bill": words, "budget": (4.0, -0.5)}
            rows, at = lecture["rows_of"][setting], lecture["least"](state)
            best = max(rows, key=lambda row: row["mean"])
            enough = lecture["affordable"](rows, bill, 10 ** (at + 1e-6))[0]
            short = lecture["affordable"](rows, bill, 10 ** (at - 1e-6))
            assert enough["mean"] + enough["interval"] >= best["mean"] - best["interval"]
            assert all(row["mean"] + row["interval"] < best["mean"] - best["interval"] for row in short)


def row(name, family, mean, bill):
    return {"learner": name, "family": family, "mean": mean, "interval": 1.0, "cost": bill}


def test_who_is_dearer_and_worse(lecture):
    rows = [row("a", "metric", 90, 5), row("b", "gradient", 91, 7), row("c", "gradient", 80, 9),
            row("d", "black box", 70, 2), row("e", "floor", 95, 0), row("f", "black box", 88.9, 5)]  # fmt: skip
    buy, others = lecture["dearer_and_worse"](rows, "cost")
    assert buy["learner"] == "a"
    assert [other["learner"] for other in others] == ["c"]


@pytest.mark.parametrize("mean", [5.0, 99.9])
def test_more_rows_at_twenty_ways_can_be_shown(lecture, mean):
    setting = lecture["SETTINGS"][1]
    old = lecture["rows_of"][setting]
    new = [
        {"learner": name, "family": "gradient", "setting": setting, "mean": mean, "interval": 0.5}
        | {"milliseconds_a_task": 40.0, "context_numbers": 29_236, "train_seconds": 300}
        for name in ("First-order MAML", "Reptile")
    ]
    lecture["rows_of"][setting] = old + new
    try:
        state = {"setting": setting, "bill": "milliseconds a task", "budget": np.array([2.0, -0.5])}
        see.Canvas(lecture["market"]).pixels(state)
        assert ("First-order MAML" in lecture["bought"](state)) == (mean > 99)
    finally:
        lecture["rows_of"][setting] = old


def test_the_title_of_the_lines_says_what_the_file_holds(lecture):
    for against in lecture["AXES"]:
        gains = {}
        for name in {r["learner"] for r in lecture["report"][against]}:
            own = sorted((r[against], r["mean"]) for r in lecture["report"][against] if r["learner"] == name)
            gains[name] = own[-1][1] - own[0][1]
        said = lecture["changes"](against).replace("−", "-")
        for name in (max(gains, key=gains.get), min(gains, key=gains.get)):
            assert f"{name} {gains[name]:+.0f}" in said


def test_whiskers_break_between_the_points(lecture):
    at, ends = lecture["whiskers"](np.array([0.0, 1.0]), np.array([5.0, 0.4]), np.array([1.0, 2.0]))
    assert at.tolist() == [0, 0, 0, 1, 1, 1]
    assert ends[[0, 1, 3, 4]].tolist() == pytest.approx([4, 6, 0.3, 2.4])
    assert np.isnan(ends[[2, 5]]).all()
