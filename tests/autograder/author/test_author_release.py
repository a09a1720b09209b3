"""A release holds what students may have, and is refused when a secret got into it."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml

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


def test_parts_for_instructors_are_left_out(course, tmp_path):
    (course / "README.md").write_text(
        "# A course<!-- instructors -->, graded\nby machine<!-- /instructors -->.\n\nFirst.\n\n"
        "<!-- instructors -->\n![a table](table.png)\n<!-- /instructors -->\nLast.\n"
    )
    (course / "table.png").write_bytes(b"picture")
    (course / "Makefile").write_text("lab:\n\n# instructors: more\ntest:\n# /instructors\nall: lab\n")
    (course / "environment.yml").write_text("- one\n  # instructors\n  - two\n  # /instructors\n- three\n")
    write_release(course, tmp_path / "released")
    read = {name: (tmp_path / "released" / name).read_text() for name in ("README.md", "Makefile", "environment.yml")}
    assert read["README.md"] == "# A course.\n\nFirst.\n\nLast.\n"
    assert read["Makefile"] == "lab:\n\nall: lab\n"
    assert read["environment.yml"] == "- one\n- three\n"
    assert not (tmp_path / "released" / "table.png").exists()


@pytest.mark.parametrize(
    "name, text",
    [
        ("README.md", "<!-- instructors -->\nnever ends\n"),
        ("README.md", "ends\n<!-- /instructors -->\n"),
        ("Makefile", "lab:\n# instructors\ntest:\n"),
        ("pyproject.toml", "[tool]\n# /instructors\n"),
    ],
)
def test_a_part_that_does_not_begin_and_end_stops_the_release(course, tmp_path, name, text):
    (course / name).write_text(text)
    with pytest.raises(ReleaseRefused, match=f"in {name} '.*instructors.*' stands alone"):
        write_release(course, tmp_path / "released")
    assert not (tmp_path / "released").exists()


ROOT = Path(__file__).parents[3]
TEXTS = {".py", ".md", ".toml", ".txt", ".yml", ".ipynb", ".js", ".css", ""}
NOT_FOR_STUDENTS = r"\b(?:benchmarks|tests|autograder|solutions|lectures/src)/[\w./]*\w|\b[A-Z]{6,}\.md\b"


@pytest.fixture(scope="module")
def released(tmp_path_factory) -> Path:
    """What students of this very course get."""
    folder = tmp_path_factory.mktemp("for") / "students"
    write_release(ROOT, folder)
    return folder


@pytest.fixture(scope="module")
def texts(released) -> dict[Path, str]:
    """Every text that students get, of notebooks all but the outputs."""
    found = {}
    for path in released.rglob("*"):
        if path.is_file() and path.suffix in TEXTS:
            if path.suffix == ".ipynb":
                found[path] = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
            else:
                found[path] = path.read_text(encoding="utf-8")
    return found


def test_nothing_that_students_get_speaks_of_the_autograder(texts):
    assert len(texts) > 80 and not [path.name for path, text in texts.items() if "autograder" in text]


def test_what_students_are_told_of_is_there(released, texts):
    """Links of every page, and every path into a folder of which students get a part or nothing."""
    dead = []
    for path, text in texts.items():
        links = re.findall(r"\]\(([\w.:/-]+)[#)]", text) if path.suffix in (".md", ".ipynb") else []
        dead += [(path.name, to) for to in links if "://" not in to and not (path.parent / to).exists()]
        named = re.findall(NOT_FOR_STUDENTS, text)
        dead += [(path.name, to) for to in named if not (released / to).exists()]
    assert not dead


def test_make_lab_works_for_students_and_nothing_else_is_offered(released):
    assert re.findall(r"^(\w+):", (released / "Makefile").read_text(), re.MULTILINE) == ["lab"]
    if not shutil.which("make"):
        pytest.skip("make is not here")
    steps = subprocess.run(["make", "-n", "lab"], cwd=released, capture_output=True, text=True, check=True).stdout
    assert "-e '.[lab]'" in steps and "lectures/00_start_here.ipynb" in steps


def test_students_install_what_lectures_need_and_no_more(released):
    project = tomllib.loads((released / "pyproject.toml").read_text())["project"]
    assert set(project["optional-dependencies"]) == {"lab"} and set(project["scripts"]) == {"kshot"}
    conda = yaml.safe_load((released / "environment.yml").read_text())
    assert conda["dependencies"][-1]["pip"] == ["-c constraints.txt", "-e .[lab]"]
    assert "/*.safetensors" in (released / ".gitignore").read_text() and (released / "datasets" / "README.md").is_file()


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
