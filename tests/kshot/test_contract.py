"""What every learner owes. A new one is a line in LEARNERS and owes everything; what it does not owe, it says below."""

import pytest
import torch

from kshot import (
    MAML,
    MANN,
    SNAIL,
    Conv4,
    Episodes,
    LSTMLearner,
    Matching,
    MetaNetwork,
    NeuralProcess,
    PixelNeighbour,
    Prototypical,
    Relation,
    Reptile,
    Siamese,
    evaluate,
)


def _relation(policy):
    return Relation(Conv4(8, policy, pools=(True, True, False, False), flatten=False))


LEARNERS = {
    "pixel_neighbour": lambda policy: PixelNeighbour(),
    "siamese": lambda policy: Siamese(Conv4(8, policy)),
    "matching": lambda policy: Matching(Conv4(8, policy)),
    "prototypical": lambda policy: Prototypical(Conv4(8, policy)),
    "prototypical_cosine": lambda policy: Prototypical(Conv4(8, policy), "cosine"),
    "relation": _relation,
    "maml": lambda policy: MAML(Conv4(8, policy), 3, steps=2, rate=0.1),
    "maml_first_order_rates_learned": lambda policy: MAML(Conv4(8, policy), 3, order=1, learn_rates=True),
    "anil": lambda policy: MAML(Conv4(8, policy), 3, steps=2, rate=0.1, adapts="head"),
    "reptile": lambda policy: Reptile(Conv4(8, policy), 3, steps=2, rate=0.1),
    "lstm": lambda policy: LSTMLearner(Conv4(8, policy), ways=3, hidden=16),
    "mann": lambda policy: MANN(Conv4(8, policy), ways=3, hidden=16, slots=8, width=8),
    "meta_network": lambda policy: MetaNetwork(Conv4(8, policy), ways=3, width=16),
    "neural_process": lambda policy: NeuralProcess(Conv4(8, policy), ways=3, width=16),
    "snail": lambda policy: SNAIL(Conv4(8, policy), ways=3, shots=2, filters=16),
}
READS_IN_ORDER = {"lstm", "mann", "snail"}  # the support is a sequence to them
GRADIENT = {"maml", "maml_first_order_rates_learned", "anil", "reptile"}
WEIGHTS_A_CLASS = GRADIENT | READS_IN_ORDER | {"meta_network", "neural_process"}  # of its own for class 0, 1, ...
POLICIES = ["per_task", "transductive", "running"]

pytestmark = pytest.mark.parametrize("policy", POLICIES)


@pytest.fixture(params=LEARNERS)
def name(request):
    assert request.param.isidentifier(), "pytest -k must be able to name it"
    return request.param


@pytest.fixture
def learner(name, policy):
    try:
        built = LEARNERS[name](policy)
    except ValueError as refusal:
        if policy != "running" or "keeps running averages" not in str(refusal):
            raise
        pytest.skip("an inner loop cannot take back running averages")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for norm in getattr(getattr(built, "net", None), "norms", []):  # statistics as after a training
            if policy == "running":
                norm.running_mean.normal_()
                norm.running_var.uniform_(0.5, 2)
    return built.eval()


@pytest.fixture
def episodes(generator):
    y = torch.stack([torch.randperm(6, generator=generator) % 3 for _ in range(3)])
    x = [torch.rand(3, size, 1, 28, 28, generator=generator) for size in (6, 4)]
    return Episodes(x[0], y, x[1], torch.randint(3, (3, 4), generator=generator))


def close(a, b):
    return torch.allclose(a, b, atol=2e-4, rtol=1e-3)


def call(learner, e):
    return learner(e.support_x, e.support_y, e.query_x)


def test_shape_and_no_graph_at_evaluation(learner, episodes, policy):
    tasks = type("Fixed", (), {"sample": lambda self, n, generator: episodes})()
    assert call(learner, episodes).shape == (3, 4, 3)
    evaluate(learner, tasks, episodes=3)
    assert all(parameter.grad is None for parameter in learner.parameters())
    with torch.no_grad():
        assert not call(learner, episodes).requires_grad


def test_a_task_does_not_see_its_neighbours(learner, episodes, policy):
    together = call(learner, episodes)
    for t in range(3):
        assert close(together[t : t + 1], call(learner, episodes[t : t + 1]))


def test_a_query_does_not_see_the_other_queries_unless_transductive(learner, episodes, policy):
    together = call(learner, episodes)
    alone = torch.cat(
        [learner(episodes.support_x, episodes.support_y, episodes.query_x[:, q : q + 1]) for q in range(4)], 1
    )
    assert close(together, alone) != learner.transductive


def test_adapt_then_predict_is_the_call(learner, episodes, policy):
    try:
        adapted = learner.adapt(episodes.support_x, episodes.support_y)
    except ValueError as refusal:  # of one that must see support and queries together
        assert learner.transductive and "transductive: call learner" in str(refusal)
        return
    assert close(call(learner, episodes), learner.predict(adapted, episodes.query_x))


def test_relabelling_the_ways_relabels_the_answer(name, learner, episodes, policy):
    permuted = torch.tensor([2, 0, 1])
    logits = call(learner, episodes)
    relabelled = learner(episodes.support_x, permuted[episodes.support_y], episodes.query_x)
    follows = close(relabelled[..., permuted], logits)
    assert follows == (name not in WEIGHTS_A_CLASS), "only a learner in WEIGHTS_A_CLASS may know its ways by number"


def test_the_order_of_the_support_does_not_matter(name, learner, episodes, generator, policy):
    order = torch.randperm(6, generator=generator)
    shuffled = learner(episodes.support_x[:, order], episodes.support_y[:, order], episodes.query_x)
    same = close(call(learner, episodes), shuffled)
    assert same == (name not in READS_IN_ORDER), "only a learner in READS_IN_ORDER may care about the order"


def test_losses_train_it(name, learner, episodes, policy):
    if not list(learner.parameters()):
        pytest.skip("nothing to train")
    learner.train()
    losses = learner.losses(episodes)
    assert losses.shape == (3,)
    alone = [learner.losses(episodes[t : t + 1])[0] for t in range(3)]
    assert close(losses, torch.stack(alone)), "a task's loss depends on its neighbours"
    losses.sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in learner.parameters())
    assert any(p.grad.abs().max() > 0 for p in learner.parameters())


def test_gpu_equals_cpu(learner, episodes, policy):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU here")
    on_cpu = call(learner, episodes)
    assert torch.allclose(call(learner.cuda(), episodes.to("cuda")).cpu(), on_cpu, atol=1e-3, rtol=1e-2)
