"""The stacked perceptron against torch's own, one task at a time, and its written-out slopes against autograd."""

from functools import partial

import pytest
import torch
from torch import nn

from kshot.curvature import hessian_vector_product
from kshot.functional import output_error, output_error_change, task_losses
from kshot.stacked import StackedMLP, linear, stacked_slopes

KINDS = {
    "relu": lambda: nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2)),
    "tanh": lambda: nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)),
    "no bias": lambda: nn.Sequential(nn.Linear(3, 5, bias=False), nn.Tanh(), nn.Linear(5, 2, bias=False)),
    "one layer": lambda: nn.Sequential(nn.Linear(3, 2)),
}


@pytest.fixture(params=KINDS)
def net(request):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return KINDS[request.param]().double()


def own_parameters(net, tasks, generator, names=None):
    """Different parameters for each task, [T, *shape]; those not in `names` shared."""
    return {
        f"net.{name}": p.detach() + 0.3 * torch.randn(tasks, *p.shape, generator=generator, dtype=p.dtype)
        if names is None or name in names
        else p.detach()
        for name, p in net.named_parameters()
    }


def inputs(generator, targets=False):
    x = torch.randn(3, 6, 3, generator=generator, dtype=torch.float64)
    if targets:
        return x, torch.randn(3, 6, 2, generator=generator, dtype=torch.float64)
    return x, torch.randint(2, (3, 6), generator=generator)


def of_task(parameters, net, t):
    shapes = {f"net.{name}": p.dim() for name, p in net.named_parameters()}
    return {name.removeprefix("net."): p[t] if p.dim() > shapes[name] else p for name, p in parameters.items()}


def test_outputs_are_those_of_each_task_alone(net, generator):
    x, _ = inputs(generator)
    for parameters in (own_parameters(net, 3, generator), own_parameters(net, 3, generator, {"0.bias"})):
        outputs = StackedMLP(net)(parameters, x)
        for t in range(3):
            alone = torch.func.functional_call(net, of_task(parameters, net, t), (x[t],))
            assert torch.allclose(outputs[t], alone, atol=1e-12)


@pytest.mark.parametrize("targets", [False, True])
def test_written_out_slopes_are_those_of_autograd(net, generator, targets):
    x, y = inputs(generator, targets)
    mlp, parameters = StackedMLP(net), own_parameters(net, 3, generator)
    leaves = {name: p.requires_grad_() for name, p in parameters.items()}
    expected = torch.autograd.grad(task_losses(mlp(leaves, x), y).sum(), tuple(leaves.values()))
    losses, slopes = stacked_slopes(mlp, {}, x, y, order=1)(leaves)
    assert torch.equal(losses, task_losses(mlp(leaves, x), y))
    for (name, slope), truth in zip(slopes.items(), [dict(zip(leaves, expected))[name] for name in slopes]):
        assert torch.allclose(slope, truth, atol=1e-12), name
        assert slope.grad_fn is None


def test_written_out_slopes_can_be_differentiated(net, generator):
    """Against finite differences of the slopes themselves: this is what order=2 passes through."""
    x, y = inputs(generator)
    mlp, parameters = StackedMLP(net), own_parameters(net, 3, generator)

    def slopes(*tensors):
        return tuple(stacked_slopes(mlp, {}, x, y, order=2)(dict(zip(parameters, tensors)))[1].values())

    assert torch.autograd.gradcheck(slopes, tuple(p.requires_grad_() for p in parameters.values()))


def test_only_the_wanted_slopes(net, generator):
    x, y = inputs(generator)
    mlp, parameters = StackedMLP(net), own_parameters(net, 3, generator)
    last = f"net.{len(net) - 1}.weight"
    values = mlp.forward(parameters, x)
    error = output_error(values[-1], y)
    everything = mlp.slopes(values, mlp.backward(parameters, values, error, set(parameters)), set(parameters))
    errors = mlp.backward(parameters, values, error, {last})
    some = mlp.slopes(values, errors, {last})
    assert len(errors) == 1, "it went further down than anything asked for"
    assert set(some) == {last} and torch.equal(some[last], everything[last])


