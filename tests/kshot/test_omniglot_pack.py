"""Packing Omniglot: the box filter against its oracle, and archives that are damaged or hostile."""

import io
import itertools
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kshot import data, omniglot_pack
from kshot.download import DownloadError
from kshot.omniglot_pack import pack, shrink

ONE = {"alphabets": 1, "characters": 1, "writers": 1}
GOOD = "images_background/Greek/character01/0001_01.png"


def png(ink: np.ndarray) -> bytes:
    """A 1-bit PNG, black where `ink` [H, W] is True, as the archives hold them."""
    file = io.BytesIO()
    Image.fromarray(~ink).save(file, format="PNG")
    return file.getvalue()


BLANK = png(np.zeros((105, 105), bool))


def claiming(side: int) -> bytes:
    """A PNG whose header claims side x side pixels."""
    header = b"IHDR" + struct.pack(">II", side, side) + BLANK[24:29]
    return BLANK[:12] + header + struct.pack(">I", zlib.crc32(header)) + BLANK[33:]


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def packing(tmp_path: Path, content: bytes) -> Path:
    """Pack one archive that has this `content`; returns the packed file's path."""
    archive = tmp_path / "a.zip"
    archive.write_bytes(content)
    pack([archive], tmp_path / "packed.npz", ONE)
    return tmp_path / "packed.npz"


def test_shrink_is_pillows_box_filter_on_ink():
    random = np.random.default_rng(1)
    for density in np.linspace(0, 1, 21):
        ink = random.random((105, 105)) < density
        pillow = Image.fromarray((255 * ink).astype(np.uint8)).resize((28, 28), Image.Resampling.BOX)
        assert np.array_equal(shrink(png(ink)), np.asarray(pillow))
        assert np.array_equal(shrink(png(ink)), boxes(ink))


def boxes(ink: np.ndarray) -> np.ndarray:
    """The oracle: mean ink of each box, first along rows, then along columns, each rounded half up to 0..255."""
    edges = [int(3.75 * index + 0.5) for index in range(29)]

    def along_rows(values: np.ndarray) -> np.ndarray:
        means = [values[:, low:high].mean(axis=1) for low, high in itertools.pairwise(edges)]
        return np.floor(np.stack(means, axis=1) + 0.5)

    return along_rows(along_rows(255.0 * ink).T).T.astype(np.uint8)


@pytest.mark.parametrize("name", ["../escaped.png", "/etc/escaped", "a/../../escaped", "..\\escaped", "C:/escaped"])
def test_a_path_out_of_the_archive_is_refused(tmp_path, name):
    with pytest.raises(DownloadError, match="points outside the archive"):
        packing(tmp_path, zipped({GOOD: BLANK, name: b"x"}))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip"]


def test_other_files_in_the_archive_are_ignored(tmp_path):
    noise = {"__MACOSX/images_background/Greek/character01/._0001_01.png": b"x", "images_background/.DS_Store": b"x"}
    assert packing(tmp_path, zipped({GOOD: BLANK, **noise})).exists()


def test_a_drawing_that_unpacks_to_megabytes_is_refused(tmp_path):
    with pytest.raises(DownloadError, match=r"refused: .* unpacks to 1,000,000 bytes"):
        packing(tmp_path, zipped({GOOD: bytes(1_000_000)}))


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(omniglot_pack, "LARGEST_ARCHIVE", 10_000)
    with pytest.raises(DownloadError, match="far more than the data set has"):
        packing(tmp_path, zipped({GOOD: BLANK, "padding": bytes(20_000)}))


def test_a_bomb_that_lies_about_its_size_is_never_unpacked(tmp_path):
    content, lie = zipped({GOOD: bytes(20_000_000)}), (100).to_bytes(4, "little")
    tracemalloc.start()
    try:
        with pytest.raises(DownloadError, match=r"no readable zip archive .*CRC"):
            packing(tmp_path, content.replace((20_000_000).to_bytes(4, "little"), lie))
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "content, words",
    [
        (b"not a picture", "0001_01.png in a.zip cannot be used: it is no readable PNG"),
        (BLANK[:60], "no readable PNG"),
    ],
)
def test_a_drawing_that_is_none_is_named(tmp_path, content, words):
    with pytest.raises(DownloadError, match=words):
        packing(tmp_path, zipped({GOOD: content}))


@pytest.mark.parametrize("side", [28, 100_000])
def test_a_drawing_of_another_size_is_never_decoded(tmp_path, side):
    with pytest.raises(DownloadError, match=f"{side}x{side} pixels, not 105x105|too many pixels"):
        packing(tmp_path, zipped({GOOD: claiming(side)}))


@pytest.mark.parametrize(
    "extra, words",
    [
        ({GOOD.replace("0001_01", "0001_03"): BLANK}, "not hold one drawing of Greek/character01 by each of 1 writers"),
        ({GOOD.replace("character01/0001", "character02/0002"): BLANK}, "hold 2 characters, but the card promises 1"),
        ({GOOD.replace("character01", "character02"): BLANK}, "two characters the number 0001"),
        ({GOOD.replace("Greek", "Latin").replace("0001", "0002"): BLANK}, "hold 2 alphabets, but the card promises 1"),
    ],
)
def test_an_archive_that_is_not_what_the_card_promises_is_refused(tmp_path, extra, words):
    with pytest.raises(DownloadError, match=words):
        packing(tmp_path, zipped({GOOD: BLANK, **extra}))
    assert not (tmp_path / "packed.npz").exists()


def test_what_is_no_zip_at_all_is_one_sentence(tmp_path):
    with pytest.raises(DownloadError, match=r"a.zip is no readable zip archive .*: delete"):
        packing(tmp_path, b"<html>sign in to this network</html>")


@pytest.mark.omniglot
def test_the_real_omniglot_was_inverted_before_it_was_shrunk():
    """Rounding tells: every grey value is one that two rounded means of ink give in a box of that size."""

    def means(values: set[int], count: int) -> set[int]:
        return {int(sum(box) / count + 0.5) for box in itertools.combinations_with_replacement(values, count)}

    sizes = (4, 4, 3, 4)  # of the boxes along each axis, repeated
    with np.load(data.data_folder() / data.OMNIGLOT_FILE, allow_pickle=False) as arrays:
        images = arrays["images"]
    for (row, high), (column, wide) in itertools.product(enumerate(sizes), repeat=2):
        possible = means(means({0, 255}, wide), high)
        assert set(np.unique(images[..., row::4, column::4]).tolist()) <= possible < set(range(256))
