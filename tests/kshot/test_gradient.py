"""Outer gradients against finite differences in float64 and against `higher`; and what a gradient learner refuses."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from kshot import MAML, Conv4, Episodes, FewShot, Reptile, evaluate
from kshot.functional import task_loss
from kshot.tasks import Sinusoids

WAYS, STEPS, RATE = 3, 2, 0.25  # a rate that float32 holds exactly


def conv4(policy, channels=3):
    return Conv4(channels, policy, pools=(True, True), seed=2)  # with 10 channels the first block is in closed form


def ordinary(norm):
    return nn.Sequential(
        *(nn.Conv2d(1, 4, 3, padding=1), norm(4), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(4, 4, 3, padding=1), norm(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
    )


def mlp(activation):
    return nn.Sequential(nn.Linear(4, 6), activation(), nn.Linear(6, 5), activation(), nn.Linear(5, 4))


NETS = {
    "conv4 per task": lambda: conv4("per_task"),
    "conv4 transductive": lambda: conv4("transductive"),
    "conv4 per task, closed form": lambda: conv4("per_task", 10),
    "conv4 transductive, closed form": lambda: conv4("transductive", 10),
    "batch norm": lambda: ordinary(lambda width: nn.BatchNorm2d(width, track_running_stats=False)),
    "group norm": lambda: ordinary(lambda width: nn.GroupNorm(2, width)),
    "relu perceptron": lambda: mlp(nn.ReLU),
    "tanh perceptron": lambda: mlp(nn.Tanh),
}
CASES = [
    (name, engine)
    for name in NETS
    for engine in ("loop", "vmap", "stacked")
    if engine != "stacked" or "perceptron" in name
]
every_engine = pytest.mark.parametrize(("name", "engine"), CASES)


def build(name, engine="auto", kind=MAML, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = NETS[name]()
    settings = {"steps": STEPS, "rate": RATE} | settings
    learner = kind(net, WAYS, features=getattr(net, "channels", 4), engine=engine, **settings)
    with torch.no_grad():  # the batch norms' weights and biases away from 1 and 0
        generator = torch.Generator().manual_seed(1)
        for parameter in learner.net.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return learner.double()


def few(name, tasks=3, shots=2):
    generator = torch.Generator().manual_seed(3)
    shape = (4,) if "perceptron" in name else (1, 4, 4)
    y = torch.arange(WAYS).repeat(tasks, shots)
    x = [torch.randn(tasks, WAYS * shots, *shape, generator=generator, dtype=torch.float64) for _ in range(2)]
    return Episodes(x[0], y, x[1], y.flip(1))


def naive_outputs(learner, parameters, x, support_x):
    """Logits of one task's x, from the formulas; Conv4's statistics are those of the support, or x's own."""
    if isinstance(learner.net, Conv4):
        given = support_x if not learner.transductive else x
        for block, norm in enumerate(learner.net.norms):
            own = {
                name.rpartition(".")[2]: parameters[f"net.{name}"]
                for name, _ in learner.net.named_parameters()
                if name.startswith(f"convolutions.{block}.")
            }
            scale, shift = parameters[f"net.norms.{block}.weight"], parameters[f"net.norms.{block}.bias"]
            x, given = (F.conv2d(part, own["weight"], own["bias"], padding=1) for part in (x, given))
            mean = given.mean((0, 2, 3), keepdim=True)
            deviation = ((given - mean).square().mean((0, 2, 3), keepdim=True) + norm.epsilon).sqrt()
            x, given = (
                F.max_pool2d(F.relu((part - mean) / deviation * scale[:, None, None] + shift[:, None, None]), 2)
                for part in (x, given)
            )
        z = x.flatten(1)
    else:
        own = {name.removeprefix("net."): p for name, p in parameters.items() if name.startswith("net.")}
        z = functional_call(learner.net, own, (x,))
    return F.linear(z, parameters["head.weight"], parameters["head.bias"])


