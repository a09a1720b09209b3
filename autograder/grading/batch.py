"""Grades a folder of submissions: one long-lived thread a slot, each with a sandbox warming up while it grades."""

import os
import queue
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from autograder.course import Limits
from autograder.grading.bundle import Bundle
from autograder.grading.grade import Grader
from autograder.grading.results import Folder, record
from autograder.grading.runtime import Runtime, staged
from autograder.grading.sandbox import Sandbox
from autograder.grading.secret import secret
from autograder.grading.slot import Infrastructure, Slot
from autograder.grading.submission import Submission, find_submissions


@dataclass
class Batch:
    """A finished or interrupted batch: its records in the submissions' order, and the names that do not count."""

    results: list[dict]
    superseded: set[str]
    interrupted: bool = False

    @property
    def exit_code(self) -> int:
        """0 when every submission has a result that is no failure of the machine."""
        broken = any(result["fault"] == "infrastructure" for result in self.results)
        return 1 if broken or self.interrupted else 0


def grade_folder(
    bundle: Bundle,
    submissions: Path,
    out: Path,
    *,
    jobs: int = 1,
    device: str = "cpu",
    limits: Limits,
    quiet: bool = False,
) -> Batch:
    """Grade what `out` does not hold yet. Raises WrongFolder, ValueError or FileNotFoundError, each with a sentence."""
    found = find_submissions(submissions, bundle.name)
    with Folder(out, bundle) as folder:
        results: dict[str, dict] = {}
        waiting: queue.SimpleQueue = queue.SimpleQueue()
        for submission in found:
            if submission.replaced_by is not None:
                results[submission.name] = _superseded(submission, bundle, device, folder)
            elif (kept := folder.kept(submission)) is not None:
                results[submission.name] = kept
            else:
                waiting.put(submission)
        crew = _Crew(bundle, folder, waiting, results, limits, device)
        try:
            crew.work(min(jobs, waiting.qsize()), len(found), quiet)
        finally:
            done = [results[submission.name] for submission in found if submission.name in results]
            superseded = {submission.name for submission in found if submission.replaced_by is not None}
            folder.summarise(done, superseded)
    return Batch(done, superseded, crew.stopping.is_set())


def _superseded(submission: Submission, bundle: Bundle, device: str, folder: Folder) -> dict:
    sentence = f"Not graded: the same student handed in {submission.replaced_by} later, which counts; this one is kept."
    result = record(submission, bundle, device, fault=None, reason=sentence)
    folder.write(result)
    return result


class _Crew:
    """The slots at work on one queue."""

    def __init__(self, bundle, folder, waiting, results, limits, device):
        self.bundle, self.folder, self.waiting, self.results = bundle, folder, waiting, results
        self.limits, self.device = limits, device
        self.stopping, self.lock, self.troubles, self.warm = threading.Event(), threading.Lock(), [], []

    def work(self, jobs: int, total: int, quiet: bool) -> None:
        """Run `jobs` slots to the end of the queue, or until Ctrl-C: what is being graded then is not recorded."""
        if jobs == 0:
            return
        with staged() as runtime:
            bar = tqdm(total=total, initial=len(self.results), unit="submission", disable=quiet, file=sys.stderr)
            threads = [
                threading.Thread(target=self._slot, args=(number, jobs, runtime, bar), name=f"slot-{number}")
                for number in range(jobs)
            ]
            for thread in threads:
                thread.start()
            try:
                for thread in threads:
                    while thread.is_alive():
                        thread.join(0.2)
            except KeyboardInterrupt:
                self.stop()
                for thread in threads:
                    thread.join()
            bar.close()
        if self.troubles:
            raise self.troubles[0]

    def stop(self) -> None:
        """End what is being graded; it stays without a record."""
        self.stopping.set()
        for warm in self.warm:
            warm.stop()

    def _slot(self, number: int, jobs: int, runtime: Runtime, bar) -> None:
        try:
            gpu = number % torch.cuda.device_count() if self.device == "cuda" else None
            slot = Slot.lease(max(1, (os.cpu_count() or 1) // jobs), gpu)
            warm = _Warm(runtime, self.limits, slot, self.waiting)
            self.warm.append(warm)
            grader = Grader(self.bundle, self.limits, secret(), warm.take, "cpu" if gpu is None else f"cuda:{gpu}")
            try:
                self._grade(grader, bar)
            finally:
                warm.close()
                slot.release()
        except Exception as error:
            self.troubles.append(error)

    def _grade(self, grader: Grader, bar) -> None:
        while not self.stopping.is_set():
            try:
                submission = self.waiting.get_nowait()
            except queue.Empty:
                return
            result, log = grader.grade(submission)
            if self.stopping.is_set():
                return
            with self.lock:
                self.folder.write(result, log)
                self.results[submission.name] = result
                bar.update()


class _Warm:
    """Keeps one sandbox starting ahead of need while submissions wait; each is used once."""

    def __init__(self, runtime: Runtime, limits: Limits, slot: Slot, waiting: queue.SimpleQueue):
        self.launch = lambda: Sandbox(runtime, limits, slot)
        self.waiting, self.ready, self.latest, self.stopped = waiting, None, [], False

    def make(self) -> Sandbox:
        """A started sandbox. Raises Infrastructure once the batch was stopped."""
        if self.stopped:
            raise Infrastructure("The batch was stopped.")
        self.latest = [*self.latest[-3:], self.launch()]
        return self.latest[-1]

    def take(self) -> Sandbox:
        """A sandbox, the one that was started earlier if there is one."""
        taken, self.ready = self.ready or self.make(), None
        if not self.waiting.empty():
            self.ready = self.make()
        return taken

    def stop(self) -> None:
        """End every sandbox of this slot, from another thread: whoever waits for one finds it gone."""
        self.stopped = True
        for sandbox in self.latest:
            sandbox.end()

    def close(self) -> None:
        """End the one that nobody needed."""
        if self.ready is not None:
            self.ready.kill()


def pick_device(asked: str) -> str:
    """`cpu` or `cuda`. Raises Infrastructure where a GPU is asked for and there is none."""
    available = torch.cuda.is_available()
    if asked == "cuda" and not available:
        raise Infrastructure("There is no GPU that PyTorch can use on this machine: use --device cpu.")
    return "cuda" if available and asked != "cpu" else "cpu"
