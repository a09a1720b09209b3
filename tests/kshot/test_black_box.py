"""What every black-box learner owes: the contract, sentences for bad input, and no label that leaks."""

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F

from kshot import Conv4, Episodes, FewShot, fit
from kshot.black_box import presentations
from kshot.learners.attention import SNAIL, InContextTransformer
from kshot.learners.fast_weights import MetaNetwork
from kshot.learners.memory import MANN, LSTMLearner
from kshot.learners.neural_process import NeuralProcess
from kshot.tasks import LinearRegression
from kshot.tasks.order import Shuffled

LEARNERS = {
    "lstm": lambda net=None, **rest: LSTMLearner(net, hidden=32, **rest),
    "mann": lambda net=None, **rest: MANN(net, hidden=32, slots=8, width=16, heads=2, **rest),
    "meta network": lambda net=None, **rest: MetaNetwork(net, width=16, **rest),
    "neural process": lambda net=None, **rest: NeuralProcess(net, width=32, **rest),
    "snail": lambda net=None, **rest: SNAIL(net, shots=2, filters=16, **rest),
}
SEQUENCE = ["lstm", "mann", "snail"]
WAYS = 3


@pytest.fixture(params=LEARNERS)
def name(request):
    return request.param


@dataclass(frozen=True)
class Clusters:
    """An easy task: three Gaussian clusters in four dimensions, class after class, two shots and two queries each."""

    spread: float = 0.3

    def sample(self, tasks, generator):
        centres = 2 * torch.randn(tasks, WAYS, 1, 4, generator=generator)
        x = centres + self.spread * torch.randn(tasks, WAYS, 4, 4, generator=generator)
        y = torch.arange(WAYS).repeat_interleave(2).expand(tasks, -1)
        return Episodes(x[:, :, :2].flatten(1, 2), y, x[:, :, 2:].flatten(1, 2), y)


TASKS = Shuffled(Clusters())


def trained(build, tasks=TASKS, **rest):
    """`build` trained for some seconds on the clusters."""
    learner = build(inputs=4, ways=WAYS, **rest)
    fit(learner, tasks, steps=250, batch=32, learning_rate=5e-3, schedule="cosine", progress=False)
    return learner


_KEPT = {}


@pytest.fixture
def easy(name):
    """A learner that has learned the clusters, and 1000 fresh tasks."""
    if name not in _KEPT:
        _KEPT[name] = trained(LEARNERS[name])
    return _KEPT[name], TASKS.sample(1000, torch.Generator().manual_seed(9))


def shuffled_labels(y, generator):
    """The same labels [T, S], each task's handed out anew."""
    return y.gather(1, torch.rand(y.shape, generator=generator).argsort(1))


@torch.no_grad()
def accuracy(learner, e, support_y=None):
    predicted = learner(e.support_x, e.support_y if support_y is None else support_y, e.query_x).argmax(-1)
    return float((predicted == e.query_y).float().mean())


def test_with_labels_shuffled_in_the_support_it_is_at_chance(easy, generator):
    learner, e = easy  # 6000 queries of 1000 tasks: the standard error of an accuracy is below 0.01
    assert accuracy(learner, e) > 0.65
    assert abs(accuracy(learner, e, shuffled_labels(e.support_y, generator)) - 1 / WAYS) < 0.05


def test_the_first_presentation_is_at_chance(easy):
    learner, e = easy
    order = torch.rand(e.query_y.shape, generator=torch.Generator().manual_seed(1)).argsort(1)
    x = torch.cat([e.support_x, e.query_x.gather(1, order[..., None].expand(-1, -1, 4))], 1)
    y = torch.cat([e.support_y, e.query_y.gather(1, order)], 1)
    with torch.no_grad():
        right = (presentations(learner, x, y).argmax(-1) == y).float().mean(0)  # [L], by position
    assert abs(float(right[0]) - 1 / WAYS) < 0.06  # 1000 tasks, standard error 0.015
    assert right[6] > 0.55  # two of each class were seen


