"""Lecture 00's exercises: right answers pass, and each typical wrong one gets its own sentence."""

import pytest
import torch

import kshot
from kshot.exercises import UNANSWERED, nearest, start, verdict
from kshot.tasks import CharacterOrWriter


def draw(n, size, generator):
    return torch.randperm(n, generator=generator)[:size]


def right(images, ways, shots, queries, generator):
    support, query = [], []
    for label, c in enumerate(draw(len(images), ways, generator).tolist()):
        order = draw(images.shape[1], shots + queries, generator).tolist()
        support += [(images[c, d], label) for d in order[:shots]]
        query += [(images[c, d], label) for d in order[shots:]]
    return gather(support) + gather(query)


def gather(pairs):
    return torch.stack([x for x, _ in pairs]), torch.tensor([y for _, y in pairs])


def scaled_and_shuffled(images, ways, shots, queries, generator):
    support_x, support_y, query_x, query_y = right(images, ways, shots, queries, generator)
    order = torch.randperm(len(support_y), generator=generator)
    return support_x[order].float() / 255, support_y[order], query_x.float() / 255, query_y


def with_few_shot(images, ways, shots, queries, generator):
    e = kshot.FewShot(images, ways, shots, queries).sample(1, generator)
    return e.support_x[0], e.support_y[0], e.query_x[0], e.query_y[0]


def by_class(images, ways, shots, queries, generator, *, classes=None, label=None, drawings=None):
    """An episode with one step done in another way."""
    classes = (classes or draw)(len(images), ways, generator).tolist()
    support, query = [], []
    for i, c in enumerate(classes):
        y = i if label is None else label(c)
        s, q = (drawings or both_draws)(images.shape[1], shots, queries, generator)
        support += [(images[c, d], y) for d in s]
        query += [(images[c, d], y) for d in q]
    return gather(support) + gather(query)


def both_draws(n, shots, queries, generator):
    order = draw(n, shots + queries, generator).tolist()
    return order[:shots], order[shots:]


def shares_a_drawing(*a):
    return by_class(*a, drawings=lambda n, s, q, g: (draw(n, s, g).tolist(), draw(n, q, g).tolist()))


def one_drawing_twice(*a):
    return by_class(*a, drawings=lambda n, s, q, g: ([0] * s, [1] * q))


def always_the_first_drawings(*a):
    return by_class(*a, drawings=lambda n, s, q, g: (range(s), range(s, s + q)))


def keeps_class_ids(*a):
    return by_class(*a, label=lambda c: c)


def labels_from_one(*a):
    support_x, support_y, query_x, query_y = right(*a)
    return support_x, support_y + 1, query_x, query_y + 1


def sorts_the_classes(*a):
    return by_class(*a, classes=lambda n, w, g: draw(n, w, g).sort().values)


def always_the_first_classes(*a):
    return by_class(*a, classes=lambda n, w, g: torch.arange(w))


def classes_with_replacement(*a):
    return by_class(*a, classes=lambda n, w, g: torch.randint(n, (w,), generator=g))


def two_draws_of_classes(images, ways, shots, queries, generator):
    return right(images, ways, shots, queries, generator)[:2] + right(images, ways, shots, queries, generator)[2:]


def relabels_the_query(*a):
    support_x, support_y, query_x, query_y = right(*a)
    return support_x, support_y, query_x, (query_y + 1) % 3


def images_and_labels_in_different_orders(*a):
    support_x, _, query_x, query_y = right(*a)
    return support_x, torch.arange(3).repeat(2), query_x, query_y


def keeps_ways_and_shots_apart(images, ways, shots, queries, generator):
    support_x, *rest = right(images, ways, shots, queries, generator)
    return support_x.view(ways, shots, 1, 28, 28), *rest


def one_label_a_class(images, ways, shots, queries, generator):
    support_x, _, query_x, query_y = right(images, ways, shots, queries, generator)
    return support_x, torch.arange(ways), query_x, query_y


def drops_the_channel(*a):
    support_x, support_y, query_x, query_y = right(*a)
    return support_x, support_y, query_x[:, 0], query_y


