"""What students hand in: notebooks of every front end are understood, the rest is refused with a useful sentence."""

import json
import os
from pathlib import Path

import pytest

from autograder.grading.submissions.intake import BadSubmission, open_submission


@pytest.fixture
def opened(tmp_path):
    def run(name: str, content: bytes, most_mb: int = 5):
        path = tmp_path / name
        path.write_bytes(content)
        return open_submission(path, "toy", most_mb)

    return run


def book(*sources, minor: int = 5, **metadata) -> dict:
    """A notebook of code cells with nothing that is not needed."""
    listed = [{"cell_type": "code", "metadata": {}, "source": source, "outputs": []} for source in sources]
    return {"nbformat": 4, "nbformat_minor": minor, "metadata": metadata, "cells": listed}


def cells(*sources, **options) -> bytes:
    return json.dumps(book(*sources, **options)).encode()


def format_3() -> bytes:
    sheet = {"cells": [{"cell_type": "code", "input": ["x ", "= 1"], "outputs": [], "language": "python"}]}
    return json.dumps(
        {"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [sheet, {"cells": []}]}
    ).encode()


def colab() -> bytes:
    found = book("x = 1", colab={"provenance": [], "toc_visible": True}, accelerator="GPU", minor=0)
    found["metadata"] |= {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    found["metadata"]["language_info"] = {"name": "python"}
    found["cells"][0]["metadata"] = {"id": "a1B2", "outputId": "x", "colab": {"base_uri": "https://localhost:8080/"}}
    return json.dumps(found).encode()


def deepnote() -> bytes:
    found = book("x = 1", deepnote_notebook_id="1", deepnote_execution_queue=[], minor=2)
    found["cells"][0] |= {"metadata": {"deepnote_cell_type": "code", "tags": None}, "execution_count": None}
    found["cells"].append({"cell_type": "markdown", "source": "x"})
    return json.dumps(found).encode()


GRADED = {
    "no kernelspec": cells("x = 1"),
    "a BOM": b"\xef\xbb\xbf" + cells("x = 1"),
    "UTF-16 with its mark": cells("x = 1").decode().encode("utf-16"),
    "UTF-16 without a mark": cells("x = 1").decode().encode("utf-16-le"),
    "source as a list": cells(["x ", "= 1"]),
    "Windows line ends in the file": json.dumps(book("x = 1"), indent=1).replace("\n", "\r\n").encode(),
    "an unknown kernel": cells(
        "x = 1", kernelspec={"name": "conda-env-dl-py", "display_name": "dl", "language": "python"}
    ),
    "metadata that are no metadata": cells("x = 1", kernelspec="odd", otter="odd", language_info=[3]),
    "metadata that are null": json.dumps(book("x = 1") | {"metadata": None}).encode(),
    "no version": json.dumps({"cells": book("x = 1")["cells"]}).encode(),
    "a version as text": json.dumps(book("x = 1") | {"nbformat": "4"}).encode(),
    **{f"format 4.{minor}": cells("x = 1", minor=minor) for minor in range(6)},
    "a later format": json.dumps(book("x = 1") | {"nbformat": 5}).encode(),
    "format 3": format_3(),
    "Colab": colab(),
    "Deepnote": deepnote(),
    "VS Code": cells("x = 1", language_info={"name": "python"}, orig_nbformat=4, vscode={"interpreter": {"hash": "1"}}),
    "odd cells": json.dumps(
        book("x = 1") | {"cells": [None, 3, {}, *book("x = 1")["cells"], {"cell_type": "raw"}]}
    ).encode(),
}


@pytest.mark.parametrize("story", GRADED)
def test_a_notebook_is_understood_whoever_saved_it(opened, story):
    assert opened("ada.ipynb", GRADED[story]).cells == [["x = 1", []]]


@pytest.mark.parametrize(
    "name", ["ada.zip", "ada.json", "toy.ipynb.txt", "toy (1).ipynb", "Kopie von toy.ipynb", "TOY.IPYNB"]
)
def test_a_notebook_is_known_by_what_it_holds(opened, name):
    assert opened(name, cells("x = 1")).cells == [["x = 1", []]]


def test_a_name_with_terminal_codes_is_graded_under_a_plain_one(opened):
    assert list(opened("\x1b[2J\n.ipynb", cells("x = 1")).files) == ["_[2J_.ipynb"]
    with pytest.raises(BadSubmission, match=r"^_\[2J_\.ipynb is empty"):
        opened("\x1b[2J\n.ipynb", b"")


def test_text_of_an_old_code_page_is_read(opened):
    body = cells("x = 'caf@'").replace(b"@", b"\xe9")
    assert opened("ada.ipynb", body).cells == [["x = 'café'", []]]


def test_line_ends_ignored_cells_and_checked_questions(opened):
    body = book("a = 1\r\nb = 2\rc = 3", "secret", "hidden", "d = 4")
    body["cells"][1]["metadata"] = {"tags": ["otter_ignore"]}
    body["cells"][2]["metadata"] = {"otter": {"ignore": True}}
    body["cells"][3]["metadata"] = {"otter": {"tests": ["q2", 3]}}
    found = opened("ada.ipynb", json.dumps(body).encode()).cells
    assert found == [["a = 1\nb = 2\nc = 3", []], ["d = 4", ["q2"]]]


def test_what_the_metadata_say_of_the_assignment(opened):
    found = opened("ada.ipynb", cells("x = 1", otter={"assignment_name": "toy", "tests": {"q1": {}}}))
    assert found.assignment == "toy" and found.questions == {"q1"}
    found = opened("ada.ipynb", cells("x = 1", otter={"assignment_name": 3, "tests": [1]}))
    assert found.assignment is None and found.questions == frozenset()


SCRIPTS = {
    "percent": "# %%\r\nx = 1\r\n# %% [markdown]\r\n# text\r\n# %% named tags=[]\r\ny = 2\r\n",
    "percent of an editor": "#%%\nx = 1\n#%%[markdown]\n# text\n#%%\ny = 2\n",
    "nbconvert": "#!/usr/bin/env python\n# coding: utf-8\n\n# In[1]:\n\nx = 1\n\n# # Title\n\n# In[ ]:\n\n\ny = 2\n",
    "Databricks": "# COMMAND ----------\nx = 1\n# COMMAND ----------\ny = 2",
}


@pytest.mark.parametrize("story", SCRIPTS)
def test_a_script_is_read_by_its_cell_marks(opened, story):
    sources = [source for source, _ in opened("ada.py", SCRIPTS[story].encode()).cells]
    code = [[line for line in source.split("\n") if line and not line.startswith("#")] for source in sources]
    assert [lines for lines in code if lines] == [["x = 1"], ["y = 2"]]


def test_a_script_without_marks_is_one_cell_and_a_magic_is_no_mark(opened):
    source = "x = 1\n# %%time\nget_ipython().run_line_magic('matplotlib', 'inline')\ny = 2"
    assert opened("ada.py", b"\xef\xbb\xbf" + source.encode()).cells == [[source, []]]


REFUSED = {
    "empty": ("a.ipynb", b"", "a.ipynb is empty"),
    "blanks": ("a.ipynb", b" \n", "is empty"),
    "no JSON": ("a.ipynb", b"{not json", "not valid JSON"),
    "deeper than Python goes": ("a.ipynb", b'{"a":' * 100_000, "not valid JSON"),
    "a number without end": ("a.ipynb", b'{"cells": ' + b"9" * 10_000 + b"}", "not valid JSON"),
    "cut off": ("a.ipynb", cells("x = 1")[:-5], "cut off before its end"),
    "a merge conflict": (
        "a.ipynb",
        b'{\n<<<<<<< HEAD\n"a": 1\n=======\n"a": 2\n>>>>>>> theirs\n}',
        "merge conflict marks",
    ),
    "half a merge conflict": ("a.ipynb", b"<<<<<<< HEAD\n{}\n>>>>>>> theirs", "merge conflict marks"),
    "a list": ("a.ipynb", b"[]", "has no cells"),
    "cells that are a number": ("a.ipynb", b'{"cells": 3}', "has no cells"),
    "no code": ("a.ipynb", cells(), "has no code cells"),
    "R": ("a.ipynb", cells("x", kernelspec={"name": "ir", "display_name": "R"}), "language is r, not Python"),
    "Julia": ("a.ipynb", cells("x", language_info={"name": "julia"}), "language is julia, not Python"),
    "too large": ("a.ipynb", bytes(6 << 20), "larger than 5 MB"),
    "binary": ("a.ipynb", b"\x7fELF\x00\x01", "it is not text"),
    "a PDF": ("a.ipynb", b"%PDF-1.7 ...", "is a PDF: hand in the .ipynb"),
    "a PDF by its name": ("a.pdf", b"%PDF-1.7 ...", "is a PDF: hand in the .ipynb"),
    "a web page": ("a.ipynb", b"\n<!DOCTYPE html>\n<html>", "is a web page: download the notebook itself"),
    "a shortcut to Drive": (
        "a.ipynb",
        b'{"url": "https://drive.google.com", "doc_id": "1"}',
        "shortcut to Google Drive",
    ),
    "a Windows shortcut": ("a.url", b"[InternetShortcut]\r\nURL=https://drive", "is a shortcut: download"),
    "a pointer of Git LFS": ("a.ipynb", b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "Git LFS pointer"),
    "a pickle": ("a.ipynb", b"\x80\x04K\x01.", "is a pickle"),
    "RAR": ("a.rar", b"Rar!\x1a\x07\x01\x00", "is a RAR archive"),
    "7z called zip": ("a.zip", b"7z\xbc\xaf\x27\x1c\x00", "is a 7z archive"),
    "tar.gz": ("a.tar.gz", b"\x1f\x8b\x08", "gzip"),
    "tar": ("a.tar", bytes(257) + b"ustar\x00" + bytes(250), "is a tar archive"),
    "a note": ("a.json", b"I forgot it", "not valid JSON"),
    "too many cells": ("a.ipynb", cells(*["x"] * 2001), "more than 2000 code cells"),
    "too much code": ("a.ipynb", cells("x" * (4 << 20) + "y"), "4 MB of code"),
    "too much output": ("a.ipynb", b'{"cells": [' + b"[]," * 2_100_000 + b"[]]}", "clear the outputs"),
}


@pytest.mark.parametrize("story", REFUSED)
def test_what_cannot_be_graded_is_refused_with_a_sentence(opened, story):
    name, content, said = REFUSED[story]
    with pytest.raises(BadSubmission) as refusal:
        opened(name, content, most_mb=5 if len(content) < 5_500_000 or story == "too large" else 9)
    sentence = str(refusal.value)
    assert said in sentence and sentence.endswith(".") and sentence.isprintable() and len(sentence) < 160


def test_a_folder_with_a_notebook_and_links(tmp_path, write_notebook):
    folder = tmp_path / "ada"
    write_notebook(folder / "toy.ipynb", "x = 1")
    write_notebook(folder / ".ipynb_checkpoints" / "toy-checkpoint.ipynb", "old = 1")
    (folder / "w.safetensors").write_bytes(b"1")
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "more").symlink_to("/etc")
    found = open_submission(folder, "toy", 5)
    assert found.cells == [["x = 1", []]] and set(found.files) == {"toy.ipynb", "w.safetensors"}


def test_a_link_is_not_followed(tmp_path, write_notebook):
    (tmp_path / "a.ipynb").symlink_to(write_notebook(tmp_path / "real.ipynb", "x = 1"))
    (tmp_path / "b").symlink_to("/etc")
    for name in ("a.ipynb", "b"):
        with pytest.raises(BadSubmission, match="is a link"):
            open_submission(tmp_path / name, "toy", 5)


def test_a_pipe_and_a_device_do_not_hold_the_grader_up(tmp_path):
    os.mkfifo(tmp_path / "a.ipynb")
    with pytest.raises(BadSubmission, match="no ordinary file"):
        open_submission(tmp_path / "a.ipynb", "toy", 5)
    with pytest.raises(BadSubmission, match="no ordinary file"):
        open_submission(Path("/dev/zero"), "toy", 5)
