"""What needs live objects, written as the author of a homework would: meta-gradients, training, timing, memory.

And what an author might write instead: each mistake is told at once what to write.
"""

import copy
import functools
import inspect
import json
import math
import pickle
import re

import numpy as np
import pytest
import torch

from autograder.course import Limits
from autograder.grading.judging.proxies import Inexpressible
from autograder.grading.judging.session import Session
from autograder.testing import Judging, close, judging, mutable, probe, rng

HOMEWORK = '''
import torch
from torch import nn

class Net(nn.Module):
    """A line."""
    def __init__(self, width):
        super().__init__()
        self.layer = nn.Linear(width, 1).double()
    def forward(self, x):
        return self.layer(x)[:, 0]

def loss(weights, x, y):
    return ((x @ weights - y) ** 2).mean()

def adapt(weights, x, y, rate, steps):
    """MAML's inner loop (Finn, Abbeel, Levine, 2017)."""
    for step in range(steps):
        (slope,) = torch.autograd.grad(loss(weights, x, y), weights, create_graph=True)
        weights = weights - rate * slope
    return weights

def train(net, optimiser, x, y, steps):
    for step in range(steps):
        optimiser.zero_grad()
        error = ((net(x) - y) ** 2).mean()
        error.backward()
        optimiser.step()
    return error.item()

def hungry(megabytes):
    return len(bytearray(megabytes << 20))

def naturals():
    n = 0
    while True:
        yield n
        n += 1

def apply(f, x):
    return f(x)

def descend(f, w):
    (slope,) = torch.autograd.grad(f(w), w)
    return w - slope

def swallow(f):
    try:
        f(1)
    except BaseException:
        pass
    return 3

net = Net(3)
thing = type("Thing", (), {"size": 3, "__len__": lambda self: 3})()
'''


@pytest.fixture(scope="module")
def sessions(open_box, tmp_path_factory):
    """(a session with the finished homework, one where no notebook was run)."""
    opened = []
    for cells in ([[HOMEWORK, []]], []):
        home = tmp_path_factory.mktemp("home")
        opened.append(Session(functools.partial(open_box, home), {}, cells, 0, Limits(submission_seconds=200)))
        opened[-1].run()
        assert opened[-1].ran.errors == []
    yield opened
    for session in opened:
        session.close()


@pytest.fixture
def student(sessions):
    """student(name) gives what a test case gets of the homework, while the homework is judged."""
    session, apart = sessions
    session.begin("q")
    apart.begin("apart")
    token = judging.set(Judging(session, lambda: apart, b"submission", b"assignment", {}))
    yield session.get
    judging.reset(token)
    session.end()


def inner_loss(w, x, y):
    return ((x @ w - y) ** 2).mean()


def task(name: str):
    generator = rng(name)
    return tuple(torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((3,), (8, 3), (8,)))


def test_an_inner_loop_needs_no_probe_for_its_values(student):
    adapt, (w, x, y) = student("adapt"), task("values")
    got = adapt(w.clone().requires_grad_(), x, y, 0.1, 2)
    expected = w
    for _ in range(2):
        expected = expected - 0.1 * 2 / 8 * x.T @ (x @ expected - y)
    assert close(got, expected)
    assert got.requires_grad, "the result depends on weights that require gradients"


def test_the_meta_gradient_goes_through_the_inner_step(student):
    adapt, (w, x, y) = student("adapt"), task("meta")

    @probe
    def meta_gradient(w):
        w = w.clone().requires_grad_()
        fast = adapt(w, x, y, 0.1, 1)
        inner_loss(fast, x, y).backward()
        return w.grad

    got = meta_gradient(w)
    hessian = 2 / 8 * x.T @ x
    fast = w - 0.1 * 2 / 8 * x.T @ (x @ w - y)
    assert close(got, (torch.eye(3, dtype=torch.float64) - 0.1 * hessian) @ (2 / 8 * x.T @ (x @ fast - y)))


def test_second_derivatives_of_a_students_function(student):
    loss, (w, x, y) = student("loss"), task("hessian")

    @probe
    def hessian(w):
        return torch.autograd.functional.hessian(lambda w: loss(w, x, y), w)

    assert close(hessian(w), 2 / 8 * x.T @ x)


