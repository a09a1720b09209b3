"""Length-prefixed frames on a socket, each read against an absolute deadline and a size limit."""

import struct
import time

from autograder.grading.wire import Limits, WireError


def write_frame(connection, payload, deadline: float | None = None) -> None:
    """Send `payload`, its length first. Raises TimeoutError past `deadline` (monotonic), OSError if nobody reads."""
    _arm(connection, deadline)
    connection.sendall(struct.pack(">Q", len(payload)))
    view = memoryview(payload)
    while view:
        _arm(connection, deadline)
        view = view[connection.send(view) :]


def read_frame(connection, deadline: float | None = None, limit: int = Limits.frame) -> bytes:
    """One payload of at most `limit` bytes. Raises EOFError, TimeoutError, OSError, WireError if announced longer."""
    (size,) = struct.unpack(">Q", _receive(connection, 8, deadline))
    if size > limit:
        raise WireError(f"a frame of {size} bytes was announced, at most {limit} are allowed")
    return _receive(connection, size, deadline)


def _receive(connection, size: int, deadline: float | None) -> bytes:
    parts, missing = [], size
    while missing:
        _arm(connection, deadline)
        part = connection.recv(min(missing, 1 << 20))
        if not part:
            raise EOFError("the other side is gone")
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _arm(connection, deadline: float | None) -> None:
    if deadline is not None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time is up")
        connection.settimeout(left)
