"""Whose submission it is, which of a student's counts, and names that are safe whatever students call their files."""

import os
import zipfile

import pytest

from autograder.grading.submissions.submission import find_submissions, safe_name


@pytest.mark.parametrize(
    ("path", "student"),
    [
        ("ada.zip", "ada"),
        ("ada_hw2.ipynb", "ada"),
        ("hw2_ada.ipynb", "ada"),
        ("hw2.ada.zip", "ada"),
        ("ada_hw2_2026_01_31T10_00_00_123456.zip", "ada"),
        ("ada hw2 (1).ipynb", "ada"),
        ("ada_byron.zip", "ada_byron"),
        ("hw2.ipynb", "hw2"),
        ("lovelaceada_LATE_1234_5678_hw2-1.zip", "lovelaceada_1234"),
        ("lovelaceada_1234_5678_hw2.zip", "lovelaceada_1234"),
        ("ada/hw2.ipynb", "ada"),
        ("Ada Lovelace_77_assignsubmission_file_/hw2.zip", "Ada Lovelace_77"),
    ],
)
def test_the_student_is_read_from_the_name(tmp_path, path, student):
    target = tmp_path / path
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(b"x")
    (found,) = find_submissions(tmp_path, "hw2")
    assert found.student == student


def test_of_two_the_later_counts_and_the_other_is_named(tmp_path):
    for name in ("ada_hw2_2026_02_01T10_00_00_000000.zip", "ada_hw2_2026_01_31T10_00_00_000000.zip", "ben.zip"):
        (tmp_path / name).write_bytes(b"x")
    first, second, ben = find_submissions(tmp_path, "hw2")
    assert first.replaced_by == "ada_hw2_2026_02_01T10_00_00_000000.zip" and second.replaced_by is None
    assert second.replaces == ("ada_hw2_2026_01_31T10_00_00_000000.zip",)
    assert ben.replaced_by is None and ben.replaces == ()


def test_without_stamps_the_files_time_decides(tmp_path):
    for name, moment in (("ada.zip", 2_000_000_000), ("ada.ipynb", 1_900_000_000)):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (moment, moment))
    found = {submission.path.name: submission for submission in find_submissions(tmp_path, "hw2")}
    assert found["ada.ipynb"].replaced_by == "ada.zip" and found["ada.zip"].replaced_by is None
    assert found["ada.ipynb"].name != found["ada.zip"].name


def test_two_exports_in_one_students_folder(tmp_path):
    (tmp_path / "ada").mkdir()
    for stamp in ("2026_01_01T00_00_00_000000", "2026_01_02T00_00_00_000000"):
        (tmp_path / "ada" / f"hw2_{stamp}.zip").write_bytes(b"x")
    first, second = find_submissions(tmp_path, "hw2")
    assert first.student == second.student == "ada" and first.replaced_by and not second.replaced_by


def test_names_are_safe_and_distinct(tmp_path):
    hostile = ["=cmd|calc.zip", "a\nb.zip", "\x1b[31mred.zip", "..hidden..zip", "x" * 200 + ".zip"]
    hostile += ["ä.zip", "ö.zip", "ADA.zip", "ada.zip"]
    for name in hostile:
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / ".hidden.zip").write_bytes(b"x")
    found = find_submissions(tmp_path, "hw2")
    names = [submission.name for submission in found]
    assert len({name.lower() for name in names}) == len(names) == len(hostile) - 1
    for name in names:
        assert name == os.path.basename(name) and len(name) < 100 and name.isascii() and name.isprintable()
        assert not name.startswith(".")


def test_safe_names_tell_apart_what_they_make_equal():
    assert safe_name("ada") == "ada"
    assert safe_name("a/b") != safe_name("a\\b")


def test_nothing_to_grade_is_said(tmp_path):
    with pytest.raises(ValueError, match="holds no submissions"):
        find_submissions(tmp_path, "hw2")
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        find_submissions(tmp_path / "absent", "hw2")
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file"):
        find_submissions(tmp_path / "file", "hw2")


def test_what_was_handed_in_by_mistake_has_a_result_unless_there_is_something_better(tmp_path):
    for name in ("ada.rar", "ben.pdf", "ben.ipynb", "carla.ipynb.txt", "grades.csv", "README.md", "deniz.tar.gz"):
        (tmp_path / name).write_bytes(b"x")
    found = find_submissions(tmp_path, "hw2")
    assert [submission.path.name for submission in found] == ["ada.rar", "ben.ipynb", "carla.ipynb.txt", "deniz.tar.gz"]
    assert all(submission.replaced_by is None for submission in found)


def test_links_among_the_submissions_are_not_followed(tmp_path):
    (tmp_path / "in" / "ada").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "hw2.ipynb").write_bytes(b"first")
    (tmp_path / "in" / "ada" / "more").symlink_to(tmp_path / "secret")
    (tmp_path / "in" / "ben").symlink_to(tmp_path / "secret")
    (tmp_path / "in" / "carla.ipynb").symlink_to("/dev/zero")
    (tmp_path / "in" / "deniz.ipynb").symlink_to(tmp_path / "nowhere")
    before = find_submissions(tmp_path / "in", "hw2")
    (tmp_path / "secret" / "hw2.ipynb").write_bytes(b"second")
    after = find_submissions(tmp_path / "in", "hw2")
    assert [submission.student for submission in before] == ["ada", "ben", "carla", "deniz"]
    assert [submission.sha256 for submission in before] == [submission.sha256 for submission in after]


def test_an_export_that_is_a_bomb_of_entries_is_not_opened(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "ada.zip", "w") as archive:
        for number in range(6000):
            archive.writestr(str(number), b"")
    opened = []
    monkeypatch.setattr("autograder.grading.submissions.archive.zipfile.ZipFile", opened.append)
    (found,) = find_submissions(tmp_path, "hw2")
    assert found.student == "ada" and opened == []


def test_the_time_of_an_export_stands_in_it(tmp_path):
    for name, stamp in (("ada.zip", "2026_01_02T00_00_00_000000"), ("ada (1).zip", "2026_01_01T00_00_00_000000")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("__zip_filename__", f"hw2_{stamp}.zip")
    found = {submission.path.name: submission for submission in find_submissions(tmp_path, "hw2")}
    assert found["ada (1).zip"].replaced_by == "ada.zip" and found["ada.zip"].replaced_by is None
