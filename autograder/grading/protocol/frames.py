"""Length-prefixed frames on a socket, each read against an absolute deadline and a size limit."""

import struct
import time

import numpy as np

from autograder.grading.protocol.wire import Limits, WireError


def write_frame(connection, payload, deadline: float | None = None) -> None:
    """Send `payload`, its length first. Raises TimeoutError past `deadline` (monotonic), OSError if nobody reads."""
    _arm(connection, deadline)
    connection.sendall(struct.pack(">Q", len(payload)))
    view = memoryview(payload)
    while view:
        _arm(connection, deadline)
        view = view[connection.send(view) :]


def read_frame(connection, deadline: float | None = None, limit: int = Limits.frame) -> memoryview:
    """One payload of at most `limit` bytes, copied once: from the socket into memory that nobody else holds.

    Raises EOFError, TimeoutError, OSError, WireError if announced longer.
    """
    (size,) = struct.unpack(">Q", _receive(connection, 8, deadline))
    if size > limit:
        raise WireError(f"a frame of {size} bytes was announced, at most {limit} are allowed")
    return _receive(connection, size, deadline)


def _receive(connection, size: int, deadline: float | None) -> memoryview:
    buffer = memoryview(np.empty(size, np.uint8))  # takes real memory only as bytes arrive, unlike a bytearray
    at = 0
    while at < size:
        _arm(connection, deadline)
        got = connection.recv_into(buffer[at : at + (1 << 20)])
        if not got:
            raise EOFError("the other side is gone")
        at += got
    return buffer.toreadonly()


def _arm(connection, deadline: float | None) -> None:
    if deadline is not None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time is up")
        connection.settimeout(left)
