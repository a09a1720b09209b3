"""Sessions and proxies: what a test can do with a student's names, and what it is told where it cannot."""

import itertools

import numpy as np
import pytest
import torch

from autograder.course import Limits
from autograder.grading.judging.outward import Mutable
from autograder.grading.judging.proxies import Inexpressible, StudentError
from autograder.grading.judging.session import Stopped

LIMITS = Limits(cell_seconds=5, question_seconds=4, submission_seconds=100)


def test_values_calls_and_containers_cross(open_session):
    session = open_session(
        "import torch, numpy as np\nanswer = 0.5\nnothing = None",
        "def f(x, *, scale=1):\n    return {'sum': x.sum(0) * scale, 'parts': [x, (1, 'é')], 'shape': x.shape}",
        "def g(x):\n    return np.float64(x.sum()), torch.nn.Parameter(torch.ones(2)), frozenset({1})",
    )
    assert session.get("answer") == 0.5
    assert session.get("nothing", 3) is None
    assert session.get("absent", 3) == 3
    x = torch.arange(6.0).reshape(2, 3)
    got = session.get("f")(x, scale=2)
    assert torch.equal(got["sum"], torch.tensor([6.0, 10.0, 14.0])) and got["shape"] == (2, 3)
    assert torch.equal(got["parts"][0], x) and got["parts"][1] == (1, "é")
    number, weight, items = session.get("g")(np.ones(3))
    assert type(number) is np.float64 and number == 3.0
    assert type(weight) is torch.Tensor and items == {1}


def test_objects_stay_inside_as_proxies(open_session):
    session = open_session(
        "import torch, collections\nPoint = collections.namedtuple('Point', 'x y')",
        "class Net(torch.nn.Module):\n"
        "    def __init__(self, width):\n"
        "        super().__init__()\n"
        "        self.width, self.layer = width, torch.nn.Linear(width, 1, bias=False)\n"
        "    def forward(self, x):\n"
        "        return self.layer(x)",
        "def adder(a):\n    return lambda b: a + b",
        "def count():\n    n = 0\n    while True:\n        yield n\n        n += 1",
        "def width_of(net):\n    return net.width",
        "point = Point(1, 2)",
    )
    net = session.get("Net")(3)
    assert isinstance(net, torch.nn.Module) and net.width == 3
    weight = net.state_dict()["layer.weight"]
    x = torch.ones(2, 3)
    assert torch.allclose(net(x), x @ weight.T)
    assert [p.shape for p in net.parameters()] == [(1, 3)]
    assert session.get("adder")(2)(3) == 5
    assert list(itertools.islice(session.get("count")(), 4)) == [0, 1, 2, 3]
    assert session.get("width_of")(net) == 3
    point = session.get("point")
    assert point.x == 1 and point[1] == 2 and list(point) == [1, 2]


def test_nothing_is_delegated_to_the_students_object(open_session):
    session = open_session(
        "class Always:\n"
        "    __hash__ = None\n"
        "    def __eq__(self, other): return True\n"
        "    def __lt__(self, other): return True\n"
        "    def __bool__(self): return True\n"
        "    def __len__(self): return 3\n"
        "    def __contains__(self, item): return True\n"
        "    def __float__(self): return 1.0\n"
        "    __class__ = float\n"
        "    def __radd__(self, other): return other",
        "always = Always()\nclass One(int): pass\none = One(1)",
    )
    always, one = session.get("always"), session.get("one")
    for attempt in (
        lambda: always == 1,
        lambda: always != 1,
        lambda: always == 1,
        lambda: always < 1,
        lambda: bool(always),
        lambda: len(always),
        lambda: 1 in always,
        lambda: float(always),
        lambda: {always},
        lambda: torch.tensor(1.0) == always,
        lambda: 1 + always,
        lambda: one == 1,
        lambda: [one] == [1],
    ):
        with pytest.raises(TypeError):
            attempt()
    assert not isinstance(always, float) and not isinstance(one, int)


def test_exceptions_arrive_by_their_built_in_type(open_session):
    session = open_session(
        "def f(kind):\n"
        "    if kind == 'value': raise ValueError('too small')\n"
        "    if kind == 'own':\n"
        "        class Own(KeyError): pass\n"
        "        raise Own('k')\n"
        "    if kind == 'exit': raise SystemExit(3)\n"
        "    class Strange(Exception): pass\n"
        "    raise Strange('odd')",
    )
    f = session.get("f")
    with pytest.raises(ValueError, match="too small"):
        f("value")
    with pytest.raises(KeyError):
        f("own")
    with pytest.raises(StudentError, match="SystemExit"):
        f("exit")
    with pytest.raises(StudentError, match="Strange: odd"):
        f("odd")


