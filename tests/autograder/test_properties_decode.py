"""Properties of the decoder: whatever arrives is refused in words or is a canonical value, within its memory."""

import struct
import subprocess
import sys
import tracemalloc
from textwrap import dedent

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autograder.grading.protocol.decode import Budget, decode
from autograder.grading.protocol.wire import KINDS, NUMPY_DTYPES, TORCH_DTYPES, Handle, Limits, WireError, encode


def bounded(examples: int):
    """The same examples in every run, so that a run tells something of the code and not of chance."""
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=checks)


EXACT = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.Tensor, Handle, np.ndarray)


def tensors(dtypes: tuple, make):
    return st.builds(
        lambda dtype, shape: make(shape, dtype), st.sampled_from(dtypes), st.lists(st.integers(0, 3), max_size=3)
    )


def variable(shape, dtype):
    return torch.ones(shape, dtype=dtype).requires_grad_()


FLOATING = tuple(dtype for dtype in TORCH_DTYPES if dtype.is_floating_point or dtype.is_complex)
leaves = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.integers(-(1 << 70), 1 << 70), st.floats(), st.complex_numbers()),
    *(st.text(st.characters(exclude_categories=["Cs"])), st.binary(), st.sampled_from(TORCH_DTYPES)),
    *(st.sampled_from(NUMPY_DTYPES), tensors(TORCH_DTYPES, lambda shape, dtype: torch.ones(shape).to(dtype))),
    *(
        tensors(FLOATING, variable),
        tensors(NUMPY_DTYPES, np.ones),
        st.sampled_from(NUMPY_DTYPES).map(lambda d: d.type(1)),
    ),
    st.builds(Handle, st.binary(min_size=16, max_size=16), st.sampled_from(KINDS), st.just("name")),
)
plain = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(st.characters(exclude_categories=["Cs"])), st.binary()
)
keys = plain | st.tuples(plain, plain)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.lists(inner, max_size=5).map(tuple),
        st.dictionaries(keys, inner, max_size=5),
        st.sets(keys, max_size=5),
        st.builds(slice, inner, inner),
    ),
    max_leaves=12,
)


@st.composite
def hostile(draw) -> bytes:
    """Bytes made by spoiling a valid stream in one to four places, or by putting parts of two together."""
    stream = bytearray(encode(draw(values)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(stream)))
        match draw(st.integers(0, 5)):
            case 0:
                stream[at : at + 1] = draw(st.binary(max_size=2))
            case 1:
                stream[at:at] = draw(st.binary(max_size=9))
            case 2:
                del stream[at : at + draw(st.integers(1, 9))]
            case 3:  # a count or a size of the protocol's own width
                number = draw(
                    st.sampled_from([0, 1, 2, 3, 255, 65536, 10**6, 2**31, 2**32 - 1]) | st.integers(0, 2**32 - 1)
                )
                stream[at : at + 4] = struct.pack(">I", number)
            case 4:
                stream[at : at + 8] = struct.pack(">Q", draw(st.integers(0, 2**64 - 1)))
            case 5:
                stream[at:] = encode(draw(values))
    return bytes(stream)


def is_plain(value) -> bool:
    """Built of exact plain types only: nothing in it has a method of the sender's."""
    pending = [value]
    while pending:
        item = pending.pop()
        if type(item) in (list, tuple, set):
            pending.extend(item)
        elif type(item) is dict:
            pending.extend([*item, *item.values()])
        elif type(item) is slice:
            pending.extend([item.start, item.stop, item.step])
        elif type(item) not in EXACT and not (
            isinstance(item, (np.dtype, np.generic)) and type(item).__module__.startswith("numpy")
        ):
            return False
    return True


def check(payload: bytes) -> None:
    try:
        value = decode(payload)
    except WireError:
        return
    assert is_plain(value)
    assert bytes(encode(value)) == payload, "a value has one encoding and no other is accepted"


@bounded(300)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_canonical(payload):
    check(payload)


@bounded(700)
@given(hostile())
def test_spoiled_streams_are_refused_or_canonical(payload):
    check(payload)


@bounded(150)
@given(values)
def test_valid_streams_are_canonical(value):
    payload = bytes(encode(value))
    assert bytes(encode(decode(payload))) == payload


@bounded(150)
@given(values, st.data())
def test_bytes_changed_after_receipt_change_nothing(value, data):
    payload = bytearray(encode([value, "text", b"bytes", 1 << 70, torch.ones(3), np.ones(3)]))
    before = bytes(payload)
    found = decode(payload)
    payload[:] = (
        data.draw(st.binary(min_size=len(payload), max_size=len(payload)))
        if len(payload) < 500
        else bytes(len(payload))
    )
    assert bytes(encode(found)) == before


