"""Exercises answer back: each typical wrong answer gets its own sentence, right ones pass however they are written."""

import importlib

import pytest
import torch
from torch.nn.functional import one_hot

import kshot
from kshot.exercises import UNANSWERED, exercises, verdict


def test_the_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(KeyError, match=r"no exercise is called 'prototype'.*logits.*prototypes"):
        kshot.check("prototype", None)


def test_verdicts_are_printed(capsys):
    kshot.check("siamese", lambda p_same, y: y[p_same.argmax(1)])
    kshot.check("siamese", lambda p_same, y: p_same.argmax(1))
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "✓ siamese: right."
    assert said[1].startswith("✗ siamese: this is the partner's position")


@pytest.mark.parametrize("answer", [None, ...])
def test_an_answer_that_is_not_there_yet(answer):
    assert verdict("logits", answer) == UNANSWERED


def test_a_function_that_is_not_written_yet():
    def unwritten(z, c):
        raise NotImplementedError

    assert verdict("logits", unwritten) == UNANSWERED
    assert verdict("logits", lambda z, c: None) == "your function returns nothing yet: end it with `return`."


def test_an_exception_is_reported_with_the_line_that_raised_it():
    def crashing(z, c):
        z = z + 1
        return z @ c

    said = verdict("logits", crashing)
    line = crashing.__code__.co_firstlineno + 2
    assert said.startswith("your code stops with RuntimeError")
    assert said.endswith(f"\n  in crashing, line {line}: `return z @ c`")


def test_an_exception_of_an_answer_that_is_no_function_has_no_line():
    assert verdict("logits", 3) == "your code stops with TypeError: 'int' object is not callable"


def test_two_exercises_of_one_name_are_refused(tmp_path, monkeypatch):
    package = importlib.import_module("kshot.exercises")
    for module in ("first", "second"):
        (tmp_path / f"{module}_twin.py").write_text("EXERCISES = {'twin': lambda answer: None}\n")
    monkeypatch.setattr(package, "__path__", [str(tmp_path)])
    exercises.cache_clear()
    with pytest.raises(ValueError, match=r"two exercises are called 'twin': rename the one in second_twin\.py"):
        exercises()
    exercises.cache_clear()


def by_mask(z, y, ways):
    return torch.stack([torch.stack([task[own == n].mean(0) for n in range(ways)]) for task, own in zip(z, y)])


def by_product(z, y, ways):
    members = one_hot(y, ways).to(z.dtype)
    return members.mT @ z / members.sum(1)[..., None]


def by_difference(z, c):
    return -(z[:, :, None] - c[:, None]).square().sum(-1)


def by_expansion(z, c):
    return 2 * z @ c.mT - c.square().sum(-1)[:, None]  # lacks only |z|^2, which softmax cannot see


def by_likeliest(p_same, y):
    return y[p_same.argmax(1)]


def by_best_of_class(p_same, y):
    return torch.stack([p_same[:, y == n].amax(1) for n in range(3)], 1).argmax(1)


RIGHT = [
    ("prototypes", by_mask),
    ("prototypes", by_product),
    ("logits", by_difference),
    ("logits", by_expansion),
    ("logits", lambda z, c: by_difference(z, c).log_softmax(-1)),
    ("siamese", by_likeliest),
    ("siamese", by_best_of_class),
]


@pytest.mark.parametrize(("name", "answer"), RIGHT)
def test_a_right_answer_passes(name, answer):
    assert verdict(name, answer) is None


def above_half(p_same, y):
    """The first partner above .5, else the first of all: what a threshold gives."""
    return y[(p_same > 0.5).int().argmax(1)]


def grand_mean(z, y, ways):
    return z.mean(1, keepdim=True).expand(-1, ways, -1)


def in_one_loop_over_all_tasks(z, y, ways):
    return torch.stack([z[y == n].mean(0) for n in range(ways)]).expand(len(z), -1, -1)


def counts(y, ways):
    return one_hot(y, ways).sum(1)[..., None]


WRONG = [
    ("prototypes", grand_mean, "this is one mean over all classes"),
    ("prototypes", lambda z, y, ways: z.mean(1), "this is one mean over all classes"),
    ("prototypes", lambda z, y, ways: one_hot(y, ways).float().mT @ z, "these are sums"),
    ("prototypes", lambda z, y, ways: one_hot(y, ways).mT @ z / counts(y, ways), r"end it with `\.float\(\)`"),
    ("prototypes", lambda z, y, ways: one_hot(y, ways).float().mT @ z / z.shape[1], "each sum is divided by all S"),
    ("prototypes", lambda z, y, ways: one_hot(y, ways).float().mT @ z * ways / z.shape[1], "this divides by S / N"),
    ("prototypes", lambda z, y, ways: z.unflatten(1, (ways, -1)).mean(2), "right only for a support sorted by class"),
    ("prototypes", lambda z, y, ways: z.unflatten(1, (-1, ways)).mean(1), "every N-th example for a class"),
    ("prototypes", in_one_loop_over_all_tasks, "every task has the same prototypes"),
    ("prototypes", lambda z, y, ways: by_mask(z, y[:1].expand_as(y), ways), "the first task's labels are used"),
    ("prototypes", lambda z, y, ways: by_mask(z, y, ways).mT, r"has shape \(2, 4, 3\), expected \(2, 3, 4\)"),
    ("prototypes", lambda z, y, ways: by_mask(z, y, ways) / (counts(y, ways) - 1), "NaN or infinity"),
    ("prototypes", lambda z, y, ways: by_mask(z, y, ways) + 1, "the values are not"),
    ("prototypes", lambda z, y, ways: by_mask(z, y, ways).tolist(), "returns a list"),
    ("logits", lambda z, c: -by_difference(z, c), "the sign is wrong"),
    ("logits", lambda z, c: -torch.cdist(z, c), "this is the distance, not its square"),
    ("logits", torch.cdist, "wrong twice"),
    ("logits", lambda z, c: by_difference(z, c) / z.shape[-1], "this averages over the D coordinates"),
    ("logits", lambda z, c: by_difference(z, c).softmax(-1), "these are probabilities already"),
    ("logits", lambda z, c: -torch.cdist(z, c, p=1), "this adds up absolute differences"),
    ("logits", lambda z, c: z @ c.mT, "this is only the product of z and c"),
    ("logits", lambda z, c: 2 * z @ c.mT, r"this is 2 z·c without the \|c\|\^2"),
    ("logits", lambda z, c: torch.cosine_similarity(z[:, :, None], c[:, None], dim=-1), "this is the cosine"),
    ("logits", lambda z, c: by_difference(z, c).mT, "queries and classes have changed places"),
    ("siamese", above_half, "right only where exactly one partner passes .5"),
    ("siamese", lambda p_same, y: p_same.argmax(1), "this is the partner's position"),
    ("siamese", lambda p_same, y: y[p_same.argmin(1)], "this takes the least likely partner"),
    ("siamese", lambda p_same, y: (p_same @ one_hot(y).float()).argmax(1), "this adds up the probabilities"),
    (
        "siamese",
        lambda p_same, y: (p_same @ one_hot(y).float() / one_hot(y).sum(0)).argmax(1),
        "this averages over a class's examples",
    ),
    ("siamese", lambda p_same, y: p_same > 0.5, r"has shape \(7, 4\), expected \(7,\)"),
]


@pytest.mark.parametrize(("name", "answer", "sentence"), WRONG)
def test_a_typical_wrong_answer_gets_its_sentence(name, answer, sentence, assert_told):
    assert_told(name, answer, sentence, WRONG)
