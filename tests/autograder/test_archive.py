"""Archives and folders as students make them, and as an attacker would: read in memory and time that are bounded."""

import io
import json
import os
import stat
import struct
import tracemalloc
import unicodedata
import zipfile

import pytest

from autograder.grading.submissions.intake import BadSubmission, open_submission
from autograder.testing import read_weights

BODY = json.dumps(
    {"cells": [{"cell_type": "code", "source": "x = 1"}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
).encode()
OTHER = BODY.replace(b"x = 1", b"y = 2")


def archive(members: dict | list, method=zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of {name or ZipInfo: content}."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as zipped:
        for name, content in members.items() if isinstance(members, dict) else members:
            zipped.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def opened(tmp_path):
    def run(content: bytes, name: str = "a.zip", most_mb: int = 5):
        path = tmp_path / name
        path.write_bytes(content)
        return open_submission(path, "toy", most_mb)

    return run


def test_an_export_zip_gives_cells_and_files(opened):
    extras = {"toy.pdf": b"p", "__zip_filename__": b"z", ".OTTER_LOG": b"l", "w.safetensors": b"123"}
    found = opened(archive({"toy.ipynb": BODY, **extras}))
    assert found.cells == [["x = 1", []]] and set(found.files) == {"toy.ipynb", "w.safetensors"}


SAID = BODY.replace(b'"metadata": {}', b'"metadata": {"otter": {"assignment_name": "toy"}}')
GRADED = {
    "a folder with its data": {"hw/toy.ipynb": BODY, "hw/data/a.csv": b"1"},
    "autosaves and a Mac's": {
        "toy.ipynb": BODY,
        ".ipynb_checkpoints/toy-checkpoint.ipynb": OTHER,
        "__MACOSX/._toy.ipynb": b"\0",
    },
    "caches": {
        "toy.ipynb": BODY,
        "__pycache__/a.pyc": b"\0",
        "Thumbs.db": b"\0",
        ".git/HEAD": b"x",
        ".DS_Store": b"\0",
    },
    "two notebooks, one called like the assignment": {"toy.ipynb": BODY, "scratch.ipynb": OTHER},
    "two notebooks, one that says so": {"mine.ipynb": SAID, "scratch.ipynb": OTHER},
    "the same name below": {"toy.ipynb": BODY, "old/toy.ipynb": OTHER},
    "a helper beside it": {"mine.ipynb": BODY, "helper.py": b"y = 2"},
    "a zip of a zip": {"toy.zip": archive({"toy.ipynb": BODY})},
    "a zip of a folder of a zip": {"a/b/toy.zip": archive({"c/toy.ipynb": BODY})},
    "a zip of data beside it": {"toy.ipynb": BODY, "data.zip": archive({"old.ipynb": OTHER})},
    "Windows' separators": {"hw\\toy.ipynb": BODY, "hw\\data\\a.csv": b"1"},
    "names with accents and spaces": {"Übung 2 – Lösung.ipynb": BODY},
    "a downloaded copy": {"toy (1).ipynb": BODY},
    "capital letters": {"TOY.IPYNB": BODY},
}


@pytest.mark.parametrize("story", GRADED)
def test_zips_as_students_make_them_are_graded(opened, story):
    assert opened(archive(GRADED[story])).cells == [["x = 1", []]]


def test_the_notebook_finds_its_data_where_it_runs(opened):
    found = opened(archive({"hw/toy.ipynb": BODY, "hw/data/a.csv": b"1", "readme": b"r", "hw\\b.csv": b"2"}))
    assert found.files == {"toy.ipynb": BODY, "data/a.csv": b"1", "b.csv": b"2", "readme": b"r"}


def test_a_zip_with_something_before_it_and_one_called_ipynb(opened):
    assert opened(b"#!/bin/sh\nexit\n" + archive({"toy.ipynb": BODY})).cells == [["x = 1", []]]
    assert opened(archive({"toy.ipynb": BODY}), "toy.ipynb").cells == [["x = 1", []]]


def test_old_encodings_of_names(opened):
    """Windows Explorer writes names in code page 437 or 850 and does not say so."""
    content = archive({"toy.ipynb": BODY, "donn@es.csv": b"1"}).replace(b"donn@es", b"donn\x82es")
    assert opened(content).files["données.csv"] == b"1"


def with_mode(name: str, mode: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = mode << 16
    return entry


def entry_set(content: bytes, offset: int, value: bytes, at: int = -1) -> bytes:
    """The zip with bytes of its (last) directory entry replaced."""
    starts = [n for n in range(len(content)) if content.startswith(b"PK\x01\x02", n)]
    place = starts[at] + offset
    return content[:place] + value + content[place + len(value) :]


def encrypted() -> bytes:
    content = archive({"toy.ipynb": BODY})
    return entry_set(content, 8, b"\x01\x00").replace(b"PK\x03\x04\x14\x00\x00\x00", b"PK\x03\x04\x14\x00\x01\x00")


def declares(size: int) -> bytes:
    """A zip whose directory declares `size` bytes for a member of 10 MB."""
    return entry_set(archive({"toy.ipynb": bytes(10 << 20)}), 24, struct.pack("<I", size))


def zip64_lie(size: int) -> bytes:
    """A small zip whose directory says, in a zip64 field, that its member has `size` bytes."""
    extra = struct.pack("<HHQQ", 1, 16, size, size)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped:
        entry = zipfile.ZipInfo("toy.ipynb")
        entry.extra = extra
        zipped.writestr(entry, BODY)
    return entry_set(buffer.getvalue(), 20, b"\xff" * 8)


def overlapping(count: int = 60) -> bytes:
    """Every entry of the directory points at the same compressed megabytes."""
    content = archive({"a": bytes(4 << 20)})
    start = content.rindex(b"PK\x01\x02")
    end = content.rindex(b"PK\x05\x06")
    entry, total = content[start:end], b""
    for n in range(count):
        name = f"{n:01x}" if n < 16 else chr(64 + n)
        total += entry[:46] + name.encode() + entry[47:]
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, len(total), start, 0)
    return content[:start] + total + tail


def nested(levels: int) -> bytes:
    content = archive({"toy.ipynb": BODY})
    for level in range(levels):
        content = archive({f"{level}.zip": content})
    return content


def doubled(first: str, second: str) -> bytes:
    with pytest.warns(UserWarning) if first == second else _nothing():
        return archive([(first, BODY), (second, OTHER)])


class _nothing:
    def __enter__(self): ...
    def __exit__(self, *error): ...


NFC, NFD = (unicodedata.normalize(form, "é.ipynb") for form in ("NFC", "NFD"))
REFUSED = {
    "broken": (lambda: b"PK\x03\x04 broken", "damaged"),
    "cut off": (lambda: archive({"toy.ipynb": BODY})[:-30], "damaged"),
    "nothing in it": (lambda: archive({}), "it is empty"),
    "a wrong checksum": (lambda: entry_set(archive({"toy.ipynb": BODY}), 16, b"\0\0\0\0"), "damaged"),
    "up": (lambda: archive({"../toy.ipynb": BODY}), "leads out"),
    "up, later": (lambda: archive({"a/../../toy.ipynb": BODY}), "leads out"),
    "up, in Windows": (lambda: archive({"..\\toy.ipynb": BODY}), "leads out"),
    "absolute": (lambda: archive({"/toy.ipynb": BODY}), "leads out"),
    "a drive": (lambda: archive({"C:\\Users\\ada\\toy.ipynb": BODY}), "leads out"),
    "a share": (lambda: archive({"\\\\host\\toy.ipynb": BODY}), "leads out"),
    "a NUL": (lambda: archive({"toy.ipynb@x": BODY}).replace(b"ipynb@", b"ipynb\0"), "unusable"),
    "a newline": (lambda: archive({"toy\n.ipynb": BODY}), "unusable"),
    "terminal codes": (lambda: archive({"\x1b[31mtoy.ipynb": BODY}), "unusable"),
    "a name turned round": (lambda: archive({"toy\u202ebnypi.exe": BODY}), "unusable"),
    "a name without end": (lambda: archive({"é" * 190 + ".ipynb": BODY}), "unusable"),
    "bytes that are no name": (
        lambda: archive({"ééé.ipynb": BODY}).replace("ééé".encode(), b"\xff\xfe\xff\xfe\xff\xfe"),
        "file name that cannot be read",
    ),
    "a link": (lambda: archive({with_mode("toy.ipynb", stat.S_IFLNK | 0o777): b"/etc/passwd"}), "a link or a device"),
    "a device": (lambda: archive({with_mode("toy.ipynb", stat.S_IFCHR | 0o666): b""}), "a link or a device"),
    "a pipe": (lambda: archive({"toy.ipynb": BODY, with_mode("p", stat.S_IFIFO | 0o666): b""}), "a link or a device"),
    "a password": (encrypted, "protected by a password"),
    "bzip2": (lambda: archive({"toy.ipynb": BODY}, zipfile.ZIP_BZIP2), "unusual way"),
    "LZMA": (lambda: archive({"toy.ipynb": BODY}, zipfile.ZIP_LZMA), "unusual way"),
    "a bomb": (lambda: archive({"toy.ipynb": bytes(10 << 20)}), "5 MB: hand in only"),
    "a bomb that lies": (lambda: declares(1), "damaged"),
    "a bomb that lies a little": (lambda: declares((5 << 20) - 1), "damaged"),
    "a bomb in a bomb": (lambda: archive({"a.zip": archive({"toy.ipynb": bytes(10 << 20)})}), "5 MB"),
    "members that overlap": (lambda: overlapping(), "200 files or 5 MB|damaged"),
    "zips within zips": (lambda: nested(5), "is a zip within a zip"),
    "zip64 that lies": (lambda: zip64_lie(1 << 62), "200 files or 5 MB|damaged"),
    "300 files": (lambda: archive({f"f{n}": b"" for n in range(300)}), "200 files"),
    "100,000 files": (lambda: archive({f"f{n}": b"" for n in range(100_000)}, zipfile.ZIP_STORED), "200 files"),
    "the same name twice": (lambda: doubled("toy.ipynb", "toy.ipynb"), "two files called toy.ipynb"),
    "the same name, written in two ways": (lambda: doubled(NFC, NFD), "two files called é.ipynb"),
    "capital and small": (lambda: doubled("toy.ipynb", "TOY.ipynb"), "2 notebooks"),
    "a file that is a folder": (
        lambda: archive({"a": b"", "a/toy.ipynb": BODY}),
        "a file and a folder of the same name",
    ),
    "two notebooks": (lambda: archive({"a.ipynb": BODY, "b.ipynb": OTHER}), "2 notebooks"),
    "notes only": (lambda: archive({"a.txt": b"x", "b.txt": b"x"}), "No notebook"),
    "a RAR in a zip": (lambda: archive({"toy.rar": b"Rar!\x1a\x07\x01\x00"}), "is a RAR archive"),
}


@pytest.mark.parametrize("story", REFUSED)
def test_what_is_broken_or_hostile_is_refused_with_a_sentence(opened, story):
    make, said = REFUSED[story]
    content = make()
    tracemalloc.start()
    try:
        with pytest.raises(BadSubmission, match=said) as refusal:
            opened(content, most_mb=9 if story == "100,000 files" else 5)
        assert tracemalloc.get_traced_memory()[1] < 3 * (5 << 20) + 2 * len(content)
    finally:
        tracemalloc.stop()
    sentence = str(refusal.value)
    assert sentence.endswith(".") and sentence.isprintable() and len(sentence) < 160


def test_a_file_that_grows_while_it_is_read_stays_within_its_limit(tmp_path, monkeypatch):
    """The size that was looked up means nothing: what counts is what is read."""
    path = tmp_path / "a.ipynb"
    path.write_bytes(BODY)
    real = os.fstat

    def grow(descriptor):
        found = real(descriptor)
        if stat.S_ISREG(found.st_mode) and path.stat().st_size < 8 << 20:
            path.write_bytes(bytes(8 << 20))
        return found

    monkeypatch.setattr("autograder.grading.submissions.archive.os.fstat", grow)
    with pytest.raises(BadSubmission, match="larger than 5 MB"):
        open_submission(path, "toy", 5)


def weights(header: bytes, body: bytes = b"", size: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if size is None else size) + header + body


def tensor(shape: list, offsets: tuple, dtype: str = "F32") -> bytes:
    return json.dumps({"w": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}).encode()


LYING_WEIGHTS = {
    "a pickle": b"\x80\x04cos\nsystem\n(S'false'\ntR.",
    "a zip that torch.load reads": archive({"archive/data.pkl": b"\x80\x02."}),
    "nothing": b"",
    "cut off": weights(tensor([1], (0, 4)), b"\0\0"),
    "a header of 2^63 bytes": weights(b"{}", size=1 << 63),
    "a shape that overflows": weights(tensor([1 << 32, 1 << 32], (0, 4)), b"\0" * 4),
    "a shape with nothing in it": weights(tensor([0, 1 << 62], (0, 0))),
    "a negative shape": weights(tensor([-1], (0, 4)), b"\0" * 4),
    "tensors that overlap": weights(
        json.dumps({n: {"dtype": "F32", "shape": [2], "data_offsets": (0, 8)} for n in "ab"}).encode(), b"\0" * 8
    ),
    "bytes that are no bool": weights(tensor([1], (0, 1), "BOOL"), b"\x02"),
    "100,000 empty tensors": weights(
        json.dumps({f"{n}": {"dtype": "F32", "shape": [0], "data_offsets": (0, 0)} for n in range(100_000)}).encode()
    ),
    "a list": weights(b"[]"),
    "deeper than Python goes": weights(b"[" * 100_000),
}


@pytest.mark.parametrize("story", LYING_WEIGHTS)
def test_weights_that_lie_are_refused(story):
    with pytest.raises(AssertionError, match=r"^w.safetensors is not a safetensors file of weights$"):
        read_weights(LYING_WEIGHTS[story], "w.safetensors")
