"""The `autograder` command: build, selftest and release homeworks; grade a folder of submissions; demo; doctor."""

import argparse
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit code is 0 for success, 1 for failures of the machine, 2 for wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
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
    grade.add_argument("--jobs", metavar="N", type=whole_number, default=1, help="submissions at a time (default 1)")
    grade.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    grade.add_argument("--timeout", metavar="S", type=number, help="seconds a submission may take")
    grade.set_defaults(run=_grade)

    demo = commands.add_parser("demo", help="grade eight made-up submissions of hw2 and show the table")
    demo.add_argument("--jobs", metavar="N", type=whole_number, default=2)
    demo.set_defaults(run=_demo)

    doctor = commands.add_parser("doctor", help="say which protections hold on this machine")
    doctor.set_defaults(run=_doctor)
    return parser


def number(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
    return value


def whole_number(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return int(text)


def _build(options) -> int:
    from autograder.author.commands import build

    return build(options.names, options.check)


def _selftest(options) -> int:
    from autograder.author.commands import selftest

    return selftest(options.name)


def _release(options) -> int:
    from autograder.author.commands import release

    return release(options.directory)


def _grade(options) -> int:
    from autograder.course import read_course
    from autograder.grading.batch import grade_folder, pick_device
    from autograder.grading.bundle import read_bundle
    from autograder.grading.sandbox import missing
    from autograder.grading.slot import Infrastructure
    from autograder.grading.table import table

    try:
        bundle = read_bundle(assignment_path(options.assignment))
        limits = read_course().limits
        if options.timeout is not None:
            limits = limits.within(options.timeout)
        device = pick_device(options.device)
    except (ValueError, Infrastructure) as error:
        return _usage(error)
    obstacle = missing()
    if obstacle is not None:
        print(obstacle, file=sys.stderr)
        return 1
    try:
        batch = grade_folder(bundle, options.submissions, options.out, jobs=options.jobs, device=device, limits=limits)
    except (ValueError, FileNotFoundError) as error:
        return _usage(error)
    except (Infrastructure, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(table(batch.results, batch.superseded))
    if batch.interrupted:
        print(f"Stopped: {len(batch.results)} results are in {options.out}; the same command grades the rest.")
    else:
        print(f"{options.out}/results holds a record each, {options.out}/summary.csv a row a student.")
    return batch.exit_code


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


def _demo(options) -> int:
    from autograder.demo import demo

    return demo(options.jobs)


def _doctor(options) -> int:
    from autograder.grading.protections import report

    lines, sound = report()
    print("\n".join(lines))
    return 0 if sound else 1
