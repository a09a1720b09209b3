"""Archives, notebooks and checkpoints that are made to harm whoever opens them. No student code needs to run."""

import json
import os
import pickle
import stat
import struct
import warnings
import zipfile
from pathlib import Path

from assignment import HONEST, WRONG, notebook, weights
from attack import Attack, as_notebook, as_zip, of_zip, with_weights, zipped

NOTEBOOK = notebook(WRONG)
REFUSED = {"points": (0, 0), "status": "failed"}
MARK = Path("/tmp/opened-by-the-grader")  # appears if a pickle that was handed in is ever loaded


class Opens:
    """Pickled, it makes whoever unpickles it create MARK."""

    def __reduce__(self):
        return os.mkdir, (str(MARK),)


def entry(name: str, mode: int = 0o100644, **fields) -> zipfile.ZipInfo:
    """An archive's member with any name and any mode."""
    found = zipfile.ZipInfo("x")
    found.filename, found.external_attr, found.compress_type = name, mode << 16, zipfile.ZIP_DEFLATED
    for field, value in fields.items():
        setattr(found, field, value)
    return found


def twice() -> bytes:
    """A zip with two files of one name, the first with the wrong answers."""
    with warnings.catch_warnings(action="ignore"):
        return zipped([("toy.ipynb", NOTEBOOK), ("toy.ipynb", notebook(HONEST))])


def lying() -> bytes:
    """A zip whose directory says that 200 MB of zeros are 10 bytes."""
    content = bytearray(zipped({"toy.ipynb": NOTEBOOK, "zeros": bytes(200 << 20)}))
    for at in range(len(content) - 4):
        if content[at : at + 4] == struct.pack("<I", 200 << 20):
            content[at : at + 4] = struct.pack("<I", 10)
    return bytes(content)


def nested() -> bytes:
    """A zip in a zip in a zip, each of which holds ten of the next."""
    inner = zipped({"zeros": bytes(10 << 20)})
    for _ in range(2):
        inner = zipped({f"{n}.zip": inner for n in range(10)})
    return inner


def directory() -> bytes:
    """A zip whose directory lists a file of a few bytes 150,000 times."""
    content = zipped({"toy.ipynb": NOTEBOOK})
    end = content.rindex(b"PK\x05\x06")
    start = struct.unpack("<I", content[end + 16 : end + 20])[0]
    listed = content[start:end] * 150_000
    tail = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(listed), start, 0)
    return content[:start] + listed + tail


def encrypted() -> bytes:
    """A zip that asks for a password."""
    content = bytearray(zipped({"toy.ipynb": NOTEBOOK}))
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + flags] |= 1
    return bytes(content)


def safetensors(header: dict | bytes, body: bytes = b"", size: int | None = None) -> bytes:
    """A file in that format's layout, whatever it says."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + body


def tensor(shape: list, offsets: list, dtype: str = "F32") -> dict:
    return {"weight": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


def links(folder: Path) -> None:
    """A folder as it comes out of an archive: with links to the machine's files, to everything and to itself."""
    place = folder / "brings_links"
    place.mkdir()
    (place / "toy.ipynb").write_text(NOTEBOOK)
    (place / "passwords.txt").symlink_to("/etc/passwd")
    (place / "everything").symlink_to("/")
    (place / "itself").symlink_to(place)


def linked_folder(folder: Path) -> None:
    """A link in place of a folder: to what somebody else handed in, or to the solutions."""
    (folder.parent / "solutions").mkdir()
    (folder.parent / "solutions" / "toy.ipynb").write_text(notebook(HONEST))
    (folder / "is_a_linked_folder").symlink_to(folder.parent / "solutions")


def pipe(folder: Path) -> None:
    """A pipe in place of a notebook: whoever opens it waits for ever."""
    os.mkfifo(folder / "is_a_pipe.ipynb")


def link(folder: Path) -> None:
    """A link in place of a notebook."""
    (folder / "is_a_link.ipynb").symlink_to("/etc/passwd")


