"""The judge's end of the wire: messages out, checked replies in, and calls of the test's own functions in between."""

import socket

from autograder.grading.decode import decode
from autograder.grading.frames import read_frame, write_frame
from autograder.grading.wire import WireError, encode

CALLBACKS = 10_000  # how often one answer may call the test's functions


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

    def read(self, deadline: float) -> list:
        """The next message: a list that starts with a word. Raises WireError for anything else."""
        found = decode(read_frame(self.connection, deadline), handle=self.adopt)
        if type(found) is not list or not found or type(found[0]) is not str:
            raise WireError("not a reply")
        return found

    def answer(self, deadline: float, callbacks: list, outward) -> list:
        """The reply to a request, after serving whatever the student's code asks of the test's own functions."""
        for _ in range(CALLBACKS):
            reply = self.read(deadline)
            match reply:
                case ["callback", int(number), tuple(args), dict(kwargs)] if 0 <= number < len(callbacks):
                    self.send_payload(encode(_called(callbacks[number], args, kwargs), outward), deadline)
                case ["callback", *_]:
                    raise WireError("a call of a function that the test did not give")
                case _:
                    return reply
        raise WireError(f"more than {CALLBACKS} calls of the test's function")


def _called(function, args: tuple, kwargs: dict) -> list:
    """The student's code gets the function's value or its exception, as if the call were local."""
    try:
        return ["value", function(*args, **kwargs)]
    except Exception as error:
        return ["raised", type(error).__name__, str(error)[:500]]
