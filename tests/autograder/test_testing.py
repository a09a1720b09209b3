"""What hidden tests may use: strict comparison, seeds, weights from strangers, one evaluation for many cases."""

import json
import struct

import numpy as np
import pytest
import torch
from safetensors.torch import save

from autograder import testing
from autograder.testing import Judging, close, hidden_tasks, judging, keys, mutable, once, probe, read_weights, rng


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.00001])),
        (torch.nn.Parameter(torch.ones(2)), torch.ones(2)),
        (torch.tensor([1, 2]), torch.tensor([1, 2])),
        (0.5, 0.5),
        (True, True),
        (np.ones(3), np.ones(3)),
        (np.float32(2), np.float32(2)),
        (np.arange(3, dtype=np.uint16), np.arange(3, dtype=np.uint16)),
        (np.float64(2), np.array(2.0)),
        (1 + 1e-9j, 1 + 0j),
        (10**400, 10**400),
        (1e300, 1e300),
        (torch.tensor([1 + 2j]).conj(), torch.tensor([1 - 2j])),
        (torch.empty(0, 3), torch.empty(0, 3)),
        (torch.ones(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.bfloat16)),
    ],
)
def test_close_accepts_what_is_near(got, expected):
    assert close(got, expected) is True


@pytest.mark.parametrize(
    ("got", "expected", "said"),
    [
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.1]), "1 of 2 values are off, by up to 0.1"),
        (torch.tensor([1.0, float("nan")]), torch.tensor([1.0, 2.0]), "not finite"),
        (torch.tensor([float("inf")]), torch.tensor([float("inf")]), "not finite"),
        (torch.ones(1, 2), torch.ones(2), r"expected shape \[2\], got \[1, 2\]"),
        (torch.ones(()), torch.ones(2), "expected shape"),
        (torch.ones(2, dtype=torch.float64), torch.ones(2), "expected dtype torch.float32"),
        (torch.tensor([1, 3]), torch.tensor([1, 2]), "1 of 2 values are wrong"),
        ([1.0], torch.ones(1), "expected a tensor, got a list"),
        (None, torch.ones(1), "got None"),
        (1, 1.0, "expected a float, got an int"),
        (True, 1, "expected an int, got a bool"),
        (np.float64(1.0), 1.0, "expected a float, got a float64"),
        (torch.tensor(1.0), 1.0, "expected a float"),
        (np.ones(2, np.float32), np.ones(2), "expected dtype float64"),
        (float("nan"), 1.0, "not finite"),
        (1.0000001, 1.0, "off, by up to 1e-07"),
        (complex("nan"), 1j, "not finite"),
        (1.0, 1j, "expected a complex, got a float"),
        (2**70, 2**70 + 1, "the value is wrong"),
        (torch.ones(2).bool(), torch.ones(2), "expected dtype torch.float32, got torch.bool"),
        (torch.eye(2).to_sparse(), torch.eye(2), "expected a tensor, got a Tensor"),
        (np.ma.masked_array([1.0], [True]), np.ones(1), "expected a NumPy array, got a MaskedArray"),
        (np.array([-1], np.int8), np.array([255], np.uint8), "expected dtype uint8, got int8"),
    ],
)
def test_close_refuses_and_says_why(got, expected, said):
    with pytest.raises(AssertionError, match=said):
        close(got, expected, rtol=1e-8, atol=0) if said.endswith("1e-07") else close(got, expected)


@pytest.mark.parametrize("expected", [[1.0], "text", None, object(), torch.eye(2).to_sparse(), np.array(["a"])])
def test_close_tells_the_author_what_it_does_not_compare(expected):
    with pytest.raises(TypeError, match="compares numbers, tensors and arrays"):
        close(torch.ones(2), expected)


def test_nothing_is_close_to_an_expected_value_that_is_not_finite():
    with pytest.raises(ValueError, match="nothing is close to that"):
        close(torch.ones(2), torch.tensor([1.0, float("nan")]))


def test_a_test_stays_on_the_cpu_and_its_probes_on_the_slots_device(judged, monkeypatch):
    monkeypatch.setenv("AUTOGRADER_DEVICE", "cuda")
    assert testing.device() == torch.device("cuda")
    judged(b"s", b"one")
    assert testing.device() == torch.device("cpu")