SMALL = Limits(frame=1 << 16, memory=1 << 17)
OVERHEAD = 1 << 16  # the reader itself, its stack, an exception
MULTIPLIED = [  # the smallest streams for the largest values
    *(
        b"<" + bytes(4),
        b"{" + bytes(4),
        b"[" + bytes(4),
        b"(" + bytes(4),
        b":NNN",
        b"N",
        b"{" + struct.pack(">I", 1) + b"NN",
    ),
    *(b"f" + bytes(8), b"c" + bytes(16), b"i" + struct.pack(">I", 5) + b"\x01" + bytes(4), b"t\x02\x00" + bytes(4)),
    *(
        b"s" + struct.pack(">I", 6) + "\U0001f600ab".encode(),
        b"b" + struct.pack(">I", 1) + b"x",
        b"n\x01\x01" + bytes(8),
    ),
    *(
        b"h" + bytes(17) + struct.pack(">I", 1) + b"x",
        b"s" + struct.pack(">I", 2000) + b"a" * 1996 + "\U0001f600".encode(),
    ),
    b"t\x02\x02" + struct.pack(">QQ", 0, 1 << 26),
]


def peak_of(payload: bytes, limits: Limits) -> int:
    tracemalloc.start()
    try:
        found = decode(payload, limits=limits)
        del found
    except WireError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


@pytest.mark.parametrize("item", MULTIPLIED, ids=lambda item: repr(bytes(item[:9])))
@pytest.mark.parametrize("tag", [b"[", b"("])
def test_no_item_takes_more_memory_than_it_is_counted_for(item, tag):
    fitting = (SMALL.frame - 5) // len(item)
    for count in (fitting, 1500, 500):
        payload = tag + struct.pack(">I", min(count, fitting)) + item * min(count, fitting)
        assert peak_of(payload, SMALL) <= SMALL.memory + OVERHEAD


@bounded(200)
@given(hostile(), st.integers(1, 400))
def test_memory_stays_under_the_cap_whatever_arrives(payload, times):
    """Repeated in a list, so that what one stream may take is multiplied."""
    times = min(times, (SMALL.frame - 5) // max(len(payload), 1))
    repeated = b"[" + struct.pack(">I", times) + payload * times
    assert peak_of(repeated, SMALL) <= SMALL.memory + OVERHEAD


def test_one_budget_holds_for_all_replies_of_a_case():
    budget, received = Budget(Limits(memory=100_000)), 0
    with pytest.raises(WireError, match="more than 100000 bytes in one test case"):
        while True:
            decode(encode(torch.zeros(2000, dtype=torch.uint8)), budget=budget)
            received += 1
    assert 20 < received < 50
    with pytest.raises(WireError, match="more than 10000 objects"):
        decode(encode([Handle(bytes(16), "instance", "x")] * 10_001))


HEAVY = """
    import gc, struct
    from autograder.grading.protocol.decode import decode
    from autograder.grading.protocol.wire import Limits, WireError

    def count(number): return struct.pack(">I", number)
    wide = b"s" + count(1 << 24) + "\\U0001f600".encode() + b"a" * ((1 << 24) - 4)
    streams = [
        lambda: b"t\\x02\\x01" + struct.pack(">Q", (1 << 26) - 64) + bytes((1 << 28) - 256),
        lambda: b"[" + count(15) + wide * 15,
        lambda: b"[" + count(300_000) + (b"<" + count(1) + b"N") * 300_000,
    ]

    def read(name):
        return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith(name))

    for stream in streams:
        payload = stream()
        gc.collect()
        open("/proc/self/clear_refs", "w").write("5")
        before = read("VmRSS")
        try:
            decode(payload)
        except WireError as refusal:
            print(refusal)
        print("took", read("VmHWM") - before)
        del payload
"""


def test_the_real_caps_hold_in_the_memory_of_a_process():
    run = subprocess.run([sys.executable, "-c", dedent(HEAVY)], capture_output=True, text=True, timeout=120)
    took = [int(line.split()[1]) for line in run.stdout.splitlines() if line.startswith("took")]
    assert run.returncode == 0 and len(took) == 3, run.stderr
    assert max(took) <= Limits.memory and took[1] > 900 << 20, "the second comes near the cap: this test can fail"
