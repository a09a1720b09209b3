"""Episodes refuse parts that do not belong together, in a sentence."""

import pytest
import torch

from kshot import Episodes


def parts(**changes):
    x = torch.zeros(2, 3, 4)
    y = torch.tensor([[0, 1, 2], [2, 1, 0]])
    return {"support_x": x, "support_y": y, "query_x": x.clone(), "query_y": y.clone()} | changes


def test_reads_tasks_and_ways():
    episodes = Episodes(**parts())
    assert (episodes.tasks, episodes.ways) == (2, 3)
    assert episodes[:1].tasks == 1
    assert [chunk.tasks for chunk in Episodes(**parts()).split(1)] == [1, 1]


def test_unlabelled_support_is_kept():
    assert Episodes(**parts(support_y=None)).to("cpu").support_y is None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"query_x": torch.zeros(3, 3, 4)}, "same number of tasks"),
        ({"support_x": torch.full((2, 3, 4), float("nan"))}, "support_x holds values that are not finite"),
        ({"query_x": torch.full((2, 3, 4), float("inf"))}, "query_x holds values that are not finite"),
        (
            {"support_y": torch.tensor([[0, 1], [1, 0]])},
            "support_x holds .2, 3. .tasks, examples. but support_y .2, 2.",
        ),
        ({"query_y": torch.tensor([[0, 1, 7], [2, 1, 0]])}, "query_y holds class 7, but the support has only"),
        ({"query_y": torch.tensor([[0, 1, -1], [2, 1, 0]])}, "query_y holds class -1: relabel"),
        ({"query_y": torch.full((2, 3, 1), float("nan"))}, "query_y holds targets that are not finite"),
        ({"query_y": torch.full((2, 3), 0.5)}, "query_y has fractional class ids"),
        ({"query_x": torch.zeros(2, 4, 4)}, "query_x holds .2, 4. .tasks, examples. but query_y .2, 3."),
        ({"support_y": torch.zeros(2, 3, dtype=torch.int32)}, "support_y holds class ids of type torch.int32"),
        ({"support_x": torch.zeros(2, 0, 4), "support_y": torch.zeros(2, 0).long()}, "support_x is empty"),
    ],
)
def test_refuses(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        Episodes(**parts(**changes))


def test_ways_of_regression_is_an_error():
    episodes = Episodes(**parts(support_y=torch.zeros(2, 3, 1), query_y=torch.zeros(2, 3, 1)))
    with pytest.raises(ValueError, match=r"targets of shape \(2, 3, 1\)"):
        _ = episodes.ways
