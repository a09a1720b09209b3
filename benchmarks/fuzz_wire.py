"""Fuzzes the decoder of the wire between sandbox and judge with streams made by spoiling valid ones.

`python benchmarks/fuzz_wire.py --minutes 10 --seed 1` prints how many inputs were accepted and how many refused, with
which sentence, and the worst time and memory that one took. It fails, and keeps the input, where the decoder raises
anything but WireError, accepts a second encoding of a value, or takes more than its share of memory or time.
Writes benchmarks/results/fuzz_wire.json.
"""

import argparse
import json
import platform
import random
import re
import signal
import struct
import sys
import time
import traceback
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from autograder.grading.protocol.decode import decode
from autograder.grading.protocol.wire import KINDS, NUMPY_DTYPES, TORCH_DTYPES, Handle, Limits, WireError, encode

RESULTS = Path(__file__).parent / "results"
SECONDS = 10.0  # of processor time that one input may take
FRAME = 1 << 17
OVERHEAD = 1 << 17  # bytes of the reader itself and of an exception
CORPUS = 5000
TAGS = b"NTFifcsb[(<{:dDtngvhr"
NUMBERS = (0, 1, 2, 3, 15, 16, 17, 63, 64, 65, 100, 255, 256, 2048, 2049, 65_535, 1 << 24, 1 << 27, (1 << 31) - 1)
LIMITS = (  # the real ones but for the size of a frame, and small ones, which more inputs reach
    Limits(frame=FRAME, memory=4 * FRAME),
    Limits(FRAME, 4 * FRAME, items=40, depth=5, keys=6, collisions=3, arrays=4, handles=3, elements=50, text=30),
)


def seeds() -> list[bytes]:
    """Valid streams with every tag, dtype and container."""
    grid = [torch.ones(2, 3).to(dtype) for dtype in TORCH_DTYPES] + [np.ones((2, 2)).astype(d) for d in NUMPY_DTYPES]
    scalars = [dtype.type(1) for dtype in NUMPY_DTYPES]
    values = [
        *(
            None,
            True,
            False,
            0,
            -1,
            127,
            128,
            -128,
            1 << 70,
            -(1 << 700),
            0.5,
            float("nan"),
            2 - 3j,
            "",
            "aé漢😀",
            b"bytes",
        ),
        *(
            [],
            (),
            {},
            set(),
            [1, [2, (3, {4: {5}})]],
            {"a": 1, b"b": (1, None), (1, "x"): [], None: 0.5},
            {1, "a", b"b"},
        ),
        *(slice(1, None, 2), *TORCH_DTYPES, *NUMPY_DTYPES, *grid, *scalars, torch.ones(()), torch.empty(0, 3)),
        *(
            torch.ones(2, requires_grad=True),
            torch.ones(2, dtype=torch.complex64, requires_grad=True),
            np.empty((0, 2)),
        ),
        *(Handle(bytes(range(16)), kind, "name") for kind in KINDS),
        *(["value", {"loss": 0.5, "weights": [torch.ones(3), np.ones(2)]}, []], ["callback", 0, (1,), {"x": 2}]),
        *(["raised", "ValueError", "E", "text"], {n * ((1 << 61) - 1) for n in range(9)}, [[[[[[[[]]]]]]]], [0] * 100),
    ]
    return [bytes(encode(value)) for value in values]