def test_the_leak_test_finds_a_learner_that_reads_the_order(generator, monkeypatch):
    monkeypatch.setattr("kshot.learners.memory.require_mixed", lambda y: None)
    learner = trained(LEARNERS["lstm"], Clusters())  # class after class: place says what the label is
    e = Clusters().sample(1000, generator)
    assert accuracy(learner, e, shuffled_labels(e.support_y, generator)) > 1 / WAYS + 0.1


@pytest.mark.parametrize("sequence", SEQUENCE)
def test_training_on_one_order_is_refused(sequence, generator):
    learner = LEARNERS[sequence](inputs=4, ways=WAYS)
    with pytest.raises(ValueError, match=r"same order in every task.*Shuffled"):
        learner.losses(Clusters().sample(32, generator))


def test_shuffled_changes_the_order_and_nothing_else(generator):
    images = torch.randint(256, (9, 6, 1, 8, 8), generator=generator, dtype=torch.uint8)
    few = FewShot(images, ways=4, shots=2, queries=1)
    plain, mixed = (tasks.sample(5, torch.Generator().manual_seed(3)) for tasks in (few, Shuffled(few)))
    assert len(mixed.support_y.unique(dim=0)) == len(mixed.query_y.unique(dim=0)) == 5
    for side, size in (("support", 8), ("query", 4)):
        for t in range(5):
            pairs = []
            for e in (plain, mixed):
                x, y = getattr(e, f"{side}_x")[t], getattr(e, f"{side}_y")[t]
                pairs.append({(int(label), image.numpy().tobytes()) for image, label in zip(x, y)})
            assert pairs[0] == pairs[1] and len(pairs[0]) == size


def test_shuffled_pairs_destroy_regression_in_context(generator):
    learner, tasks = InContextTransformer(1, layers=2, width=32, points=6), LinearRegression(1, 5, 1)
    fit(learner, tasks, steps=300, batch=32, learning_rate=5e-3, schedule="cosine", progress=False)
    e = tasks.sample(1000, generator)
    with torch.no_grad():
        right = (learner(e.support_x, e.support_y, e.query_x) - e.query_y).square().mean()
        wrong = (learner(e.support_x, e.support_y.roll(1, 1), e.query_x) - e.query_y).square().mean()
    zero = e.query_y.square().mean()  # what predicting nothing costs
    assert right < 0.4 * zero and wrong > 0.7 * zero


@pytest.fixture(params=["per_task", "transductive", "running"])
def learner(name, request):
    return LEARNERS[name](Conv4(8, request.param), ways=WAYS).eval()


@pytest.fixture
def episodes(generator):
    y = torch.stack([torch.randperm(6, generator=generator) % WAYS for _ in range(3)])
    x = [torch.rand(3, size, 1, 28, 28, generator=generator) for size in (6, 4)]
    return Episodes(x[0], y, x[1], torch.randint(WAYS, (3, 4), generator=generator))


def close(a, b):
    return torch.allclose(a, b, atol=1e-5, rtol=1e-4)


def test_tasks_and_queries_are_on_their_own(learner, episodes):
    e = episodes
    together = learner(e.support_x, e.support_y, e.query_x)
    assert together.shape == (3, 4, WAYS)
    for t in range(3):
        assert close(together[t : t + 1], learner(*(part[t : t + 1] for part in (e.support_x, e.support_y, e.query_x))))
    alone = [learner(e.support_x, e.support_y, e.query_x[:, q : q + 1]) for q in range(4)]
    assert close(together, torch.cat(alone, 1)) != learner.transductive
    if learner.transductive:
        with pytest.raises(ValueError, match="transductive: call learner"):
            learner.adapt(e.support_x, e.support_y)
    else:
        assert torch.equal(together, learner.predict(learner.adapt(e.support_x, e.support_y), e.query_x))


