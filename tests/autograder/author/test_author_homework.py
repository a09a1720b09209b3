"""A master becomes a student notebook without secrets, a solved one, and a zip whose tests are named and checked."""

import zipfile

import nbformat
import otter
import pytest

from autograder.author.build import autograder_zip, build_homework
from autograder.author.check import out_of_step
from autograder.author.commands import build
from autograder.author.homework import AssignFailed, assemble


def read(course, folder):
    return nbformat.read(course / folder / "hw9" / "hw9.ipynb", as_version=4)


def test_students_get_no_solution_no_mutant_no_hidden_test(course):
    text = (course / "homeworks" / "hw9" / "hw9.ipynb").read_text()
    assert "Write `double(numbers)`" in text and "test_two_and_three" in text
    for secret in ("secret_formula", "double of a sum", "mutant", "squares", "numbers[:-1]", "-71", "Negative"):
        assert secret not in text


def test_the_student_notebook_has_no_outputs_and_the_solved_one_its_own(course):
    student, solved = read(course, "homeworks"), read(course, "solutions")
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in student.cells)
    checks = [cell for cell in solved.cells if cell.source == 'grader.check("q1")']
    assert "All test cases passed" in str(checks[0].outputs)


def test_what_was_not_made_does_not_break_the_zip_that_is_handed_in(course, capsys, monkeypatch, tmp_path):
    """Otter's own cell stopped with FileNotFoundError, and left a file that is not a zip."""
    nbformat.write(read(course, "homeworks"), tmp_path / "hw9.ipynb")
    (export,) = [cell.source for cell in read(course, "homeworks").cells if "grader.export(" in cell.source]
    assert "run_tests=True" in export
    monkeypatch.chdir(tmp_path)

    def hand_in() -> set[str]:
        for earlier in tmp_path.glob("*.zip"):
            earlier.unlink()
        exec(export.replace("run_tests=True", "run_tests=False"), {"grader": otter.Notebook("hw9.ipynb")})
        (exported,) = tmp_path.glob("*.zip")
        return set(zipfile.ZipFile(exported).namelist()) - {".OTTER_LOG", "__zip_filename__"}

    assert hand_in() == {"hw9.ipynb"}
    assert "The zip is without hw9_weights.txt" in capsys.readouterr().out
    (tmp_path / "hw9_weights.txt").write_text("0.5")
    assert hand_in() == {"hw9.ipynb", "hw9_weights.txt"}
    assert "without" not in capsys.readouterr().out


def test_both_notebooks_share_the_ids_of_the_cells_they_share(course):
    student, solved = read(course, "homeworks"), read(course, "solutions")
    ids = [cell.id for cell in solved.cells]
    assert [cell.id for cell in student.cells] == [id for id in ids if id in {cell.id for cell in student.cells}]
    assert len(ids) == len(set(ids)) == len(student.cells) + 1  # the written solution


def test_a_better_solution_moves_no_id_of_the_student_notebook(course, sample):
    before = [cell.id for cell in read(course, "homeworks").cells]
    source = sample.write(course, sample.master.replace("number + number", "2 * number"))
    assert [cell.id for cell in assemble(source).student.cells] == before


def test_building_twice_changes_no_byte(course):
    paths = [
        course / "homeworks" / "hw9" / "hw9.ipynb",
        course / "solutions" / "hw9" / "hw9.ipynb",
        course / "build" / "hw9-autograder.zip",
    ]
    before = [path.read_bytes() for path in paths]
    for path in paths:
        path.unlink()
    build_homework(course, "hw9")
    assert [path.read_bytes() for path in paths] == before


def test_cases_are_named_after_their_functions_everywhere(course):
    with zipfile.ZipFile(course / "build" / "hw9-autograder.zip") as zipped:
        tests = zipped.read("tests/q1.py").decode()
    assert 'name="two and three"' in tests and 'name="negative numbers"' in tests
    assert 'name="two and three"' in read(course, "homeworks").metadata.otter.tests.q1


