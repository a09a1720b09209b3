"""Counts what the records say: scores, failing cases, limits, time, memory."""

import statistics
from collections import defaultdict
from dataclasses import dataclass

from autograder.report.histogram import SMALL, Histogram, histogram
from autograder.report.read import ASIDE, FAILED, GRADED, Case, Record, Results

QUESTION_BARS = 12
LONG_SECONDS = 600
ATTEMPT = ("attempt ", "The GPU's memory did not suffice")  # how the log of a run that had to be repeated begins
PRINTED = "--- printed by the notebook"
LOG_LINES = 25


@dataclass(frozen=True)
class QuestionTally:
    """One question over all graded submissions."""

    name: str
    possible: float
    mean: float
    full: int
    graded: int
    picture: Histogram | None


@dataclass(frozen=True)
class FailingCase:
    """A hidden case that submissions fail, and the hint that they read."""

    question: str
    name: str
    hint: str
    failed: int
    graded: int


@dataclass(frozen=True)
class Machine:
    """What one device did. Times in seconds, memory in megabytes, None where it was not measured."""

    device: str
    submissions: int
    total: float
    median: float
    longest: Record
    memory: float | None
    gpu: float | None


@dataclass(frozen=True)
class Repeat:
    """A submission on which the machine failed, at least once, and what its log says."""

    record: Record
    lines: str


@dataclass(frozen=True)
class Tally:
    """All numbers of the instructor's page."""

    graded: int
    failed: int
    aside: int
    mean: float | None
    median: float | None
    possible: float
    scores: Histogram | None
    times: Histogram | None
    questions: tuple[QuestionTally, ...]
    failing: tuple[FailingCase, ...]
    limits: tuple[tuple[str, tuple[Record, ...]], ...]
    machines: tuple[Machine, ...]
    repeats: tuple[Repeat, ...]


def tally(results: Results) -> Tally:
    """Count over the submissions that count, one a student."""
    counted = results.counted
    graded = [record for record in counted if record.state == GRADED]
    scores = [record.score for record in graded]
    possible = max((record.possible for record in counted), default=0.0)
    return Tally(
        graded=len(graded),
        failed=sum(record.state == FAILED for record in counted),
        aside=sum(record.state == ASIDE for record in counted),
        mean=statistics.mean(scores) if scores else None,
        median=statistics.median(scores) if scores else None,
        possible=possible,
        scores=histogram(scores, possible, "submission", "points"),
        times=_times([record.seconds for record in graded]),
        questions=tuple(_questions(graded)),
        failing=tuple(_failing(graded)),
        limits=tuple(_limits(counted)),
        machines=tuple(_machines(counted)),
        repeats=tuple(_repeats(results)),
    )


def _times(seconds: list[float]) -> Histogram | None:
    """How long submissions took, in minutes where seconds would be many."""
    longest = max(seconds, default=0.0)
    if longest > LONG_SECONDS:
        return histogram([value / 60 for value in seconds], longest / 60, "submission", "minutes", bins=18)
    return histogram(seconds, longest, "submission", "seconds", bins=18)


def _questions(graded: list[Record]) -> list[QuestionTally]:
    scores: dict[str, list[float]] = defaultdict(list)
    possible: dict[str, float] = {}
    for record in graded:
        for question in record.questions:
            scores[question.name].append(question.score)
            possible[question.name] = max(possible.get(question.name, 0.0), question.possible)
    return [
        QuestionTally(
            name,
            possible[name],
            statistics.mean(found),
            sum(score >= possible[name] for score in found),
            len(found),
            histogram(found, possible[name], "submission", "points", QUESTION_BARS, SMALL),
        )
        for name, found in scores.items()
    ]


def _failing(graded: list[Record]) -> list[FailingCase]:
    """Hidden cases by how many fail them, most first."""
    outcomes: dict[tuple[str, str], list[Case]] = defaultdict(list)
    for record in graded:
        for question in record.questions:
            for case in question.cases:
                if case.hidden:
                    outcomes[question.name, case.name].append(case)
    found = []
    for (question, name), cases in outcomes.items():
        missed = [case for case in cases if not case.passed]
        if missed:
            hint = min((case.message for case in missed), key=len)  # without what one student's run adds
            found.append(FailingCase(question, name, hint, len(missed), len(cases)))
    return sorted(found, key=lambda case: -case.failed / case.graded)


def _limits(counted: tuple[Record, ...]) -> list[tuple[str, tuple[Record, ...]]]:
    hit: dict[str, list[Record]] = defaultdict(list)
    for record in counted:
        for limit in record.limits:
            hit[limit].append(record)
    return sorted(((limit, tuple(who)) for limit, who in hit.items()), key=lambda item: (-len(item[1]), item[0]))


def _machines(counted: tuple[Record, ...]) -> list[Machine]:
    by_device: dict[str, list[Record]] = defaultdict(list)
    for record in counted:
        by_device[record.device].append(record)
    found = []
    for device, records in sorted(by_device.items()):
        seconds = [record.seconds for record in records]
        found.append(
            Machine(
                device,
                len(records),
                sum(seconds),
                statistics.median(seconds),
                max(records, key=lambda record: record.seconds),
                max((record.memory_mb for record in records if record.memory_mb is not None), default=None),
                max((record.gpu_mb for record in records if record.gpu_mb is not None), default=None),
            )
        )
    return found


def _repeats(results: Results) -> list[Repeat]:
    """Every submission set aside, and those that a retry saved: their log begins with what failed."""
    found = []
    for record in results.counted:
        log = results.log(record.submission)
        if record.state == ASIDE or log.startswith(ATTEMPT):
            lines = log.partition(PRINTED)[0].strip().split("\n")
            rest = len(lines) - LOG_LINES
            shown = lines[:LOG_LINES] + ([f"… {rest} more lines in logs/{record.submission}.txt"] if rest > 0 else [])
            found.append(Repeat(record, "\n".join(shown) or "Its log is empty."))
    return sorted(found, key=lambda repeat: repeat.record.state != ASIDE)
