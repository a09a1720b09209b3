"""Task distributions draw what they promise; the oracle reads each drawing's identity from its pixels."""

import pytest
import torch

from kshot import CharacterOrWriter, FewShot
from kshot.tasks import turn


def labelled_images(classes=6, drawers=4):
    """Images whose first pixels spell their class and drawer: class c, drawer d -> pixel values c and d."""
    images = torch.zeros(classes, drawers, 1, 4, 4, dtype=torch.uint8)
    images[..., 0, 0, 0] = torch.arange(classes, dtype=torch.uint8)[:, None]
    images[..., 0, 0, 1] = torch.arange(drawers, dtype=torch.uint8)
    return images


def identity(x):
    return (x[..., 0, 0, 0] * 255).round().long(), (x[..., 0, 0, 1] * 255).round().long()


def test_shapes_and_disjoint_support_and_query(generator):
    episodes = FewShot(labelled_images(), ways=3, shots=1, queries=2).sample(50, generator)
    assert episodes.support_x.shape == (50, 3, 1, 4, 4)
    assert episodes.query_x.shape == (50, 6, 1, 4, 4)
    for t in range(50):
        shown = set(zip(*(part.tolist() for part in identity(episodes.support_x[t]))))
        asked = list(zip(*(part.tolist() for part in identity(episodes.query_x[t]))))
        assert not shown & set(asked)
        assert len(set(asked)) == len(asked), "a query is shown twice"


def test_a_label_means_one_class_within_an_episode_and_any_class_across(generator):
    episodes = FewShot(labelled_images(), ways=3, shots=2, queries=1).sample(200, generator)
    classes = identity(episodes.support_x)[0]
    for t in range(200):
        meaning = dict(zip(episodes.support_y[t].tolist(), classes[t].tolist()))
        assert sorted(meaning) == [0, 1, 2] and len(set(meaning.values())) == 3
        asked = identity(episodes.query_x)[0][t].tolist()
        assert [meaning[y] for y in episodes.query_y[t].tolist()] == asked
    of_label_zero = classes[episodes.support_y == 0]
    counts = torch.bincount(of_label_zero, minlength=6)
    assert counts.min() > 0.5 * counts.float().mean(), "the labels are not shuffled over the classes"


def test_same_seed_same_episodes_and_other_seed_others():
    tasks = FewShot(labelled_images(), 3, 1, 1)
    a, b, c = (tasks.sample(9, torch.Generator().manual_seed(seed)).support_x for seed in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_rotations_make_four_classes_of_each(generator):
    images = labelled_images(classes=2)
    tasks = FewShot(images, ways=8, shots=1, queries=1, rotations=True)
    assert tasks.classes == 8
    episodes = tasks.sample(1, generator)
    x = episodes.support_x[0]
    upright = [torch.rot90(images.float() / 255, quarter, dims=(-2, -1)).flatten(0, 1) for quarter in range(4)]
    found = {(quarter, int(i) // 4) for q in x for quarter, turned in enumerate(upright)
             for i in (turned == q).flatten(1).all(1).nonzero()}  # fmt: skip
    assert len(found) == 8

    def meaning(x, y):
        return {
            int(y[i]): {(quarter, int(place) // 4) for quarter, turned in enumerate(upright)
                        for place in (turned == q).flatten(1).all(1).nonzero()}
            for i, q in enumerate(x)
        }  # fmt: skip

    shown, asked = meaning(x, episodes.support_y[0]), meaning(episodes.query_x[0], episodes.query_y[0])
    assert shown == asked, "queries are turned as their class's support is"


def test_turn_equals_rot90(generator):
    x = torch.rand(3, 2, 1, 5, 5, generator=generator)
    turns = torch.tensor([[0, 1], [2, 3], [1, 1]])
    for i in range(3):
        for j in range(2):
            assert torch.equal(turn(x, turns)[i, j], torch.rot90(x[i, j], int(turns[i, j]), dims=(-2, -1)))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (dict(ways=7, shots=1, queries=1), "7 ways need 7 classes, but there are only 6"),
        (dict(ways=2, shots=2, queries=3), "need 5 different drawings, but each class has only 4"),
        (dict(ways=0, shots=1, queries=1), "ways must be at least 1"),
        (dict(ways=25, shots=1, queries=1, rotations=True), "25 ways need 25 classes, but there are only 24"),
    ],
)
def test_refuses(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        FewShot(labelled_images(), **arguments)


def test_refuses_images_it_would_misread():
    with pytest.raises(ValueError, match="images must be uint8"):
        FewShot(labelled_images().float(), 2, 1, 1)
    with pytest.raises(ValueError, match="only square images can be rotated"):
        FewShot(labelled_images()[..., :3], 2, 1, 1, rotations=True)


def alphabets():
    return labelled_images(classes=8, drawers=5), torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])


@pytest.mark.parametrize("by", ["character", "writer"])
def test_character_or_writer_labels_what_it_says(by, generator):
    images, alphabet = alphabets()
    episodes = CharacterOrWriter(images, alphabet, by).sample(60, generator)
    x = torch.cat([episodes.support_x, episodes.query_x], 1)
    y = torch.cat([episodes.support_y, episodes.query_y], 1)
    characters, writers = identity(x)
    factor = characters if by == "character" else writers
    for t in range(60):
        pairs = set(zip(factor[t].tolist(), y[t].tolist()))
        assert len(pairs) == 3, "one label a value of the factor"
        assert len({int(alphabet[c]) for c in characters[t]}) == 1
        assert sorted(set(y[t].tolist())) == [0, 1, 2]


def test_character_or_writer_shows_the_same_images_for_both_questions():
    images, alphabet = alphabets()
    both = [CharacterOrWriter(images, alphabet, by).sample(30, torch.Generator().manual_seed(3)) for by in
            ("character", "writer")]  # fmt: skip
    assert torch.equal(both[0].support_x, both[1].support_x) and torch.equal(both[0].query_x, both[1].query_x)
    # the query's partner is another drawing: the answer differs although no image does
    partner = [(e.support_y == e.query_y).float().argmax(1) for e in both]
    assert (partner[0] != partner[1]).all()


def test_character_or_writer_needs_three_characters():
    images, _ = alphabets()
    with pytest.raises(ValueError, match="at least three characters"):
        CharacterOrWriter(images, torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]))