def naive_loss(learner, theta, alpha, task, frozen=None, note=None):
    """The loss on one task's queries after the inner steps, written out.

    With `frozen` slopes (a list, one a step) the steps are constants times alpha: what order=1 differentiates.
    """
    support_x, support_y, query_x, query_y = task
    phi = dict(theta)
    for step in range(learner.steps):
        if frozen is None:
            leaves = {name: phi[name].detach().requires_grad_() for name in learner.fast}
            with torch.enable_grad():
                value = task_loss(naive_outputs(learner, phi | leaves, support_x, support_x), support_y)
            slopes = dict(zip(leaves, torch.autograd.grad(value, tuple(leaves.values()))))
        else:
            slopes = frozen[step]
        if note is not None:
            note.append(slopes)
        for name, slope in slopes.items():
            phi[name] = phi[name] - alpha[name] * slope
    return task_loss(naive_outputs(learner, phi, query_x, support_x), query_y)


def tasks_of(episodes):
    return list(zip(episodes.support_x, episodes.support_y, episodes.query_x, episodes.query_y))


def total(learner, episodes, theta, rates, frozen=None):
    alpha = learner.alpha(rates)
    frozen = frozen or [None] * episodes.tasks
    return sum(naive_loss(learner, theta, alpha, task, own) for task, own in zip(tasks_of(episodes), frozen))


def worst_error(learner, episodes, order, gradients):
    """How far `gradients` are from central differences of the naive loss, each parameter in a random direction."""
    theta = {name: p.detach() for name, p in learner.theta().items()}
    rates = [p.detach() for p in learner.alpha.parameters()]
    frozen = None
    if order == 1:
        frozen = []
        for task in tasks_of(episodes):
            naive_loss(learner, theta, learner.alpha(rates), task, note=(own := []))
            frozen.append(own)
    generator, worst, h = torch.Generator().manual_seed(4), 0.0, 1e-6
    for position, gradient in enumerate(gradients):
        values = []
        parameter = [*theta.values(), *rates][position]
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        for sign in (1, -1):
            moved = [*theta.values(), *rates]
            moved[position] = parameter + sign * h * direction
            values.append(total(learner, episodes, dict(zip(theta, moved)), moved[len(theta) :], frozen).detach())
        worst = max(worst, abs(float((values[0] - values[1]) / (2 * h) - (gradient * direction).sum())))
    return worst


def outer_gradients(learner, episodes):
    parameters = [*learner.theta().values(), *learner.alpha.parameters()]
    return torch.autograd.grad(learner.losses(episodes).sum(), parameters)


@every_engine
@pytest.mark.parametrize("order", [1, 2])
def test_outer_gradient_against_finite_differences(name, engine, order):
    learner, episodes = build(name, engine, order=order), few(name)
    gradients = outer_gradients(learner, episodes)
    assert worst_error(learner, episodes, order, gradients) < 1e-7
    assert worst_error(learner, episodes, 3 - order, gradients) > 1e-3, "the two orders must differ"


@every_engine
def test_head_alone_against_finite_differences(name, engine):
    """ANIL: the features stand still in the inner loop, and the outer gradient passes into them all the same."""
    learner, episodes = build(name, engine, adapts="head"), few(name)
    assert learner.fast == ["head.weight", "head.bias"]
    gradients = outer_gradients(learner, episodes)
    assert worst_error(learner, episodes, 2, gradients) < 1e-7
    assert gradients[0].abs().max() > 1e-3


@pytest.mark.parametrize("engine", ["loop", "vmap", "stacked"])
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("kind", ["one", "layer", "parameter"])
def test_learned_rates_against_finite_differences(engine, order, kind):
    """With one rate an entry, learned, this is Meta-SGD."""
    learner = build("tanh perceptron", engine, order=order, rates=kind, learn_rates=True)
    episodes = few("tanh perceptron")
    gradients = outer_gradients(learner, episodes)
    assert len(gradients) == len(learner.theta()) + {"one": 1, "layer": 4, "parameter": 8}[kind]
    assert worst_error(learner, episodes, order, gradients) < 1e-7


