"""Percent sources become notebooks that depend on nothing but their source."""

import nbformat
import pytest

from autograder.author.execute import clean_outputs
from autograder.author.percent import clean_metadata, read_percent, same_ids, to_bytes


def notebook_of(tmp_path, text):
    (tmp_path / "source.py").write_text(text)
    return same_ids(clean_metadata(read_percent(tmp_path / "source.py")))


def test_the_same_source_gives_the_same_bytes(tmp_path, sample):
    assert to_bytes(notebook_of(tmp_path, sample.lecture)) == to_bytes(notebook_of(tmp_path, sample.lecture))


def test_ids_follow_content_not_position(tmp_path, sample):
    before = {cell.source: cell.id for cell in notebook_of(tmp_path, sample.lecture).cells}
    after = {cell.source: cell.id for cell in notebook_of(tmp_path, "# %%\nnew = 1\n\n" + sample.lecture).cells}
    assert before.items() <= after.items() and len(after) == len(before) + 1


def test_equal_cells_have_different_ids(tmp_path):
    cells = notebook_of(tmp_path, "# %%\nx = 1\n\n# %%\nx = 1\n").cells
    assert cells[0].source == cells[1].source and cells[0].id != cells[1].id


def test_only_what_matters_stays_in_the_metadata(tmp_path, sample):
    notebook = notebook_of(tmp_path, sample.lecture)
    assert [dict(cell.metadata) for cell in notebook.cells] == [{}, {"tags": ["keep"]}, {}, {}]
    assert set(notebook.metadata) == {"kernelspec", "language_info"}


def test_a_source_without_cells_is_refused(tmp_path):
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(ValueError, match=r"empty\.py holds no cells"):
        read_percent(tmp_path / "empty.py")


def test_widget_views_leave_their_picture_and_progress_bars_leave_nothing():
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "a"}, "text/plain": "Slider()"}
    picture = {**view, "image/png": "iVBORw0KGgo="}
    cell = nbformat.v4.new_code_cell("draw()")
    cell.outputs = [
        nbformat.v4.new_output("display_data", data=view),
        nbformat.v4.new_output("display_data", data=picture),
        nbformat.v4.new_output("stream", name="stderr", text="\r 10%|#   | 3.1it/s"),
        nbformat.v4.new_output("stream", name="stderr", text="UserWarning: mind this"),
        nbformat.v4.new_output("stream", name="stdout", text="4\n"),
    ]
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": {"state": {"a": {}}}})
    clean_outputs(notebook)
    kept = notebook.cells[0].outputs
    assert "widgets" not in notebook.metadata
    assert kept[0].data == {"image/png": "iVBORw0KGgo=", "text/plain": "Slider()"}
    assert [output.text for output in kept[1:]] == ["UserWarning: mind this", "4\n"]
