"""The exercises of lecture 03: an encoder of sets, a sequence with empty label slots, and a leak to find and mend."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from kshot.diagnosis import Diagnosis, close, tell
from kshot.episodes import one_hot

Encode = Callable[[Tensor], Tensor]


def examine_set_encoder(read: Callable[[Encode, Tensor, Tensor], Tensor]) -> str | None:
    """An answer maps encode ([..., 2] -> [..., W]), x [T, K, 1] and y [T, K, 1] to the mean of the codes [T, W]."""
    generator = _generator()
    first, second = torch.randn(2, 6, generator=generator), torch.randn(6, 4, generator=generator)

    def encode(pairs: Tensor) -> Tensor:
        if pairs.shape[-1:] != (2,):
            raise ValueError(f"encode takes pairs (x, y) [..., 2], but was given {list(pairs.shape)}")
        return (pairs @ first).tanh() @ second

    for k in (5, 3):
        x, y = torch.randn(2, 3, k, 1, generator=generator)
        pairs = torch.cat([x, y], -1)
        codes = encode(pairs)  # [T, K, W]
        got = read(encode, x.clone(), y.clone())
        mistakes: list[Diagnosis] = [
            (
                codes.sum(1),
                "this is the sum: with more pairs h grows beyond anything the decoder was trained on. Take the mean.",
            ),
            _scaled(got, codes.sum(1), k),
            (codes.amax(1), "this keeps the largest code of each coordinate: blind to order, but it is not the mean."),
            (
                encode(pairs.mean(1)),
                "the pairs are averaged before they are encoded: all sets with one centre of mass then look alike. "
                "Encode first.",
            ),
            (codes, "there is still one code for each pair: average over the pairs, dimension 1."),
            (
                codes.mean(1, keepdim=True),
                "the pairs' dimension is still there, of size 1: drop it, so that h is [T, W].",
            ),
            (
                codes[:, -1],
                "this is the last pair's code alone: the others never reach h, and the order decides which one does.",
            ),
            (
                codes[:, 0],
                "this is the first pair's code alone: the others never reach h, and the order decides which one does.",
            ),
            (codes.mean(0), "this averages over the tasks, dimension 0: tasks must not mix, average over the pairs."),
            (
                codes.mean((0, 1)).expand(3, -1),
                "every task gets the same h: average inside each task, never across tasks.",
            ),
            (codes.mean(-1), "this averages each code to one number: average over the pairs, dimension 1, not over W."),
            (encode(torch.cat([y, x], -1)).mean(1), "x and y have changed places: a pair is (x, y), in this order."),
            (
                _by_place(codes),
                "the codes are weighted by their place, so the order matters: every pair has the weight 1/K.",
            ),
        ]
        wrong = tell(got, codes.mean(1), mistakes, "[T, W], one list of numbers for each task")
        if wrong:
            return wrong
    return None


def _scaled(got: object, total: Tensor, pairs: int) -> Diagnosis:
    """What a sum divided by some other number than that of the pairs would have returned, and its sentence."""
    share = 1.0
    if isinstance(got, Tensor) and got.shape == total.shape:
        share = float((got.detach() * total).sum() / total.square().sum())
    sentence = f"this divides the sum of {pairs} codes by {1 / share:.3g}: " if share > 1e-3 else ""
    return share * total, sentence + "divide by the number of pairs given, whatever K is."


def _by_place(codes: Tensor) -> Tensor:
    """A running average in which each new pair counts half: what a forgetful reader makes of a set."""
    h = codes[:, 0]
    for code in codes[:, 1:].unbind(1):
        h = (h + code) / 2
    return h


def examine_label_slots(sequence: Callable[..., tuple[Tensor, Tensor]]) -> str | None:
    """An answer maps z_support [S, D], y [S], z [Q, D], query_y [Q], order [Q] and ways to (rows [S + Q, D + N],
    targets [Q]): support with one-hot labels, then the queries in that order with empty slots, and their labels."""
    generator, ways = _generator(), 3
    z_support, z = torch.randn(6, 4, generator=generator), torch.randn(4, 4, generator=generator)
    y, query_y = torch.tensor([2, 0, 1, 1, 2, 0]), torch.tensor([0, 1, 2, 1])
    order = torch.tensor([2, 0, 3, 1])
    got = sequence(z_support.clone(), y.clone(), z.clone(), query_y.clone(), order.clone(), ways)
    if got is None or got is Ellipsis:
        return "your function returns nothing yet: end it with `return rows, targets`."
    if not isinstance(got, tuple | list) or len(got) != 2:
        return "return two things: the rows [S + Q, D + N] and the queries' labels [Q]."
    rows, targets = got
    empty, inverse = torch.zeros(4, ways), order.argsort()
    shown, asked = one_hot(y[None], ways)[0], one_hot(query_y[None], ways)[0]  # [6, N], [4, N]
    support = torch.cat([z_support, shown], 1)

    def after(queries: Tensor, slots: Tensor = empty, first: Tensor = support) -> Tensor:
        return torch.cat([first, torch.cat([queries, slots], 1)])

    ordered = after(z[order])
    in_place = close(rows, after(z)) if isinstance(rows, Tensor) else False
    mistakes: list[Diagnosis] = [
        (
            after(z[order], asked[order]),
            "the queries' own labels are still in their slots: the answer is written on the question. Leave zeros"
            " there.",
        ),
        (
            after(z, asked),
            "wrong twice: the queries' own labels are in their slots, and the queries do not come in `order`.",
        ),
        (
            after(z[order], asked),
            "the slots hold the queries' labels, and not even those of the rows they stand in: leave zeros there.",
        ),
        (
            after(z),
            "the queries come in the order they were given: where that is class after class, a network counts "
            "rows instead of reading. Use `order`.",
        ),
        (
            after(z[inverse]),
            "this puts query i at place order[i]; `order` says which query comes at each place: z[order].",
        ),
        (
            after(z[order], first=torch.cat([z_support, torch.zeros(6, ways)], 1)),
            "the support's slots are empty too: then there is nothing to learn from. Only the queries' stay empty.",
        ),
        (
            after(z[order], first=torch.cat([z_support, torch.cat([torch.zeros(1, ways), shown[:-1]])], 1)),
            "the support's labels come one row late, as in Santoro's stream: here each stands beside its own drawing.",
        ),
        (
            after(z[order], torch.full((4, ways), 1 / ways)),
            "the empty slot holds 1/N: it tells nothing, but it is not empty. Fill it with zeros.",
        ),
        (
            torch.cat([torch.cat([shown, z_support], 1), torch.cat([empty, z[order]], 1)]),
            "the slots stand before the embeddings: the embedding comes first, [S + Q, D + N].",
        ),
        (
            torch.cat([ordered[6:], ordered[:6]]),
            "the queries come before the support: the network would be asked before it has read anything.",
        ),
        (torch.cat([z_support, z[order]]), "there are no label slots: every row needs N more numbers."),
        (
            torch.cat([support, ordered[6:, :4] @ torch.eye(4, 4 + ways)])[:6],
            "the queries are missing: they come after the support, with empty slots.",
        ),
    ]
    mixed = _drawings_moved(rows, z_support, shown, ordered)
    if mixed:
        return mixed
    wrong = tell(rows, ordered, mistakes, "[S + Q, D + N], one row for each drawing")
    if wrong and in_place and close(targets, query_y[order]):
        return "the targets are in the new order and the rows are not: each query would be graded by another's label."
    if wrong:
        return wrong
    return tell(
        targets,
        query_y[order],
        [
            (
                query_y,
                "the rows are in the new order, but the targets are in the old one: each query would be graded by "
                "another's label.",
            ),
            (query_y[inverse], "the targets are permuted the other way round than the rows: query_y[order]."),
            (asked[order], "the targets are one-hot: give class ids [Q], cross-entropy takes those."),
        ],
        "[Q], one class id for each query",
    )


def _drawings_moved(rows: object, z_support: Tensor, shown: Tensor, ordered: Tensor) -> str | None:
    """The sentence for support drawings in another order than the given one, with or without their labels."""
    if not isinstance(rows, Tensor) or rows.shape != ordered.shape:
        return None
    count, numbers = z_support.shape
    drawings, labels = rows[:count, :numbers].detach().double(), rows[:count, numbers:].detach()
    places = torch.cdist(drawings, z_support.double()).argmin(1)  # [S], which drawing stands in each row
    moved = not torch.equal(places, torch.arange(count)) and torch.equal(places.sort().values, torch.arange(count))
    if not moved or not close(drawings, z_support[places]):
        return None
    if close(labels, shown[places]):
        return "the support's rows come in another order: leave them as they were given, `order` is the queries' alone."
    return (
        "the support's drawings come in another order than their labels: each label then stands beside another class."
    )


def examine_leak(answers: Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]) -> str | None:
    """An answer maps z_support [S, D], y [S], z [Q, D], query_y [Q] (a bait) and ways to p(y | x) [Q, N]: softmax of
    z·z_s over the support, times the labels."""
    generator, ways = _generator(), 3
    z_support, z = torch.randn(6, 4, generator=generator), torch.randn(4, 4, generator=generator)
    y, query_y = torch.tensor([2, 0, 1, 1, 0, 2]), torch.tensor([0, 1, 2, 1])
    got = answers(z_support.clone(), y.clone(), z.clone(), query_y.clone(), ways)
    shown, asked = one_hot(y[None], ways)[0], one_hot(query_y[None], ways)[0]
    scores, among = z @ z_support.mT, z @ torch.cat([z_support, z]).mT  # [Q, S], [Q, S + Q]
    others = among.masked_fill(torch.cat([torch.zeros(4, 6), torch.eye(4)], 1).bool(), -torch.inf)  # not at itself
    everything, blank = torch.cat([shown, asked]), torch.cat([shown, torch.zeros_like(asked)])
    mistakes: list[Diagnosis] = [
        (
            among.softmax(0) @ everything,
            "both faults are still there. Which keys may a query look at, and what must its attention sum to?",
        ),
        (
            among.softmax(1) @ everything,
            "the queries are still among the keys, with their labels: each finds itself and reads its own answer.",
        ),
        (
            others.softmax(1) @ everything,
            "a query no longer sees its own label, but still those of the other queries, which nobody may show it: "
            "the support alone is what it looks at.",
        ),
        (
            scores.softmax(0) @ shown,
            "the softmax runs over the queries: they compete with each other, so that an answer depends on which "
            "others were asked. Take it over the support.",
        ),
        (
            among.softmax(1) @ blank,
            "the queries' labels are gone, but the queries still draw attention: the probabilities no longer sum to 1.",
        ),
        (
            scores.flatten().softmax(0).view_as(scores) @ shown,
            "one softmax over all queries and keys together: each query needs its own, over the support.",
        ),
        (scores @ shown, "the softmax is gone: these are scores, and they can be negative. Take it over the support."),
        (scores.softmax(1), "this is the attention, not yet the answer: multiply it by the labels."),
        (asked, "this hands back `query_y`: no query may see its own label, use the support's."),
        (
            (scores @ shown).softmax(1),
            "this adds up the scores of a class before the softmax: take the softmax over the support first.",
        ),
        *(
            (
                (scores / d**0.5).softmax(1) @ shown,
                f"a scale has come in, 1/sqrt({d}): sensible in general, but the classifier here has none.",
            )
            for d in (4, 32)  # of the check, and of the noise in the notebook
        ),
        (
            one_hot(y[scores.argmax(1)][None], ways)[0],
            "this is the label of the nearest drawing alone: give its softmax, so that the others have their share.",
        ),
    ]
    return tell(got, scores.softmax(1) @ shown, mistakes, "[Q, N], the probabilities of each query")


EXERCISES = {"set encoder": examine_set_encoder, "label slots": examine_label_slots, "find the leak": examine_leak}


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)
