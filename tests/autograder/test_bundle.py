"""Autograder zips: read with Otter's own classes, and refused with a sentence before anything is graded."""

import json
import random
import zipfile

import numpy as np
import pytest

from autograder.grading.submissions.bundle import BadBundle, read_bundle

CASES = """
@test_case(points=1, hidden=False)
def test_a(f):
    assert f(1) == 1

@test_case(hidden=True)
def test_b(f):
    assert f(2) == 2

@test_case(hidden=True)
def test_c(f):
    assert f(3) == 3
"""


def test_points_modes_and_support_files(make_bundle):
    bundle = make_bundle({"q1": (5, CASES), "q2": (None, CASES)}, files={"data.csv": b"1,2"})
    assert (bundle.name, bundle.mode, bundle.possible, bundle.files) == ("toy", "split", 6.0, {"data.csv": b"1,2"})
    assert [case.points for case in bundle.tests[0].load().test_cases] == [1, 2, 2]
    assert [case.hidden for case in bundle.tests[0].load().test_cases] == [False, True, True]
    assert bundle.tests[0].load() is not bundle.tests[0].load()


def test_a_test_that_wants_env_makes_it_shared(make_bundle):
    bundle = make_bundle({"q1": (5, CASES), "q2": (1, CASES.replace("(f)", "(env)"))})
    assert bundle.mode == "shared" and [test.split for test in bundle.tests] == [True, False]


def test_the_name_is_the_files_where_the_zip_says_none(tmp_path):
    path = tmp_path / "hw7-autograder_2026_11_20T06_14_52_444778.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "tests/q1.py", "OK_FORMAT = False\nname = 'q1'\nfrom otter.test_files import test_case\n" + CASES
        )
    bundle = read_bundle(path)
    assert bundle.name == "hw7" and not bundle.named


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def broken(:", "not valid Python"),
        ("OK_FORMAT = False\npoints = 3", "cannot be loaded"),
        ("OK_FORMAT = False\nname = 'q1'\nimport a_module_that_is_nowhere", "cannot be loaded"),
        ("OK_FORMAT = True\ntest = {}", "cannot be loaded"),
    ],
)
def test_a_broken_test_is_found_before_grading(make_bundle, source, said):
    with pytest.raises(BadBundle, match=f"tests/q1.py.*{said}"):
        make_bundle({"q1": (0, source)}, raw=True)


def test_what_is_no_bundle_is_refused(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK no")
    with pytest.raises(BadBundle, match="not a readable zip"):
        read_bundle(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("readme", "x")
    with pytest.raises(BadBundle, match=r"no tests/\*.py"):
        read_bundle(tmp_path / "b.zip")
    with pytest.raises(BadBundle, match="cannot be read"):
        read_bundle(tmp_path / "absent.zip")


OK = """OK_FORMAT = True

test = {'name': 'q1', 'points': 2, 'suites': [{'cases': [{'code': '>>> 1\\n1', 'hidden': False, 'locked': False}],
    'scored': True, 'setup': SETUP, 'teardown': '', 'type': 'doctest'}]SUITES}
"""


def test_doctest_files_with_the_fields_of_other_tools(make_bundle):
    bundle = make_bundle({"q1": (0, OK.replace("SETUP", "''").replace("]SUITES", "], 'version': 1"))}, raw=True)
    assert bundle.mode == "shared" and bundle.possible == 2
    for fault in (
        OK.replace("SETUP", "'x = 1'").replace("SUITES", ""),
        OK.replace("SETUP", "''").replace("SUITES", " * 2"),
    ):
        with pytest.raises(BadBundle, match=r"tests/q1\.py cannot be loaded"):
            make_bundle({"q1": (0, fault)}, raw=True)


def with_config(path, **config):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "tests/q1.py", "OK_FORMAT = False\nname = 'q1'\nfrom otter.test_files import test_case\n" + CASES
        )
        archive.writestr("otter_config.json", json.dumps(config))
    return read_bundle(path)


def test_seeds_are_set_before_each_cell_as_otter_does(tmp_path):
    cells = [["x = 1", ["q1"]]]
    assert with_config(tmp_path / "a.zip").seeded(cells) == cells
    ((source, checked, before),) = with_config(tmp_path / "b.zip", seed=7, seed_variable="rng_seed").seeded(cells)
    assert (source, checked, before) == ("x = 1", ["q1"], "rng_seed = 7")
    ((_, _, before),) = with_config(tmp_path / "c.zip", seed=7).seeded(cells)
    exec(before)
    drawn = random.random(), np.random.rand()
    random.seed(7)
    np.random.seed(7)
    assert drawn == (random.random(), np.random.rand())
    for wrong in ({"seed": "os"}, {"seed": 1, "seed_variable": "a; b"}):
        with pytest.raises(BadBundle, match="sets a seed"):
            with_config(tmp_path / "d.zip", **wrong)
