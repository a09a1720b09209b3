"""Lecture 06's exercises answer back: each typical wrong answer gets its own sentence, right ones pass."""

import pytest
import torch

from kshot.exercises import UNANSWERED, verdict
from kshot.exercises.families import FAMILIES, GRAPHS

RIGHT_GRAPHS = {name: family for name, (family, _) in GRAPHS.items()}


def slope(loss, phi):
    phi = phi.detach().requires_grad_()
    return torch.autograd.grad(loss(phi), phi)[0]


def halves(loss, phi, rate, steps):
    for _ in range(steps):
        tried = phi - rate * slope(loss, phi)
        if loss(tried) > loss(phi):
            rate /= 2
        else:
            phi = tried
    return phi


def fits(rows, milliseconds, numbers):
    return [
        row
        for row in rows
        if row["milliseconds_a_task"] <= milliseconds and row["context_numbers"] <= numbers and not row["transductive"]
    ]


def buys(rows, milliseconds, numbers):
    rows = fits(rows, milliseconds, numbers)
    if not rows:
        return None
    best = max(rows, key=lambda row: row["mean"])
    equal = [row for row in rows if row["mean"] + row["interval"] >= best["mean"] - best["interval"]]
    return min(equal, key=lambda row: row["milliseconds_a_task"])["learner"]


@pytest.mark.parametrize(
    ("name", "answer"), [("three graphs", RIGHT_GRAPHS), ("keep stepping", halves), ("budget", buys)]
)
def test_a_right_answer_passes(name, answer):
    assert verdict(name, answer) is None


@pytest.mark.parametrize("answer", [None, {}, dict.fromkeys(GRAPHS), dict.fromkeys(GRAPHS, ...)])
def test_an_answer_that_is_not_there_yet(answer):
    assert verdict("three graphs", answer) == UNANSWERED


@pytest.mark.parametrize("name", ["keep stepping", "budget"])
def test_a_function_that_is_not_written_yet(name):
    assert verdict(name, lambda *given: None) == UNANSWERED


def test_every_wrong_family_of_every_learner_has_a_sentence_of_its_own():
    said = {
        (name, family): verdict("three graphs", RIGHT_GRAPHS | {name: family})
        for name, right in RIGHT_GRAPHS.items()
        for family in FAMILIES
        if family != right
    }
    assert all(
        sentence.startswith(f"{name} is not of the {family} family: ") for (name, family), sentence in said.items()
    )
    assert len({sentence.split(": ", 1)[1] for sentence in said.values()}) == len(said) == 2 * len(GRAPHS)


def test_a_family_that_is_none_and_one_that_is_missing():
    assert "there are black box, gradient, metric" in verdict("three graphs", RIGHT_GRAPHS | {"ANIL": "optimisation"})
    assert verdict("three graphs", RIGHT_GRAPHS | {"SNAIL": None}) == "SNAIL has no family yet."
    assert verdict("three graphs", ["gradient"]).startswith("this is a list")


def plainly(loss, phi, rate, steps):
    for _ in range(steps):
        phi = phi - rate * slope(loss, phi)
    return phi


def in_place(loss, phi, rate, steps):
    phi -= rate * slope(loss, phi)
    return phi


def takes_it_all_the_same(loss, phi, rate, steps):
    for _ in range(steps):
        tried = phi - rate * slope(loss, phi)
        rate = rate / 2 if loss(tried) > loss(phi) else rate
        phi = tried
    return phi


def forgets_the_halving(loss, phi, rate, steps):
    own = rate
    for _ in range(steps):
        tried = phi - own * slope(loss, phi)
        if loss(tried) > loss(phi):
            own /= 2
        else:
            phi, own = tried, rate
    return phi


def never_halves(loss, phi, rate, steps):
    for _ in range(steps):
        tried = phi - rate * slope(loss, phi)
        phi = phi if loss(tried) > loss(phi) else tried
    return phi


def climbs_with_care(loss, phi, rate, steps):
    return halves(loss, phi, -rate, steps)


def again_at_once(loss, phi, rate, steps):
    for _ in range(steps):
        own, down = rate, slope(loss, phi)
        while loss(phi - own * down) > loss(phi):
            own /= 2
        phi = phi - own * down
    return phi


def counts_steps_only(loss, phi, rate, steps):
    taken = 0
    while taken < steps:
        tried = phi - rate * slope(loss, phi)
        if loss(tried) > loss(phi):
            rate /= 2
        else:
            phi, taken = tried, taken + 1
    return phi


def one_slope(loss, phi, rate, steps):
    down = slope(loss, phi)
    for _ in range(steps):
        tried = phi - rate * down
        if loss(tried) > loss(phi):
            rate /= 2
        else:
            phi = tried
    return phi


def halves_always(loss, phi, rate, steps):
    for _ in range(steps):
        phi, rate = phi - rate * slope(loss, phi), rate / 2
    return phi


