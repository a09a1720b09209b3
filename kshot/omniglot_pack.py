"""Turn Omniglot's two archives of drawings into the one file that the course reads."""

import io
import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kshot.download import DownloadError, Progress, alone, card, disk_sentence, fetch

SIDE, DRAWN = 28, 105  # pixels: of a packed drawing, and of one in the archives
PLACE = re.compile(r"images_(background|evaluation)/([^/]+)/character(\d{2})/(\d{4})_(\d{2})\.png")
LARGEST_DRAWING = 2**16  # bytes; a drawing of the archives has about 300
LARGEST_ARCHIVE = 2**28  # bytes, unpacked


@dataclass
class Character:
    """One character while it is read: where it stands in the archive, and each writer's drawing [28, 28]."""

    alphabet: str
    number: int
    background: bool
    drawings: dict[int, np.ndarray] = field(default_factory=dict)


def install(root: Path, base: str | None = None) -> Path:
    """Fetch, verify and pack Omniglot into the data folder `root`, once; return the packed file.

    `base` is the address under which the archives stand (the card's when None). An archive that already lies in the
    packed file's folder is used if its checksum is right; once packed, the archives are removed. Safe to interrupt,
    and safe to run twice at once: the second process waits and takes the first one's file. Raises DownloadError.
    """
    facts = card("omniglot")
    packed = root / facts["packed"]
    if whole(packed):
        return packed
    base = (base or facts["base"]).rstrip("/")
    try:
        with alone(packed.parent, facts["title"]):
            if not whole(packed):
                archives = [
                    fetch(f"{base}/{archive['file']}", packed.parent / archive["file"], archive["md5"])
                    for archive in facts["archives"]
                ]
                pack(archives, packed, facts["contents"])
                for archive in archives:
                    archive.unlink()
    except OSError as error:
        raise DownloadError(disk_sentence(error, packed.parent)) from error
    return packed


def whole(packed: Path) -> bool:
    """Whether `packed` is a complete packed file: every array in it has its checksum."""
    try:
        with zipfile.ZipFile(packed) as archive:
            return "images.npy" in archive.namelist() and archive.testzip() is None
    except (OSError, zipfile.BadZipFile, zlib.error):
        return False


def pack(archives: list[Path], packed: Path, contents: dict[str, int]) -> None:
    """Write the drawings of `archives` into the .npz file `packed`, in one step.

    images [C, D, 28, 28] uint8 (255 = full ink), alphabet [C] uint8 (index into alphabet_names, which are sorted),
    character [C] uint8 (from 1 within its alphabet), char_id [C] int16 (the archives' own number, in rising order),
    background [C] bool. Axis 1 is the writer; the same index is the same person only within an alphabet.
    Raises DownloadError where the archives do not hold what `contents` (from the card) promises.
    """
    characters = _read(archives, contents["characters"] * contents["writers"])
    arrays = _arrays(characters, contents)
    unfinished = packed.with_name(packed.name + ".part")
    try:
        with unfinished.open("wb") as file:
            np.savez_compressed(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, packed)
    finally:
        unfinished.unlink(missing_ok=True)


def shrink(png: bytes) -> np.ndarray:
    """A drawing of the archives (PNG, 105x105, black on white) as ink [28, 28] uint8, 255 = full ink.

    Inverted first and then averaged over boxes by Pillow's BOX filter, whose rounding depends on that order.
    Raises ValueError where `png` is no such drawing.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise DownloadError(
            "packing Omniglot needs Pillow, which is missing here: python -m pip install pillow"
        ) from error
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            if image.size != (DRAWN, DRAWN):
                raise ValueError(f"it has {image.width}x{image.height} pixels, not {DRAWN}x{DRAWN}")
            ink = 255 - np.asarray(image.convert("L"))
    except Image.DecompressionBombError as error:
        raise ValueError("it claims too many pixels") from error
    except (OSError, SyntaxError, zlib.error) as error:
        raise ValueError("it is no readable PNG") from error
    return np.asarray(Image.fromarray(ink).resize((SIDE, SIDE), Image.Resampling.BOX))


def _read(archives: list[Path], expected: int) -> dict[int, Character]:
    """Every drawing of the archives, by the character's number."""
    characters: dict[int, Character] = {}
    with Progress("packing", expected, unit=" drawings") as bar:
        for archive in archives:
            for place, png in _drawings(archive):
                part, alphabet, number, identity, writer = place.groups()
                here = Character(alphabet, int(number), part == "background")
                character = characters.setdefault(int(identity), here)
                if (character.alphabet, character.number) != (alphabet, int(number)):
                    raise DownloadError(f"{archive.name} gives two characters the number {identity}: it is damaged")
                try:
                    character.drawings[int(writer)] = shrink(png)
                except ValueError as error:
                    raise DownloadError(f"{place.string} in {archive.name} cannot be used: {error}") from error
                bar.update(1)
    return characters


def _drawings(path: Path) -> Iterator[tuple[re.Match[str], bytes]]:
    """Each drawing of one archive with its place; nothing is ever unpacked onto the disk."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _refuse_hostile(path.name, entries)
            for entry in entries:
                if place := PLACE.fullmatch(entry.filename):
                    with archive.open(entry) as file:
                        yield place, file.read(LARGEST_DRAWING + 1)  # bounded, whatever size the archive claims
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DownloadError(f"{path.name} is no readable zip archive ({error}): delete {path}") from error


def _refuse_hostile(name: str, entries: list[zipfile.ZipInfo]) -> None:
    for entry in entries:
        parts = entry.filename.replace("\\", "/").split("/")
        if ".." in parts or parts[0] == "" or ":" in entry.filename:
            raise DownloadError(f"{name} was refused: its entry {entry.filename!r} points outside the archive")
        if entry.file_size > LARGEST_DRAWING and PLACE.fullmatch(entry.filename):
            raise DownloadError(f"{name} was refused: {entry.filename} unpacks to {entry.file_size:,} bytes")
    if (total := sum(entry.file_size for entry in entries)) > LARGEST_ARCHIVE:
        raise DownloadError(f"{name} was refused: it unpacks to {total:,} bytes, far more than the data set has")


def _arrays(characters: dict[int, Character], contents: dict[str, int]) -> dict[str, Any]:
    """The packed arrays, in the order of the archives' numbers."""
    names = sorted({character.alphabet for character in characters.values()})
    found = {"alphabets": len(names), "characters": len(characters)}
    for what, count in found.items():
        if count != contents[what]:
            raise DownloadError(f"the archives hold {count} {what}, but the card promises {contents[what]}")
    writers = range(1, contents["writers"] + 1)
    ordered = [characters[identity] for identity in sorted(characters)]
    for character in ordered:
        if sorted(character.drawings) != list(writers):
            where = f"{character.alphabet}/character{character.number:02d}"
            raise DownloadError(f"the archives do not hold one drawing of {where} by each of {len(writers)} writers")
    return {
        "images": np.stack([np.stack([character.drawings[w] for w in writers]) for character in ordered]),
        "alphabet_names": np.array(names),
        "alphabet": np.array([names.index(character.alphabet) for character in ordered], dtype=np.uint8),
        "character": np.array([character.number for character in ordered], dtype=np.uint8),
        "char_id": np.array(sorted(characters), dtype=np.int16),
        "background": np.array([character.background for character in ordered]),
    }
