"""Grades a folder of submissions: finds what is missing, puts slots to work on it, keeps each result as it comes."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from autograder.course import Limits
from autograder.grading.batches.booth import Booth
from autograder.grading.batches.crew import Crew
from autograder.grading.batches.desk import Desk, Settings
from autograder.grading.batches.gpu import Devices, Gpu, NvidiaSmi, choose
from autograder.grading.batches.plan import Job, plan
from autograder.grading.batches.progress import Progress
from autograder.grading.batches.results import Folder, record
from autograder.grading.batches.secret import secret
from autograder.grading.batches.share import Board, Monitor, Share
from autograder.grading.isolation.slot import Infrastructure, share_of_cores
from autograder.grading.isolation.staging import staged
from autograder.grading.judging.grade import given_up
from autograder.grading.submissions.bundle import Bundle
from autograder.grading.submissions.submission import Submission, find_submissions


@dataclass
class Batch:
    """A finished or interrupted batch: its records in the submissions' order, and the names that do not count.

    `asked` names the submissions of those whom the run was for. Of the submissions that were asked for, `graded` got a
    result in this run, `broken` of them a failure of the machine, and `missing` none. `waiting` others have no result.
    `notes` are sentences about what was chosen, `troubles` about slots that failed.
    """

    results: list[dict]
    superseded: set[str]
    asked: set[str] = field(default_factory=set)
    interrupted: bool = False
    graded: int = 0
    broken: int = 0
    missing: int = 0
    waiting: int = 0
    notes: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 when every submission that was asked for has a result that is no failure of the machine."""
        return 1 if self.broken or self.interrupted or self.missing else 0


@dataclass(frozen=True)
class Gpus:
    """Which GPUs a batch uses, and how many submissions share one."""

    chosen: tuple[Gpu, ...]
    per_gpu: int = 1
    devices: Devices = field(default_factory=NvidiaSmi)


def grade_folder(
    bundle: Bundle,
    submissions: Path,
    out: Path,
    *,
    jobs: int | None = None,
    gpus: Gpus | None = None,
    limits: Limits,
    only: Sequence[str] = (),
    regrade: Sequence[str] | None = None,
    unsafe: str | None = None,
    quiet: bool = False,
    tell: Callable[[dict], None] = lambda result: None,
) -> Batch:
    """Grade what `out` does not hold yet.

    Args:
        jobs: submissions at a time; by default one, or with `gpus` as many as their shares.
        only, regrade: what to grade, see `plan`.
        unsafe: which protections are missing, for the records; None where all hold.
        tell: is given each record of this run as it is kept.

    Raises WrongFolder, ValueError or FileNotFoundError for wrong usage, Infrastructure where no slot could be opened;
    each with a sentence.
    """
    found = find_submissions(submissions, bundle.name)
    superseded = {submission.name for submission in found if submission.replaced_by is not None}
    device = "cpu" if gpus is None else "cuda"
    with Folder(out, bundle, submissions, found) as folder, one_thread():
        todo = plan(found, folder, bundle, only, regrade)
        for submission in found:
            if submission.replaced_by is not None:
                _set_aside(submission, bundle, device, folder)
        progress = Progress(len(todo.jobs) + todo.idle, todo.idle, limits.submission_seconds, quiet=quiet)
        for note in todo.notes:
            progress.say(note)
        graded: set[str] = set()

        def finish(result: dict, log: str) -> None:
            folder.write(result, log)
            graded.add(result["submission"])
            progress.count(result)
            tell(result)

        try:
            most = len(todo.jobs) if gpus and not jobs else jobs or 1
            shares, left_out = shares_of(gpus, min(most, len(todo.jobs)))
            progress.slots = len(shares)
            crew = _work(todo.jobs, shares, finish, progress, Settings(bundle, limits, secret(), unsafe))
        finally:
            progress.close()
            results = [result for submission in found if (result := folder.read(submission.name)) is not None]
            folder.summarise(results, superseded)
    if crew.troubles and not graded:
        raise crew.troubles[0]
    known = {result["submission"] for result in results} | {job.submission.name for job in todo.jobs}
    return Batch(
        results=results,
        superseded=superseded,
        asked=todo.asked,
        interrupted=crew.interrupted,
        graded=len(graded),
        broken=sum(result["submission"] in graded and result["fault"] == "infrastructure" for result in results),
        missing=len(todo.jobs) - len(graded),
        waiting=sum(submission.name not in known for submission in found),
        notes=todo.notes,
        troubles=[str(trouble) for trouble in [*left_out, *crew.troubles]],
    )


