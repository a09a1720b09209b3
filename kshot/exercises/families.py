"""The exercises of lecture 06: which graph is whose, keep stepping, and which learner a budget buys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from kshot.exercises import UNANSWERED

FAMILIES = ("black box", "gradient", "metric")

# Each learner's family, and for each wrong one why it is not.
GRAPHS: dict[str, tuple[str, dict[str, str]]] = {
    "ANIL": (
        "gradient",
        {
            "metric": "its features stand still as an embedding does, but its head takes gradient steps.",
            "black box": "no network reads the tags: the support enters through the slope of a loss.",
        },
    ),
    "Neural process": (
        "black box",
        {
            "metric": "it takes a mean, but of encoded pairs of all classes together, and a network answers from it: "
            "nothing is compared with the query.",
            "gradient": "its weights stand still: reading the pairs is one forward pass, and no slope is taken.",
        },
    ),
    "Matching network": (
        "metric",
        {
            "black box": "it attends as SNAIL does, but the tags never enter a network: they are only averaged.",
            "gradient": "it takes no step: the attention is worked out from the embeddings at once.",
        },
    ),
    "Reptile": (
        "gradient",
        {
            "black box": "it never differentiates through the inner steps, but it takes them, in every task.",
            "metric": "it compares nothing: it moves all its weights towards the task's.",
        },
    ),
    "SNAIL": (
        "black box",
        {
            "metric": "it attends, but to tags and drawings in one sequence, and a network answers: tags can change "
            "what it looks at.",
            "gradient": "its weights stand still: the support enters as the beginning of a sequence.",
        },
    ),
    "Relation network": (
        "metric",
        {
            "black box": "a network gives its scores, but it sees two embeddings and no tag: the tags only say which "
            "embeddings belong together.",
            "gradient": "its second network is trained once and stands still in the task.",
        },
    ),
    "Meta-SGD": (
        "gradient",
        {
            "black box": "its rates are learned, but they only scale the slope of a loss on the support.",
            "metric": "it compares nothing: it steps, with a learned rate for each weight.",
        },
    ),
    "LSTM": (
        "black box",
        {
            "gradient": "its state moves with every example, its weights do not: the state is an h, not a phi.",
            "metric": "it compares nothing: it reads the pairs one after the other into a state.",
        },
    ),
}


def examine_graphs(answer: Mapping[str, str | None]) -> str | None:
    """An answer maps each learner of GRAPHS to one of FAMILIES."""
    if not isinstance(answer, Mapping):
        return f"this is a {type(answer).__name__}: fill in the dictionary, a family for each learner."
    given = {name: None if family is Ellipsis else family for name, family in answer.items()}
    if all(given.get(name) is None for name in GRAPHS):
        return UNANSWERED
    if missing := [name for name in GRAPHS if given.get(name) is None]:
        return f"{missing[0]} has no family yet."
    for name, (right, why_not) in GRAPHS.items():
        if given[name] not in FAMILIES:
            return f"{name}: {given[name]!r} is no family, there are {', '.join(FAMILIES)}."
        if given[name] != right:
            return f"{name} is not of the {given[name]} family: {why_not[given[name]]}"
    return None


def examine_keep_stepping(keep: Callable[[Callable[[Tensor], Tensor], Tensor, float, int], Tensor]) -> str | None:
    """An answer maps loss, phi [P], rate and steps to phi after the steps, the rate halved (and the step not taken)
    whenever a step would raise the loss."""
    curvature = torch.tensor([1.0, 4.0])

    def loss(phi: Tensor) -> Tensor:
        return (curvature * phi.square()).sum() / 2

    start = torch.tensor([3.0, -2.0])
    for rate, steps in ((0.1, 3), (1.2, 6)):  # no step of the first is refused; all the wrong ways part in the second
        phi = start.clone()
        got = keep(loss, phi, rate, steps)
        if got is None:
            return UNANSWERED
        if not isinstance(got, Tensor):
            return f"your function returns a {type(got).__name__}: return phi after the steps, a tensor."
        if not torch.equal(phi.detach(), start):
            return "the phi that came in has moved: the next task needs the same start, so make a new tensor."
        got = got.detach()
        if got.shape != start.shape:
            return f"the result has shape {tuple(got.shape)}, expected {tuple(start.shape)}: the same as phi's."
        expected = stepped(curvature, start, rate, steps)
        if torch.allclose(got, expected, atol=1e-5):
            continue
        for other, sentence in _other_ways(curvature, start, rate, steps):
            if torch.allclose(got, other, atol=1e-5, equal_nan=True):
                return sentence
        if not torch.isfinite(got).all():
            return "the steps diverge: a step that raises the loss must not be taken, and the rate is halved."
        return (
            f"after {steps} tries from rate {rate} the loss should be {loss(expected):.4g}, here it is {loss(got):.4g}."
        )
    return None


def stepped(curvature: Tensor, phi: Tensor, rate: float, steps: int, rule: str = "right") -> Tensor:
    """phi after `steps` tries on the loss sum(curvature * phi^2) / 2; "right": a try that would raise it is refused and
    halves the rate. The other rules are the wrong ways of WAYS."""
    first, at_start = rate, curvature * phi

    def loss(at: Tensor) -> Tensor:
        return (curvature * at.square()).sum()

    for _ in range(steps):
        slope = at_start if rule == "one slope" else curvature * phi
        if rule == "again at once":
            rate = first
        while rule in ("again at once", "only steps count") and loss(phi - rate * slope) > loss(phi):
            rate /= 2
        tried = phi - rate * slope
        refused = loss(tried) > loss(phi)
        if not refused or rule in ("plain", "taken", "always halved"):
            phi = tried
        if rule == "always halved" or (refused and rule not in ("plain", "never halved")):
            rate /= 2
        elif rule == "back to its start":
            rate = first
    return phi


WAYS = {
    "plain": "these are plain steps: with a large rate they climb, so try each step, and halve the rate where the loss "
    "would rise.",
    "taken": "the rate is halved, but the step that raised the loss is taken all the same: stay where you were.",
    "never halved": "the first try from a large rate is refused, and so is each after it: halve the rate when you "
    "refuse a step.",
    "back to its start": "the rate goes back to its start after a good step, and the next step overshoots again: keep "
    "the halved one.",
    "again at once": "a refused step uses up its try, and the halved rate is kept for good: here the try is repeated "
    "with a smaller rate at once, and the next try begins from the first rate.",
    "only steps count": "refused tries count too: here a refused try is repeated until a step is taken.",
    "one slope": "every step takes the slope of the start: compute it again at each new phi.",
    "always halved": "the rate is halved at every step: halve it only where the loss would rise.",
}


def _other_ways(curvature: Tensor, start: Tensor, rate: float, steps: int) -> list[tuple[Tensor, str]]:
    up = start
    for _ in range(steps):
        up = up + rate * curvature * up
    found = [(stepped(curvature, start, rate, steps, rule), sentence) for rule, sentence in WAYS.items()]
    found.append((start - rate * curvature * start, "this is one step only: go on, `steps` times."))
    found.append((up, "this climbs: a step down goes against the slope, with a minus."))
    if not torch.equal(stepped(curvature, start, rate, 1), start):  # else staying is what refusing does
        found.append((start, "phi is still where it started: take off the rate times the slope (adding it climbs, and "
                             "every try is refused)."))  # fmt: skip
    return found


Row = Mapping[str, Any]


def examine_budget(choose: Callable[[list[dict], float, float], str | None]) -> str | None:
    """An answer maps rows (as in benchmarks/results/families.json, one setting), the milliseconds and the numbers that
    a task may cost to the name of the best affordable learner that is not transductive, or None where there is none.

    Learners whose intervals overlap the best one's cannot be told apart: of these, the fastest.
    """
    for rows, milliseconds, numbers in _offers():
        got = choose([dict(row) for row in rows], milliseconds, numbers)
        expected = best_buy(rows, milliseconds, numbers)
        if got == expected:
            continue
        if isinstance(got, Mapping):
            return "this is the whole row: return the learner's name, row['learner']."
        if isinstance(got, (int, float)):
            return "this is a number: return the name of the learner that has it."
        if expected is None:
            return (
                f"nothing fits {milliseconds:g} ms and {numbers:g} numbers here, yet you chose {got}: return None then."
            )
        for other, sentence in _other_choices(rows, milliseconds, numbers):
            if got == other:
                return sentence
        if got is None and choose([dict(row) for row in rows], 1e9, 1e9) is None:
            return UNANSWERED
        if got is None:
            return f"you found nothing for {milliseconds:g} ms and {numbers:g} numbers, but {expected} fits."
        return f"for {milliseconds:g} ms and {numbers:g} numbers you chose {got}, but {expected} is the one to take."
    return None


def best_buy(rows: list[Row], milliseconds: float, numbers: float) -> str | None:
    """The right answer: see `examine_budget`."""
    fit = [row for row in rows if _fits(row, milliseconds, numbers) and not row["transductive"]]
    return _fastest_of_the_best(fit)


def _fits(row: Row, milliseconds: float, numbers: float) -> bool:
    return row["milliseconds_a_task"] <= milliseconds and row["context_numbers"] <= numbers


def _fastest_of_the_best(rows: list[Row]) -> str | None:
    if not rows:
        return None
    best = max(rows, key=lambda row: row["mean"])
    as_good = [row for row in rows if row["mean"] + row["interval"] >= best["mean"] - best["interval"]]
    return min(as_good, key=lambda row: row["milliseconds_a_task"])["learner"]


def _other_choices(rows: list[Row], milliseconds: float, numbers: float) -> list[tuple[str | None, str]]:
    own = [row for row in rows if not row["transductive"]]
    fit = [row for row in own if _fits(row, milliseconds, numbers)]

    def named(row: Row) -> str:
        return row["learner"]

    below = [row for row in fit if row["milliseconds_a_task"] < milliseconds and row["context_numbers"] < numbers]
    return [
        (_fastest_of_the_best(below),
         "a row that costs exactly the budget fits too: at most means <=."),
        (_fastest_of_the_best([row for row in rows if _fits(row, milliseconds, numbers)]),
         "this learner is transductive: it saw the other queries, so its score is not comparable. Leave it out."),
        (named(max(fit, key=lambda row: row["mean"])),
         "its mean is the highest, but another's interval overlaps with its own (the other's mean plus its interval "
         "reaches this mean minus this interval) and is faster: those two cannot be told apart, so take the faster."),
        (named(min(fit, key=lambda row: row["milliseconds_a_task"])),
         "this is the fastest that fits, but its accuracy is lower than the best's beyond both intervals."),
        (named(min(fit, key=lambda row: row["mean"])), "this is the least accurate: take the largest mean."),
        (_fastest_of_the_best(own), "this learner ignores the budget: drop the rows that cost too much first."),
        (_fastest_of_the_best([row for row in own if row["milliseconds_a_task"] <= milliseconds]),
         "this learner is fast enough, but keeps too many numbers of a task: both budgets hold."),
        (_fastest_of_the_best([row for row in own if row["context_numbers"] <= numbers]),
         "this learner keeps few enough numbers, but is too slow: both budgets hold."),
    ]  # fmt: skip


def _offers() -> list[tuple[list[Row], float, float]]:
    """Rows and budgets on which the right choice and each typical wrong one differ: Fir's and Yew's intervals overlap,
    but neither holds the other's mean; Yew meets the last budget exactly."""
    names = ("learner", "mean", "interval", "milliseconds_a_task", "context_numbers", "transductive")
    table = [
        ("Oak", 97.0, 0.4, 50.0, 30_000, False),
        ("Elm", 96.8, 0.4, 90.0, 200, False),
        ("Ash", 95.0, 0.5, 8.0, 9_000, False),
        ("Fir", 94.0, 0.5, 9.0, 300, False),
        ("Yew", 93.2, 0.5, 4.0, 160, False),
        ("Box", 80.0, 0.7, 2.0, 60, False),
        ("Bay", 60.0, 0.7, 6.0, 80, False),
        ("Sea", 96.0, 0.3, 3.0, 160, True),
    ]
    rows = [dict(zip(names, line)) for line in table]
    return [(rows, 10.0, 1000.0), (rows, 1000.0, 100_000.0), (rows, 1.0, 1000.0), (rows, 4.0, 160.0)]


EXERCISES = {
    "three graphs": examine_graphs,
    "keep stepping": examine_keep_stepping,
    "budget": examine_budget,
}
