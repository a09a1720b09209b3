"""Data sets: counts and splits of the real Omniglot, the same of Glyphs, and a cache that never lies."""

import re

import pytest
import torch

import kshot
from kshot import data
from kshot.download import command


@pytest.fixture(scope="module")
def glyphs(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KSHOT_DATA", str(tmp_path_factory.mktemp("data")))
        yield kshot.glyphs()


def check_splits(characters):
    names = [set(characters.split(name).alphabet.tolist()) for name in data.SPLITS]
    assert [len(alphabets) for alphabets in names] == [25, 5, 20]
    assert not names[0] & names[1] and not names[0] & names[2] and not names[1] & names[2]
    assert sum(len(characters.split(name)) for name in data.SPLITS) == len(characters) == 1623
    random = [characters.random_split(name) for name in data.SPLITS]
    assert [len(split) for split in random] == [1100, 100, 423]
    assert torch.equal(random[0].images, characters.random_split("train", seed=0).images)
    assert not torch.equal(random[2].images, characters.random_split("test", seed=1).images)


@pytest.mark.omniglot
def test_omniglot_is_all_there():
    characters = kshot.omniglot()
    assert characters.images.shape == (1623, 20, 1, 28, 28) and characters.images.dtype == torch.uint8
    check_splits(characters)
    test = characters.split("test")
    assert len(test) == 659, "the test alphabets are Lake's evaluation set"
    assert {"Tibetan", "Tengwar"} <= {characters.alphabet_names[a] for a in test.alphabet.unique()}
    ink = (characters.images > 127).float().mean()
    assert 0.05 < ink < 0.2, "ink is bright on dark"


def test_glyphs_have_omniglots_shape(glyphs):
    assert glyphs.images.shape == (1623, 20, 1, 28, 28) and glyphs.images.dtype == torch.uint8
    check_splits(glyphs)
    assert glyphs.source == "Glyphs (seed 0)"


def test_a_split_holds_whole_alphabets_in_step(glyphs):
    for name in data.SPLITS:
        split = glyphs.split(name)
        for index in split.alphabet.unique().tolist():
            assert torch.equal(split.of_alphabet(index).images, glyphs.of_alphabet(index).images)
    name = glyphs.alphabet_names[3]
    assert torch.equal(glyphs.of_alphabet(name).images, glyphs.of_alphabet(3).images)


def test_unknown_names_are_errors_that_name_the_known(glyphs):
    with pytest.raises(ValueError, match="train, validation, test"):
        glyphs.split("dev")
    with pytest.raises(KeyError, match="no alphabet is called 'Klingon'"):
        glyphs.of_alphabet("Klingon")
    with pytest.raises(KeyError, match="omniglot and glyphs"):
        data.dataset("mnist")


def test_characters_says_in_one_line_what_it_gives(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KSHOT_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=re.escape(command("data omniglot"))):
        kshot.omniglot()
    found = kshot.characters()
    said = capsys.readouterr().out.strip()
    assert found.source.startswith("Glyphs") and "\n" not in said and "Glyphs" in said
    assert f"`{command('data omniglot')}` downloads the real thing" in said


def test_a_cached_data_set_equals_the_drawn_one_and_a_damaged_cache_is_drawn_again(tmp_path, monkeypatch):
    drawn = torch.randint(255, (40, 3, 1, 28, 28), dtype=torch.uint8), torch.arange(40)
    calls = []
    monkeypatch.setattr(data, "generate", lambda seed: (calls.append(seed), drawn)[1])
    monkeypatch.setenv("KSHOT_DATA", str(tmp_path))
    assert torch.equal(kshot.glyphs(seed=7).images, drawn[0])
    assert torch.equal(kshot.glyphs(seed=7).images, drawn[0]) and calls == [7]
    (cached,) = tmp_path.iterdir()
    cached.write_bytes(cached.read_bytes()[:100])
    assert torch.equal(kshot.glyphs(seed=7).images, drawn[0]) and calls == [7, 7]


def test_a_damaged_omniglot_says_so(tmp_path):
    (tmp_path / "omniglot").mkdir()
    (tmp_path / data.OMNIGLOT_FILE).write_bytes(b"not an archive")
    with pytest.raises(ValueError, match=r"is damaged: delete it, and `.*kshot.* data omniglot` fetches"):
        kshot.omniglot(tmp_path)


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    blocked = tmp_path / "a file, not a folder"
    blocked.write_text("")
    drawn = torch.zeros(40, 3, 1, 28, 28, dtype=torch.uint8), torch.arange(40)
    monkeypatch.setattr(data, "generate", lambda seed: drawn)
    monkeypatch.setenv("KSHOT_DATA", str(blocked))
    assert len(kshot.glyphs()) == 40
