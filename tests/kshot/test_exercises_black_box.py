"""Lecture 03's exercises: right answers pass however they are written, each typical wrong one gets its own sentence."""

import pytest
import torch
from torch.nn.functional import one_hot

from kshot.exercises import UNANSWERED, verdict


def pairs(x, y):
    return torch.cat([x, y], -1)


def in_one_go(encode, x, y):
    return encode(pairs(x, y)).mean(1)


def task_by_task(encode, x, y):
    codes = [[encode(torch.stack([a[0], b[0]])) for a, b in zip(xs, ys)] for xs, ys in zip(x, y)]
    return torch.stack([sum(own) / len(own) for own in codes])


def forgetful(encode, x, y):
    h, *rest = encode(pairs(x, y)).unbind(1)
    for code in rest:
        h = (h + code) / 2
    return h


def rows_of(z_support, y, z, ways):
    support = torch.cat([z_support, one_hot(y, ways)], 1)
    return torch.cat([support, torch.cat([z, torch.zeros(len(z), ways)], 1)])


def careful(z_support, y, z, query_y, order, ways):
    return rows_of(z_support, y, z[order], ways), query_y[order]


def row_by_row(z_support, y, z, query_y, order, ways):
    rows = [torch.cat([a, torch.eye(ways)[b]]) for a, b in zip(z_support, y)]
    rows += [torch.cat([z[i], torch.zeros(ways)]) for i in order]
    return torch.stack(rows), [query_y[i] for i in order] and torch.stack([query_y[i] for i in order])


def with_slots(slots, **changed):
    """The careful sequence, with the queries' slots as `slots(query_y, order, ways)` says."""

    def sequence(z_support, y, z, query_y, order, ways):
        order = changed.get("order", lambda o: o)(order)
        rows = rows_of(z_support, y, z[order], ways)
        rows[len(y) :, z.shape[1] :] = slots(query_y, order, ways)
        return rows, query_y[order]

    return sequence


def without_labels(z_support, y, z, query_y, order, ways):
    rows, targets = careful(z_support, y, z, query_y, order, ways)
    rows[:, z.shape[1] :] = 0
    return rows, targets


def one_row_late(z_support, y, z, query_y, order, ways):
    rows, targets = careful(z_support, y, z, query_y, order, ways)
    late = rows.clone()
    late[: len(y), z.shape[1] :] = torch.cat([torch.zeros(1, ways), rows[: len(y) - 1, z.shape[1] :]])
    return late, targets


def slots_first(z_support, y, z, query_y, order, ways):
    rows, targets = careful(z_support, y, z, query_y, order, ways)
    return rows.roll(ways, 1), targets


def mended(z_support, y, z, query_y, ways):
    return (z @ z_support.T).softmax(-1) @ one_hot(y, ways).float()


def one_query_at_a_time(z_support, y, z, query_y, ways):
    answers = []
    for query in z:
        weight = torch.exp(z_support @ query)
        answers.append(torch.stack([weight[y == n].sum() for n in range(ways)]) / weight.sum())
    return torch.stack(answers)


def leaking(dim, keep=True):
    """Attention over support and queries together, the queries with their labels or with none."""

    def answers(z_support, y, z, query_y, ways):
        labels = torch.cat([one_hot(y, ways), keep * one_hot(query_y, ways)]).float()
        return (z @ torch.cat([z_support, z]).T).softmax(dim) @ labels

    return answers


def not_itself(z_support, y, z, query_y, ways):
    """Attention over support and labelled queries, each query's own row masked."""
    scores = z @ torch.cat([z_support, z]).T
    scores[range(len(z)), range(len(y), len(y) + len(z))] = -torch.inf
    return scores.softmax(1) @ one_hot(torch.cat([y, query_y]), ways).float()


