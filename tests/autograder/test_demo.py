"""The demo: hw2's own zip and notebooks, eight students, and the marks that each must get."""

import json
from pathlib import Path

import pytest

from autograder.demo import HOMEWORK, demo

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / "solutions" / HOMEWORK).is_dir(), reason="this copy of the course has no solutions"),
]


def test_the_demo_gives_each_student_what_they_earned(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert demo(jobs=2) == 0
    said = capsys.readouterr().out
    assert "No line of a hidden test came out." in said and "q5 (3 points) is marked by hand." in said
    (graded,) = tmp_path.glob("autograder-demo-*/graded")
    found = {path.stem: json.loads(path.read_text()) for path in (graded / "results").glob("*.json")}
    score = {name: result["score"] for name, result in found.items()}
    of = {name: {q["name"]: q["score"] for q in result["questions"]} for name, result in found.items()}
    assert f"Next: autograder report {graded}\n" in said and f"rm -r {graded.parent}\n" in said
    (emil,) = [line for line in said.splitlines() if line.startswith("emil") and "/" in line]
    assert emil.endswith("Limit reached: question time.")
    assert len(score) == 8 and all(result["status"] == "graded" for result in found.values())
    assert score["ada"] == score["fatima"] == score["deniz"] == found["ada"]["possible"]
    assert score["carla"] == 0 and 0 < score["ben"] < score["ada"]
    assert of["emil"] == {**of["ada"], "q3": 0}
    assert of["goran"] == {**of["ada"], "q4": 0}
    assert of["hana"] == {**of["ada"], "q1": 0}
