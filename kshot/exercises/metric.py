"""The exercises of lecture 05: prototypes, their logits, and a Siamese network used N-way."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from kshot.diagnosis import Diagnosis, close, shaped, tell
from kshot.learners import metric


def examine_prototypes(prototypes: Callable[[Tensor, Tensor, int], Tensor]) -> str | None:
    """An answer maps z [T, S, D], y [T, S] and ways to the mean embedding of each class [T, N, D]."""
    ways, equal, unequal = 3, [[0, 2, 1, 1, 0, 2], [2, 1, 0, 0, 1, 2]], [[0, 2, 1, 1, 0, 1], [2, 2, 0, 2, 1, 2]]
    for y in (torch.tensor(equal), torch.tensor(unequal)):
        z = torch.randn(2, 6, 4, generator=_generator())
        expected = metric.prototypes(z, y, ways)
        try:
            got = prototypes(z.clone(), y.clone(), ways)
        except RuntimeError as error:
            if "dtype" in str(error) or "scalar type" in str(error):
                return _WHOLE_NUMBERS
            raise
        members = metric.one_hot(y, ways)  # [T, S, N]
        count = members.sum(1)[..., None]  # [T, N, 1]
        pooled = metric.prototypes(z.view(1, 12, 4), y.view(1, 12), ways).expand_as(expected)
        mistakes: list[Diagnosis] = [
            (z.mean(1), _GRAND_MEAN),
            (z.mean(1, keepdim=True).expand_as(expected), _GRAND_MEAN),
            (expected * count, "these are sums: divide each by the number of examples of its class."),
            (
                expected * count / z.shape[1],
                "each sum is divided by all S support examples: divide it by those of its own class.",
            ),
            (
                expected * count / (z.shape[1] / ways),
                "this divides by S / N, so it is right only while every class has equally many examples: count them.",
            ),
            (
                z.view(2, ways, -1, 4).mean(2),
                "this is right only for a support sorted by class, which nobody promised: let y say who belongs where.",
            ),
            (
                z.view(2, -1, ways, 4).mean(1),
                "this takes every N-th example for a class, but the support comes in any order: let y say who belongs "
                "where.",
            ),
            (pooled, "every task has the same prototypes: average inside each task, never across tasks."),
            (
                metric.prototypes(z, y[:1].expand_as(y), ways),
                "the first task's labels are used for every task: each row of y belongs to its own task.",
            ),
        ]
        wrong = tell(got, expected, mistakes, "[T, N, D], one mean for each class of each task")
        if wrong:
            return wrong
    return None


_WHOLE_NUMBERS = "one_hot gives whole numbers, which z cannot be multiplied with: end it with `.float()`."
_GRAND_MEAN = "this is one mean over all classes: for class n, average only the examples whose label is n."


def examine_logits(logits: Callable[[Tensor, Tensor], Tensor]) -> str | None:
    """An answer maps embeddings z [T, Q, D] and prototypes c [T, N, D] to -|z - c|^2 [T, Q, N], or equals it up to a
    constant for each query, which softmax cannot see."""
    generator = _generator()
    z, c = torch.randn(2, 5, 4, generator=generator), torch.randn(2, 3, 4, generator=generator)
    difference = z[:, :, None] - c[:, None]  # [T, Q, N, D]
    expected = -difference.square().sum(-1)
    mistakes: list[Diagnosis] = [
        (
            -expected,
            "the sign is wrong: softmax rewards the largest number, so the nearest prototype needs the largest logit.",
        ),
        (
            -(-expected).sqrt(),
            "this is the distance, not its square: the same prototype is nearest, but the probabilities change and the "
            "logits are no longer linear in z.",
        ),
        (
            (-expected).sqrt(),
            "wrong twice: the nearest prototype needs the largest logit, so a minus is missing, and the distance "
            "must be squared.",
        ),
        (
            expected / z.shape[-1],
            "this averages over the D coordinates, so every logit is D times too small: add them up.",
        ),
        (
            expected.softmax(-1),
            "these are probabilities already: return the logits, the loss takes its own softmax.",
        ),
        (-difference.abs().sum(-1), "this adds up absolute differences: square them instead."),
        (
            z @ c.mT,
            "this is only the product of z and c: a long prototype then wins everywhere, unless you take off |c|^2.",
        ),
        (
            2 * z @ c.mT,
            "this is 2 z·c without the |c|^2 that belongs to it: a long prototype then wins everywhere.",
        ),
        (metric.cosine(z, c), "this is the cosine: here the measure is the squared Euclidean distance."),
        (expected.mT, "queries and classes have changed places: the shape is [T, Q, N], queries first."),
    ]
    got = logits(z.clone(), c.clone())
    if shaped(got, expected) and close(got - got[..., :1], expected - expected[..., :1]):
        return None
    return tell(got, expected, mistakes, "[T, Q, N], a number for each class of each query")


def examine_siamese(classify: Callable[[Tensor, Tensor], Tensor]) -> str | None:
    """An answer maps p(same) [Q, S] and the support's labels y [S] to a class id [Q] for each query."""
    y = torch.tensor([2, 0, 1, 0])
    clear = torch.tensor([[0.1, 0.2, 0.9, 0.3], [0.45, 0.55, 0.1, 0.0], [0.3, 0.4, 0.6, 0.4]])  # one partner above .5
    unclear = torch.tensor([[0.4, 0.2, 0.3, 0.1], [0.6, 0.7, 0.9, 0.6], [0.3, 0.1, 0.4, 0.2], [0.8, 0.6, 0.1, 0.7]])
    p_same = torch.cat([clear, unclear])
    expected = y[p_same.argmax(1)]
    got = classify(p_same.clone(), y.clone())
    members = metric.one_hot(y[None], 3)[0]  # [S, N]
    mistakes: list[Diagnosis] = [
        (
            p_same.argmax(1),
            "this is the partner's position in the support: its class is the label at that position.",
        ),
        (y[p_same.argmin(1)], "this takes the least likely partner: take the likeliest."),
        (
            (p_same @ members).argmax(1),
            "this adds up the probabilities of a class, so a class with more examples wins by number: let the single "
            "likeliest partner decide.",
        ),
        (
            (p_same @ members / members.sum(0)).argmax(1),
            "this averages over a class's examples, so one poor drawing spoils a perfect match: let the single "
            "likeliest partner decide.",
        ),
    ]
    wrong = tell(got, expected, mistakes, "[Q], one class id for each query")
    if wrong and shaped(got, expected) and torch.equal(got[:3].long(), expected[:3]):
        return (
            "right only where exactly one partner passes .5: a threshold is mute when none passes and undecided when "
            "several do, so compare the partners with each other."
        )
    return wrong


EXERCISES = {"prototypes": examine_prototypes, "logits": examine_logits, "siamese": examine_siamese}


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)
