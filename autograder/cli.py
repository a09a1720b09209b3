"""The `autograder` command: build, selftest and release homeworks; grade submissions and report; demo; doctor."""

import argparse
import os
import sys
import threading
from pathlib import Path

UNSAFE = "grade though protections are missing on this machine; every result then says which"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit code is 0 for success, 1 for failures of the machine, 2 for wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr, flush=True)
        if threading.active_count() > 1:  # a test that computes outside the sandbox: nobody waits for it
            os._exit(1)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="autograder", description="Write a homework once, grade three hundred with one command."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    build = commands.add_parser("build", help="generate the notebooks and autograder zips from their sources")
    build.add_argument("names", nargs="*", metavar="NAME", help="lectures or homeworks (default: all)")
    build.add_argument("--check", action="store_true", help="only compare with what is there")
    build.set_defaults(run=_build)

    selftest = commands.add_parser("selftest", help="prove that a homework's tests catch wrong answers")
    selftest.add_argument("name", metavar="NAME")
    selftest.add_argument("--unsafe", action="store_true", help=UNSAFE)
    selftest.set_defaults(run=_selftest)

    release = commands.add_parser("release", help="write what students may have")
    release.add_argument("directory", metavar="DIR", type=Path)
    release.set_defaults(run=_release)

    grade = commands.add_parser("grade", help="grade a folder of submissions by hidden tests")
    grade.add_argument(
        "assignment", metavar="ASSIGNMENT", help="a homework's name, or any autograder zip of Otter Assign"
    )
    grade.add_argument(
        "submissions", metavar="SUBMISSIONS", type=Path, help="a folder of export zips, notebooks or folders"
    )
    grade.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="where the results go; a second run resumes"
    )
    grade.add_argument(
        "--jobs", metavar="N", type=whole_number, help="submissions at a time (default: 1, with GPUs one a share)"
    )
    grade.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where student code computes")
    grade.add_argument("--gpus", metavar="LIST", default="", help="indices or MIG UUIDs, as 0,1 (default: all)")
    grade.add_argument("--per-gpu", metavar="M", type=whole_number, help="submissions that share a GPU (default 1)")
    grade.add_argument("--only", metavar="NAME", nargs="+", default=[], help="only these students or submissions")
    grade.add_argument(
        "--regrade",
        metavar="QUESTION",
        nargs="*",
        help="also what has a result: these questions, or without names everything",
    )
    grade.add_argument("--json", action="store_true", help="print one JSON object a submission, then a summary")
    grade.add_argument("--unsafe", action="store_true", help=UNSAFE)
    grade.add_argument("--timeout", metavar="S", type=number, help="seconds a submission may take")
    grade.add_argument(
        "--limit",
        metavar="NAME=VALUE",
        type=limit,
        action="append",
        default=[],
        help="another limit than course.toml's, such as memory_mb=2000; may be repeated",
    )
    grade.set_defaults(run=_grade)

    report = commands.add_parser("report", help="write pages from a graded folder: the instructor's, one a student")
    report.add_argument("directory", metavar="DIR", type=Path, help="what `autograder grade --out` wrote")
    report.add_argument(
        "--submissions", metavar="FOLDER", type=Path, help="where the submissions lie now, if they moved"
    )
    report.add_argument(
        "--given", metavar="NOTEBOOK", type=Path, help="what students received: its code is nobody's copy"
    )
    report.set_defaults(run=_report)

    demo = commands.add_parser("demo", help="grade eight made-up submissions of hw2 and show the table")
    demo.add_argument("--jobs", metavar="N", type=whole_number, default=2)
    demo.add_argument("--unsafe", action="store_true", help=UNSAFE)
    demo.set_defaults(run=_demo)

    doctor = commands.add_parser("doctor", help="say which protections hold on this machine")
    doctor.set_defaults(run=_doctor)
    return parser


def number(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
    return value


def limit(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name.strip(), float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a limit's name and a number, NAME=VALUE, not {text}") from None


def whole_number(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return int(text)


def _build(options) -> int:
    from autograder.author.commands import build

    return build(options.names, options.check)


def _selftest(options) -> int:
    from autograder.author.commands import selftest
    from autograder.grading.batches.command import protection

    protected, unsafe = protection(options.unsafe)
    return selftest(options.name, unsafe) if protected else 1


def _release(options) -> int:
    from autograder.author.commands import release

    return release(options.directory)


def _grade(options) -> int:
    from autograder.grading.batches.command import grade

    return grade(options)


def _report(options) -> int:
    from autograder.report.handed_in import BadPlace
    from autograder.report.page import write_report
    from autograder.report.read import NoResults

    try:
        page = write_report(options.directory, options.submissions, options.given)
    except (NoResults, BadPlace) as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"The pages cannot be written: {error}.", file=sys.stderr)
        return 1
    print(f"{page} is the report; {page.parent}/feedback holds a page a student.")
    return 0


def _demo(options) -> int:
    from autograder.demo import demo
    from autograder.grading.batches.command import protection

    protected, unsafe = protection(options.unsafe)
    return demo(options.jobs, unsafe) if protected else 1


def _doctor(options) -> int:
    from autograder.grading.isolation.protections import report

    lines, sound = report()
    print("\n".join(lines))
    return 0 if sound else 1
