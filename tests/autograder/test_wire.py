"""The wire: every value survives, what is refused is refused in words, and a frame arrives in time or not at all."""

import socket
import struct
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autograder.grading.protocol.decode import decode
from autograder.grading.protocol.frames import read_frame, write_frame
from autograder.grading.protocol.wire import NUMPY_DTYPES, TORCH_DTYPES, Handle, Limits, Recipe, WireError, encode

leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
    | st.sampled_from(TORCH_DTYPES)
)
keys = st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])) | st.binary()
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(keys, inner)
        | st.sets(keys)
        | st.builds(slice, inner)
    ),
    max_leaves=20,
)


def same(a, b) -> bool:
    """Equality with types, and NaN equal to itself."""
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, slice):
        return same((a.start, a.stop, a.step), (b.start, b.stop, b.step))
    if isinstance(a, (float, complex)):
        return encode(a) == encode(b)
    return a == b


@settings(deadline=None)
@given(values)
def test_a_value_survives(value):
    assert same(decode(encode(value)), value)


@pytest.mark.parametrize("dtype", TORCH_DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 1, 3)])
def test_a_tensor_survives_bit_by_bit(dtype, shape):
    generator = torch.Generator().manual_seed(1)
    tensor = torch.randint(0, 2, shape, generator=generator).to(dtype)
    back = decode(encode(tensor))
    assert type(back) is torch.Tensor and back.dtype == dtype and back.shape == tensor.shape
    assert torch.equal(back, tensor)


@pytest.mark.parametrize("dtype", NUMPY_DTYPES, ids=str)
def test_an_array_and_its_items_survive(dtype):
    array = np.array([[0, 1], [1, 0]]).astype(dtype)
    back = decode(encode([array.T, array[0, 1]]))
    assert back[0].dtype == dtype and np.array_equal(back[0], array.T)
    assert type(back[1]) is type(array[0, 1]) and back[1] == array[0, 1]


def test_views_and_conjugates_become_plain_tensors_and_the_need_of_gradients_stays():
    tensor = torch.arange(6.0, requires_grad=True).reshape(2, 3)
    assert torch.equal(decode(encode(tensor.t())), tensor.detach().t())
    assert decode(encode(tensor)).requires_grad and decode(encode(tensor)).is_leaf
    assert not decode(encode(tensor.detach())).requires_grad
    conjugate = torch.tensor([1 + 2j]).conj()
    assert torch.equal(decode(encode(conjugate)), torch.tensor([1 - 2j]))


def count(number: int) -> bytes:
    return struct.pack(">I", number)


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"", "end inside"),
        (b"?", "unknown tag"),
        (b"NN", "follow the value"),
        (b"[" + count(2_000_000), "items"),
        (b"[" + count(5) + b"N", "end inside"),
        (b"[" * 1 + count(1) + (b"[" + count(1)) * 70 + b"N", "deeper"),
        (b"{" + count(300_000), "keys"),
        (b"<" + count(300_000), "items of a set"),
        (b"{" + count(2) + b"TN" + b"i" + count(1) + b"\x01N", "twice"),
        (b"{" + count(1) + b"[" + count(0) + b"N", "hashable"),
        (b"<" + count(2) + b"TN", "out of order"),
        (b"<" + count(2) + b"NN", "twice"),
        (b"{" + count(200) + b"".join(bytes(encode(n * ((1 << 61) - 1))) + b"N" for n in range(200)), "same hash"),
        (b"i" + count(1 << 20), "integer"),
        (b"i" + count(3) + b"\x00\x00\x01", "than it needs"),
        (b"s" + count(1) + b"\xff", "UTF-8"),
        (b"d\xff", "dtype"),
        (b"t\x02\x01" + struct.pack(">Q", 1 << 40), "elements"),
        (b"t\x02\x02" + struct.pack(">QQ", 0, 1 << 62), "elements"),
        (b"t\x02\x01" + struct.pack(">Q", 4) + bytes(15), "end inside"),
        (b"t\x02\xff", "dimensions"),
        (b"v\x08\x00" + bytes(8), "requires gradients"),
        (b"t\x09\x01" + struct.pack(">Q", 2) + b"\x01\x02", "truth"),
        (b"n\x0b\x01" + struct.pack(">Q", 1) + b"\xff", "truth"),
        (b"h" + bytes(16) + b"\x63" + count(0), "handle"),
        (b"r" + count(6) + b"import" + b"N", "unknown tag"),
    ],
)
def test_what_is_refused_and_why(payload, said):
    with pytest.raises(WireError, match=said):
        decode(payload)


def test_recipes_travel_inwards_only():
    payload = encode(Recipe("import", ["os", "system"]))
    assert decode(payload, recipe=lambda kind, body: (kind, body)) == ("import", ["os", "system"])
    with pytest.raises(WireError):
        decode(payload)


class Int(int):
    __eq__ = __hash__ = lambda *others: True


class Tensor(torch.Tensor):
    pass


@pytest.mark.parametrize("value", [Int(3), Tensor([1.0]), object(), lambda: 0, range(3), frozenset(), np.array(["a"])])
def test_only_exact_plain_types_are_carried(value):
    with pytest.raises(WireError, match="not plain data"):
        encode(value)
    assert decode(encode([value], lambda item: Handle(bytes(16), "instance", "x")))[0].kind == "instance"


def test_a_list_that_contains_itself_is_refused():
    endless = []
    endless.append(endless)
    with pytest.raises(WireError, match="deeper"):
        encode(endless)


def test_a_frame_arrives_whole_or_raises_in_time():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sent = bytearray(b"abc")
        write_frame(theirs, sent)
        received = read_frame(ours, time.monotonic() + 5)
        sent[:] = b"xyz"
        assert received == b"abc" and received.readonly
        theirs.sendall(struct.pack(">Q", 1 << 62))
        with pytest.raises(WireError, match="announced"):
            read_frame(ours, time.monotonic() + 5)
        theirs.sendall(struct.pack(">Q", 10) + b"abc")
        with pytest.raises(TimeoutError):
            read_frame(ours, time.monotonic() + 0.05)
        theirs.close()
        with pytest.raises(EOFError):
            read_frame(ours, time.monotonic() + 5)


def test_limits_are_the_decoders_not_the_senders():
    with pytest.raises(WireError, match="longer than"):
        decode(encode("a" * 100), limits=Limits(frame=50))