def test_arguments_change_only_where_the_test_says_so(open_session):
    session = open_session("def clear(x, items):\n    x.zero_()\n    items.append(1)")
    clear, x, items = session.get("clear"), torch.ones(3), []
    clear(x, items)
    assert torch.equal(x, torch.ones(3)) and items == []
    clear(Mutable(x), Mutable(items))
    assert torch.equal(x, torch.zeros(3)) and items == [1]


def test_a_tests_own_functions_are_called_outside(open_session):
    session = open_session("def twice(f, x):\n    return f(f(x))", "def forever(f):\n    while True: f(1)")
    seen = []

    def double(x):
        seen.append(x)
        return 2 * x

    assert session.get("twice")(double, 3) == 12 and seen == [3, 6]
    assert session.get("twice")(torch.relu, torch.tensor([-1.0])).item() == 0
    with pytest.raises(ZeroDivisionError):
        session.get("twice")(lambda x: 1 / 0, 3)
    with pytest.raises(Stopped):
        session.get("forever")(double)


def test_modules_generators_and_devices_are_rebuilt_inside(open_session):
    session = open_session(
        "import torch",
        "def step(net, x):\n    loss = net(x).sum()\n    loss.backward()\n    return net.weight.grad",
        "def draw(generator, device):\n    return torch.rand(3, generator=generator, device=device)",
    )
    net, x = torch.nn.Linear(3, 1), torch.ones(2, 3)
    assert torch.equal(session.get("step")(net, x), torch.full((1, 3), 2.0))
    assert net.weight.grad is None
    got = session.get("draw")(torch.Generator().manual_seed(3), torch.device("cpu"))
    assert torch.equal(got, torch.rand(3, generator=torch.Generator().manual_seed(3)))


def test_a_probe_runs_inside_with_live_objects(open_session):
    session = open_session("def loss(w):\n    return (w ** 3).sum()")
    loss, factor = session.get("loss"), 2.0

    def scaled(x):
        return factor * x

    def curvature(w):
        w = w.clone().requires_grad_()
        (slope,) = torch.autograd.grad(loss(w), w, create_graph=True)
        return scaled(torch.autograd.grad(slope.sum(), w)[0])

    w = torch.tensor([1.0, 2.0])
    assert torch.allclose(session.probe(curvature, (w,), {}), 2 * 6 * w)


def test_what_a_test_cannot_express_raises_with_advice(open_session):
    session = open_session("def f(x): return x")
    f = session.get("f")
    with pytest.raises(Inexpressible, match="plain data"):
        f(object())
    with pytest.raises(Inexpressible, match="probe"):
        f.attribute = 3
    session.end()
    session.begin("q")
    with pytest.raises(Inexpressible, match="another test case"):
        f(1)


def test_names_are_judged_as_they_were_at_the_check(open_session):
    session = open_session(
        "import otter\ngrader = otter.Notebook()", "x = 1", "grader.check('q')", ["x = 2", ["other"]], "x = 3"
    )
    assert session.get("x") == 1
    session.end()
    session.begin("other")
    assert session.get("x") == 2
    session.end()
    session.begin("neither")
    assert session.get("x") == 3


def test_ipython_semantics(open_session):
    session = open_session(
        "%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.show()",
        "!true\nlisted = !echo hello",
        "import asyncio\nawait asyncio.sleep(0)\nwaited = True",
        "%%time\ntimed = 1",
        "from IPython.display import display, HTML\ndisplay(HTML('<b>x</b>'))\n41 + 1",
        "last = _",
        "import ipywidgets\nslider = ipywidgets.IntSlider(value=7)\ndisplay(slider)\nvalue = slider.value",
        "name = __name__",
        "this is no python",
        "after = 'still here'",
        "helper = open('notes.txt').read()",
        files={"notes.txt": b"beside"},
    )
    assert session.get("listed") is not None and list(session.get("listed")) == ["hello"]
    found = [session.get(name) for name in ("waited", "timed", "last", "value", "name", "after", "helper")]
    assert found == [True, 1, 42, 7, "__main__", "still here", "beside"]
    assert [(number, kind) for number, kind, _ in session.ran.errors] == [(9, "SyntaxError")]


def test_printing_is_kept_from_both_ends(open_session):
    session = open_session("print('begin')\nfor n in range(20_000): print(n)\nprint('end')")
    printed = session.ran.printed
    assert printed.startswith("begin") and printed.rstrip().endswith("end") and "characters left out" in printed
    assert len(printed) < 1100 * LIMITS.output_kb < 100_000