def labels_as_floats(*a):
    support_x, support_y, query_x, query_y = right(*a)
    return support_x, support_y.float(), query_x, query_y


def ignores_the_generator(images, ways, shots, queries, generator):
    return right(images, ways, shots, queries, torch.Generator().manual_seed(torch.seed() % 2**31))


def only_the_support(*a):
    return right(*a)[:2]


EPISODES = [
    (shares_a_drawing, "share a drawing"),
    (one_drawing_twice, "occurs twice"),
    (always_the_first_drawings, "draw the drawings at random too"),
    (keeps_class_ids, "rows of `images`"),
    (labels_from_one, "[1, 2, 3], not 0..2"),
    (sorts_the_classes, "deal the labels out anew"),
    (always_the_first_classes, "draw the classes anew"),
    (classes_with_replacement, "without replacement"),
    (two_draws_of_classes, "other classes than the support"),
    (relabels_the_query, "one label in the support and another in the query"),
    (images_and_labels_in_different_orders, "different orders"),
    (keeps_ways_and_shots_apart, "support_x has shape [3, 2, 1, 28, 28]"),
    (one_label_a_class, "support_y has shape [3]"),
    (drops_the_channel, "query_x has shape [12, 28, 28]"),
    (labels_as_floats, "torch.float32"),
    (ignores_the_generator, "from `generator`"),
    (only_the_support, "four tensors"),
]


@pytest.mark.parametrize("sample", [right, scaled_and_shuffled, with_few_shot])
def test_a_right_episode_passes(sample):
    assert verdict("episode", sample) is None


