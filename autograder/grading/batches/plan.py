"""What a run has to do: which submissions lack a result, and which questions of the others must be judged again."""

import difflib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from autograder.grading.batches.results import Folder, replacement_note
from autograder.grading.submissions.bundle import Bundle
from autograder.grading.submissions.submission import Submission


@dataclass
class Job:
    """One submission to grade: only `questions` where the rest is `kept` from its record, else (None) all of it."""

    submission: Submission
    questions: frozenset[str] | None = None
    kept: tuple[dict, ...] = ()
    limits: tuple[str, ...] = ()  # that were reached when what is kept was graded
    tried: set[int] = field(default_factory=set)  # slots that failed on it
    log: list[str] = field(default_factory=list)  # what failed there, for the instructor


@dataclass
class Plan:
    """The jobs of a run; how many submissions are `idle`, their results still hold; and, a sentence each, `notes`.

    `asked` names the submissions, replaced ones too, of the students whom the run is for: all unless `only` named some.
    """

    jobs: list[Job]
    idle: int
    notes: list[str]
    asked: set[str]


def plan(
    found: list[Submission],
    folder: Folder,
    bundle: Bundle,
    only: Sequence[str] = (),
    regrade: Sequence[str] | None = None,
) -> Plan:
    """The jobs for the submissions that count.

    `only` names students or submissions, none for all. `regrade` says what is graded though it has a result: None for
    nothing, an empty sequence for everything, else the named questions; what an earlier run was asked for and did not
    finish comes on top. A changed test is noticed unasked: the questions whose tests differ from those of the record
    are judged again, the others are kept. Raises ValueError, with a sentence, for unknown names.
    """
    chosen, questions = _chosen(found, only), list(bundle.digests)
    _known(regrade or (), questions, f"{bundle.name} has no question")
    if regrade is not None:
        folder.ask(chosen, regrade)
    jobs, idle, anew = [], [], 0
    asked, changed = Counter(), Counter()
    for submission in found:
        if submission.name not in chosen:
            continue
        job, owed = _job(submission, folder, bundle), folder.owed(submission.name)
        if job is None:
            jobs.append(Job(submission))
            anew += folder.read(submission.name) is not None and not owed
        elif job.questions:
            jobs.append(job)
            asked.update(job.questions & owed)
            changed.update(job.questions - owed)
        else:
            idle.append(submission)
    notes = []
    for why, counted in (("asked for", asked), ("tests changed since the last run", changed)):
        if counted:
            listed = ", ".join(sorted(counted, key=questions.index))
            most = _count(max(counted.values()))
            notes.append(f"{listed} ({why}): judged again in {most}; other questions keep their results.")
    if anew:
        why = "the submission or all tests changed, or the machine failed"
        notes.append(f"{_count(anew)} with a result that no longer holds ({why}): graded anew.")
    if only and idle:
        listed = ", ".join(submission.student for submission in idle[:5]) + (", …" if len(idle) > 5 else "")
        notes.append(f"There is a result for {listed} already: add --regrade to grade it again.")
    students = {submission.student for submission in found if submission.name in chosen}
    asked_for = {submission.name for submission in found if submission.student in students}
    return Plan(jobs, len(idle), notes, asked_for)


def _count(number: int) -> str:
    return f"{number} submission{'' if number == 1 else 's'}"


def _chosen(found: list[Submission], only: Sequence[str]) -> list[str]:
    """The names of the submissions that `only` asks for."""
    counting = [submission for submission in found if submission.replaced_by is None]
    if not only:
        return [submission.name for submission in counting]
    for submission in found:
        if submission.replaced_by is not None and submission.name in only:
            raise ValueError(f"{submission.name} does not count: {submission.replaced_by} replaced it.")
    _known(only, [name for s in counting for name in (s.student, s.name)], "There is no student or submission")
    return [submission.name for submission in counting if submission.student in only or submission.name in only]


def _known(asked: Sequence[str], known: list[str], sentence: str) -> None:
    lower = {name.lower(): name for name in known}
    for name in asked:
        if name not in known:
            near = [lower[match] for match in difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.6)]
            hint = f"do you mean {' or '.join(near)}?" if near else f"there are {', '.join(list(lower.values())[:5])}"
            more = ", …" if not near and len(lower) > 5 else "" if near else "."
            raise ValueError(f"{sentence} {name!r}: {hint}{more}")


def _job(submission: Submission, folder: Folder, bundle: Bundle) -> Job | None:
    """What is left to do after an earlier run: a job without questions if nothing, None if everything."""
    earlier, forced = folder.read(submission.name), folder.owed(submission.name)
    try:
        if earlier["sha256"] != submission.sha256 or earlier["student"] != submission.student:
            return None
        if (replacement_note(submission) or "") not in (earlier["reason"] or ""):
            return None
        digests = earlier["versions"]["tests"]
        if earlier["status"] == "failed":
            settled = earlier["fault"] == "student" and digests == bundle.digests and not forced
            return Job(submission, frozenset()) if settled else None
        held = {question["name"]: question for question in earlier["questions"]}
        if not held.keys() <= bundle.digests.keys():
            return None
        same = {name for name, digest in bundle.digests.items() if name in held and digests.get(name) == digest}
        limits, protected = tuple(earlier["limits"]), earlier["protection"] == "full"
    except (KeyError, TypeError, AttributeError):  # no record, or not one of today's
        return None
    same -= forced
    again = frozenset(bundle.digests.keys() - same)
    if not same or (again and not protected):  # one record speaks of one kind of sandbox
        return None
    return Job(submission, again, tuple(held[name] for name in sorted(same)), limits)