@pytest.mark.parametrize("engine", ["loop", "vmap"])
def test_learned_rates_of_a_convolutional_net(engine):
    learner = build("conv4 per task", engine, rates="layer", learn_rates=True)
    episodes = few("conv4 per task")
    assert worst_error(learner, episodes, 2, outer_gradients(learner, episodes)) < 1e-7


@pytest.mark.parametrize(
    ("adapts", "fast"),
    [
        (("net.2", "head.bias"), ["net.2.weight", "net.2.bias", "head.bias"]),
        ("head.weight", ["head.weight"]),
        ("head.bias", ["head.bias"]),
    ],
)
@pytest.mark.parametrize("engine", ["loop", "vmap", "stacked"])
def test_some_layers_by_name(engine, adapts, fast):
    learner = build("relu perceptron", engine, adapts=adapts)
    assert learner.fast == fast
    episodes = few("relu perceptron")
    assert worst_error(learner, episodes, 2, outer_gradients(learner, episodes)) < 1e-7


def test_a_backward_through_vmap_is_silently_wrong_and_the_differences_show_it():
    """The formulation that nothing here uses: torch's batch norm mixes the tasks in its double backward."""
    learner, episodes = build("batch norm"), few("batch norm")
    names, values = zip(*learner.theta().items())

    def loss(*task):
        phi = dict(zip(names, values))
        for _ in range(STEPS):
            slopes = torch.func.grad(lambda p: task_loss(naive_outputs(learner, p, task[0], None), task[1]))(phi)
            phi = {name: phi[name] - RATE * slopes[name] for name in phi}
        return task_loss(naive_outputs(learner, phi, task[2], None), task[3])

    tasks = (episodes.support_x, episodes.support_y, episodes.query_x, episodes.query_y)
    wrong = torch.vmap(loss)(*tasks)
    assert torch.allclose(wrong, learner.losses(episodes)), "its losses are right"
    assert worst_error(learner, episodes, 2, torch.autograd.grad(wrong.sum(), values)) > 1e-5
    assert worst_error(learner, episodes, 2, outer_gradients(learner, episodes)) < 1e-7


def twin(net):
    """Conv4 as papers' code writes it, with the same weights: torch's batch norm, ReLU before pooling."""
    blocks = []
    for convolution, norm in zip(net.convolutions, net.norms):
        own = nn.BatchNorm2d(net.channels, eps=norm.epsilon, track_running_stats=False)
        own.load_state_dict(norm.state_dict())
        blocks += [convolution, own, nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*blocks, nn.Flatten())


@pytest.mark.parametrize("order", [1, 2])
@every_engine
def test_equal_to_higher(name, engine, order):
    higher = pytest.importorskip("higher")
    if name.startswith("conv4 per task"):
        pytest.skip("higher cannot hand the support's statistics to the queries")
    learner, episodes = build(name, engine, order=order), few(name)
    model = nn.Sequential(twin(learner.net) if name.startswith("conv4") else learner.net, learner.head).double()
    expected = [torch.zeros_like(p) for p in model.parameters()]
    held = (lambda slopes: [slope.detach() for slope in slopes]) if order == 1 else None
    for support_x, support_y, query_x, query_y in tasks_of(episodes):
        optimiser = torch.optim.SGD(model.parameters(), lr=RATE)
        with higher.innerloop_ctx(model, optimiser, copy_initial_weights=False) as (inner, step):
            for _ in range(STEPS):
                step.step(F.cross_entropy(inner(support_x), support_y), grad_callback=held)
            gradients = torch.autograd.grad(F.cross_entropy(inner(query_x), query_y), list(model.parameters()))
        expected = [sum(pair) for pair in zip(expected, gradients)]
    own = dict(zip(learner.theta(), outer_gradients(learner, episodes)))
    if name.startswith("conv4"):  # block by block, as the twin has them
        blocks = range(len(learner.net.pools))
        order_of = [
            f"net.{part}.{block}.{kind}"
            for block in blocks
            for part in ("convolutions", "norms")
            for kind in ("weight", "bias")
        ]
        own = {key: own[key] for key in [*order_of, "head.weight", "head.bias"]}
    assert len(own) == len(expected)
    for (parameter, gradient), truth in zip(own.items(), expected):
        assert (gradient - truth).abs().max() < 1e-10, parameter


