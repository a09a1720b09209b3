"""The small assignment that the hostile submissions attack: seven questions, each with something that stays hidden."""

import json
import zipfile
from pathlib import Path

NAME = "toy"
SECRET = "a secret of the tests"
POSSIBLE = 13
HEAD = 'from otter.test_files import test_case\n\nOK_FORMAT = False\n\nname = "{name}"\npoints = {points}\n'

# Only hidden cases hold 8675309 and the marks: wherever one of these shows up outside, something leaked.
HIDDEN = ("hidden_mark", "8675309", "867530", "rng(", "test_case", "AUTOGRADER_SECRET", SECRET)

# question -> (points, source of its cases); test_public is worth its point to whoever gets a mean of ones right.
TESTS = {
    "q1": (
        4,
        """
@test_case(points=1, hidden=False, failure_message="mean gives one row.")
def test_public(mean):
    import torch
    from autograder.testing import close
    assert close(mean(torch.ones(2, 3)), torch.ones(3))

@test_case(points=3, hidden=True, failure_message="mean averages.")
def test_hidden(mean):
    import torch
    from autograder.testing import close, rng
    hidden_mark_one = torch.randn(5, 3, generator=rng("mean"), dtype=torch.float64) + 8675309.0
    got = mean(hidden_mark_one)
    assert close(got, hidden_mark_one.sum(0) / 5, rtol=1e-9)
""",
    ),
    "q2": (
        2,
        """
@test_case(points=2, hidden=True, failure_message="The gradient is twice w.")
def test_gradient(loss):
    import torch
    from autograder.testing import close, probe, rng

    @probe
    def slope(w):
        w = w.clone().requires_grad_()
        loss(w).backward()
        return w.grad

    hidden_mark_two = torch.randn(4, generator=rng("loss"))
    got = slope(hidden_mark_two)
    assert close(got, 2 * hidden_mark_two)
""",
    ),
    "q3": (
        1,
        """
@test_case(hidden=True, failure_message="The answer is the number of seasons.")
def test_answer(answer):
    hidden_mark_three = 4
    assert answer == hidden_mark_three
""",
    ),
    "q4": (
        1,
        """
@test_case(hidden=True, failure_message="The weights add three numbers.")
def test_weights():
    import torch
    from autograder.testing import close, rng, submitted
    network = torch.nn.Linear(3, 1, bias=False)
    network.load_state_dict(submitted("toy.safetensors"))
    hidden_mark_four = torch.randn(6, 3, generator=rng("weights"))
    assert close(network(hidden_mark_four)[:, 0].detach(), hidden_mark_four.sum(1), atol=1e-4)
""",
    ),
    "q5": (
        2,
        """
@test_case(points=2, hidden=True, failure_message="classify does better than chance on alphabets it has not seen.")
def test_new_alphabets(classify):
    from autograder.testing import hidden_tasks
    hidden_mark_five = hidden_tasks(2, 10, 10, tasks=40, alphabets=2)
    got = classify(hidden_mark_five.support_x, hidden_mark_five.support_y, hidden_mark_five.query_x)
    assert got.shape == hidden_mark_five.query_y.shape and got.dtype == hidden_mark_five.query_y.dtype
    assert (got == hidden_mark_five.query_y).float().mean().item() > 0.65
""",
    ),
    "q6": (
        1,
        """
@test_case(hidden=True, failure_message="squares(n) gives n squares.")
def test_squares(squares):
    import torch
    from autograder.testing import rng
    hidden_mark_six = 20 + int(torch.randint(0, 200, (), generator=rng("squares")))
    assert list(squares(hidden_mark_six)) == [n * n for n in range(hidden_mark_six)]
""",
    ),
    "q7": (
        2,
        """
@test_case(points=2, hidden=True, failure_message="twice(f, x) is f(f(x)).")
def test_twice(twice):
    import torch
    from autograder.testing import rng
    calls, hidden_mark_seven = [], int(torch.randint(1000, 9000, (), generator=rng("twice")))

    def step(x):
        calls.append(x)
        return 3 * x + hidden_mark_seven

    got = twice(step, 2)
    assert calls == [2, 6 + hidden_mark_seven] and got == 3 * (6 + hidden_mark_seven) + hidden_mark_seven
""",
    ),
}

HONEST = [
    "import torch",
    "def mean(x):\n    return x.mean(0)",
    "def loss(w):\n    return (w ** 2).sum()",
    "answer = 4",
    """def classify(support_x, support_y, query_x):
    tasks, support, query = support_x.shape[0], support_x.flatten(2), query_x.flatten(2)
    means = [torch.stack([support[t, support_y[t] == n].mean(0) for n in (0, 1)]) for t in range(tasks)]
    return torch.cdist(query, torch.stack(means)).argmin(-1)""",
    "def squares(n):\n    yield from (k * k for k in range(n))",
    "def twice(f, x):\n    return f(f(x))",
]
WRONG = [
    "import torch",
    "def mean(x):\n    return x[0]",
    "def loss(w):\n    return w.sum()",
    "answer = 5",
    "def classify(support_x, support_y, query_x):\n    return torch.zeros(query_x.shape[:2], dtype=torch.int64)",
    "def squares(n):\n    return [n]",
    "def twice(f, x):\n    return f(x)",
]


def weights(values=(1.0, 1.0, 1.0)) -> bytes:
    """A safetensors file for q4."""
    import torch
    from safetensors.torch import save

    return save({"weight": torch.tensor([values])})


def notebook(cells: list[str], metadata: dict | None = None, **fields) -> str:
    """The JSON text of a notebook of those code cells."""
    listed = [
        {"cell_type": "code", "id": f"c{n}", "metadata": {}, "source": cell, "outputs": [], "execution_count": None}
        for n, cell in enumerate(cells)
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    otter = {"otter": {"OK_FORMAT": False, "assignment_name": NAME, "tests": {}}}
    found = {"nbformat": 4, "nbformat_minor": 5, "metadata": {**kernel, **otter, **(metadata or {})}, "cells": listed}
    return json.dumps({**found, **fields})


def write_assignment(path: Path) -> None:
    """The assignment as a zip in Otter Assign's layout."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("otter_config.json", json.dumps({"assignment_name": NAME, "lang": "python"}))
        for name, (points, source) in TESTS.items():
            archive.writestr(f"tests/{name}.py", HEAD.format(name=name, points=points) + source)