def test_output_error_is_the_slope_of_the_loss(generator):
    for targets in (False, True):
        _, y = inputs(generator, targets)
        outputs = torch.randn(3, 6, 2, generator=generator, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(task_losses(outputs, y).sum(), outputs)
        assert torch.allclose(output_error(outputs, y), slope, atol=1e-12)


def test_output_error_change_is_its_slope(generator):
    for targets in (False, True):
        _, y = inputs(generator, targets)
        outputs, change = torch.randn(2, 3, 6, 2, generator=generator, dtype=torch.float64)
        _, expected = torch.func.jvp(partial(output_error, y=y), (outputs,), (change,))
        assert torch.allclose(output_error_change(outputs, y, change), expected, atol=1e-12)


@pytest.mark.parametrize("targets", [False, True])
def test_hessian_times_a_vector_is_that_of_torch(net, generator, targets):
    """Along all parameters, one layer's, one weight or bias alone; at a shared start and at one for each task."""
    x, y = inputs(generator, targets)
    mlp, names = StackedMLP(net), [f"net.{name}" for name, _ in net.named_parameters()]
    shared = {f"net.{name}": p.detach() for name, p in net.named_parameters()}
    layers = [set(filter(None, layer)) for layer in mlp.layers]
    for point in (own_parameters(net, 3, generator), shared):
        every = {name: p.expand(3, *shared[name].shape).clone() for name, p in point.items()}
        for along_these in [set(names), *layers, *({name} for name in names)]:
            direction = {
                name: torch.randn(3, *shared[name].shape, generator=generator, dtype=torch.float64)
                for name in names
                if name in along_these
            }
            values = mlp.forward(point, x)
            trail = values, mlp.backward(point, values, output_error(values[-1], y), set(names))
            product = hessian_vector_product(mlp, point, trail, direction, y)

            def slopes(parameters):
                return torch.func.grad(lambda each: task_losses(mlp(each, x), y).sum())(parameters)

            everywhere = {name: direction.get(name, torch.zeros_like(p)) for name, p in every.items()}
            _, expected = torch.func.jvp(slopes, (every,), (everywhere,))
            assert set(product) == set(names)
            assert all(torch.allclose(product[name], expected[name], atol=1e-12) for name in names)


def test_a_linear_head_is_one_more_layer(generator):
    net, head = KINDS["tanh"]().double(), nn.Linear(2, 4).double()
    x, _ = inputs(generator)
    parameters = {f"net.{name}": p for name, p in net.named_parameters()}
    parameters |= {f"head.{name}": p for name, p in head.named_parameters()}
    assert torch.allclose(StackedMLP(net, head)(parameters, x), head(net(x)), atol=1e-12)


@pytest.mark.parametrize(
    ("own_weight", "own_bias"), [(True, True), (True, False), (False, True), (False, False), (True, None)]
)
def test_weights_and_biases_shared_or_one_a_task(generator, own_weight, own_bias):
    x = torch.randn(3, 6, 4, generator=generator)
    weight = torch.randn(*[3] * own_weight, 2, 4, generator=generator)
    bias = None if own_bias is None else torch.randn(*[3] * own_bias, 2, generator=generator)
    result = linear(x, weight, bias)
    for t in range(3):
        own = nn.functional.linear(x[t], weight[t] if own_weight else weight, bias[t] if own_bias else bias)
        assert torch.allclose(result[t], own, atol=1e-5)


def twice():
    hidden, activation = nn.Linear(2, 2), nn.Tanh()
    return nn.Sequential(hidden, activation, hidden, activation, nn.Linear(2, 1))


def tied():
    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2))
    net[2].weight = net[0].weight
    return net


def hooked():
    net = nn.Sequential(nn.Linear(2, 1))
    net[0].register_forward_hook(lambda module, given, output: 2 * output)
    return net


def reparametrised():
    net = nn.Sequential(nn.Linear(2, 1))
    net[0].register_parameter("scale", nn.Parameter(torch.ones(1)))
    return net


@pytest.mark.parametrize(
    ("net", "fits"),
    [
        (KINDS["relu"](), True),
        (KINDS["one layer"](), True),
        (nn.Sequential(nn.Linear(1, 2), nn.GELU(), nn.Linear(2, 1)), False),
        (nn.Sequential(nn.Linear(1, 2), nn.ReLU()), False),
        (nn.Sequential(nn.Linear(1, 2), nn.Linear(2, 1)), False),
        (nn.Sequential(nn.Conv2d(1, 2, 3)), False),
        (nn.Linear(1, 2), False),
        (twice(), False),
        (tied(), False),
        (hooked(), False),
        (reparametrised(), False),
    ],
)
def test_which_nets_can_be_stacked(net, fits):
    assert StackedMLP.fits(net) == fits