@pytest.mark.parametrize("engine", ["loop", "vmap", "stacked"])
def test_regression_on_sinusoids(engine, generator):
    episodes = Sinusoids(shots=5, queries=5).sample(3, generator).to("cpu", torch.float64)
    net = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    learner = MAML(net, steps=2, rate=0.0625, engine=engine)
    gradients = outer_gradients(learner, episodes)

    def f(*parameters):
        losses = 0
        for support_x, support_y, query_x, query_y in tasks_of(episodes):
            phi = dict(zip(dict(net.named_parameters()), parameters))
            for _ in range(2):
                value = F.mse_loss(functional_call(net, phi, (support_x,)), support_y)
                slopes = torch.autograd.grad(value, tuple(phi.values()), create_graph=True)
                phi = {name: p - 0.0625 * slope for (name, p), slope in zip(phi.items(), slopes)}
            losses = losses + F.mse_loss(functional_call(net, phi, (query_x,)), query_y)
        return losses

    expected = torch.autograd.grad(f(*net.parameters()), tuple(net.parameters()))
    for gradient, truth in zip(gradients, expected):
        assert torch.allclose(gradient, truth, atol=1e-12)
    scores = evaluate(learner, Sinusoids(shots=5, queries=5), episodes=10)
    assert not scores.percent and scores.mean > 0


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (0.5, 0.0, -2.0)])
@pytest.mark.parametrize("engine", ["loop", "vmap"])
def test_each_loss_has_its_own_gradient(engine, weights):
    """Whatever `combine` makes of the losses: weighing them weighs their gradients."""
    learner, episodes = build("tanh perceptron", engine), few("tanh perceptron")
    weighed = torch.autograd.grad(learner.losses(episodes) @ torch.tensor(weights).double(), learner.head.weight)[0]
    alone = [torch.autograd.grad(learner.losses(episodes[t : t + 1]).sum(), learner.head.weight)[0] for t in range(3)]
    assert torch.allclose(weighed, sum(w * g for w, g in zip(weights, alone)), atol=1e-12)


@pytest.mark.parametrize("minibatches", [1, 2, 3])
@pytest.mark.parametrize("name", ["conv4 per task", "conv4 transductive", "group norm", "relu perceptron"])
def test_reptile_moves_towards_where_the_tasks_end(name, minibatches):
    learner = build(name, kind=Reptile, steps=4, minibatches=minibatches)
    episodes = few(name)
    expected = {key: torch.zeros_like(p) for key, p in learner.theta().items()}
    for support_x, support_y, query_x, query_y in tasks_of(episodes):
        x, y = torch.cat([support_x, query_x]), torch.cat([support_y, query_y])
        phi = {key: p.detach() for key, p in learner.theta().items()}
        for step in range(4):
            own = [i for i in range(len(x)) if i % minibatches == step % minibatches]
            leaves = {key: p.requires_grad_() for key, p in phi.items()}
            value = task_loss(naive_outputs(learner, leaves, x[own], x[own]), y[own])
            slopes = torch.autograd.grad(value, tuple(leaves.values()))
            phi = {key: p.detach() - RATE * slope for (key, p), slope in zip(leaves.items(), slopes)}
        expected = {key: total + learner.theta()[key].detach() - phi[key] for key, total in expected.items()}
    for key, gradient in zip(expected, outer_gradients(learner, episodes)):
        assert (gradient - expected[key]).abs().max() < 1e-10, key