def test_an_endless_call_costs_its_question_only(open_session):
    session = open_session("def loop(): \n    while True: pass", "def fine(): return 1", limits=LIMITS)
    with pytest.raises(Stopped, match="longer than 4 s in this question"):
        session.get("loop")()
    session.end()
    session.begin("q")
    with pytest.raises(Stopped):
        session.get("fine")()
    session.end()
    session.begin("next")
    assert session.get("fine")() == 1
    assert session.starts == 1


def test_a_call_that_ends_the_process_costs_its_case_only(open_session):
    session = open_session("import os\ndef leave(): os._exit(0)", "def fine(): return 1")
    with pytest.raises(Stopped, match="ended the Python process"):
        session.get("leave")()
    session.end()
    session.begin("q")
    assert session.get("fine")() == 1


def test_a_stream_of_an_honest_student_that_is_too_large_costs_the_call_only(open_session):
    session = open_session(
        "import torch\ndef many(): return list(range(1_000_001))",
        "def deep():\n    found = []\n    for n in range(100): found = [found]\n    return found",
        "def huge(): return torch.zeros((1 << 28) + 1, dtype=torch.uint8)",
        "def odd(): return {frozenset({1}): 2, torch.float32: 3}, {(1, 2): 3}",
        "def émile_d_une_longueur_" + "é" * 100 + "(): pass\nlong = émile_d_une_longueur_" + "é" * 100,
        "sparse = torch.eye(3).to_sparse()",
    )
    for name, said in (("many", "at most 1000000"), ("deep", "nested deeper"), ("huge", "larger than 256 MB")):
        with pytest.raises(ValueError, match=said):
            session.get(name)()
    odd, plain = session.get("odd")()
    assert "instance 'dict'" in repr(odd) and plain == {(1, 2): 3}
    assert "émile" in repr(session.get("long")) and session.get("sparse").is_sparse is True
    assert session.starts == 1 and session.stopped is None


def test_what_needs_gradients_arrives_needing_them_on_both_sides(open_session):
    session = open_session(
        "import torch\nseen = []\ndef f(w):\n    seen.append(w.requires_grad and w.is_leaf)\n    return (w ** 2).sum()",
        "weight = torch.nn.Parameter(torch.ones(2))",
    )
    w = torch.ones(2, requires_grad=True)
    assert session.get("f")(w).requires_grad and not session.get("f")(w.detach()).requires_grad
    assert session.get("seen") == [True, False]
    weight = session.get("weight")
    assert type(weight) is torch.Tensor and weight.requires_grad
    with pytest.raises(Inexpressible, match="in a probe"):
        weight.sum().backward()
    with torch.no_grad():
        assert not session.get("weight").requires_grad
    assert w.grad is None


def test_a_tests_function_that_asks_the_student_within_a_call(open_session):
    session = open_session(
        "def twice(f, x):\n    return f(f(x))\ndef add(x):\n    return x + 1",
        "def loop(f):\n    f()\n    while True: pass",
        limits=Limits(question_seconds=2, submission_seconds=60),
    )
    twice, add = session.get("twice"), session.get("add")
    assert twice(lambda x: twice(add, 10 * x), 1) == 122
    depth = []

    def deeper(x):
        depth.append(x)
        return twice(deeper, x)

    with pytest.raises(RecursionError, match="within itself"):
        deeper(1)
    assert len(depth) == 9 and twice(add, 1) == 3
    with pytest.raises(Stopped, match="longer than 2 s"):
        session.get("loop")(lambda: add(1))
    assert session.limits_hit == ["question time"]


def test_no_handle_of_an_earlier_case_means_anything_inside_either(open_session):
    session = open_session("def f(): return 1\nheld = [f]\ndef call(g): return g()")
    f = session.get("f")
    assert f() == 1
    handle = session.case.handle_of(f)
    session.end()
    session.begin("q")
    call = session.get("call")
    session.case.handle_of = lambda proxy: handle if proxy is f else type(session.case).handle_of(session.case, proxy)
    with pytest.raises(ValueError, match="another test case"):
        call(f)
    assert session.get("f")() == 1


def test_an_exception_of_an_unlisted_kind_arrives_as_its_nearest_ancestor(open_session):
    session = open_session(
        "def f(kind):\n    if kind == 'unicode': b'\\xff'.decode()\n    if kind == 'stop': raise StopIteration\n"
        "    if kind == 'group': raise ExceptionGroup('g', [ValueError(1)])\n    raise KeyError('k' * 10_000)"
    )
    f = session.get("f")
    with pytest.raises(ValueError, match="codec can't decode"):
        f("unicode")
    for kind in ("stop", "group"):
        with pytest.raises(StudentError):
            f(kind)
    with pytest.raises(KeyError) as told:
        f("long")
    assert len(str(told.value)) < 600
