"""A release holds what students may have, and is refused when a secret got into it."""

import nbformat
import pytest

from autograder.author.commands import release
from autograder.author.release import ReleaseRefused, write_release


def test_students_get_the_course_without_its_secrets(course, tmp_path):
    (course / "kshot" / "__pycache__").mkdir()
    for unwanted in ("__pycache__/data.pyc", ".cache", "net.partial.safetensors"):
        (course / "kshot" / unwanted).write_bytes(b"left by a run")
    files = {str(file) for file in write_release(course, tmp_path / "released")}
    assert files == {"README.md", "homeworks/hw9/hw9.ipynb", "kshot/__init__.py", "lectures/01_doubling.ipynb"}
    written = {
        str(path.relative_to(tmp_path / "released")) for path in (tmp_path / "released").rglob("*") if path.is_file()
    }
    assert written == files
    for file in files:
        text = (tmp_path / "released" / file).read_text()
        for secret in ("secret_formula", "double of a sum", "-71", "0.25 0.5 0.75", "mutant"):
            assert secret not in text


def test_pictures_of_the_readme_come_along(course, tmp_path):
    (course / "pictures").mkdir()
    for name in ("shown.png", "other.png"):
        (course / "pictures" / name).write_bytes(b"picture")
    (course / "README.md").write_text("# A course\n\n![the arena](pictures/shown.png)\n")
    assert {file.name for file in write_release(course, tmp_path / "released")} >= {"shown.png"}
    assert not (tmp_path / "released" / "pictures" / "other.png").exists()


@pytest.mark.parametrize(
    ("leak", "said"),
    [
        ("assert double([-71, -5]) == [-142, -10]", "a line of a hidden test of hw9, q1"),
        ("failure_message: Negative numbers double as well.", "a line of a hidden test of hw9, q1"),
        (
            "  doubled_by_the_secret_formula = [number + number for number in numbers]  # ours\n\n"
            "  return doubled_by_the_secret_formula\n",
            "the solution of hw9, q1",
        ),
        ("Because the double of a sum is the sum of the doubles.", "the solution of hw9, q2"),
        ("    return [number + number for number in numbers[:-1]]", "a mutant of hw9, q1"),
    ],
)
def test_a_secret_in_a_released_notebook_stops_the_release(course, tmp_path, leak, said):
    path = course / "homeworks" / "hw9" / "hw9.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].source += f"\n{leak}"
    nbformat.write(notebook, path)
    with pytest.raises(ReleaseRefused) as refusal:
        write_release(course, tmp_path / "released")
    assert f"homeworks/hw9/hw9.ipynb holds {said}" in str(refusal.value)
    assert not (tmp_path / "released").exists()


def test_a_copy_of_the_solutions_checkpoint_stops_the_release(course, tmp_path):
    (course / "kshot" / "weights.txt").write_bytes((course / "solutions" / "hw9" / "hw9_weights.txt").read_bytes())
    with pytest.raises(ReleaseRefused, match=r"kshot/weights\.txt holds the file hw9_weights\.txt"):
        write_release(course, tmp_path / "released")


def test_hidden_tests_in_a_notebooks_metadata_stop_the_release(course, tmp_path):
    solved = (course / "solutions" / "hw9" / "hw9.ipynb").read_text()
    (course / "lectures" / "02_borrowed.ipynb").write_text(solved)
    with pytest.raises(ReleaseRefused, match=r"lectures/02_borrowed\.ipynb holds"):
        write_release(course, tmp_path / "released")


def test_a_folder_that_holds_something_is_left_alone(course, tmp_path, monkeypatch, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    monkeypatch.chdir(course)
    assert release(tmp_path / "mine") == 1
    assert "is not empty: name a folder that does not exist yet" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_an_empty_folder_will_do(course, tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(course)
    assert release(tmp_path / "empty") == 0
    assert (tmp_path / "empty" / "homeworks" / "hw9" / "hw9.ipynb").is_file()
    assert "4 files in" in capsys.readouterr().out


def test_a_homework_that_was_not_built_is_named(course, tmp_path):
    (course / "homeworks" / "hw9" / "hw9.ipynb").unlink()
    with pytest.raises(ReleaseRefused, match="run 'autograder build hw9' first"):
        write_release(course, tmp_path / "released")