@every_engine
def test_adapting_step_by_step_is_what_the_losses_did(name, engine):
    learner, episodes = build(name, engine), few(name)
    logits = learner(episodes.support_x, episodes.support_y, episodes.query_x)
    losses = F.cross_entropy(logits.mT, episodes.query_y, reduction="none").mean(1)
    assert torch.allclose(losses, learner.losses(episodes), atol=1e-12)
    learner.eval()
    quietly = learner(episodes.support_x, episodes.support_y, episodes.query_x)
    assert torch.allclose(quietly, logits, atol=1e-12)


@every_engine
def test_no_steps_in_evaluation_is_the_start_itself(name, engine):
    learner, episodes = build(name, engine, evaluation_steps=0).eval(), few(name)
    logits = learner(episodes.support_x, episodes.support_y, episodes.query_x)
    for t, (support_x, _, query_x, _) in enumerate(tasks_of(episodes)):
        assert torch.allclose(logits[t], naive_outputs(learner, learner.theta(), query_x, support_x), atol=1e-12)


def test_more_steps_in_evaluation_go_on_from_there():
    learner, episodes = build("tanh perceptron").eval(), few("tanh perceptron")
    learner.evaluation_steps = 5
    adapted = learner.adapt(episodes.support_x, episodes.support_y)
    learner.steps, learner.evaluation_steps = 5, None
    again = learner.train().adapt(episodes.support_x, episodes.support_y)
    for name, parameter in adapted.parameters.items():
        assert parameter.shape == (3, *learner.theta()[name].shape)
        assert torch.allclose(parameter, again.parameters[name], atol=1e-12)


def peak(run):
    """The most bytes that tensors took at once while `run()` ran, by the allocator's own account."""
    run()  # what is made once does not count
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    live = highest = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        highest = max(highest, live)
    return highest


def test_in_evaluation_nothing_is_kept_from_step_to_step():
    learner, episodes = build("group norm", steps=1).eval(), few("group norm", tasks=1, shots=20)

    def memory(steps):
        learner.evaluation_steps = steps
        return peak(lambda: learner(episodes.support_x, episodes.support_y, episodes.query_x))

    assert memory(12) < 1.1 * memory(2)
    with torch.no_grad():
        assert not learner(episodes.support_x, episodes.support_y, episodes.query_x).requires_grad

    def training(steps):
        learner.steps = steps
        return peak(lambda: learner.losses(episodes))

    assert training(12) > 3 * training(2), "and this is what a graph kept costs"


@pytest.mark.parametrize(
    ("name", "engine", "chunk_size"),
    [("group norm", "loop", None), ("group norm", "vmap", 2), ("relu perceptron", "stacked", 2)],
)
def test_memory_does_not_grow_with_the_tasks(name, engine, chunk_size):
    def memory(tasks, chunk_size):
        learner, episodes = build(name, engine, chunk_size=chunk_size), few(name, tasks, shots=12)
        return peak(lambda: learner.losses(episodes).sum().backward())

    assert memory(8, chunk_size) < 1.5 * memory(2, chunk_size)
    if chunk_size is not None:
        assert memory(8, None) > 2.5 * memory(2, None), "without chunks it does"


@pytest.mark.parametrize(
    ("name", "engine"), [("group norm", "vmap"), ("relu perceptron", "stacked"), ("conv4 per task", "vmap")]
)
@pytest.mark.parametrize("chunk_size", [1, 2, 7])
def test_chunks_change_nothing(name, engine, chunk_size):
    episodes = few(name)
    whole = outer_gradients(build(name, engine), episodes)
    for gradient, truth in zip(outer_gradients(build(name, engine, chunk_size=chunk_size), episodes), whole):
        assert torch.allclose(gradient, truth, atol=1e-12)


@pytest.mark.parametrize("engine", ["loop", "vmap", "stacked"])
def test_a_support_of_one_class_can_be_adapted_to(engine):
    learner, episodes = build("tanh perceptron", engine, evaluation_steps=50, rate=0.5).eval(), few("tanh perceptron")
    only = torch.full_like(episodes.support_y, 2)
    assert (learner(episodes.support_x, only, episodes.support_x).argmax(-1) == 2).all()