def test_one_training_step_of_a_students_module(student):
    net, (_, x, y) = student("Net")(3), task("step")
    before = net.state_dict()

    @probe
    def step():
        optimiser = torch.optim.SGD(net.parameters(), lr=0.5)
        ((net(x) - y) ** 2).mean().backward()
        optimiser.step()
        return {name: parameter.grad for name, parameter in net.named_parameters()}

    slopes, after = step(), net.state_dict()
    error = x @ before["layer.weight"][0] + before["layer.bias"] - y
    assert close(slopes["layer.weight"], 2 * (error @ x / 8)[None])
    assert close(after["layer.weight"], before["layer.weight"] - 0.5 * slopes["layer.weight"])
    assert close(after["layer.bias"], before["layer.bias"] - 0.5 * slopes["layer.bias"])


def test_a_students_training_loop_lowers_the_loss(student):
    net, train, (_, x, y) = student("net"), student("train"), task("loop")

    @probe
    def losses():
        optimiser = torch.optim.Adam(net.parameters(), lr=0.05)
        return [train(net, optimiser, x, y, 20) for _ in range(2)]

    first, second = losses()
    assert second < first


def test_a_call_is_timed_and_its_memory_measured_inside(student):
    hungry = student("hungry")

    @probe
    def cost(megabytes):
        import time
        import tracemalloc

        tracemalloc.start()
        began = time.perf_counter()
        hungry(megabytes)
        seconds = time.perf_counter() - began
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return seconds, peak

    seconds, peak = cost(16)
    assert type(seconds) is float and seconds > 0
    assert 16 << 20 <= peak < 17 << 20


def test_a_fresh_probe_never_meets_the_students_code(student):
    net = student("net")

    @probe(fresh=True)
    def score(weights, x):
        layer = torch.nn.Linear(3, 1).double()
        layer.load_state_dict(weights)
        return layer(x)[:, 0]

    x = task("fresh")[1]
    weights = {name.removeprefix("layer."): value for name, value in net.state_dict().items()}
    assert close(score(weights, x), net(x))

    @probe(fresh=True)
    def smuggle():
        return net(x)

    with pytest.raises(Inexpressible, match="fresh probe"):
        smuggle()


def test_a_tests_function_may_ask_the_student_in_turn(student):
    apply, loss, (w, x, y) = student("apply"), student("loss"), task("turn")
    got = apply(lambda w: apply(lambda w: 2 * loss(w, x, y), w), w)
    assert close(got, 2 * inner_loss(w, x, y))


def test_an_assertion_in_a_tests_function_is_the_verdict_whatever_the_student_makes_of_it(student):
    def spy(x):
        assert x == 2, "called with 2"

    with pytest.raises(AssertionError, match="called with 2"):
        student("swallow")(spy)
    assert student("swallow")(lambda x: None) == 3, "and the conversation goes on"


def test_no_gradient_goes_through_a_tests_own_function(student):
    with pytest.raises(RuntimeError, match="use it in a probe"):
        student("descend")(lambda w: (w**2).sum(), torch.ones(3, requires_grad=True))


class Custom(torch.nn.Module):
    def forward(self, x):
        return x


def with_names(code: str):
    return lambda student: exec(code, {"student": student, "net": student("net"), "thing": student("thing")})


