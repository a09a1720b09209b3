"""What runs outside the sandbox can get stuck or die too: it costs that submission, and nothing else."""

import pytest

from autograder.course import Limits
from autograder.grading.batches import booth
from autograder.grading.batches.batch import grade_folder

pytestmark = pytest.mark.sandbox

# The test hands over a function of its own that computes as long as it is told to, where no deadline reaches.
TESTS = {
    "q1": (
        2,
        """
@test_case(points=2, hidden=True, failure_message="f adds up.")
def test_adds_up(f):
    def up_to(n):
        return sum(range(n))
    assert f(up_to) == 45
""",
    )
}
LEAVES = {"q1": (1, "@test_case(points=1)\ndef test_leaves(f):\n    import os\n    f(abs)\n    os._exit(3)\n")}
LIMITS = Limits(cell_seconds=10, question_seconds=4, submission_seconds=10)


def test_judging_that_never_ends_is_set_aside_and_the_next_is_graded(
    make_bundle, write_notebook, tmp_path, monkeypatch
):
    monkeypatch.setattr(booth, "SPARE_SECONDS", -16.0)
    write_notebook(tmp_path / "in" / "a_stuck.ipynb", "def f(g): return g(10**15)")
    write_notebook(tmp_path / "in" / "b_right.ipynb", "def f(g): return g(10)")
    batch = grade_folder(make_bundle(TESTS), tmp_path / "in", tmp_path / "out", limits=LIMITS, quiet=True)
    stuck, right = batch.results
    assert (stuck["status"], stuck["fault"], stuck["score"]) == ("failed", "infrastructure", 0)
    assert "did not come to an end" in stuck["reason"] and batch.exit_code == 1
    assert "in up_to" in (tmp_path / "out" / "logs" / "a_stuck.txt").read_text()
    assert (right["status"], right["score"]) == ("graded", 2)


def test_a_judge_that_dies_is_a_failure_of_the_machine(make_bundle, write_notebook, tmp_path):
    write_notebook(tmp_path / "in" / "a.ipynb", "def f(g): return g(10)")
    batch = grade_folder(make_bundle(LEAVES), tmp_path / "in", tmp_path / "out", limits=LIMITS, quiet=True)
    assert [result["fault"] for result in batch.results] == ["infrastructure"]
    assert "The process that judged this submission ended" in (tmp_path / "out" / "logs" / "a.txt").read_text()
