"""Lecture 00's own widget: one tag decides which question is asked, and the picture depends on its state alone."""

from pathlib import Path

import numpy as np
import pytest
import torch

import kshot
from kshot.data import Characters

SOURCE = Path(__file__).parents[2] / "lectures" / "src" / "00_start_here.py"
NEEDED = (
    "import torch",
    "def answer(",
    "def pens(",
    "COLOURS =",
    "drawn = pens(",
    "def words(",
    "@see.picture",
)


@pytest.fixture(scope="module")
def lecture():
    """The lecture's names up to its widget, on random drawings in place of a data set."""
    jupytext, pytest_patch = pytest.importorskip("jupytext"), pytest.MonkeyPatch()
    images = torch.randint(0, 256, (12, 20, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = Characters(images, torch.arange(12) // 4, ("a", "b", "c"), (0, 1, 2), "made for a test")
    pytest_patch.setattr(kshot, "characters", lambda: data)
    pytest_patch.setattr(kshot, "pretrained", lambda name: kshot.PixelNeighbour())
    cells = [cell.source for cell in jupytext.read(SOURCE).cells if cell.cell_type == "code"]
    chosen = [cell for cell in cells if any(needed in cell for needed in NEEDED)]
    assert len(chosen) == len(NEEDED)
    names: dict = {}
    for cell in chosen:
        exec(cell, names)
    pytest_patch.undo()
    return names


def states():
    return [{"third_drawing": tag, "task": task} for task in (0, 3) for tag in "BA"]


def test_the_picture_depends_on_the_state_alone(lecture):
    fresh = [kshot.see.Canvas(lecture["question"]).pixels(state) for state in states()]
    used = kshot.see.Canvas(lecture["question"])
    for state, expected in list(zip(states(), fresh))[::-1]:
        np.testing.assert_array_equal(used.pixels(state), expected)
    assert len({picture.tobytes() for picture in fresh}) == len(fresh)


def test_the_tags_it_shows_are_those_of_the_task_distribution(lecture):
    assert lecture["tags"] == {"character": list("ABBCA"), "writer": list("ABACB")}
    assert torch.equal(lecture["dealt"]["character"].support_x, lecture["dealt"]["writer"].support_x)
    for by, tags in lecture["tags"].items():
        assert lecture["settled"](tags[:4]) == (by, tags[4])


def test_the_machine_answers_with_a_tag_of_the_support_it_finds_alike(lecture):
    images = lecture["drawings"][0].clone()
    images[4] = images[3]
    assert lecture["machine"](images, "ABBC") == "C"
    assert lecture["machine"](images, "ACAB") == "B"