def test_a_tensor_that_lies_is_no_tensor():
    class Lying(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            return torch.tensor(True)

    with pytest.raises(AssertionError, match="expected a tensor, got a Lying"):
        close(torch.zeros(2).as_subclass(Lying), torch.ones(2))


@pytest.fixture
def judged():
    """judged(secret, submission, files) makes this module believe that a submission is being judged."""
    tokens = []

    def begin(secret: bytes, submission: bytes, **files: bytes) -> None:
        tokens.append(judging.set(Judging(None, None, *keys(secret, "toy", submission), files)))

    yield begin
    for token in reversed(tokens):
        judging.reset(token)


def draw(name: str) -> int:
    return torch.randint(1 << 40, (1,), generator=rng(name)).item()


def test_seeds_depend_on_secret_submission_and_name_and_on_nothing_else(judged):
    drawn = {draw("a")}
    for secret, submission in ((b"s", b"one"), (b"s", b"two"), (b"t", b"one")):
        judged(secret, submission)
        drawn |= {draw("a"), draw("b")}
        assert draw("a") == draw("a")
    assert len(drawn) == 7


def test_hidden_alphabets_are_the_assignments_and_episodes_the_submissions(judged, monkeypatch):
    monkeypatch.setattr(testing, "_alphabets", {})  # an earlier test may have graded here
    judged(b"s", b"one")
    one = hidden_tasks(3, 1, 2, tasks=4, alphabets=1)
    assert one.support_x.shape == (4, 3, 1, 28, 28) and one.query_x.shape == (4, 6, 1, 28, 28)
    judged(b"s", b"two")
    two = hidden_tasks(3, 1, 2, tasks=4, alphabets=1)
    assert not torch.equal(one.support_x, two.support_x)
    assert len(testing._alphabets) == 1
    judged(b"s", b"one")
    assert torch.equal(hidden_tasks(3, 1, 2, tasks=4, alphabets=1).support_x, one.support_x)
    judged(b"t", b"one")
    assert not torch.equal(hidden_tasks(3, 1, 2, tasks=4, alphabets=1).support_x, one.support_x)


def test_the_order_of_hidden_tasks_tells_no_label(judged):
    drawn = hidden_tasks(4, 2, 3, tasks=50, alphabets=1)
    for y, each in ((drawn.support_y, 2), (drawn.query_y, 3)):
        assert all(torch.equal(task.bincount(), torch.full((4,), each)) for task in y)
        usual = torch.arange(4).repeat_interleave(each)
        assert abs((y == usual).float().mean() - 1 / 4) < 0.1
    # The images went with their labels: of each task's own classes, those of a label are nearer than the others.
    flat = drawn.support_x.flatten(2)
    same = drawn.support_y[:, :, None] == drawn.support_y[:, None]
    apart = torch.cdist(flat, flat)
    pairs = same & ~torch.eye(8, dtype=torch.bool)
    assert apart[pairs].mean() < apart[~same].mean()


def test_once_computes_once_also_when_it_fails(judged):
    judged(b"s", b"one")
    calls = []

    def fail():
        calls.append(1)
        raise AssertionError("no")

    for _ in range(2):
        with pytest.raises(AssertionError, match="no"):
            once("bad", fail)
    assert once("good", lambda: 3) == once("good", lambda: 4) == 3 and len(calls) == 1
    judged(b"s", b"two")
    assert once("good", lambda: 5) == 5


def test_outside_the_grader_everything_is_direct(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert probe(lambda x: x + 1)(2) == 3 and probe(fresh=True)(lambda x: x)(4) == 4
    items = []
    assert mutable(items) is items and draw("a") == draw("a")
    with pytest.raises(AssertionError, match="was handed in"):
        testing.submitted("w.safetensors")
    (tmp_path / "w.safetensors").write_bytes(save({"w": torch.ones(2)}))
    assert torch.equal(testing.submitted("w.safetensors")["w"], torch.ones(2))


def header(content: dict, data: bytes = b"") -> bytes:
    text = json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(shape: list, ends: list, dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": ends}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not weights",
        struct.pack("<Q", 1 << 62) + b"{}",
        save({"w": torch.ones(100)})[:-8],
        header({"w": tensor([0, 1 << 62], [0, 0])}),
        header({"w": tensor([1 << 40], [0, 4])}, bytes(4)),
        header({"w": tensor([1], [0, 1], "BOOL")}, b"\x02"),
        header({f"w{n}": tensor([0], [0, 0]) for n in range(3000)}),
        header({"w": tensor([1], [0, 4]), "v": tensor([1], [0, 4])}, bytes(4)),
        header({"w": tensor([-1], [0, 4])}, bytes(4)),
        header({"w": [1]}),
        header([1, 2]),
        b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94",
    ],
)
def test_weights_made_to_confuse_are_refused(content):
    with pytest.raises(AssertionError, match="is not a safetensors file"):
        read_weights(content, "w.safetensors")


def test_weights_too_large_are_refused():
    with pytest.raises(AssertionError, match="larger than 64 MB"):
        read_weights(bytes((64 << 20) + 1), "w.safetensors")


def test_honest_weights_are_read():
    weights = {"a": torch.arange(4.0), "b": torch.ones(2, 3, dtype=torch.float16), "n": torch.tensor(7)}
    found = read_weights(save(weights, {"kshot": "1"}), "w.safetensors")
    assert all(torch.equal(found[name], weights[name]) for name in weights) and set(found) == set(weights)