def masked(z_support, y, z, query_y, ways):
    """Attention over support and queries with every query masked: right too."""
    scores = z @ torch.cat([z_support, z]).T
    scores[:, len(y) :] = -torch.inf
    return scores.softmax(1) @ one_hot(torch.cat([y, query_y]), ways).float()


RIGHT = [
    ("set encoder", in_one_go),
    ("set encoder", task_by_task),
    ("set encoder", lambda encode, x, y: in_one_go(encode, x.flip(1), y.flip(1))),
    ("label slots", careful),
    ("label slots", row_by_row),
    ("label slots", lambda *a: list(careful(*a))),
    ("find the leak", mended),
    ("find the leak", one_query_at_a_time),
    ("find the leak", masked),
]


@pytest.mark.parametrize(("name", "answer"), RIGHT)
def test_a_right_answer_passes(name, answer):
    assert verdict(name, answer) is None


@pytest.mark.parametrize("name", ["set encoder", "label slots", "find the leak"])
def test_an_exercise_that_is_not_written_yet_says_so(name):
    assert verdict(name, ...) == UNANSWERED
    assert "returns nothing yet" in verdict(name, lambda *a: None)


WRONG = [
    ("set encoder", lambda encode, x, y: encode(pairs(x, y)).sum(1), "this is the sum: with more pairs h grows"),
    (
        "set encoder",
        lambda encode, x, y: encode(pairs(x, y)).sum(1) / 5,
        "divides the sum of 3 codes by 5: divide by the number",
    ),
    ("set encoder", lambda encode, x, y: encode(pairs(x, y)).sum(1) / 9, "divides the sum of 5 codes by 9"),
    ("set encoder", lambda encode, x, y: encode(pairs(x, y)).sum(1) / (x.shape[1] - 1), "the sum of 5 codes by 4"),
    ("set encoder", lambda encode, x, y: encode(pairs(x, y)).amax(1), "keeps the largest code"),
    ("set encoder", lambda encode, x, y: encode(pairs(x, y).mean(1)), "averaged before they are encoded"),
    ("set encoder", lambda encode, x, y: encode(pairs(x, y)), "still one code for each pair"),
    ("set encoder", lambda encode, x, y: encode(pairs(x, y)).mean(1, keepdim=True), "of size 1: drop it"),
    ("set encoder", lambda encode, x, y: encode(pairs(x, y))[:, -1], "the last pair's code alone"),
    ("set encoder", lambda encode, x, y: encode(pairs(x, y))[:, 0], "the first pair's code alone"),
    ("set encoder", lambda encode, x, y: encode(pairs(x, y)).mean(0), "averages over the tasks, dimension 0"),
    ("set encoder", lambda encode, x, y: in_one_go(encode, x, y).mean(0).expand(3, -1), "every task gets the same h"),
    ("set encoder", lambda encode, x, y: encode(pairs(x, y)).mean(-1), "each code to one number"),
    ("set encoder", lambda encode, x, y: in_one_go(encode, y, x), "x and y have changed places"),
    ("set encoder", forgetful, "weighted by their place"),
    ("set encoder", lambda encode, x, y: encode(x), r"encode takes pairs \(x, y\)"),
    ("set encoder", lambda encode, x, y: in_one_go(encode, x, y) + 1, "the values are not"),
    ("label slots", with_slots(lambda y, order, n: one_hot(y[order], n)), "the answer is written on the question"),
    (
        "label slots",
        with_slots(lambda y, order, n: one_hot(y[order], n), order=lambda o: o.sort().values),
        "wrong twice: the queries' own labels are in their slots",
    ),
    ("label slots", with_slots(lambda y, order, n: one_hot(y, n)), "not even those of the rows they stand in"),
    ("label slots", with_slots(lambda *_: 0.0, order=lambda o: o.sort().values), "a network counts rows"),
    ("label slots", with_slots(lambda *_: 0.0, order=torch.argsort), "this puts query i at place"),
    ("label slots", with_slots(lambda y, order, n: 1 / n), "the empty slot holds 1/N"),
    ("label slots", without_labels, "the support's slots are empty too"),
    ("label slots", one_row_late, "come one row late"),
    ("label slots", slots_first, "the slots stand before the embeddings"),
    (
        "label slots",
        lambda s, y, z, query_y, order, ways: (careful(s, y, z, query_y, order, ways)[0], query_y),
        "the targets are in the old one",
    ),
    (
        "label slots",
        lambda s, y, z, query_y, order, ways: (rows_of(s, y, z, ways), query_y[order]),
        "the targets are in the new order and the rows are not",
    ),
    (
        "label slots",
        lambda s, y, z, query_y, order, ways: (rows_of(s, y, z[order], ways), query_y[order.argsort()]),
        "permuted the other way round than the rows",
    ),
    (
        "label slots",
        lambda s, y, z, query_y, order, ways: (rows_of(s, y, z[order], ways), one_hot(query_y[order], ways)),
        "the targets are one-hot",
    ),
    (
        "label slots",
        lambda s, y, z, query_y, order, ways: (torch.cat([s, z[order]]), query_y[order]),
        "there are no label slots",
    ),
    (
        "label slots",
        lambda s, y, z, query_y, order, ways: (rows_of(s, y, z[order], ways).roll(len(z), 0), query_y[order]),
        "asked before it has read anything",
    ),
    (
        "label slots",
        lambda s, y, z, query_y, order, ways: (rows_of(s, y, z[:0], ways), query_y[order]),
        "the queries are missing",
    ),
    ("label slots", lambda s, y, z, query_y, order, ways: rows_of(s, y, z[order], ways), "return two things"),
    (
        "label slots",
        lambda s, y, z, query_y, order, ways: careful(s.flip(0), y, z, query_y, order, ways),
        "in another order than their labels",
    ),
    (
        "label slots",
        lambda s, y, z, query_y, order, ways: careful(s.flip(0), y.flip(0), z, query_y, order, ways),
        "the support's rows come in another order",
    ),
    ("find the leak", leaking(0), "both faults are still there"),
    ("find the leak", not_itself, "but still those of the other queries"),
    ("find the leak", leaking(1), "each finds itself and reads its own answer"),
    (
        "find the leak",
        lambda s, y, z, q, n: (z @ s.T).softmax(0) @ one_hot(y, n).float(),
        "runs over the queries: they",
    ),
    ("find the leak", leaking(1, keep=False), "the queries still draw attention"),
    (
        "find the leak",
        lambda s, y, z, q, n: (z @ s.T).flatten().softmax(0).view(len(z), -1) @ one_hot(y, n).float(),
        "one softmax over all queries and keys together",
    ),
    ("find the leak", lambda s, y, z, q, n: (z @ s.T) @ one_hot(y, n).float(), "the softmax is gone"),
    ("find the leak", lambda s, y, z, q, n: (z @ s.T).softmax(1), "the attention, not yet the answer"),
    ("find the leak", lambda s, y, z, q, n: one_hot(q, n).float(), "this hands back `query_y`"),
    ("find the leak", lambda s, y, z, q, n: ((z @ s.T) @ one_hot(y, n).float()).softmax(1), "before the softmax: take"),
    ("find the leak", lambda s, y, z, q, n: mended(s, y, z / 2, q, n), r"a scale has come in, 1/sqrt\(4\)"),
    ("find the leak", lambda s, y, z, q, n: mended(s, y, z / 32**0.5, q, n), r"a scale has come in, 1/sqrt\(32\)"),
    ("find the leak", lambda s, y, z, q, n: one_hot(y[(z @ s.T).argmax(1)], n), "label of the nearest drawing alone"),
]


@pytest.mark.parametrize(("name", "answer", "sentence"), WRONG)
def test_a_typical_wrong_answer_gets_its_sentence(name, answer, sentence, assert_told):
    assert_told(name, answer, sentence, WRONG)
