"""Handwritten characters: Omniglot where it is on this machine, Glyphs everywhere."""

import contextlib
import hashlib
import os
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from kshot.glyphs import generate

OMNIGLOT_FILE = "omniglot/omniglot_28_uint8.npz"
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Characters:
    """Drawings of characters, sorted by alphabet.

    images:         uint8 [C, D, 1, 28, 28], 255 is full ink; the same drawer index is the same person only
                    within an alphabet
    alphabet:       int64 [C], an index into alphabet_names
    alphabet_names: the alphabets
    held_out:       the indices of the alphabets kept for testing
    source:         where the drawings come from, for people
    """

    images: Tensor
    alphabet: Tensor
    alphabet_names: tuple[str, ...]
    held_out: tuple[int, ...]
    source: str

    def __len__(self) -> int:
        return len(self.images)

    def split(self, name: str) -> "Characters":
        """The characters of the alphabets for "train" (25), "validation" (5) or "test" (20).

        The test alphabets are Lake's evaluation set; every sixth of the others, in order of name, validates.
        """
        _check_split(name)
        background = [index for index in range(len(self.alphabet_names)) if index not in self.held_out]
        validation = background[5::6]
        train = [index for index in background if index not in validation]
        return self._alphabets({"train": train, "validation": validation, "test": list(self.held_out)}[name])

    def random_split(self, name: str, seed: int = 0) -> "Characters":
        """A random split of the characters whatever their alphabet: 1100 to train, 100 to validate, 423 to test.

        That is the split of Finn et al., "Model-Agnostic Meta-Learning" (2017), in sizes; other counts of
        characters are split in proportion.
        """
        _check_split(name)
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        first, second = round(len(self) * 1100 / 1623), round(len(self) * 1200 / 1623)
        chosen = {"train": order[:first], "validation": order[first:second], "test": order[second:]}[name]
        return self._select(chosen.sort().values)

    def of_alphabet(self, which: int | str) -> "Characters":
        """The characters of one alphabet, by index or name; raises KeyError on an unknown name."""
        if isinstance(which, str):
            if which not in self.alphabet_names:
                raise KeyError(f"no alphabet is called {which!r}; there are {', '.join(self.alphabet_names)}")
            which = self.alphabet_names.index(which)
        if which not in self.alphabet:
            raise KeyError(f"alphabet {which} is not among these characters: it belongs to another split, or to none")
        return self._alphabets([which])

    def to(self, device: torch.device | str) -> "Characters":
        """The same characters with the images on `device`."""
        return replace(self, images=self.images.to(device))

    def _alphabets(self, chosen: list[int]) -> "Characters":
        return self._select(torch.isin(self.alphabet, torch.tensor(chosen)).nonzero().flatten())

    def _select(self, index: Tensor) -> "Characters":
        return replace(self, images=self.images[index.to(self.images.device)], alphabet=self.alphabet[index])


def data_folder() -> Path:
    """Where data sets are kept: KSHOT_DATA, or kshot's folder in the user's cache."""
    if os.environ.get("KSHOT_DATA"):
        return Path(os.environ["KSHOT_DATA"]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kshot"


def omniglot(root: Path | str | None = None) -> Characters:
    """All of Omniglot (Lake et al., 2015): 1,623 characters of 50 alphabets by 20 drawers.

    Raises FileNotFoundError where it has not been downloaded, ValueError where the file is damaged.
    """
    path = Path(root or data_folder()) / OMNIGLOT_FILE
    if not path.exists():
        raise FileNotFoundError(f"Omniglot is not at {path}: `{_download()}` downloads it (16 MB)")
    try:
        with np.load(path, allow_pickle=False) as packed:
            images = torch.from_numpy(packed["images"])[:, :, None]  # [C, D, 1, 28, 28]
            alphabet = torch.from_numpy(packed["alphabet"].astype(np.int64))
            names = tuple(str(name) for name in packed["alphabet_names"])
            held_out = tuple(sorted(set(packed["alphabet"][~packed["background"]].tolist())))
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is damaged: delete it, and `{_download()}` fetches it again") from error
    return Characters(images, alphabet, names, held_out, "Omniglot")


def glyphs(seed: int = 0) -> Characters:
    """All of Glyphs: procedural handwriting of the same shape as Omniglot, drawn in seconds, then cached on disk.

    Another seed gives other alphabets, characters and writers. A cache that cannot be written is no error.
    """
    path = data_folder() / f"glyphs-{_generator_version()}-{seed}.safetensors"
    try:
        stored = load_file(path)
        images, alphabet = stored["images"], stored["alphabet"]
    except (OSError, SafetensorError):
        images, alphabet = generate(seed)
        _cache(path, {"images": images, "alphabet": alphabet})
    names = tuple(f"Glyphs {index + 1:02}" for index in range(int(alphabet.max()) + 1))
    return Characters(images, alphabet, names, tuple(range(30, len(names))), f"Glyphs (seed {seed})")


def characters() -> Characters:
    """Omniglot where it is on this machine, else Glyphs; prints which, in one line."""
    try:
        found, hint = omniglot(), ""
    except FileNotFoundError:
        found, hint = glyphs(), f"; `{_download()}` downloads the real thing"
    print(f"{found.source}: {len(found):,} characters, {found.images.shape[1]} drawings each{hint}")
    return found


def dataset(name: str) -> Characters:
    """The data set called "omniglot" or "glyphs"; raises KeyError on another name."""
    known = {"omniglot": omniglot, "glyphs": glyphs}
    if name not in known:
        raise KeyError(f"no data set is called {name!r}: there are {' and '.join(known)}")
    return known[name]()


def _download() -> str:
    """The line that fetches Omniglot."""
    from kshot.download import command

    return command("data omniglot")


def _generator_version() -> str:
    """A hash of the generator's own source: a cache drawn by an older generator is never taken for this one's."""
    folder = Path(__file__).parent
    source = b"".join((folder / name).read_bytes() for name in ("glyphs.py", "strokes.py"))
    return hashlib.sha256(source).hexdigest()[:8]


def _cache(path: Path, tensors: dict[str, Tensor]) -> None:
    scratch = path.with_suffix(f".{os.getpid()}")
    # A full or read-only disk costs only the seconds of drawing again.
    with contextlib.suppress(OSError, SafetensorError):
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, scratch)
        scratch.replace(path)
    with contextlib.suppress(OSError):
        scratch.unlink()


def _check_split(name: str) -> None:
    if name not in SPLITS:
        raise ValueError(f"a split is one of {', '.join(SPLITS)}, but {name!r} was asked for")