def _work(jobs: list[Job], shares: list, finish: Callable, progress: Progress, settings: Settings) -> Crew:
    """Put one slot for each of `shares` to work on the jobs until they are done."""

    def stopping() -> None:
        progress.say("Stopping; what is being graded now is left for the next run. Ctrl-C again stops at once.")

    with contextlib.ExitStack() as stack:
        if shares:
            threads = max(1, (os.cpu_count() or 1) // len(shares))
            settings = replace(settings, runtime=stack.enter_context(staged()), threads=threads)
            stack.enter_context(Monitor([share for share in shares if share is not None]))
        crew = Crew(
            jobs,
            lambda number, wanted: _slot(settings, shares, number, wanted),
            [number if share is None else id(share.board) for number, share in enumerate(shares)],
            finish,
            lambda job: given_up(job, settings.bundle, "cuda" if any(shares) else "cpu", settings.unsafe),
        )
        crew.run(stopping)
    return crew


def _slot(settings: Settings, shares: list, number: int, wanted: Callable[[], bool]) -> Desk | Booth:
    """Slots of a GPU know of one another, so they stay in one process; on the CPU each has its own, and its cores."""
    if shares[number] is not None:
        return Desk(settings, shares[number], wanted)
    return Booth(settings, share_of_cores(number, len(shares)), wanted)


def _set_aside(submission: Submission, bundle: Bundle, device: str, folder: Folder) -> None:
    """The record of a submission that a later one replaced."""
    sentence = f"Not graded: the same student handed in {submission.replaced_by} later, which counts; this one is kept."
    result = record(submission, bundle, device, fault=None, reason=sentence)
    if folder.read(submission.name) != result:
        folder.write(result)


def shares_of(gpus: Gpus | None, most: int) -> tuple[list[Share | None], list[Infrastructure]]:
    """(one entry a slot: its share of a GPU, or None on the CPU; why GPUs were left out). GPUs are dealt in turn.

    Raises Infrastructure where no GPU can be used.
    """
    if gpus is None or not most:
        return [None] * most, []
    boards, troubles = [], []
    for gpu in gpus.chosen:
        try:
            boards.append(Board(gpu, gpus.devices, gpus.per_gpu))
        except Infrastructure as trouble:
            troubles.append(trouble)
    if not boards:
        raise troubles[0]
    return [Share(board) for _ in range(gpus.per_gpu) for board in boards][:most], troubles


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch computes each verdict in the thread of its slot alone: slots are the parallelism."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def pick_gpus(asked: str, names: Sequence[str] = (), per_gpu: int | None = None) -> Gpus | None:
    """The GPUs for `--device asked --gpus names`; None for the CPU.

    Raises Infrastructure where a GPU is asked for and there is none, ValueError for one that is not there.
    """
    available = torch.cuda.is_available()
    if asked == "cuda" and not available:
        raise Infrastructure("There is no GPU that PyTorch can use on this machine: use --device cpu.")
    if asked == "cpu" or not available:
        if names or per_gpu is not None:
            raise ValueError("--gpus and --per-gpu need a GPU: without one, --jobs says how many run at a time.")
        return None
    devices = NvidiaSmi()
    return Gpus(tuple(choose(devices.gpus(), names)), per_gpu or 1, devices)
