"""Each metric learner against its equation written with loops."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kshot import Conv4, Matching, PixelNeighbour, Prototypical, Relation, Siamese
from kshot.learners.metric import cosine, prototypes, squared_distance


class Flat(nn.Module):
    """A backbone that changes nothing, so that the comparison alone is under test."""

    transductive = False

    def embed(self, x, given=None):
        return x, []


def task(generator, tasks=2, ways=3, shots=2, queries=4, size=5):
    y = torch.stack([torch.randperm(ways * shots, generator=generator) % ways for _ in range(tasks)])
    return (
        torch.randn(tasks, ways * shots, size, generator=generator, dtype=torch.float64),
        y,
        torch.randn(tasks, queries, size, generator=generator, dtype=torch.float64),
    )


def by_loops(probability, x_support, y, x):
    """log p[t, q, n] by calling probability(support [S, D], y [S], query [D], n) for every entry."""
    ways = int(y.max()) + 1
    return torch.tensor(
        [[[math.log(probability(x_support[t], y[t], q, n)) for n in range(ways)] for q in x[t]] for t in range(len(x))],
        dtype=torch.float64,
    )


def class_mean(x_support, y, n):
    return sum(x for x, label in zip(x_support, y) if label == n) / sum(1 for label in y if label == n)


def test_prototypical_is_equation_2_of_the_paper(generator):
    def p(x_support, y, q, n):
        weight = [math.exp(-sum((q - class_mean(x_support, y, m)) ** 2)) for m in range(3)]
        return weight[n] / sum(weight)

    given = task(generator)
    assert torch.allclose(Prototypical(Flat())(*given).log_softmax(-1), by_loops(p, *given), atol=1e-8)


def test_prototypical_cosine(generator):
    learner = Prototypical(Flat(), "cosine").double()
    scale = learner.log_temperature.exp().item()

    def p(x_support, y, q, n):
        means = [class_mean(x_support, y, m) for m in range(3)]
        weight = [math.exp(scale * float(q @ c / q.norm() / c.norm())) for c in means]
        return weight[n] / sum(weight)

    given = task(generator)
    assert torch.allclose(learner(*given).log_softmax(-1), by_loops(p, *given), atol=1e-7)


def test_matching_is_equation_1_of_the_paper(generator):
    learner = Matching(Flat()).double()
    scale = learner.log_temperature.exp().item()

    def p(x_support, y, q, n):
        attention = [math.exp(scale * float(q @ k / q.norm() / k.norm())) for k in x_support]
        return sum(a for a, label in zip(attention, y) if label == n) / sum(attention)

    given = task(generator)
    assert torch.allclose(learner(*given), by_loops(p, *given), atol=1e-7)


def test_siamese_takes_the_likeliest_partner(generator):
    learner = Siamese(Flat(), dimension=5).double()
    w, b = learner.weigh.weight[0].tolist(), learner.weigh.bias.item()

    def p(x_support, y, q, n):
        odds = [sum(wi * abs(a - c) for wi, a, c in zip(w, q, k)) + b for k, label in zip(x_support, y) if label == n]
        return max(1 / (1 + math.exp(-o)) for o in odds)

    given = task(generator)
    assert torch.allclose(learner(*given), by_loops(p, *given), atol=1e-7)


def test_siamese_loss_is_binary_over_pairs_and_balanced(generator):
    from kshot import Episodes

    x_support, y, x = task(generator)
    y_query = torch.randint(3, x.shape[:2], generator=generator)
    learner = Siamese(Flat(), dimension=5).double()
    loss = learner.losses(Episodes(x_support, y, x, y_query))
    odds = learner.same(x, x_support)
    for t in range(2):
        total = {True: [], False: []}
        for q in range(4):
            for k in range(6):
                same = bool(y_query[t, q] == y[t, k])
                total[same].append(F.softplus(-odds[t, q, k] if same else odds[t, q, k]).item())
        expected = 0.5 * sum(total[True]) / len(total[True]) + 0.5 * sum(total[False]) / len(total[False])
        assert loss[t].item() == pytest.approx(expected, rel=1e-6)
    one_way = Episodes(x_support, torch.zeros_like(y), x, torch.zeros_like(y_query))
    assert torch.isfinite(learner.losses(one_way)).all(), "a task whose pairs are all alike is no division by zero"


def test_pixel_neighbour_takes_the_nearest_label(generator):
    x_support, y, x = task(generator)
    answer = PixelNeighbour()(x_support, y, x).argmax(-1)
    for t in range(2):
        for q in range(4):
            best = min(range(6), key=lambda k: float(((x[t, q] - x_support[t, k]) ** 2).sum()))
            assert answer[t, q] == y[t, best]


def test_relation_scores_the_class_sum_beside_the_query(generator):
    net = Conv4(8, pools=(True, True, False, False), flatten=False)
    learner = Relation(net).eval()
    x_support, x = torch.rand(1, 4, 1, 28, 28, generator=generator), torch.rand(1, 2, 1, 28, 28, generator=generator)
    y = torch.tensor([[0, 1, 1, 0]])
    logits = learner(x_support, y, x)
    z_support, z = learner.embed_both(x_support, x)
    for q in range(2):
        for n in range(2):
            total = sum(z_support[0, k] for k in range(4) if y[0, k] == n)
            pair = torch.cat([total, z[0, q]])[None]
            assert torch.allclose(logits[0, q, n], learner.relate(pair)[0, 0], atol=1e-5)


def test_distances_against_loops(generator):
    a, b = torch.randn(1, 3, 4, generator=generator), torch.randn(1, 2, 4, generator=generator)
    for i in range(3):
        for j in range(2):
            assert squared_distance(a, b)[0, i, j].item() == pytest.approx(
                float(((a[0, i] - b[0, j]) ** 2).sum()), rel=1e-4
            )
            angle = a[0, i] @ b[0, j] / a[0, i].norm() / b[0, j].norm()
            assert cosine(a, b)[0, i, j].item() == pytest.approx(angle.item(), rel=1e-4)


def test_a_class_without_support_is_named():
    with pytest.raises(ValueError, match="task 0 has no support example of class 1"):
        prototypes(torch.zeros(1, 2, 3), torch.tensor([[0, 2]]), ways=3)


def test_labels_out_of_range_are_named():
    with pytest.raises(ValueError, match="labels hold class 7, but ways=5"):
        prototypes(torch.zeros(1, 2, 3), torch.tensor([[0, 7]]), ways=5)
    with pytest.raises(ValueError, match="labels hold class -1, but ways=5"):
        prototypes(torch.zeros(1, 2, 3), torch.tensor([[0, -1]]), ways=5)


def test_distances_far_from_the_origin_do_not_cancel():
    a = torch.full((1, 1, 64), 30.0)
    assert squared_distance(a, a + 0.01).item() == pytest.approx(64 * 1e-4, rel=1e-3)


def test_matching_learns_from_a_query_that_it_gives_up_on():
    learner = Matching(Flat())
    with torch.no_grad():
        learner.log_temperature.fill_(5.0)
    z = torch.tensor([[[1.0, 0.0], [-1.0, 0.1]]], requires_grad=True)
    learner(z, torch.tensor([[0, 1]]), torch.tensor([[[1.0, 0.0]]]))[0, 0, 1].backward()
    assert z.grad.abs().max() > 0


def test_relation_is_trained_by_squared_error(generator):
    from kshot import Episodes

    learner = Relation(Conv4(8, pools=(True, True, False, False), flatten=False))
    x = torch.rand(2, 2, 1, 28, 28, generator=generator)
    y = torch.tensor([[0, 1], [1, 0]])
    loss = learner.losses(Episodes(x, y, x, y))
    score = learner(x, y, x).sigmoid()
    for t in range(2):
        right = [(score[t, q, n] - float(y[t, q] == n)) ** 2 for q in range(2) for n in range(2)]
        assert loss[t].item() == pytest.approx(sum(right).item() / 4, rel=1e-5)


def test_relation_needs_maps():
    with pytest.raises(ValueError, match="flatten=False"):
        Relation(Conv4(8))


def test_unknown_distance_is_refused():
    with pytest.raises(ValueError, match='"euclidean" or "cosine"'):
        Prototypical(Conv4(8), "manhattan")