@pytest.mark.parametrize(
    ("name", "engine"),
    [("relu perceptron", "stacked"), ("relu perceptron", "loop"), ("relu perceptron", "vmap"), ("group norm", "loop")],
)
def test_a_rate_that_diverges_is_named_with_its_step_and_a_rate_to_try(name, engine):
    learner, episodes = build(name, engine, steps=8, rate=1e30), few(name)
    message = r"no longer finite after \d inner steps?: the inner rate 1e\+30 diverges, try 1e\+29"
    with pytest.raises(FloatingPointError, match=message):
        learner.losses(episodes)
    with pytest.raises(FloatingPointError, match=message):
        learner.eval()(episodes.support_x, episodes.support_y, episodes.query_x)


@pytest.mark.parametrize("name", ["relu perceptron", "group norm"])
def test_reptile_names_the_step_too(name):
    learner = build(name, kind=Reptile, steps=8, rate=1e30)
    with pytest.raises(FloatingPointError, match=r"no longer finite after [1-7] inner steps?: the inner rate"):
        learner.losses(few(name))


def test_a_last_step_of_reptile_that_diverges_is_named(monkeypatch):
    """No loss is taken after it, so phi itself is looked at."""
    learner = build("relu perceptron", kind=Reptile, steps=2)
    adapt = learner._adapt

    def diverge(*given):
        adapted = adapt(*given)
        if given[4]:  # the second step, from where the first one ended
            adapted.parameters["net.0.bias"][1] = float("inf")
        return adapted

    monkeypatch.setattr(learner, "_adapt", diverge)
    with pytest.raises(FloatingPointError, match="no longer finite after 2 inner steps"):
        learner.losses(few("relu perceptron"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(order=3), r"order must be 1 .* or 2 .*, but is 3"),
        (dict(steps=0), "0 inner steps adapt nothing"),
        (dict(evaluation_steps=-1), "evaluation_steps must be 0 or more"),
        (dict(engine="fast"), "engine must be one of auto, loop, vmap, stacked"),
        (dict(chunk_size=0), "chunk_size must be at least 1"),
        (dict(rate=-0.1), "inner rate must be positive"),
        (dict(rates="all"), "rates must be one of one, layer, parameter"),
        (dict(adapts="body"), "no parameter is called"),
        (dict(engine="stacked"), "the stacked engine is for an nn.Sequential of Linear layers"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ValueError, match=message):
        MAML(conv4("per_task"), WAYS, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(steps=1), "joint training"),
        (dict(order=2), "no choice of order"),
        (dict(adapts="head"), "no choice of adapts"),
        (dict(minibatches=0), "minibatches must be at least 1"),
    ],
)
def test_settings_that_reptile_cannot_have(settings, message):
    with pytest.raises(ValueError, match=message):
        Reptile(conv4("per_task"), WAYS, **settings)


@pytest.mark.parametrize("net", [lambda: conv4("running"), lambda: ordinary(nn.BatchNorm2d)])
def test_a_net_with_running_averages_is_refused(net):
    with pytest.raises(ValueError, match=r"keeps running averages, updated in place.*use batch statistics"):
        MAML(net(), WAYS, features=4)


def test_a_net_that_changes_a_buffer_as_it_runs_is_refused():
    class Counting(nn.Linear):
        def __init__(self):
            super().__init__(4, 4)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            return super().forward(x)

    learner = MAML(nn.Sequential(Counting()), WAYS, engine="loop").double()
    with pytest.raises(ValueError, match="changed a buffer in place"):
        learner.losses(few("tanh perceptron"))


