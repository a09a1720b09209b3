"""Assignments written for Otter grade to Otter's scores, case by case: its verdicts were recorded with `otter run`."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest

from autograder.grading.submissions.bundle import read_bundle

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]
SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "otter_compatibility.py"
NAMES = ["data", "doctests", "functions", "names"]


@pytest.fixture(scope="module")
def script():
    """The script that recorded Otter's verdicts, as a module."""
    spec = importlib.util.spec_from_file_location("otter_compatibility", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def built(script, tmp_path_factory):
    """Each assignment as Otter Assign builds it, by name."""
    folder = tmp_path_factory.mktemp("otter")
    return {name: script.build(name, folder) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_the_same_points_as_otter_case_by_case(script, built, tmp_path, name):
    recorded = json.loads(script.RESULTS.read_text(encoding="utf-8"))[name]
    assert script.by_us(built[name], tmp_path / "out") == recorded
    assert len({sum(score for score, _ in found.values()) for found in recorded.values()}) == 3


def test_what_was_recorded_is_what_otter_says(script, built):
    only = replace(built["names"], submissions={"half": built["names"].submissions["half"]})
    recorded = json.loads(script.RESULTS.read_text(encoding="utf-8"))["names"]["half"]
    assert script.by_otter(only) == {"half": recorded}


def test_doctests_and_env_are_graded_in_shared_mode_and_the_rest_split(built):
    modes = {name: read_bundle(assignment.path).mode for name, assignment in built.items()}
    assert modes == {"data": "shared", "doctests": "shared", "functions": "split", "names": "split"}