def spoil(stream: bytes, corpus: list[bytes], draw: random.Random) -> bytes:
    """`stream` changed in one to five places."""
    out = bytearray(stream)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 5))):
        at = draw.randrange(len(out) + 1)
        way = draw.randrange(10)
        if way == 0:
            out[at : at + 1] = bytes([draw.randrange(256)])
        elif way == 1 and at < len(out):
            out[at] ^= 1 << draw.randrange(8)
        elif way == 2:
            out[at : at + 1] = bytes([draw.choice(TAGS)])
        elif way == 3:
            out[at : at + 4] = struct.pack(">I", draw.choice(NUMBERS))
        elif way == 4:
            out[at : at + 8] = struct.pack(">Q", draw.choice(NUMBERS) << draw.choice((0, 0, 20, 32)))
        elif way == 5:
            del out[at : at + draw.choice((1, 2, 4, 8, 30))]
        elif way == 6:
            out[at:at] = draw.randbytes(draw.choice((1, 2, 4, 9)))
        elif way == 7:  # another value in the place of something
            out[at : at + draw.choice((0, 0, 1, 5, 9))] = draw.choice(corpus)[:2000]
        elif way == 8:  # the whole of it, many times over
            times = draw.choice((1, 2, 7, 300, 4000))
            times = max(1, min(times, FRAME // (len(out) + 1)))
            out[:] = draw.choice(b"[(<").to_bytes() + struct.pack(">I", times) + bytes(out) * times
        else:  # a part of it, many times over
            part = bytes(out[at : at + draw.choice((1, 2, 5, 9, 40))])
            out[at:at] = part * max(1, min(draw.choice((1, 2, 20, 500)), FRAME // (len(part) + 1)))
        del out[FRAME:]
    return bytes(out)


class Fuzzer:
    """Counts, the worst so far, and what was found."""

    def __init__(self, seed: int):
        self.draw, self.corpus = random.Random(seed), seeds()
        self.said, self.accepted, self.slowest, self.largest = Counter(), 0, 0.0, 0.0
        self.bytes = 0

    def one(self) -> None:
        """Try one input. Raises Finding."""
        limits = self.draw.choice(LIMITS)
        stream = spoil(self.draw.choice(self.corpus), self.corpus, self.draw)
        sentence, value = None, None
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        tracemalloc.reset_peak()
        before, began = tracemalloc.get_traced_memory()[0], time.process_time()
        try:
            value = decode(stream, limits=limits)
        except WireError as refusal:
            sentence = re.sub(r"\d+", "N", str(refusal))
        except BaseException:
            raise Finding("raised something else", stream, limits, traceback.format_exc()) from None
        seconds = time.process_time() - began
        memory = tracemalloc.get_traced_memory()[1] - before
        signal.setitimer(signal.ITIMER_PROF, 0)
        self.bytes += len(stream)
        self.slowest = max(self.slowest, seconds)
        self.largest = max(self.largest, memory / (limits.memory + OVERHEAD))
        if memory > limits.memory + OVERHEAD:
            raise Finding("took too much memory", stream, limits, f"{memory} bytes")
        if sentence is None:
            self.accepted += 1
            if bytes(encode(value)) != stream:
                raise Finding("accepted a second encoding", stream, limits, repr(value)[:500])
        if len(stream) < 2000 and (sentence is None or sentence not in self.said):
            self._keep(stream)
        self.said[sentence or "accepted"] += 1

    def _keep(self, stream: bytes) -> None:
        if len(self.corpus) < CORPUS:
            self.corpus.append(stream)
        else:
            self.corpus[self.draw.randrange(CORPUS)] = stream


class Finding(Exception):
    """An input on which the decoder did what it must not."""

    def __init__(self, what: str, stream: bytes, limits: Limits, detail: str):
        super().__init__(f"{what}: {detail}\n{limits}")
        self.stream = stream


def _too_slow(number, frame):
    raise TimeoutError(f"more than {SECONDS:g} s of processor time")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save", type=Path, default=Path("fuzz_wire_finding.bin"), help="where a finding is kept")
    options = parser.parse_args()
    signal.signal(signal.SIGPROF, _too_slow)
    tracemalloc.start()
    fuzzer, until = Fuzzer(options.seed), time.monotonic() + 60 * options.minutes
    try:
        while time.monotonic() < until:
            fuzzer.one()
    except Finding as finding:
        options.save.write_bytes(finding.stream)
        print(f"{finding}\nThe input is kept in {options.save}.")
        return 1
    total = sum(fuzzer.said.values())
    print(f"{'inputs':>12}  what the decoder said")
    for sentence, count in fuzzer.said.most_common():
        print(f"{count:12,}  {sentence}")
    print(f"{total:12,}  in all, {fuzzer.bytes / 1e6:.0f} MB, seed {options.seed}")
    print(f"worst of one input: {fuzzer.slowest:.2f} s of processor time, {fuzzer.largest:.0%} of its memory")
    result = {
        "inputs": total,
        "accepted": fuzzer.accepted,
        "sentences": len(fuzzer.said) - 1,
        "megabytes": round(fuzzer.bytes / 1e6, 1),
        "findings": 0,
        "minutes": options.minutes,
        "seed": options.seed,
        "slowest_cpu_s": round(fuzzer.slowest, 3),
        "memory_of_cap": round(fuzzer.largest, 3),
        "python": platform.python_version(),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "fuzz_wire.json").write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