ATTACKS = [
    *(
        of_zip(f"leads_out_{n}", [("toy.ipynb", NOTEBOOK), (entry(name), "x")], **REFUSED)
        for n, name in enumerate(
            (
                "../../out",
                "/tmp/out",
                "a/../../out",
                "..\\out",
                "C:\\out",
                "a\x00b",
                "a\nb",
                "\u202egpj.exe",
                "漢" * 190,
            )
        )
    ),
    of_zip("links_to_a_file", [("toy.ipynb", NOTEBOOK), (entry("x", stat.S_IFLNK | 0o777), "/etc/passwd")], **REFUSED),
    of_zip("links_the_notebook", [(entry("toy.ipynb", stat.S_IFLNK | 0o777), "/etc/passwd")], **REFUSED),
    Attack("brings_links", links),
    Attack("is_a_linked_folder", linked_folder, **REFUSED),
    Attack("is_a_pipe", pipe, file="is_a_pipe.ipynb", **REFUSED),
    Attack("is_a_link", link, file="is_a_link.ipynb", **REFUSED),
    as_zip("unpacks_to_too_much", lambda: zipped({"toy.ipynb": NOTEBOOK, "zeros": bytes(200 << 20)}), **REFUSED),
    as_zip("lies_about_its_size", lying, **REFUSED),
    as_zip("holds_zips_of_zips", nested, **REFUSED),
    as_zip("lists_a_file_often", directory, **REFUSED),
    of_zip("holds_many_files", {"toy.ipynb": NOTEBOOK, **{f"{n}": b"" for n in range(1000)}}, **REFUSED),
    as_zip("holds_a_name_twice", twice, **REFUSED),
    of_zip("holds_a_file_and_a_folder_of_one_name", {"toy.ipynb": NOTEBOOK, "a": "x", "a/b": "x"}, **REFUSED),
    as_zip("is_encrypted", encrypted, **REFUSED),
    as_zip("is_cut_off", zipped({"toy.ipynb": NOTEBOOK})[:-40], **REFUSED),
    as_zip("is_no_zip", b"\x89PNG\r\n" * 100, **REFUSED),
    as_notebook("is_empty", b"", **REFUSED),
    as_notebook("is_utf_16", NOTEBOOK.encode("utf-16")),
    as_notebook("is_no_text", NOTEBOOK.encode() + b"\x80\xff\x00", **REFUSED),
    as_notebook("is_nested_without_end", b"[" * 2_000_000, **REFUSED),
    as_notebook("holds_a_number_without_end", b'{"cells": [' + b"9" * 1_000_000 + b"]}", **REFUSED),
    of_zip("holds_lists_without_end", {"toy.ipynb": b'{"cells": [' + b"[]," * 8_000_000 + b"[]]}"}, **REFUSED),
    as_notebook(
        "holds_half_characters",
        notebook([*WRONG, "x = '\ud800'"], {"otter": {"assignment_name": "toy"}, "\udfff": "\ud800"}),
    ),
    as_notebook(
        "is_for_another_assignment_with_a_long_name",
        notebook(WRONG, {"otter": {"assignment_name": "\ud800=x" * 200_000}}),
        **REFUSED,
    ),
    as_notebook(
        "is_of_strange_types",
        json.dumps(
            {
                "nbformat": 4,
                "metadata": {"otter": {"tests": 7, "assignment_name": []}, "kernelspec": [1], "language_info": "x"},
                "cells": [None, 3, {"cell_type": []}, {"cell_type": "code", "source": {"a": 1}, "metadata": 5}],
            }
        ),
        points=(0, 0),
    ),
    of_zip(
        "brings_pickles",
        {
            "toy.ipynb": NOTEBOOK,
            **dict.fromkeys(
                ("results.pkl", "toy.pt", "toy.safetensors", ".OTTER_LOG", "toy.otter"), pickle.dumps(Opens())
            ),
        },
    ),
    with_weights("checkpoint_of_a_huge_header", safetensors(b"{}", size=(1 << 63) - 1)),
    with_weights("checkpoint_of_a_cut_header", safetensors(b'{"weight":', size=1000)),
    with_weights("checkpoint_of_no_elements_but_many", safetensors(tensor([0, 1 << 62], [0, 0]))),
    with_weights("checkpoint_of_overflowing_shape", safetensors(tensor([1 << 32, 1 << 32], [0, 0]))),
    with_weights("checkpoint_of_overlapping_tensors", safetensors(tensor([3], [-4, 8]), bytes(12))),
    with_weights("checkpoint_of_truth_values", safetensors(tensor([1, 3], [0, 3], "BOOL"), b"\x02\xff\x07")),
    with_weights("checkpoint_of_many_dimensions", safetensors(tensor([1] * 100_000, [0, 4]), bytes(4))),
    with_weights(
        "checkpoint_of_many_tensors",
        safetensors({f"{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(15_000)}),
    ),
    with_weights("checkpoint_of_deep_lists", safetensors(b"[" * 900_000)),
    with_weights("checkpoint_cut_short", weights()[:-4]),
    with_weights("checkpoint_of_another_shape", safetensors(tensor([3, 1], [0, 12]), struct.pack("<3f", 1, 1, 1))),
]
