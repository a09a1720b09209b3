"""The recurrent learners, fast weights and the neural process against their equations written with loops."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Normal

from kshot import Conv4, Episodes
from kshot.learners.fast_weights import MetaNetwork
from kshot.learners.memory import MANN, LSTMLearner, least_used
from kshot.learners.neural_process import NeuralProcess, in_one_order

WAYS = 3


def task(generator, tasks=2, shots=4, queries=3, size=5):
    draw = lambda count: torch.randn(tasks, count, size, generator=generator, dtype=torch.float64)  # noqa: E731
    return draw(shots), torch.randint(WAYS, (tasks, shots), generator=generator), draw(queries)


def pairs_of(x, y):
    """One task's pairs [S, D + N]."""
    return torch.cat([x, F.one_hot(y, WAYS).double()], -1)


def alone(x):
    """One query with an empty label slot [D + N]."""
    return torch.cat([x, x.new_zeros(WAYS)])


def by_loops(answer, support_x, support_y, query_x):
    """answer(pairs [S, D + N], query [D]) -> [N], for every task and query: [T, Q, N]."""
    return torch.stack(
        [
            torch.stack([answer(pairs_of(x, y), q) for q in queries])
            for x, y, queries in zip(support_x, support_y, query_x)
        ]
    )


def test_lstm_is_pytorchs_lstm_read_to_the_end(generator):
    learner, data = LSTMLearner(inputs=5, ways=WAYS, hidden=7).double(), task(generator)
    peer = nn.LSTM(5 + WAYS, 7).double()
    peer.load_state_dict({f"{name}_l0": value for name, value in learner.cell.state_dict().items()})
    expected = by_loops(lambda pairs, q: learner.out(peer(torch.cat([pairs, alone(q)[None]]))[0][-1]), *data)
    assert torch.allclose(learner(*data), expected, atol=1e-12)


def test_least_used():
    usage = torch.tensor([[0.5, 0.1, 0.1, 0.9], [0.0, 0.0, 0.0, 0.0], [3.0, 2.0, 1.0, 1.5]])
    assert least_used(usage, 1).argmax(-1).flatten().tolist() == [1, 0, 2]
    assert least_used(usage, 2).argmax(-1).tolist() == [[1, 2], [0, 1], [2, 3]]
    assert torch.equal(least_used(usage, 2).sum(-1), torch.ones(3, 2))


def test_with_the_gate_shut_a_write_goes_to_the_least_used_slot_alone(generator):
    learner = MANN(inputs=5, ways=WAYS, hidden=7, slots=3, width=4).double()
    nn.init.zeros_(learner.gate.weight)
    nn.init.constant_(learner.gate.bias, -1e9)  # never where it was read last
    memory = learner.start(torch.zeros(1, 1, 5, dtype=torch.float64))
    written = []
    for pair in torch.randn(6, 1, 5 + WAYS, generator=generator, dtype=torch.float64):
        before, memory = memory, learner.take(memory, pair)
        slot = min(range(3), key=lambda i: (float(before.usage[0, i]), i))
        expected = before.slots.clone()
        expected[0, slot] = learner.value(memory.hidden)[0]  # emptied, then written
        assert torch.equal(memory.slots, expected)
        written.append(slot)
    assert written[:3] == [0, 1, 2]  # an unwritten slot is used less than a written one
    assert set(written) == {0, 1, 2}


@torch.no_grad()
def mann_by_loops(learner, pairs, query):
    """Santoro et al., equations 2 to 8, one head and one slot at a time, with lists for the memory."""
    heads, width = learner.heads, learner.width
    slots, usage = [torch.zeros(width).double() for _ in range(learner.slot_count)], [0.0] * learner.slot_count
    reads = [[0.0] * len(slots) for _ in range(heads)]
    state, found = None, torch.zeros(heads * width).double()
    for pair in [*pairs, query]:
        state = learner.controller(torch.cat([pair, found])[None], state)
        hidden = state[0][0]
        keys, values = learner.key(hidden).view(heads, width), learner.value(hidden).view(heads, width)
        strength, gate = F.softplus(learner.strength(hidden)), learner.gate(hidden).sigmoid()
        now = []
        for h in range(heads):
            likeness = [float(keys[h] @ m / (keys[h].norm() * m.norm())) if m.norm() > 0 else 0.0 for m in slots]
            scores = [math.exp(float(strength[h]) * s) for s in likeness]
            now.append([s / sum(scores) for s in scores])
        found = torch.cat([sum(w * m for w, m in zip(now[h], slots)) for h in range(heads)])
        least = sorted(range(len(slots)), key=lambda i: (usage[i], i))[:heads]
        writes = [
            [float(gate[h]) * reads[h][i] + (1 - float(gate[h])) * (i == least[h]) for i in range(len(slots))]
            for h in range(heads)
        ]
        for i in range(len(slots)):
            kept = 0 if i in least else slots[i]
            slots[i] = kept + sum(writes[h][i] * values[h] for h in range(heads))
            usage[i] = learner.decay * usage[i] + sum(now[h][i] + writes[h][i] for h in range(heads))
        reads = now
    return learner.out(torch.cat([hidden, found]))


