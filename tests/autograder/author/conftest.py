"""A small course with one homework and one lecture, built once, copied for each test."""

import shutil
from pathlib import Path

import pytest

from autograder.author.build import build_homework
from autograder.author.lectures import build_lecture

HEADER = """\
# ---
# jupyter:
#   homework:
#     points: 4
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [raw]
# # ASSIGNMENT CONFIG
# name: hw9
# tests:
#   ok_format: false
# export_cell:
#   pdf: false
#   files: [hw9_weights.txt]
# generate: true

# %% [markdown]
# # Homework 9

"""

QUESTION = '''\
# %% [raw]
# # BEGIN QUESTION
# name: q1
# points: 3

# %% [markdown]
# Write `double(numbers)`: each number twice as large.

# %% [raw]
# # BEGIN SOLUTION

# %%
def double(numbers):
    """Each number times two."""
    # BEGIN SOLUTION
    doubled_by_the_secret_formula = [number + number for number in numbers]
    return doubled_by_the_secret_formula
    # END SOLUTION


# %% [raw]
# # END SOLUTION


# %% mutant: squares tags=["active-py"]
def double(numbers):
    return [number**2 for number in numbers]


# %% mutant: drops the last number tags=["active-py"]
def double(numbers):
    return [number + number for number in numbers[:-1]]


# %% mutant: doubles the first number only tags=["active-py"]
def double(numbers):
    return [2 * numbers[0], *numbers[1:]]


# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
failure_message: Twice 2 is 4 and twice 3 is 6.
""" # END TEST CONFIG
def test_two_and_three(double):
    assert double([2, 3]) == [4, 6]


# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
failure_message: Negative numbers double as well.
""" # END TEST CONFIG
def test_negative_numbers(double):
    assert double([-71, -5]) == [-142, -10]


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

'''

WRITTEN = """\
# %% [raw]
# # BEGIN QUESTION
# name: q2
# points: 1
# manual: true

# %% [markdown]
# Why is doubling linear?

# %% [raw]
# # BEGIN PROMPT

# %% [markdown]
# *Write your answer here.*

# %% [raw]
# # END PROMPT

# %% [raw]
# # BEGIN SOLUTION

# %% [markdown]
# Because the double of a sum is the sum of the doubles.

# %% [raw]
# # END SOLUTION

# %% [raw]
# # END QUESTION
"""

LECTURE = """\
# %% [markdown]
# # Doubling

# %% tags=["keep"]
print(2 + 2)


# %%
def later():
    return 1


# %% [markdown]
# The end.
"""


class Sample:
    """The sources of the small course, to be altered by tests."""

    master = HEADER + QUESTION + WRITTEN
    lecture = LECTURE

    @staticmethod
    def write(root: Path, master: str = master, lecture: str = lecture) -> Path:
        """A course in `root` with these sources; returns the master's path."""
        for folder in ("solutions/hw9", "lectures/src", "kshot"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        (root / "course.toml").write_text("")
        (root / "README.md").write_text("# A course\n")
        (root / "kshot" / "__init__.py").write_text('"""Shared code."""\n')
        (root / "solutions" / "hw9" / "hw9.py").write_text(master)
        (root / "solutions" / "hw9" / "hw9_weights.txt").write_text("0.25 0.5 0.75\n")
        (root / "lectures" / "src" / "01_doubling.py").write_text(lecture)
        return root / "solutions" / "hw9" / "hw9.py"


@pytest.fixture
def sample() -> type[Sample]:
    return Sample


@pytest.fixture(scope="session")
def built_once(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("built") / "course"
    Sample.write(root)
    build_homework(root, "hw9")
    build_lecture(root, "01_doubling")
    return root


@pytest.fixture
def course(built_once, tmp_path) -> Path:
    """A built course of this test's own."""
    return Path(shutil.copytree(built_once, tmp_path / "course"))
