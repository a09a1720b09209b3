"""What students hand in: opened in memory, within limits, and refused with one sentence that helps."""

import io
import json
import stat
import struct
import zipfile

import pytest

from autograder.grading.intake import BadSubmission, open_submission


def archive(**members) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in members.items():
            zipped.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def opened(tmp_path):
    def run(name: str, content: bytes, most_mb: int = 5):
        path = tmp_path / name
        path.write_bytes(content)
        return open_submission(path, "toy", most_mb)

    return run


def cells(*sources, **metadata) -> bytes:
    listed = [{"cell_type": "code", "metadata": {}, "source": source, "outputs": []} for source in sources]
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": listed}).encode()


def test_an_export_zip_gives_cells_and_files(opened):
    body = cells("x = 1", otter={"assignment_name": "toy", "tests": {"q1": {}}})
    extras = {"toy.pdf": b"p", "__zip_filename__": b"z", ".OTTER_LOG": b"l"}
    zipped = archive(**{"toy.ipynb": body, "w.safetensors": b"123", **extras})
    found = opened("ada.zip", zipped)
    assert found.cells == [["x = 1", []]]
    assert found.assignment == "toy" and found.questions == {"q1"}
    assert set(found.files) == {"toy.ipynb", "w.safetensors"}


@pytest.mark.parametrize(
    "body",
    [
        cells("x = 1"),
        b"\xef\xbb\xbf" + cells("x = 1"),
        cells(["x ", "= 1"]),
        cells("x = 1", kernelspec={"name": "conda-env-dl-py", "display_name": "dl", "language": "python"}),
        cells("x = 1", kernelspec="odd", otter="odd"),
        json.dumps(
            {
                "nbformat": 3,
                "nbformat_minor": 0,
                "metadata": {},
                "worksheets": [
                    {"cells": [{"cell_type": "code", "input": "x = 1", "outputs": [], "language": "python"}]}
                ],
            }
        ).encode(),
    ],
    ids=["no kernelspec", "BOM", "list source", "unknown kernel", "odd metadata", "nbformat 3"],
)
def test_ordinary_oddities_are_graded(opened, body):
    assert opened("ada.ipynb", body).cells == [["x = 1", []]]


def test_windows_line_ends_ignored_cells_and_checked_questions(opened):
    body = json.loads(cells("a = 1\r\nb = 2", "secret", "c = 3"))
    body["cells"][1]["metadata"] = {"tags": ["otter_ignore"]}
    body["cells"][2]["metadata"] = {"otter": {"tests": ["q2"]}}
    assert opened("ada.ipynb", json.dumps(body).encode()).cells == [["a = 1\nb = 2", []], ["c = 3", ["q2"]]]


def test_a_script_is_read_by_its_cell_marks(opened):
    found = opened("ada.py", b"# %%\r\nx = 1\r\n# %% [markdown]\r\n# text\r\n# %%\r\ny = 2\r\n")
    assert [source.strip() for source, _ in found.cells] == ["x = 1", "y = 2"]


def lying_zip() -> bytes:
    """A zip whose directory declares one byte for a member of 10 MB."""
    content = bytearray(archive(**{"toy.ipynb": bytes(10 << 20)}))
    start = content.rindex(b"PK\x01\x02")
    content[start + 24 : start + 28] = struct.pack("<I", 1)
    return bytes(content)


def linked_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped:
        entry = zipfile.ZipInfo("toy.ipynb")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        zipped.writestr(entry, "/etc/passwd")
    return buffer.getvalue()


def doubled_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped, pytest.warns(UserWarning):
        zipped.writestr("toy.ipynb", "{}")
        zipped.writestr("toy.ipynb", "{}")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.zip", b"PK\x03\x04 broken", "damaged"),
        ("a.zip", archive(**{"toy.ipynb": cells("x")})[:-30], "damaged"),
        ("a.zip", archive(**{"../toy.ipynb": cells("x")}), "leads out"),
        ("a.zip", archive(**{"/toy.ipynb": cells("x")}), "leads out"),
        ("a.zip", archive(**{"..\\toy.ipynb": cells("x")}), "leads out"),
        ("a.zip", linked_zip(), "link"),
        ("a.zip", archive(**{"toy.ipynb": bytes(10 << 20)}), "more than"),
        ("a.zip", lying_zip(), "damaged|more than|unpacks"),
        ("a.zip", archive(**{f"f{n}": b"" for n in range(300)}), "more than 200 files"),
        ("a.zip", archive(**{"notes.txt": b"x"}), "No notebook"),
        ("a.zip", archive(**{"a.ipynb": cells("x"), "b.ipynb": cells("x")}), "2 notebooks"),
        ("a.ipynb", b"", "not valid JSON"),
        ("a.ipynb", b"{not json", "not valid JSON"),
        ("a.ipynb", b"[" * 100_000, "not valid JSON"),
        ("a.ipynb", b"<<<<<<< HEAD\n{}\n>>>>>>> theirs", "merge conflict"),
        ("a.ipynb", b"\xff\xfe\x00", "UTF-8"),
        ("a.ipynb", b"[]", "no cells"),
        ("a.ipynb", b'{"cells": 3}', "no cells"),
        (
            "a.ipynb",
            cells("x", kernelspec={"name": "ir", "display_name": "R", "language": "R"}),
            "language is r, not Python",
        ),
        ("a.ipynb", cells("x", language_info={"name": "julia"}), "language is julia"),
        ("a.ipynb", bytes(6 << 20), "larger than 5 MB"),
    ],
)
def test_what_cannot_be_graded_is_refused_with_a_sentence(opened, name, content, said):
    with pytest.raises(BadSubmission, match=said) as refusal:
        opened(name, content)
    assert str(refusal.value).endswith(".") and "\n" not in str(refusal.value)


def test_two_files_of_one_name_in_a_zip_are_refused(opened):
    with pytest.raises(BadSubmission, match="two files called"):
        opened("a.zip", doubled_zip())


def test_a_folder_with_a_notebook_and_a_link(tmp_path, write_notebook):
    folder = tmp_path / "ada"
    write_notebook(folder / "toy.ipynb", "x = 1")
    (folder / "w.safetensors").write_bytes(b"1")
    (folder / "link").symlink_to("/etc/passwd")
    found = open_submission(folder, "toy", 5)
    assert found.cells == [["x = 1", []]] and set(found.files) == {"toy.ipynb", "w.safetensors"}


def test_a_link_is_not_followed(tmp_path, write_notebook):
    (tmp_path / "a.ipynb").symlink_to(write_notebook(tmp_path / "real.ipynb", "x = 1"))
    with pytest.raises(BadSubmission, match="link"):
        open_submission(tmp_path / "a.ipynb", "toy", 5)
