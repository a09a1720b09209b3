"""Lectures are executed, committed with their outputs, and compared with their sources without them."""

import json
import re

import nbformat
import pytest

from autograder.author.check import out_of_step
from autograder.author.commands import build
from autograder.author.execute import NotebookFailed
from autograder.author.lectures import build_lecture


def committed(course):
    return nbformat.read(course / "lectures" / "01_doubling.ipynb", as_version=4)


def findings(course):
    return list(out_of_step(course, ["01_doubling"], []))


def test_a_lecture_carries_its_outputs_and_no_timings(course):
    text = (course / "lectures" / "01_doubling.ipynb").read_text()
    assert committed(course).cells[1].outputs[0].text == "4\n"
    assert "iopub" not in text and "lines_to_next_cell" not in text


def test_building_twice_changes_no_byte(course):
    before = (course / "lectures" / "01_doubling.ipynb").read_bytes()
    build_lecture(course, "01_doubling")
    assert (course / "lectures" / "01_doubling.ipynb").read_bytes() == before


def test_without_running_unchanged_cells_keep_their_outputs(course, sample):
    sample.write(course, lecture=sample.lecture.replace("return 1", "return 2"))
    build_lecture(course, "01_doubling", run=False)
    cells = committed(course).cells
    assert cells[1].outputs[0].text == "4\n"
    assert "return 2" in cells[2].source and findings(course) == []


def test_a_cell_that_raises_is_named_and_the_old_notebook_stays(course, sample):
    before = (course / "lectures" / "01_doubling.ipynb").read_bytes()
    sample.write(course, lecture=sample.lecture.replace("print(2 + 2)", "print(2 / 0)"))
    with pytest.raises(NotebookFailed, match=r"01_doubling: cell 2 raised ZeroDivisionError: division by zero"):
        build_lecture(course, "01_doubling")
    assert (course / "lectures" / "01_doubling.ipynb").read_bytes() == before


def test_a_built_lecture_is_in_step(course):
    assert findings(course) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda cells: cells[2].update(source="edited by hand"), "cell 3 .* has another source"),
        (lambda cells: cells[1].update(id="abc"), "cell 2 .* has another id"),
        (lambda cells: cells[1].metadata.update(tags=["other"]), "cell 2 .* has another metadata"),
        (lambda cells: cells.pop(), "it has 3 cells instead of 4"),
    ],
)
def test_check_names_the_cell_that_drifted_and_the_command_that_mends(course, change, said):
    notebook = committed(course)
    change(notebook.cells)
    (course / "lectures" / "01_doubling.ipynb").write_text(json.dumps(notebook))
    (finding,) = findings(course)
    sentence = f"lectures/01_doubling.ipynb is out of step .*{said}; run 'autograder build 01_doubling' and commit"
    assert re.match(sentence, finding)


def test_check_does_not_look_at_outputs(course):
    notebook = committed(course)
    notebook.cells[1].outputs[0].text = "5\n"
    (course / "lectures" / "01_doubling.ipynb").write_text(json.dumps(notebook))
    assert findings(course) == []


def test_check_misses_no_notebook_that_was_never_built(course):
    (course / "lectures" / "01_doubling.ipynb").unlink()
    mend = "run 'autograder build 01_doubling' and commit the result"
    assert findings(course) == [f"lectures/01_doubling.ipynb is missing: {mend}."]


def test_a_lecture_answers_to_its_number_and_unknown_names_to_a_list(course, monkeypatch, capsys):
    monkeypatch.chdir(course / "lectures")
    assert build(["01"], check=True) == 0
    assert build(["77"], check=True) == 1
    assert "no lecture or homework '77' here. There are: 01_doubling, hw9." in capsys.readouterr().err


def test_outside_of_a_course_the_command_says_where_to_go(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("autograder.author.root.find_course_file", lambda start: None)
    assert build([], check=True) == 1
    assert "holds course.toml. Change into a checkout" in capsys.readouterr().err
