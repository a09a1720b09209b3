"""The command `autograder grade`: from its options to an exit code, in words for people or lines for machines."""

import json
import sys
from pathlib import Path

from autograder.course import read_course
from autograder.grading.batches.batch import Batch, grade_folder, pick_gpus
from autograder.grading.batches.table import table
from autograder.grading.isolation import protections
from autograder.grading.isolation.slot import Infrastructure
from autograder.grading.submissions.bundle import read_bundle


def grade(options) -> int:
    """Grade by the parsed options; 0 if all was graded, 1 for failures of the machine, 2 for wrong usage."""
    try:
        bundle = read_bundle(assignment_path(options.assignment))
        limits = read_course().limits
        if options.timeout is not None:
            limits = limits.within(options.timeout)
        limits = limits.override(dict(options.limit), "--limit")
        names = [name.strip() for name in options.gpus.split(",") if name.strip()]
        gpus = pick_gpus(options.device, names, options.per_gpu)
    except (ValueError, Infrastructure) as error:
        return _usage(error)
    protected, unsafe = protection(options.unsafe)
    if not protected:
        return 1
    try:
        batch = grade_folder(
            bundle,
            options.submissions,
            options.out,
            jobs=options.jobs,
            gpus=gpus,
            limits=limits,
            only=options.only,
            regrade=options.regrade,
            unsafe=unsafe,
            quiet=options.json,
            tell=_tell if options.json else lambda result: None,
        )
    except (ValueError, FileNotFoundError) as error:
        return _usage(error)
    except (Infrastructure, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    for trouble in batch.troubles:
        print(f"Set aside: {trouble}", file=sys.stderr)
    again = "the same command" if options.regrade is None else "the same command without --regrade"
    _sum_up(batch, options.out, again, options.json)
    return batch.exit_code


def protection(unsafe: bool) -> tuple[bool, str | None]:
    """(whether student code may run, which protections are missing): what is missing is printed, unless accepted."""
    found, without_any = protections.obstacles(), protections.missing()
    if without_any is not None:
        print(without_any, file=sys.stderr)
        return False, None
    if found and not unsafe:
        print(*found, "Nothing was run; --unsafe runs it all the same, and says so.", sep="\n", file=sys.stderr)
    return not found or unsafe, "; ".join(found) or None


def _tell(result: dict) -> None:
    """One line for machines about one record."""
    shown = ("submission", "student", "status", "fault", "reason", "score", "possible", "seconds", "limits")
    line = {"event": "submission", **{name: result[name] for name in shown}}
    line["questions"] = {question["name"]: question["score"] for question in result["questions"]}
    print(json.dumps(line), flush=True)


def _sum_up(batch: Batch, out: Path, again: str, machines: bool) -> None:
    """The end of a batch: a table and what to do next, or one line for machines."""
    counted = [result for result in batch.results if result["submission"] not in batch.superseded]
    if machines:
        counts = {"graded": batch.graded, "missing": batch.missing, "waiting": batch.waiting, "results": len(counted)}
        counts["failed"] = sum(result["status"] == "failed" for result in counted)
        end = {"interrupted": batch.interrupted, "notes": batch.notes, "troubles": batch.troubles}
        print(json.dumps({"event": "end", **counts, **end, "out": str(out), "exit_code": batch.exit_code}), flush=True)
        return
    print(table([result for result in batch.results if result["submission"] in batch.asked], batch.superseded))
    if batch.missing:
        began = "Stopped" if batch.interrupted else "Not all were graded"
        there = "1 result is" if len(counted) == 1 else f"{len(counted)} results are"
        print(f"{began}: {there} in {out}; {again} grades the {batch.missing} missing.")
    else:
        if batch.waiting:
            others = "1 other has" if batch.waiting == 1 else f"{batch.waiting} others have"
            print(f"{others} no result yet: run without --only.")
        print(f"{out}/results holds a record each, {out}/summary.csv a row a student.")


def _usage(error: Exception) -> int:
    print(error, file=sys.stderr)
    return 2


def assignment_path(assignment: str) -> Path:
    """The autograder zip of a homework's name or a path. Raises ValueError with a sentence."""
    path = Path(assignment)
    if path.suffix == ".zip" or path.exists():
        if not path.is_file():
            raise ValueError(f"There is no autograder zip at {path}.")
        return path
    from autograder.author.build import autograder_zip

    try:
        return autograder_zip(assignment)
    except RuntimeError as error:
        raise ValueError(str(error)) from None