def dearest(rows, milliseconds, numbers):
    found = fits(rows, milliseconds, numbers)
    return max(found, key=lambda row: row["mean"])["learner"] if found else None


def fastest(rows, milliseconds, numbers):
    found = fits(rows, milliseconds, numbers)
    return min(found, key=lambda row: row["milliseconds_a_task"])["learner"] if found else None


def any_of(near):
    """The fastest of the rows that are `near` the best in some other sense than overlapping intervals."""

    def choose(rows, milliseconds, numbers):
        found = fits(rows, milliseconds, numbers)
        best = max(found, key=lambda row: row["mean"], default=None)
        rows = [row for row in found if near(row, best)]
        return min(rows, key=lambda row: row["milliseconds_a_task"])["learner"] if rows else None

    return choose


def below(rows, milliseconds, numbers):
    return buys(rows, milliseconds - 1e-6, numbers)


def worst(rows, milliseconds, numbers):
    found = fits(rows, milliseconds, numbers)
    return min(found, key=lambda row: row["mean"])["learner"] if found else None


def the_row(rows, milliseconds, numbers):
    found = fits(rows, milliseconds, numbers)
    return max(found, key=lambda row: row["mean"]) if found else None


def the_mean(rows, milliseconds, numbers):
    return max(row["mean"] for row in fits(rows, milliseconds, numbers))


def counts_transductive(rows, milliseconds, numbers):
    return buys([row | {"transductive": False} for row in rows], milliseconds, numbers)


def only_when_rich(rows, milliseconds, numbers):
    return buys(rows, milliseconds, numbers) if milliseconds > 100 else None


def always_something(rows, milliseconds, numbers):
    return buys(rows, milliseconds, numbers) or "Box"


WRONG = [
    ("keep stepping", plainly, "these are plain steps"),
    ("keep stepping", in_place, "the phi that came in has moved"),
    ("keep stepping", lambda loss, phi, rate, steps: phi, "phi is still where it started"),
    ("keep stepping", lambda loss, phi, rate, steps: phi - rate * slope(loss, phi), "this is one step only"),
    ("keep stepping", lambda loss, phi, rate, steps: plainly(loss, phi, -rate, steps), "this climbs"),
    ("keep stepping", takes_it_all_the_same, "is taken all the same"),
    ("keep stepping", forgets_the_halving, "goes back to its start after a good step"),
    ("keep stepping", halves_always, "the rate is halved at every step"),
    ("keep stepping", never_halves, "halve the rate when you refuse a step"),
    ("keep stepping", climbs_with_care, "phi is still where it started"),
    ("keep stepping", again_at_once, "the next try begins from the first rate"),
    ("keep stepping", counts_steps_only, "refused tries count too"),
    ("keep stepping", one_slope, "every step takes the slope of the start"),
    ("keep stepping", lambda loss, phi, rate, steps: loss(phi).item(), "returns a float"),
    ("keep stepping", lambda loss, phi, rate, steps: phi / 0, "the steps diverge"),
    ("keep stepping", lambda loss, phi, rate, steps: phi[:1], "expected \\(2,\\)"),
    ("keep stepping", lambda loss, phi, rate, steps: phi + 1, "the loss should be"),
    ("budget", dearest, "another's interval overlaps"),
    ("budget", any_of(lambda row, best: row["mean"] >= best["mean"] - best["interval"]), "another's interval overlaps"),
    ("budget", any_of(lambda row, best: row["mean"] + row["interval"] >= best["mean"]), "another's interval overlaps"),
    ("budget", below, "a row that costs exactly"),
    ("budget", lambda rows, milliseconds, numbers: buys(rows, milliseconds, numbers - 1), "a row that costs exactly"),
    ("budget", fastest, "this is the fastest that fits"),
    ("budget", worst, "this is the least accurate"),
    ("budget", the_row, "this is the whole row"),
    ("budget", the_mean, "this is a number"),
    ("budget", counts_transductive, "this learner is transductive"),
    ("budget", lambda rows, milliseconds, numbers: buys(rows, 1e9, 1e9), "this learner ignores the budget"),
    ("budget", lambda rows, milliseconds, numbers: buys(rows, milliseconds, 1e9), "keeps too many numbers of a task"),
    ("budget", lambda rows, milliseconds, numbers: buys(rows, 1e9, numbers), "but is too slow"),
    ("budget", always_something, "yet you chose Box"),
    ("budget", only_when_rich, "you found nothing"),
    ("budget", lambda rows, milliseconds, numbers: "Pine", "is the one to take"),
]


@pytest.mark.parametrize(("name", "answer", "sentence"), WRONG)
def test_a_typical_wrong_answer_gets_its_sentence(name, answer, sentence, assert_told):
    assert_told(name, answer, sentence, WRONG)