X = torch.ones(2, 3, dtype=torch.float64)
STUDENT = {  # what a test might try with a student's object: the sentence that says what to write instead
    "backward": (lambda s: s("net")(X).sum().backward(), "in a probe"),
    "autograd.grad": (lambda s: torch.autograd.grad(s("net")(x := X.clone().requires_grad_()).sum(), x), "in a probe"),
    "functional_call": (lambda s: torch.func.functional_call(s("net"), dict(s("net").state_dict()), X), "in a probe"),
    "vmap": (lambda s: torch.func.vmap(s("net"))(X), "inside vmap"),
    "func.grad": (lambda s: torch.func.grad(s("loss"))(X[0], X, X[:, 0]), "inside vmap, grad"),
    "getsource": (lambda s: inspect.getsource(s("loss")), "inspect it in a probe"),
    "signature": (lambda s: inspect.signature(s("loss")), "inspect it in a probe"),
    "__code__": (lambda s: s("loss").__code__, "inspect it in a probe"),
    "equal proxies": (lambda s: s("net") == s("net"), "plain data that it returns"),
    "order": (lambda s: s("thing") < 3, "compare a number"),
    "sorted": (lambda s: sorted([s("thing"), s("thing")]), "compare a number"),
    "len": (lambda s: len(s("thing")), r"len\(list"),
    "bool": (lambda s: bool(s("thing")), "is None"),
    "in": (lambda s: 1 in s("thing"), "look in list"),
    "key": (lambda s: {s("thing"): 1}, "cannot be a key"),
    "add": (lambda s: 1 + s("thing"), "no number"),
    "sqrt": (lambda s: math.sqrt(s("thing")), "no number"),
    "format": (lambda s: f"{s('thing'):.3f}", "no number"),
    "np.asarray": (lambda s: np.asarray(s("thing")), "plain tensor or array"),
    "np.mean": (lambda s: np.mean(s("thing")), "plain tensor or array"),
    "np.add": (lambda s: np.ones(3) + s("thing"), "plain tensor or array"),
    "torch.tensor": (lambda s: torch.tensor(s("thing")), "plain list or tensor"),
    "torch.stack": (lambda s: torch.stack([X, s("thing")]), "plain tensor"),
    "torch.allclose": (lambda s: torch.allclose(X, s("thing")), "plain tensor"),
    "tensor ==": (lambda s: X.eq(s("thing")), "plain tensor"),
    "pickle": (lambda s: pickle.dumps(s("net")), "state_dict"),
    "torch.save": (lambda s: torch.save(s("net"), "/dev/null"), "state_dict"),
    "deepcopy": (lambda s: copy.deepcopy(s("net")), "copy it in a probe"),
    "copy": (lambda s: copy.copy(s("net")), "copy it in a probe"),
    "setattr": (lambda s: setattr(s("net"), "layer", None), "change it in a probe"),
    "with": (with_names("with thing: pass"), "use it in a probe"),
    "subclass": (with_names("class Sub(student('Net')): pass"), "subclass it in a probe"),
    "isinstance": (lambda s: isinstance(s("net"), s("Net")), r"isinstance\(\) in a probe"),
    "issubclass": (lambda s: issubclass(s("Net"), torch.nn.Module), r"issubclass\(\) in a probe"),
    "dir": (lambda s: dir(s("net")), "in a probe"),
}
HANDED = {  # what a test might hand over
    "an object": (lambda s: s("apply")(len, object()), "plain data"),
    "its own module": (lambda s: s("apply")(Custom(), X), "build it in a probe"),
    "its own class": (lambda s: s("apply")(Custom, X), "define it in a probe"),
    "an optimiser": (lambda s: s("apply")(torch.optim.SGD([X], lr=0.1), X), "step it in a probe"),
    "NumPy's generator": (lambda s: s("loss")(np.random.default_rng(0)), "torch.Generator"),
    "a sparse tensor": (lambda s: s("loss")(X.to_sparse()), "plain CPU tensors"),
    "a generator": (lambda s: s("loss")(n for n in range(3)), "plain data"),
    "a mutable number": (lambda s: s("loss")(mutable(3)), "mutable"),
    "a name defined later": (lambda s: early_probe()(), "defined below it"),
    "itself": (lambda s: recursive(3), "without recursion"),
    "too much": (lambda s: s("loss")([0] * 1_000_001), "at most 1000000"),
}


def early_probe():
    @probe
    def early():
        return late()

    if early is None:
        late = None
    return early


@probe
def recursive(n):
    return inner(n)


def inner(n):
    return inner(n - 1) if n else 0


MISTAKES = {**STUDENT, **HANDED}


def test_what_a_test_cannot_express_raises_at_once_and_says_what_to_write(student):
    said = {}
    for name, (mistake, _) in MISTAKES.items():
        try:
            said[name] = f"nothing: {mistake(student)!r}"
        except Inexpressible as told:
            said[name] = str(told)
    assert [name for name, (_, sentence) in MISTAKES.items() if not re.search(sentence, said[name])] == []
    assert close(student("net")(X).detach(), student("net")(X)), "none of them cost the conversation"


def test_what_a_proxy_answers_itself(student):
    net, loss, thing = student("net"), student("loss"), student("thing")
    assert repr(net) == "<the student's module 'Net'>" and f"{loss}" == "<the student's function 'loss'>"
    assert isinstance(net, torch.nn.Module) and callable(net) and callable(loss) and not callable(thing)
    assert student("Net").__doc__ == "A line." and loss.__name__ == "loss"
    assert functools.partial(loss, X[0], X)(X[:, 0]).ndim == 0
    with pytest.raises(TypeError, match="not JSON serializable"):
        json.dumps(thing)
    assert net.load_state_dict({"layer.weight": X[:1], "layer.bias": X[0, :1]}) is not None
    assert close(net(X), torch.full((2,), 4.0, dtype=torch.float64))


def test_a_probes_code_says_nothing_of_the_test_it_comes_from(student):
    @probe
    def what_is_seen():
        import sys

        code = sys._getframe().f_code
        return [code.co_filename, code.co_qualname, code.co_firstlineno, __name__]

    assert what_is_seen() == ["<probe>", "what_is_seen", 1, "probe"]