def test_gradients_reach_every_parameter(learner, episodes):
    losses = learner.train().losses(episodes)
    assert losses.shape == (3,)
    losses.sum().backward()
    still = [n for n, p in learner.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not still


def test_a_seed_gives_the_weights_and_the_settings_are_shown(name):
    before = torch.random.get_rng_state()
    first, again, other = (LEARNERS[name](inputs=4, ways=WAYS, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values()))
    assert any(not torch.equal(a, b) for a, b in zip(first.state_dict().values(), other.state_dict().values()))
    assert "ways=3" in repr(first) and repr(first) != repr(other)


@pytest.mark.parametrize("kind", ["classes", "targets"])
def test_presentations_are_prefixes(name, kind, generator):
    built_for = {"ways": WAYS} if kind == "classes" else {"targets": 2}
    learner = LEARNERS[name](inputs=4, **built_for).double()
    x = torch.randn(2, 5, 4, generator=generator, dtype=torch.float64)
    y = torch.randint(WAYS, (2, 5), generator=generator) if kind == "classes" else x[..., :2].sin()
    online = presentations(learner, x, y)
    for t in range(1, 5):
        assert torch.allclose(online[:, t : t + 1], learner(x[:, :t], y[:, :t], x[:, t : t + 1]), atol=1e-12)


def test_online_training_is_the_mean_over_the_stream(generator):
    e = TASKS.sample(3, generator)
    x, y = torch.cat([e.support_x, e.query_x], 1), torch.cat([e.support_y, e.query_y], 1)
    for build in (LSTMLearner, MANN):
        learner = build(inputs=4, ways=WAYS, online=True)
        nll = -presentations(learner, x, y).log_softmax(-1).gather(2, y[..., None]).squeeze(-1)
        assert torch.allclose(learner.losses(e), nll.mean(1))
    mixed, plain = TASKS.sample(32, generator), Clusters().sample(32, generator)
    with pytest.raises(ValueError, match="same order in every task"):
        learner.losses(Episodes(mixed.support_x, mixed.support_y, plain.query_x, plain.query_y))


def test_a_support_of_one_class_works(name, generator):
    x = torch.randn(2, 3, 4, generator=generator)
    logits = LEARNERS[name](inputs=4, ways=WAYS)(x, torch.zeros(2, 3, dtype=torch.int64), x)
    assert logits.shape == (2, 3, WAYS) and torch.isfinite(logits).all()


def test_what_it_was_not_built_for_is_said(name, generator):
    x, y = torch.randn(2, 6, 4, generator=generator), torch.arange(6).expand(2, -1)
    learner, regressor = LEARNERS[name](inputs=4, ways=WAYS), LEARNERS[name](inputs=4, targets=2)
    with pytest.raises(ValueError, match="built for ways=3, but the support holds class 5"):
        learner(x, y, x)
    with pytest.raises(ValueError, match="built for 3 classes, but support_y holds targets"):
        learner(x, x, x)
    with pytest.raises(ValueError, match="built for inputs of 4 numbers, but each has 3"):
        learner(x[..., :3], y % 3, x[..., :3])
    with pytest.raises(ValueError, match="labelled pairs, but support_y is None"):
        learner(x, None, x)
    for wrong in (y, x):
        with pytest.raises(ValueError, match=r"built for targets \[T, S, 2\]"):
            regressor(x, wrong, x)
    with pytest.raises(ValueError, match=r"ways=N .* or targets=d"):
        LEARNERS[name](inputs=4)
    with pytest.raises(ValueError, match=r"say how long they are, with inputs=d"):
        LEARNERS[name](ways=WAYS)


def test_regression_has_the_mean_squared_error(generator):
    x = torch.randn(2, 6, 4, generator=generator)
    e = Episodes(x[:, :4], x[:, :4, :2], x[:, 4:], x[:, 4:, :2])
    learner = LSTMLearner(inputs=4, targets=2)
    predicted = learner(e.support_x, e.support_y, e.query_x)
    assert torch.allclose(learner.losses(e), F.mse_loss(predicted, e.query_y, reduction="none").mean((1, 2)))