@every_engine
def test_what_is_frozen_does_not_adapt(name, engine):
    learner = build(name, engine)
    net, frozen = learner.net, next(iter(learner.net.parameters()))
    frozen.requires_grad_(False)
    learner = MAML(net, WAYS, features=learner.head.in_features, engine=engine, steps=STEPS, rate=RATE)
    assert len(learner.fast) == len(list(learner.parameters())) - 1
    episodes = few(name)
    if engine == "vmap" and name in ("conv4 per task", "conv4 transductive"):  # torch has no rule for it
        with pytest.raises(RuntimeError, match='engine="loop" can'):
            learner.losses(episodes)
        return
    learner.losses(episodes).mean().backward()
    assert frozen.grad is None and learner.head.weight.grad is not None
    adapted = learner.adapt(episodes.support_x, episodes.support_y)
    assert list(adapted.parameters) == learner.fast
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(ValueError, match="frozen parameters alone"):
        MAML(net, WAYS, features=4, adapts="net")


@pytest.mark.parametrize("engine", ["loop", "vmap"])
def test_a_parameter_that_the_loss_does_not_use_stays(engine):
    learner = build("group norm", engine)
    learner.net.register_parameter("idle", torch.nn.Parameter(torch.ones(2).double()))
    learner = MAML(learner.net, WAYS, features=4, engine=engine, steps=STEPS, rate=RATE)
    episodes = few("group norm")
    learner.losses(episodes).sum().backward()
    assert not learner.net.idle.grad.any()
    adapted = learner.adapt(episodes.support_x, episodes.support_y)
    assert torch.equal(adapted.parameters["net.idle"], torch.ones(3, 2).double())


def test_a_net_with_a_part_called_embed_is_any_net():
    class Embeds(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Linear(4, 4)

        def forward(self, x):
            return self.embed(x)

    learner, episodes = MAML(Embeds().double(), WAYS), few("relu perceptron")
    assert learner(episodes.support_x, episodes.support_y, episodes.query_x).shape == (3, 2 * WAYS, WAYS)
    assert learner.head.weight.dtype == torch.float64


@pytest.mark.parametrize("engine", ["loop", "vmap"])
@pytest.mark.parametrize("policy", ["per_task", "transductive"])
def test_images_of_three_channels_pass_through_every_engine(engine, policy):
    results = []
    for kind in (engine, "loop"):
        net = Conv4(6, policy, in_channels=3, pools=(True, True), closed_form=False)
        learner = MAML(net, WAYS, features=6 * 4, engine=kind, steps=STEPS, rate=RATE).double()
        generator = torch.Generator().manual_seed(3)
        x = [torch.randn(3, WAYS, 3, 8, 8, generator=generator, dtype=torch.float64) for _ in range(2)]
        y = torch.arange(WAYS).repeat(3, 1)
        results.append(
            torch.autograd.grad(learner.losses(Episodes(x[0], y, x[1], y)).sum(), list(learner.parameters()))
        )
    assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(*results, strict=True))


def test_torchs_batch_norm_makes_it_transductive():
    assert build("batch norm").transductive and not build("group norm").transductive


@every_engine
def test_another_number_of_tasks_is_refused(name, engine):
    learner, episodes = build(name, engine).eval(), few(name)
    adapted = learner.adapt(episodes.support_x, episodes.support_y)
    with pytest.raises(ValueError, match="query_x holds 2 tasks, but there are 3"):
        learner.predict(adapted, episodes.query_x[:2])
    with pytest.raises(ValueError, match="support_y holds 2 tasks, but there are 3"):
        learner.adapt(episodes.support_x, episodes.support_y[:2])


@pytest.mark.parametrize("engine", ["loop", "vmap", "stacked"])
@pytest.mark.parametrize(("outputs", "targets"), [(1, 2), (2, 1)])
def test_targets_of_another_width_are_refused(engine, outputs, targets):
    learner = MAML(nn.Sequential(nn.Linear(1, outputs)), engine=engine)
    x, y = torch.rand(2, 3, 1), torch.rand(2, 3, targets)
    with pytest.raises(ValueError, match=rf"the targets are .*{targets}\), but the net gives .*{outputs}\)"):
        learner.losses(Episodes(x, y, x, y))


