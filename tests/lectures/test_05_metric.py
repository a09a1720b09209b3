"""Lecture 05: the mathematics it shows is right, and its widgets are pure."""

import math
import re
import statistics

import numpy as np
import pytest
import torch

import kshot
from kshot import see
from kshot.learners import metric


@pytest.fixture(scope="module")
def lecture(source) -> dict:
    """The lecture's own functions, run as they stand, without its data and trainings."""
    names = {"np": np, "torch": torch, "kshot": kshot, "see": see, "metric": metric}
    wanted = ("def nearest_prototype", "def board", "def pixel_neighbour", "def matching", "def prototypes")
    for beginning in (*wanted, "def summary", "def said", "def draw", "def turned"):
        exec(source.cell(beginning), names)
    for beginning in ("def by_task", "def wilson"):
        exec(source.cell(beginning).split("\n\n\n")[0], names)  # the function alone
    names["seeded"] = lambda seed: torch.Generator().manual_seed(seed)
    exec(source.cell("from kshot.learners import metric"), names)
    return names


def test_the_plane_through_three_prototypes_keeps_every_decision(lecture, generator):
    z, c = torch.randn(500, 64, generator=generator), torch.randn(3, 64, generator=generator)
    points, stars = lecture["through_prototypes"](z, c)
    in_64_dimensions = torch.cdist(z.double(), c.double()).argmin(1).numpy()
    assert (lecture["nearest_prototype"](points, stars) == in_64_dimensions).all()
    assert len(set(in_64_dimensions)) == 3


def test_the_cosine_rule_takes_the_smallest_angle(lecture, generator):
    z, c = torch.randn(300, 2, generator=generator), torch.randn(3, 2, generator=generator)
    angle = (torch.atan2(z[:, 1], z[:, 0])[:, None] - torch.atan2(c[:, 1], c[:, 0])).cos().arccos()
    assert (lecture["nearest_prototype"](z.numpy(), c.numpy(), "cosine") == angle.argmin(1).numpy()).all()


def test_the_functions_shown_equal_those_of_the_package(lecture, generator):
    z, y, query = torch.randn(8, 5, generator=generator), torch.arange(8) % 3, torch.randn(4, 5, generator=generator)
    c = lecture["prototypes"](z, y)
    torch.testing.assert_close(c, metric.prototypes(z[None], y[None], 3)[0])
    torch.testing.assert_close(lecture["logits"](query, c), -metric.squared_distance(query[None], c[None])[0])
    learner = kshot.Matching(kshot.Conv4(channels=8))
    p, a = lecture["matching"](z, y, query, learner.log_temperature.exp())
    torch.testing.assert_close(p.log(), learner.compare(z[None], y[None], 3, query[None])[0])
    torch.testing.assert_close(a.sum(-1), torch.ones(4))


def test_the_pixel_neighbour_shown_equals_that_of_the_package(lecture, generator):
    support, y, query = (
        torch.rand(5, 28, 28, generator=generator),
        torch.arange(5).flip(0),
        torch.rand(9, 28, 28, generator=generator),
    )
    expected = kshot.PixelNeighbour()(support[None, :, None], y[None], query[None, :, None])[0].argmax(-1)
    assert torch.equal(lecture["pixel_neighbour"](support, y, query), expected)


def test_the_chance_among_n_counts_the_draws_that_hold_beaten_impostors_only(lecture, generator, source):
    same = torch.eye(20, dtype=torch.bool).repeat(20, 2, 1)  # twenty tasks, forty queries each
    scores = lecture | {"score": torch.randn(20, 40, 20, generator=generator), "same": same}
    exec(source.cell("partner, impostors"), scores)
    for n in range(2, 21):
        expected = [
            100 * statistics.mean(math.comb(int(beaten), n - 1) / math.comb(19, n - 1) for beaten in task.flatten())
            for task in scores["m"]
        ]
        torch.testing.assert_close(scores["among"][:, n - 2], torch.tensor(expected), atol=1e-3, rtol=0)


def test_shares_are_counted_within_each_task(lecture):
    hit = torch.tensor([[True, False, False], [True, True, False], [False, False, False]])
    among = torch.tensor([[True, True, False], [True, False, False], [False, False, False]])
    assert lecture["by_task"](hit, among).values.tolist() == [0.5, 1.0]


@pytest.mark.parametrize(("hits", "n"), [(0, 200), (2, 200), (185, 200)])
def test_wilsons_interval_ends_where_the_share_is_1_96_standard_errors_away(lecture, hits, n):
    ends = [float(end) / 100 for end in re.findall(r"[\d.]+", lecture["wilson"](hits, n))]
    assert ends[0] <= hits / n <= ends[1]
    for end in ends:
        assert abs(abs(hits / n - end) - 1.96 * math.sqrt(end * (1 - end) / n)) < 1e-3


def test_drawn_tasks_keep_support_and_query_apart_and_label_each_shape(lecture):
    ids = torch.arange(40 * 20).view(40, 20, 1)  # each drawing is its own number
    support, y, query, label = lecture["draw"](ids, ways=3, shots=2, shapes=4, tasks=6)
    assert support.shape == (6, 24, 1)
    assert query.shape == (6, 60, 1)
    for t in range(6):
        assert not set(support[t].flatten().tolist()) & set(query[t].flatten().tolist())
        class_of = {}  # character -> label
        for z, n in zip(torch.cat([support[t], query[t]]).flatten() // 20, torch.cat([y[t], label[t]])):
            assert class_of.setdefault(int(z), int(n)) == int(n)
        assert sorted(class_of.values()) == [0] * 4 + [1] * 4 + [2] * 4


def test_the_widget_starts_whole_and_is_saved_broken(lecture, source):
    start = {name: np.array(points) for name, points in lecture["START"].items()}
    assert not lecture["astray"](start)
    saved = eval(re.search(r"saved=(\{.*\}),", source.cell("see.Explorer(\n    straddle"))[1])
    state = start | {name: np.array(points) for name, points in saved.items()}
    moves = sum(int((state[name] != start[name]).any(-1).sum()) for name in start)
    assert lecture["astray"](state)
    assert moves == 1
    assert lecture["said"](state | {"distance": "euclidean"}).startswith("The orange prototype stands among blue")


def test_the_widgets_picture_depends_on_its_state_alone(lecture):
    start = {name: np.array(points) for name, points in lecture["START"].items()}
    moved = {**start, "orange": np.array([(-1.15, 0.55), (1.15, 0.3), (0.55, 0.75)])}
    states = [{**points, "distance": d} for points in (start, moved) for d in ("euclidean", "cosine")]
    used = see.Canvas(lecture["straddle"])
    seen = [used.pixels(state) for state in (*states, *reversed(states))][len(states) :]
    fresh = [see.Canvas(lecture["straddle"]).pixels(state) for state in reversed(states)]
    assert all((a == b).all() for a, b in zip(seen, fresh))
    assert len({picture.tobytes() for picture in fresh}) == len(states)


def test_turning_by_a_quarter_is_the_quarter_turn(lecture, generator):
    image = torch.rand(1, 28, 28, generator=generator)
    turned = lecture["turned"](image, torch.tensor([0.0, 90.0]))
    torch.testing.assert_close(turned[0], image, atol=1e-4, rtol=0)
    assert min((turned[1] - torch.rot90(image, k, (1, 2))).abs().max() for k in (1, 3)) < 1e-3