@pytest.mark.parametrize(("sample", "words"), EPISODES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_wrong_episode_is_told_what_is_wrong(sample, words):
    assert words in verdict("episode", sample)


def test_each_wrong_episode_has_its_own_sentence():
    assert len({verdict("episode", sample) for sample, _ in EPISODES}) == len(EPISODES)


@pytest.fixture
def puzzles(generator):
    images = torch.randint(0, 256, (6, 3, 1, 28, 28), dtype=torch.uint8, generator=generator)
    tasks = CharacterOrWriter(images, torch.zeros(6, dtype=torch.int64))
    while True:  # a few draws: both kinds must be among the four
        episodes = tasks.sample(4, generator)
        if 1 <= int(rule(episodes).sum()) <= 3:
            return episodes


def rule(episodes):
    """Whether the tags of each task name writers: then the drawings (c1, w2) and (c2, w2) share one."""
    return episodes.support_y[:, 0] == episodes.support_y[:, 2]


def test_tags_that_follow_each_support_pass(puzzles):
    assert verdict("by hand", (puzzles, puzzles.query_y[:, 0].tolist())) is None


def test_wrong_tags_are_told_what_they_went_by(puzzles):
    truth, writers = puzzles.query_y[:, 0].tolist(), rule(puzzles).tolist()
    other = [w if not by else c for c, w, by in zip(*puzzles.support_y[:, :2].T.tolist(), writers)]
    unrelated = puzzles.support_y[:, 3].tolist()
    row = writers.index(True)
    said = {
        "all by character": verdict("by hand", (puzzles, puzzles.support_y[:, 0].tolist())),
        "all by writer": verdict("by hand", (puzzles, puzzles.support_y[:, 1].tolist())),
        "one by the wrong rule": verdict("by hand", (puzzles, [*truth[:row], other[row], *truth[row + 1 :]])),
        "an unrelated drawing": verdict("by hand", (puzzles, unrelated[:1] + truth[1:])),
        "no such tag": verdict("by hand", (puzzles, [7, *truth[1:]])),
        "one left out": verdict("by hand", (puzzles, [truth[0], None, ..., truth[3]])),
        "one too few": verdict("by hand", (puzzles, truth[:3])),
    }
    assert f"by the character in every row, but in row {row + 1}" in said["all by character"]
    assert f"by the pen in every row, but in row {writers.index(False) + 1}" in said["all by writer"]
    assert "shares neither" in said["an unrelated drawing"]
    assert "7 is no tag" in said["no such tag"]
    assert "row 2, row 3: there is no tag yet" in said["one left out"]
    assert "you gave 3 tags" in said["one too few"]
    if writers.count(True) > 1:
        assert f"row {row + 1}: you went by the character" in said["one by the wrong rule"]
    assert None not in said.values() and len(set(said.values())) >= len(said) - 1


def distances(s, q, p=2.0):
    return torch.cdist(q.flatten(1), s.flatten(1), p=p)


def neighbour(support_x, support_y, query_x):
    return support_y[distances(support_x, query_x).argmin(1)]


def by_loop(support_x, support_y, query_x):
    near = [min(range(len(support_x)), key=lambda i: float((support_x[i] - q).square().sum())) for q in query_x]
    return torch.stack([support_y[i] for i in near])


def learned_by_heart(support_x, support_y, query_x):
    s, y, q = nearest._look_alikes()
    return neighbour(s, y, q)


def by_class_mean(s, y, q):
    return distances(torch.stack([s[y == label].mean(0) for label in range(5)]), q).argmin(1)


def by_angle(s, y, q):
    s, q = s.flatten(1), q.flatten(1)
    return y[(q @ s.T / s.norm(dim=1)).argmax(1)]


NEIGHBOURS = {
    "positions": (lambda s, y, q: distances(s, q).argmin(1), "positions"),
    "farthest": (lambda s, y, q: y[distances(s, q).argmax(1)], "farthest"),
    "by heart": (learned_by_heart, "tags were exchanged"),
    "amount of ink": (
        lambda s, y, q: y[(q.flatten(1).sum(1)[:, None] - s.flatten(1).sum(1)).abs().argmin(1)],
        "all 784 pixels",
    ),
    "all distances": (lambda s, y, q: distances(s, q), "returned [7, 8]"),
    "labels from one": (lambda s, y, q: neighbour(s, y, q) + 1, "on no support drawing"),
    "product": (lambda s, y, q: y[(q.flatten(1) @ s.flatten(1).T).argmax(1)], "favours drawings with much ink"),
    "angle": (by_angle, "ignores how dark the ink is"),
    "absolute differences": (lambda s, y, q: y[distances(s, q, p=1.0).argmin(1)], "adds up their squares"),
    "class means": (by_class_mean, "the mean of each class"),
    "argmin over the queries": (lambda s, y, q: y[distances(s, q).argmin(0)], "gave 8 answers"),
    "distances turned round": (lambda s, y, q: y[distances(q, s).argmin(1)], "gave 8 answers"),
    "no flatten": (lambda s, y, q: y[torch.cdist(q, s).argmin(1)], "use flatten(1) on both"),
    "values": (lambda s, y, q: distances(s, q).min(1).values, "distances, or other fractions"),
}


@pytest.mark.parametrize("predict", [neighbour, by_loop])
def test_the_nearest_neighbour_passes(predict):
    assert verdict("neighbour", predict) is None


@pytest.mark.parametrize(("predict", "words"), NEIGHBOURS.values(), ids=NEIGHBOURS)
def test_a_wrong_neighbour_is_told_what_is_wrong(predict, words):
    assert words in verdict("neighbour", predict)


def test_the_neighbour_exercise_tells_every_rule_from_the_right_one():
    s, y, q = nearest._look_alikes()
    answers = [tuple(answer.tolist()) for answer, _ in nearest.other_rules(s, y, q)]
    assert len({*answers, tuple(neighbour(s, y, q).tolist())}) == len(answers) + 1


def test_an_error_in_the_answer_is_shown_as_it_is():
    assert "IndexError" in verdict("neighbour", lambda s, y, q: y[100])


def test_a_cell_that_is_not_filled_in_is_no_wrong_answer(puzzles):
    untouched = {"by hand": (puzzles, [None] * 4), "episode": lambda *a: None, "neighbour": lambda *a: None}
    assert untouched.keys() == start.EXERCISES.keys() | nearest.EXERCISES.keys()
    for name, answer in untouched.items():
        assert verdict(name, answer) == UNANSWERED
