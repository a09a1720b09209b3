"""One test case as the judge keeps it: its questions to the student's code, what it was given, and what is left to it.

All of it ends with the case. The student's process enforces nothing: whatever counts is counted here.
"""

import functools
import os
import time

from autograder.grading.judging.outward import Outward, update
from autograder.grading.judging.proxies import PROXIES, Inexpressible, Proxy, student_exception
from autograder.grading.protocol.decode import Budget, severed, variables
from autograder.grading.protocol.wire import NESTED, Handle, WireError, encode

GRACE_SECONDS = 2.0  # code past its time is first interrupted inside; this much later the sandbox is killed
CALLS = 10_000  # of the test's own functions in one test case
STEPS = 10_000  # of the student's generators in one test case
UNREADABLE = "Your code's answer cannot be read."
NO_GRAPH = Inexpressible(
    "The graph of what the student's code returns stays in the student's process: "
    "call backward() and take gradients in a probe, and return them."
)


class Stopped(BaseException):
    """The student's code was stopped: the message says why, in words for the student.

    Not an Exception: a test's `except Exception` must not turn a dead sandbox into a pass.
    """


class Case:
    """A test case of `question` in a session, from its first question to the student's code to its verdict."""

    def __init__(self, session, question: str):
        self.session, self.question = session, question
        self.key = os.urandom(8)  # begins the number of every handle given in this case, and of no other
        self.budget = Budget()
        self.given: set[bytes] = set()
        self.functions: list = []
        self.calls = self.steps = 0  # of the test's functions; of the student's generators
        self.depth = 0  # questions under way: one, and one more for each of the test's functions that asks in turn
        self.until = 0.0  # on the monotonic clock, when the answer to the outermost must be there
        self.told = None  # the sandbox that knows this case
        self.stopped: str | None = None  # why the student's code was stopped: no question of this case is asked again
        self.verdict: Exception | None = None  # raised by a function of the test's while the student's code called it

    def get(self, name: str, default=None):
        """The student's `name`: plain data or a proxy; `default` where there is none."""
        status, *values = self._exchange(["name", self.question, name])
        return values[0] if status == "value" else default

    def call(self, target, args: tuple, kwargs: dict):
        """Call a proxy, or a probe's function (a Recipe); mutable arguments are updated in place."""
        outward = Outward(self)
        reply = self._exchange(["call", target, args, kwargs], outward, variables((args, kwargs)))
        if len(reply) != 3 or type(reply[2]) is not list or len(reply[2]) != len(outward.mutable):
            self._protest()
        for mine, theirs in zip(outward.mutable, reply[2]):
            update(mine, theirs)
        return reply[1]

    def probe(self, function, args: tuple, kwargs: dict):
        """Run the test author's `function` inside, in the student's process."""
        try:
            code = Outward(self).code(function)
        except WireError as error:
            raise Inexpressible(str(error)) from None
        return self.call(code, args, kwargs)

    def ask(self, operation: str, proxy: Proxy, *arguments):
        """Read something of a proxy: `attribute`, `item`, `iterate` or `next`."""
        if operation == "next":
            self.steps += 1
            if self.steps > STEPS:  # the test must end although the generator does not
                self.stop(f"Your code's generators went on after {STEPS} items.")
        reply = self._exchange([operation, proxy, *arguments])
        if reply[0] == "stop" and operation == "next":
            raise StopIteration
        if reply[0] != "value":
            self._protest()
        return reply[1]

    def shared(self, source: str, number: int):
        """What the `number`th case of a test file that must run beside the student's code answers: anything."""
        return self._exchange(["shared", source, self.question, number])[-1]

    def adopt(self, handle: Handle) -> Proxy:
        """A proxy for a handle that arrives for the first time, in this case; WireError for any other."""
        if not handle.number.startswith(self.key):
            raise WireError("a handle that was not given in this test case")
        if handle.number in self.given:
            raise WireError("a handle that was given before")
        self.given.add(handle.number)
        return PROXIES[handle.kind](self, handle)

    def handle_of(self, proxy: Proxy) -> Handle:
        """The handle to name a proxy by. Raises Inexpressible for a proxy of another case or sandbox."""
        case, handle = object.__getattribute__(proxy, "_remote")
        if case.session is not self.session:
            raise Inexpressible(f"{proxy!r} lives in another sandbox: a fresh probe can use no such object.")
        if case is not self:
            raise Inexpressible(f"{proxy!r} belongs to another test case: ask for it anew in each.")
        return handle

    def lend(self, function) -> int:
        """The number under which the student's code may call `function` during this case."""
        self.functions.append(function)
        return len(self.functions) - 1

    def _exchange(self, request: list, outward: Outward | None = None, inputs: tuple = ()) -> list:
        """One question and its answer. Raises what the student's code raised, or Stopped.

        `inputs` are the tensors that require gradients among what is handed over.
        """
        if self.session.case is not self:
            raise Inexpressible("This was asked for in another test case: ask for it anew in each.")
        if self.stopped:
            raise Stopped(self.stopped)
        outermost = self.depth == 0
        if outermost:  # the time that is left of the question is one deadline for the answer and all calls within it
            self.until = self.session.ready(self.question) + GRACE_SECONDS
        began = time.monotonic()
        payload = self._outward([*request, self.until - GRACE_SECONDS - time.monotonic()], outward)
        self.depth += 1
        try:
            line = self.session.line
            if self.told is not self.session.sandbox:
                self._announce(line)
            line.send_payload(payload, self.until)
            severing = functools.partial(severed, refusal=NO_GRAPH, inputs=inputs)
            reply = line.answer(self.until, self.budget, severing, self._serve)
        except TimeoutError:
            self.session.give_up(*self.session.late)
        except (WireError, RecursionError) as error:
            self.session.give_up(UNREADABLE, detail=str(error))
        except (EOFError, OSError):
            self.session.give_up()
        except BaseException:
            self.session.close()  # an answer is still on its way: nothing else can be said on this line
            raise
        finally:
            self.depth -= 1
            if outermost:
                self.session.spend(self.question, time.monotonic() - began)
        if self.verdict is not None:
            verdict, self.verdict = self.verdict, None
            raise verdict
        return self._checked(reply)

    def _checked(self, reply: list) -> list:
        match reply:
            case ["value", _, *_] | ["missing"] | ["stop"]:
                return reply
            case ["late"]:
                self.session.left[self.question] = 0.0
                self.stop(*self.session.late)
            case ["raised", str(kind), str(name), str(text)]:
                self.session.felt(name, text)
                raise student_exception(kind, name, text)
        self._protest()

    def _announce(self, line) -> None:
        """Tell the sandbox that a case begins: what it gave away before means nothing from now on."""
        line.send(["case", self.key], self.until)
        if line.read(self.until, self.budget) != ["case", self.key]:
            raise WireError("an answer to no question")
        self.told = self.session.sandbox

    def _protest(self):
        self.session.give_up(UNREADABLE, detail="it is not a reply")

    def stop(self, sentence: str, limit: str | None = None):
        """No more of this case: the sentence is all that its student reads. Raises Stopped."""
        self.stopped = self.stopped or sentence
        self.session.reached(limit)
        raise Stopped(sentence)

    def _serve(self, number: int, args: tuple, kwargs: dict) -> bytearray:
        """The answer to a call of one of the test's functions: its value or its exception, as if the call were local.

        A failed assertion in it is the test's verdict and raised there, whatever the student's code makes of it: the
        code is told only that the call failed. Raises WireError for a call of what was not lent, or one too many.
        """
        self.calls += 1
        if self.calls > CALLS:
            raise WireError(f"more than {CALLS} calls of the test's functions")
        if self.depth > NESTED:
            raise WireError(f"the test's functions called within one another more than {NESTED} times")
        if not 0 <= number < len(self.functions):
            raise WireError("a call of a function that the test did not give")
        try:
            answer = ["value", self.functions[number](*args, **kwargs)]
            return self._outward(answer)
        except (AssertionError, Inexpressible) as error:
            self.verdict = self.verdict or error
            return encode(["raised", "RuntimeError", "this call was refused"])
        except Exception as error:
            return encode(["raised", type(error).__name__, str(error)[:500]])

    def _outward(self, message: list, outward: Outward | None = None) -> bytearray:
        """The bytes of a message to the student's process. Raises Inexpressible where it holds what cannot travel."""
        try:
            return encode(message, outward or Outward(self))
        except WireError as error:
            raise Inexpressible(str(error)) from None
