"""The judge's end of the wire: messages out, checked replies in, and calls of the test's own functions in between."""

import socket

from autograder.grading.protocol.decode import Budget, decode
from autograder.grading.protocol.frames import read_frame, write_frame
from autograder.grading.protocol.wire import WireError, encode


class Line:
    """A conversation with one sandbox. Deadlines are on the monotonic clock; past them TimeoutError is raised."""

    def __init__(self, connection: socket.socket, adopt):
        """`adopt(handle)` makes of a received handle what the test sees."""
        self.connection, self.adopt = connection, adopt

    def send(self, message: list, deadline: float) -> None:
        """Send plain data."""
        self.send_payload(encode(message), deadline)

    def send_payload(self, payload, deadline: float) -> None:
        """Send what was encoded before."""
        write_frame(self.connection, payload, deadline)

    def read(self, deadline: float, budget: Budget | None = None, variable=None) -> list:
        """The next message: a list that starts with a word. Raises WireError for anything else."""
        found = decode(read_frame(self.connection, deadline), handle=self.adopt, variable=variable, budget=budget)
        if type(found) is not list or not found or type(found[0]) is not str:
            raise WireError("not a reply")
        return found

    def answer(self, deadline: float, budget: Budget, variable, serve) -> list:
        """The reply to a request. `serve(number, args, kwargs)` answers the calls of the test's functions before it."""
        while True:
            reply = self.read(deadline, budget, variable)
            match reply:
                case ["callback", int(number), tuple(args), dict(kwargs)]:
                    self.send_payload(serve(number, args, kwargs), deadline)
                case ["callback", *_]:
                    raise WireError("not a call")
                case _:
                    return reply