def test_a_head_of_another_width_says_which_features():
    learner, x = MAML(Conv4(2), 3), torch.rand(1, 3, 1, 32, 64)
    with pytest.raises(ValueError, match="the net gives 16 features, but the head reads 2: say features=16"):
        learner.adapt(x, torch.arange(3)[None])


def test_a_start_that_is_not_finite_is_not_blamed_on_the_rate():
    learner = build("relu perceptron", "loop")
    with torch.no_grad():
        learner.head.bias[0] = float("nan")
    with pytest.raises(FloatingPointError, match="not finite before any step: look at the data"):
        learner.adapt(few("relu perceptron").support_x, few("relu perceptron").support_y)


@pytest.mark.parametrize("engine", ["loop", "stacked"])
def test_a_loss_on_the_queries_alone_that_diverges_is_told(engine):
    net = nn.Sequential(nn.Linear(1, 1))
    learner, x = MAML(net.double(), engine=engine), torch.ones(1, 2, 1).double()
    with pytest.raises(FloatingPointError, match="queries is not finite after 1 inner step: the inner rate"):
        learner.losses(Episodes(x, x, 1e200 * x, x))


def test_reptile_leaves_what_is_frozen_where_it_is():
    net = build("relu perceptron").net
    net[0].weight.requires_grad_(False)
    learner = Reptile(net, WAYS, rate=RATE)
    learner.losses(few("relu perceptron")).mean().backward()
    assert net[0].weight.grad is None and net[2].weight.grad.any()


def test_more_minibatches_than_examples_are_refused():
    learner = build("relu perceptron", kind=Reptile, minibatches=13)
    with pytest.raises(ValueError, match="12 examples a task cannot make 13 minibatches"):
        learner.losses(few("relu perceptron"))


def test_in_training_without_gradients_no_graph_is_kept():
    learner, episodes = build("group norm", "loop"), few("group norm")
    with torch.no_grad():
        adapted = learner.adapt(episodes.support_x, episodes.support_y)
    assert all(parameter.grad_fn is None and not parameter.requires_grad for parameter in adapted.parameters.values())


def test_plain_perceptrons_are_stacked_unasked():
    learner, x = build("relu perceptron"), few("relu perceptron").support_x
    assert learner._engine(x) == "stacked" and build("group norm")._engine(few("group norm").support_x) == "loop"


def test_a_net_that_does_not_tell_its_width():
    with pytest.raises(ValueError, match="how many features"):
        MAML(nn.Sequential(nn.Flatten()), WAYS)


def test_labels_it_was_not_built_for():
    classifier, episodes = build("tanh perceptron"), few("tanh perceptron")
    with pytest.raises(ValueError, match=r"built for class ids 0\.\.2, but the support holds class 4"):
        classifier(episodes.support_x, episodes.support_y + 2, episodes.query_x)
    with pytest.raises(ValueError, match=r"steps on class ids .* the support holds no labels"):
        classifier.adapt(episodes.support_x, None)
    targets = torch.zeros(3, 6, 4, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"steps on class ids .* holds torch.float64 of shape \(3, 6, 4\)"):
        classifier.adapt(episodes.support_x, targets)
    with pytest.raises(ValueError, match=r"steps on targets .* holds torch.int64"):
        MAML(mlp(nn.Tanh)).losses(episodes)


def test_training_makes_it_better(generator):
    images = (torch.rand(8, 12, 1, 28, 28, generator=generator) * 60).to(torch.uint8)
    for c in range(8):
        images[c, :, :, 3 * c : 3 * c + 4] = 255  # each class has its own bar
    tasks = FewShot(images, ways=2, shots=1, queries=3)
    learner = MAML(Conv4(8), 2, steps=1, rate=0.4)
    optimiser = torch.optim.Adam(learner.parameters(), 1e-2)
    before = evaluate(learner, tasks, episodes=40)
    for _ in range(8):
        optimiser.zero_grad()
        learner.train().losses(tasks.sample(4, generator)).mean().backward()
        optimiser.step()
    assert evaluate(learner, tasks, episodes=40).mean > before.mean