def test_check_detects_an_edited_student_notebook(course, capsys, monkeypatch):
    assert list(out_of_step(course, [], ["hw9"])) == []
    monkeypatch.chdir(course)
    assert build(["hw9"], check=True) == 0
    assert capsys.readouterr().out == "0 lectures and 1 homework are in step with their sources.\n"
    notebook = read(course, "homeworks")
    notebook.metadata.otter.tests.q1 = "pass"
    nbformat.write(notebook, course / "homeworks" / "hw9" / "hw9.ipynb")
    solved = read(course, "solutions")
    solved.cells[3].source = "edited"
    nbformat.write(solved, course / "solutions" / "hw9" / "hw9.ipynb")
    student_finding, solved_finding = out_of_step(course, [], ["hw9"])
    assert "homeworks/hw9/hw9.ipynb is out of step with its source: its notebook metadata differ" in student_finding
    assert "solutions/hw9/hw9.ipynb" in solved_finding and "cell 4" in solved_finding
    assert solved_finding.endswith("run 'autograder build hw9' and commit the result.")


def test_a_quote_in_a_failure_message_is_caught_although_assign_is_content(tmp_path, sample):
    broken = sample.master.replace("Negative numbers double as well.", 'Negative numbers "double" as well.')
    with pytest.raises(ValueError, match=r"Question q1: the generated tests do not compile .* double quote"):
        assemble(sample.write(tmp_path, broken))


def test_a_message_that_changes_on_its_way_is_caught(tmp_path, sample):
    changed = sample.master.replace("Negative numbers double as well.", r"Negative numb\x65rs.")
    with pytest.raises(ValueError, match=r"test 'negative numbers': its failure_message reaches students as"):
        assemble(sample.write(tmp_path, changed))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("points: 2\nhidden", "points: 1\nhidden", "Question q1 is worth 3 points, but its tests add up to 2"),
        ("#     points: 4", "#     points: 5", "The homework declares 5 points, but its questions add up to 4"),
        ("points: 2\nhidden", "hidden", "Question q1, test 'negative numbers': give it points"),
        ("#   files: [hw9_weights.txt]\n", "# files: [hw9_weights.txt]\n", "hands students the solution's files"),
        ("# name: hw9", "# name: hw8", "must say 'name: hw9'"),
        ("# generate: true", "# generate: false", "must say 'generate: true'"),
        ("test_negative_numbers", "test_two_and_three", "two tests named 'two and three'"),
        ('squares tags=["active-py"]', "squares", "Mutant 'squares' lacks its tag"),
        ("mutant: squares tags", "mutant: drops the last number tags", "two mutants named 'drops the last number'"),
    ],
)
def test_a_master_with_a_known_trap_is_refused_with_a_sentence(tmp_path, sample, old, new, said):
    assert old in sample.master
    with pytest.raises(ValueError) as refusal:
        assemble(sample.write(tmp_path, sample.master.replace(old, new, 1)))
    assert said in str(refusal.value)


def test_a_mutant_before_any_solution_is_refused(tmp_path, sample):
    early = '# %% mutant: early tags=["active-py"]\nx = 1\n\n# %% [markdown]\n# # Homework 9\n'
    with pytest.raises(ValueError, match="'mutant: early' stands before any solution"):
        assemble(sample.write(tmp_path, sample.master.replace("# %% [markdown]\n# # Homework 9\n", early)))


def test_what_assign_refuses_is_said_in_one_line(tmp_path, sample):
    unclosed = sample.master.replace("# %% [raw]\n# # END QUESTION\n", "", 1)
    with pytest.raises(AssignFailed, match=r"Otter Assign refused hw9: .*question"):
        assemble(sample.write(tmp_path, unclosed))


def test_the_zip_is_built_when_missing_or_stale_and_only_then(course, sample):
    path = autograder_zip("hw9", course)
    built = path.stat().st_mtime_ns
    assert autograder_zip("hw9", course).stat().st_mtime_ns == built
    sample.write(course, sample.master.replace("Twice 2 is 4", "Two twos are 4"))
    with zipfile.ZipFile(autograder_zip("hw9", course)) as zipped:
        assert "Two twos are 4" in zipped.read("tests/q1.py").decode()
    with pytest.raises(ValueError, match="no homework 'hw7' here"):
        autograder_zip("hw7", course)


def test_a_file_to_hand_in_that_does_not_exist_is_kept_from_the_run(course, sample):
    training = 'open("hw9_weights.txt", "w").write("trained")\n\n\n# %%\ndef double(numbers):\n    """Each'
    sample.write(course, sample.master.replace('def double(numbers):\n    """Each', training))
    weights = course / "solutions" / "hw9" / "hw9_weights.txt"
    weights.unlink()
    build_homework(course, "hw9")
    assert weights.read_text() == "trained"