@pytest.mark.parametrize("heads", [1, 2])
def test_mann_is_its_equations(heads, generator):
    learner = MANN(inputs=5, ways=WAYS, hidden=7, slots=4, width=3, heads=heads).double()
    data = task(generator, shots=7)  # more than there are slots
    expected = by_loops(lambda pairs, q: mann_by_loops(learner, pairs, alone(q)), *data)
    assert torch.allclose(learner(*data), expected, atol=1e-10)


def test_meta_network_is_its_equations(generator):
    learner, data = MetaNetwork(inputs=5, ways=WAYS, width=6).double(), task(generator)
    q, v = learner.q, learner.v

    def answer(pairs, query):
        z, labels, gradients = pairs[:, :5], pairs[:, 5:].argmax(-1), []
        for k in range(len(z)):
            loss = F.cross_entropy(v @ (q @ z[k]).relu(), labels[k])
            gradients.append(torch.autograd.grad(loss, [q, v]))
        fast_q = learner.d(sum(g[0] for g in gradients) / len(z))
        u = lambda each: (q @ each).relu() + (fast_q @ each).relu()  # noqa: E731
        likeness = torch.stack([F.cosine_similarity(u(query), u(each), dim=0) for each in z])
        a = (learner.log_strength.exp() * likeness).softmax(0)
        return (v + sum(weight * learner.m(g[1]) for weight, g in zip(a, gradients))) @ u(query)

    assert torch.allclose(learner(*data), by_loops(answer, *data), atol=1e-10)


def test_neural_process_is_its_equation(generator):
    learner, data = NeuralProcess(inputs=5, ways=WAYS, width=8).double(), task(generator)

    def answer(pairs, query):
        return learner.decode(torch.cat([sum(learner.encode(pair) for pair in pairs) / len(pairs), query]))

    assert torch.allclose(learner(*data), by_loops(answer, *data), atol=1e-12)


@pytest.mark.parametrize("kind", ["images", "targets"])
def test_the_order_of_the_support_changes_no_bit_of_a_neural_process(kind, generator):
    """In float32, where sums in another order differ in the last bits."""
    if kind == "images":
        learner, y = NeuralProcess(Conv4(8), ways=WAYS), torch.randint(WAYS, (3, 11), generator=generator)
        x, queries = (torch.rand(3, size, 1, 28, 28, generator=generator) for size in (11, 4))
    else:
        learner, y = NeuralProcess(inputs=5, targets=2), torch.randn(3, 11, 2, generator=generator)
        x, queries = (torch.randn(3, size, 5, generator=generator) for size in (11, 4))
    x[:, 1], y[:, 1] = x[:, 0], y[:, 0]  # a pair that comes twice
    x[:, 3] = x[:, 2]  # an input that comes twice
    first = learner(x, y, queries)
    for _ in range(20):
        order = torch.randperm(11, generator=generator)
        assert torch.equal(learner(x[:, order], y[:, order], queries), first)
        assert torch.equal(learner.predict(learner.adapt(x[:, order], y[:, order]), queries), first)
    plain = [learner.encode(torch.randn(1, 11, learner.encode[0].in_features)) for _ in range(20)]
    assert any(not torch.equal(r.sum(1), r.flip(1).sum(1)) for r in plain)  # so there was something to avoid
    ordered = in_one_order(x, y)[0]
    assert torch.equal(ordered.flatten(1).sort(1).values, x.flatten(1).sort(1).values)


def test_neural_process_density(generator):
    x, y, queries = (torch.randn(2, size, 1, generator=generator).double() for size in (5, 5, 3))
    learner = NeuralProcess(inputs=1, targets=1, floor=0.2).double()
    normal = learner.distribution(x, y, queries)
    assert isinstance(normal, Normal) and normal.mean.shape == (2, 3, 1) and normal.stddev.min() > 0.2
    assert torch.equal(normal.mean, learner(x, y, queries))
    losses = learner.losses(Episodes(x[:, :4], y[:, :4], x[:, 4:], y[:, 4:]))
    normal = learner.distribution(x[:, :4], y[:, :4], x)
    nll = ((y - normal.mean) / normal.stddev).square() / 2 + normal.stddev.log() + math.log(2 * math.pi) / 2
    assert torch.allclose(losses, nll.mean((1, 2)))
    with pytest.raises(ValueError, match="class ids have no Normal"):
        NeuralProcess(inputs=1, ways=2).distribution(x, y, queries)


def test_more_heads_than_slots_are_refused():
    with pytest.raises(ValueError, match="3 heads need a slot each, but the memory has slots=2"):
        MANN(inputs=5, ways=2, slots=2, heads=3)
