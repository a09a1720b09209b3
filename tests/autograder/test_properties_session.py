"""Properties of a session whose sandbox is hostile from its first byte: deadlines, handles, arguments.

The sandbox is a stand-in in this process and the clock is its own: each byte costs what the example says, and the
same example takes the same time everywhere.
"""

import contextlib
import itertools
import struct
import types

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autograder.course import Limits
from autograder.grading.judging import case, session
from autograder.grading.judging.case import GRACE_SECONDS, Stopped
from autograder.grading.judging.proxies import Inexpressible, Proxy, StudentError
from autograder.grading.judging.session import Session
from autograder.grading.protocol import frames
from autograder.grading.protocol.decode import decode
from autograder.grading.protocol.line import Line
from autograder.grading.protocol.wire import KINDS, Handle, WireError, encode

QUESTION = 5.0
FUNCTION = 0


def bounded(examples: int):
    """The same examples in every run, so that a run tells something of the code and not of chance."""
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
    return settings(max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=checks)


class Clock:
    """Seconds that pass only when somebody waits."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Peer:
    """A sandbox and its connection. `answers(request)` gives the bytes that follow each request.

    Bytes arrive in chunks of `chunk`, each after `delay` seconds; when none are left the reader waits in vain.
    """

    overrun, hits, peak = None, frozenset(), 0

    def __init__(self, clock: Clock, answers, chunk: int = 1 << 20, delay: float = 0.0):
        self.clock, self.answers, self.chunk, self.delay = clock, answers, chunk, delay
        self.connection, self.asked, self.stream, self.timeout, self.ended = self, bytearray(), bytearray(), None, False

    def settimeout(self, seconds: float) -> None:
        assert seconds > 0
        self.timeout = seconds

    def _wait(self, seconds: float) -> None:
        self.clock.now += min(seconds, self.timeout)
        if seconds >= self.timeout:
            raise TimeoutError

    def send(self, part) -> int:
        self.sendall(part)
        return len(part)

    def sendall(self, part) -> None:
        self.asked += part
        while len(self.asked) >= 8 and len(self.asked) >= 8 + (size := struct.unpack(">Q", self.asked[:8])[0]):
            request = decode(bytes(self.asked[8 : 8 + size]), recipe=lambda kind, body: (kind, body))
            del self.asked[: 8 + size]
            self.stream += self.answers(request)

    def recv_into(self, buffer) -> int:
        self._wait(self.delay if self.stream else float("inf"))
        part = self.stream[: min(self.chunk, len(buffer))]
        del self.stream[: len(part)]
        buffer[: len(part)] = part
        return len(part)

    def kill(self) -> None:
        self.ended = True

    def words(self) -> str:
        return ""


def frame(message) -> bytes:
    payload = message if isinstance(message, (bytes, bytearray)) else encode(message)
    return struct.pack(">Q", len(payload)) + payload


@pytest.fixture
def meet(monkeypatch):
    """meet(answers, ...) -> (session in a test case, peer, clock); `answers` follows every request of the case."""

    def start(answers, question_seconds: float = QUESTION, submission_seconds: float = 60.0, **manner):
        clock = Clock()
        monkeypatch.setattr(case, "CALLS", 100)
        monkeypatch.setattr(case, "STEPS", 500)
        for module in (case, frames, session):
            monkeypatch.setattr(module, "time", types.SimpleNamespace(monotonic=clock.monotonic))

        def reply(request):
            if request[0] == "case":
                peer.key = request[1]
                return frame(request)
            return answers(peer, request)

        peer = Peer(clock, reply, **manner)
        limits = Limits(question_seconds=question_seconds, submission_seconds=submission_seconds)
        met = Session(None, {}, [], 0, limits)
        met.sandbox, met.line = peer, Line(peer, met._adopt)
        met.begin("q")
        return met, peer, clock

    return start


numbers = itertools.count()


def given_handle(peer: Peer, kind: str = "function") -> Handle:
    """A handle as an honest worker gives it."""
    return Handle(peer.key + next(numbers).to_bytes(8, "big"), kind, "f")


plain = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text("ab", max_size=5), st.binary(max_size=9)
)
messages = st.recursive(plain, lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner), max_leaves=8)
replies = st.one_of(
    st.builds(lambda value: ["value", value, []], messages),
    st.builds(lambda value: ["value", value], messages),
    st.builds(lambda number, args: ["callback", number, (args,), {}], st.integers(-1, 2), messages),
    st.sampled_from([["late"], ["missing"], ["stop"], ["raised", "ValueError", "E", "text"], ["case", bytes(8)], []]),
    st.lists(messages, max_size=4),
)


@st.composite
def streams(draw) -> bytes:
    """What a hostile sandbox writes: replies, spoiled replies, lengths that promise too much, plain bytes."""
    stream = b"".join(frame(reply) for reply in draw(st.lists(replies, max_size=4)))
    match draw(st.integers(0, 3)):
        case 0:
            stream += draw(st.binary(max_size=60))
        case 1:
            at = draw(st.integers(0, len(stream)))
            stream = stream[:at] + draw(st.binary(min_size=1, max_size=9)) + stream[at + draw(st.integers(0, 9)) :]
        case 2:
            stream += struct.pack(">Q", draw(st.integers(0, 2**64 - 1))) + draw(st.binary(max_size=60))
    return stream


ENDS = (Stopped, StudentError, ValueError, TypeError, AssertionError)


@bounded(250)
@given(streams(), st.integers(1, 40), st.floats(0, 3), st.integers(1, 3))
def test_every_hostile_stream_ends_by_its_deadline(meet, stream, chunk, delay, questions):
    met, peer, clock = meet(lambda peer, request: stream, chunk=chunk, delay=delay)
    began = clock.now
    for _ in range(questions):
        with contextlib.suppress(*ENDS):
            met.case.call(given_callable(met, peer), (lambda x: x,), {})
    assert clock.now <= began + QUESTION + GRACE_SECONDS + 1e-6


def given_callable(met: Session, peer: Peer) -> Proxy:
    """A proxy that the session holds already."""
    peer.key = met.case.key
    return met.case.adopt(given_handle(peer))


ENDLESS = {
    "callbacks": lambda peer, request: frame(["callback", FUNCTION, (1,), {}]),
    "callbacks of nothing": lambda peer, request: frame(["callback", 7, (1,), {}]),
    "drops of a frame": lambda peer, request: struct.pack(">Q", 1000) + b"[" * 999,
    "a length and no more": lambda peer, request: struct.pack(">Q", 1 << 28),
    "too great a length": lambda peer, request: struct.pack(">Q", 1 << 60),
    "replies to no question": lambda peer, request: frame(["case", bytes(8)]),
}


@pytest.mark.parametrize("delay", [0.0, 0.5])
@pytest.mark.parametrize("answers", ENDLESS.values(), ids=ENDLESS)
def test_an_endless_answer_ends(meet, answers, delay):
    met, peer, clock = meet(answers, chunk=7, delay=delay)
    began, calls = clock.now, []
    with pytest.raises(Stopped):
        met.case.call(given_callable(met, peer), (calls.append,), {})
    assert clock.now <= began + QUESTION + GRACE_SECONDS + 1e-6
    assert peer.ended and len(calls) <= case.CALLS
    with pytest.raises(Stopped):
        met.get("f")


def test_a_generator_without_end_ends(meet):
    met, peer, _ = meet(lambda peer, request: frame(["value", 1]))
    endless = met.case.adopt(Handle(met.case.key + bytes(8), "generator", "g"))
    with pytest.raises(Stopped, match="went on after"):
        list(endless)
    met.begin("r")
    endless = met.case.adopt(Handle(met.case.key + bytes(8), "generator", "g"))
    peer.delay = 0.01
    with pytest.raises(Stopped, match="longer than"):
        for _ in endless:
            pass
    assert met.limits_hit == ["question time"]


def test_calls_within_calls_are_bounded_by_the_judge(meet):
    met, peer, _ = meet(lambda peer, request: frame(["callback", 0, (), {}]))
    proxy, depths = given_callable(met, peer), []

    def deeper():
        depths.append(met.case.depth)
        return proxy(deeper)

    with pytest.raises(Stopped):
        met.case.call(proxy, (deeper,), {})
    assert max(depths) <= case.NESTED and met.case.depth == 0 and "within one another" in met.log[-1]


def test_calls_within_calls_share_one_deadline(meet):
    met, peer, clock = meet(lambda peer, request: frame(["callback", 0, (), {}]), delay=0.9)
    proxy, began = given_callable(met, peer), clock.now

    def deeper():
        return proxy(deeper)

    with pytest.raises(Stopped, match="longer than 5 s"):
        met.case.call(proxy, (deeper,), {})
    assert clock.now <= began + QUESTION + GRACE_SECONDS + 1e-6


def test_the_time_of_calls_within_calls_is_counted_once(meet):
    def answers(peer, request):
        if request[0] == "value":  # what the test's function gave back: now the outer call has its answer
            return frame(["value", 3, []])
        return frame(["callback", 0, (), {}] if request[2] else ["value", 1, []])

    met, peer, clock = meet(answers, delay=0.5)
    proxy, began = given_callable(met, peer), clock.now
    assert met.case.call(proxy, (lambda: proxy(),), {}) == 3
    assert clock.now > began + 2
    assert met.left["q"] == pytest.approx(QUESTION - (clock.now - began))


@bounded(120)
@given(st.binary(min_size=16, max_size=16), st.sampled_from(KINDS), st.integers(0, 3))
def test_a_handle_is_worth_something_once_and_in_its_own_case_only(meet, guessed, kind, how):
    met, peer, _ = meet(lambda peer, request: frame(["value", peer.gives]))
    peer.gives = first = Handle(met.case.key + bytes(8), "function", "f")
    assert isinstance(met.get("f"), Proxy)
    before = met.case.key
    met.end()
    met.begin("q")
    assert met.case.key != before
    peer.gives = {
        0: first,  # of the case before
        1: Handle(guessed, kind, "f"),  # of no case
        2: Handle(before + guessed[8:], kind, "f"),  # of the case before, never given
        3: [given_twice := Handle(met.case.key + guessed[8:], "function", "f"), given_twice],
    }[how]
    with pytest.raises(Stopped, match="cannot be read"):
        met.get("f")
    assert peer.ended and "handle" in met.log[-1]


OPERATIONS = {
    "call": lambda proxy: proxy(1),
    "attribute": lambda proxy: proxy.weight,
    "item": lambda proxy: proxy[0],
    "iterate": lambda proxy: list(proxy),
    "next": lambda proxy: next(proxy),
    "doc": lambda proxy: proxy.__doc__,
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_operation_on_a_proxy_outside_its_case_fails_without_a_word_to_the_sandbox(meet, operation, kind):
    met, peer, _ = meet(lambda peer, request: frame(["value", 1, []]))
    proxy = met.case.adopt(Handle(met.case.key + bytes(8), kind, "f"))
    asked = []
    peer.answers = asked.append
    met.end()
    with pytest.raises(TypeError) as outside:
        operation(proxy)
    met.begin("q")
    with pytest.raises(TypeError) as later:
        operation(proxy)
    with pytest.raises(Inexpressible, match="another test case"):
        met.case.call(met.case.adopt(Handle(met.case.key + bytes(8), "function", "f")), (proxy,), {})
    assert asked == []
    for told in (outside, later):
        assert isinstance(told.value, Inexpressible) or "object is not" in str(told.value)


arrays = st.builds(
    lambda shape: np.arange(float(np.prod(shape))).reshape(shape), st.lists(st.integers(0, 3), max_size=3)
)
tensors = st.one_of(
    arrays.map(torch.as_tensor),
    arrays.map(lambda array: torch.as_tensor(array).t() if array.ndim == 2 else torch.as_tensor(array)[..., None]),
    arrays.map(lambda array: torch.as_tensor(array).clone().requires_grad_()),
    arrays.map(lambda array: torch.as_tensor(array).to(torch.complex64).conj()),
    arrays.map(lambda array: torch.nn.Parameter(torch.as_tensor(array))),
)
arguments = st.recursive(
    st.one_of(plain, tensors, arrays),
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text("ab"), inner, max_size=3)
    ),
    max_leaves=6,
)


def snapshot(value) -> list:
    """Every tensor's and array's bits, version, strides and flags, and the identity of all parts."""
    found, pending = [], [value]
    while pending:
        item = pending.pop()
        if isinstance(item, torch.Tensor):
            bits = item.detach().resolve_conj().contiguous().numpy().tobytes()
            found.append((id(item), bits, item._version, item.stride(), item.requires_grad, item.grad))
        elif isinstance(item, np.ndarray):
            found.append((id(item), item.tobytes(), item.flags.writeable))
        else:
            found.append((id(item), repr(item) if not isinstance(item, (list, tuple, dict)) else len(item)))
            pending += item if isinstance(item, (list, tuple)) else item.values() if isinstance(item, dict) else []
    return found


@bounded(200)
@given(st.lists(arguments, max_size=3), streams())
def test_the_judges_arguments_are_unchanged_bit_by_bit_whatever_answers(meet, args, stream):
    met, peer, _ = meet(lambda peer, request: stream)
    before = snapshot(args)
    with contextlib.suppress(*ENDS):
        met.case.call(given_callable(met, peer), tuple(args), {"again": args})
    assert snapshot(args) == before


def test_what_is_called_back_with_cannot_reach_the_judges_arguments(meet):
    x = torch.ones(3)
    met, peer, _ = meet(
        lambda peer, request: frame(["callback", 0, (x,), {}]) if request[0] == "call" else frame(["value", 1, []])
    )
    peer_sees = []

    def clear(received):
        peer_sees.append(received)
        received.zero_()

    met.case.call(given_callable(met, peer), (clear, x), {})
    assert torch.equal(x, torch.ones(3)) and torch.equal(peer_sees[0], torch.zeros(3))


def test_an_error_between_question_and_answer_ends_the_conversation(meet):
    met, peer, _ = meet(lambda peer, request: frame(["callback", 0, (), {}]))

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        met.case.call(given_callable(met, peer), (interrupted,), {})
    assert peer.ended and met.sandbox is None


def test_a_sandbox_that_does_not_say_when_a_case_begins_is_not_believed(meet):
    met, peer, _ = meet(lambda peer, request: frame(["value", 1]))
    peer.answers = lambda request: frame(["value", True])  # written before it was asked
    with pytest.raises(Stopped, match="cannot be read"):
        met.get("answer")


def test_a_wire_error_is_raised_for_a_handle_while_no_case_runs(meet):
    met, _, _ = meet(lambda peer, request: b"")
    met.end()
    with pytest.raises(WireError):
        met._adopt(Handle(bytes(16), "function", "f"))
