"""The `kshot` command: get data sets, see what works on this machine."""

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is 0 for done, 1 for a failure, 130 for Ctrl-C (wrong usage exits with 2)."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        if arguments.run is None:
            parser.print_help()
            return 0
        code = arguments.run(arguments)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("kshot: interrupted: run the same command again to go on from here", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if not _is_sentence(error):
            raise
        print(f"kshot: {error}", file=sys.stderr)
        return 1


def _is_sentence(error: Exception) -> bool:
    """Whether `error` was written for the person at the keyboard; anything else is a bug and keeps its traceback."""
    from kshot.download import DownloadError

    return isinstance(error, DownloadError | FileNotFoundError | PermissionError)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kshot", description="A course on deep multi-task and meta-learning.")
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    data = commands.add_parser("data", help="get a data set", description="Get a data set, once; safe to interrupt.")
    data.add_argument("name", nargs="?", metavar="NAME", help="the data set: see --list")
    data.add_argument("--list", action="store_true", help="show every data set and whether it is here")
    data.add_argument("--root", type=Path, metavar="DIR", help="the data folder (default: KSHOT_DATA, else a cache)")
    data.add_argument("--url", metavar="BASE", help="fetch the archives from under this address")
    data.set_defaults(run=lambda arguments: _data(data, arguments))

    doctor = commands.add_parser("doctor", help="say what works on this machine, and how to mend what does not")
    doctor.set_defaults(run=_doctor)

    about = commands.add_parser("version", help="print the versions of kshot, Python and torch")
    about.set_defaults(run=_version)
    return parser


def _data(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    from kshot.data import data_folder
    from kshot.download import card, cards

    if arguments.root is not None:
        os.environ["KSHOT_DATA"] = str(arguments.root.expanduser().absolute())
    if arguments.list:
        return _list(data_folder())
    if arguments.name is None:
        parser.error("name a data set, or ask for --list")
    if arguments.name not in cards():
        parser.error(f"no data set is called {arguments.name!r}: choose from {', '.join(cards())}")
    facts = card(arguments.name)
    if "archives" not in facts:
        from kshot.data import dataset

        found = dataset(arguments.name)
        print(f"{found.source}: {len(found):,} characters, drawn here; nothing to download")
        return 0
    from kshot.omniglot_pack import install

    packed = install(data_folder(), arguments.url)
    print(f"{facts['title']} is ready: {packed}")
    if arguments.root is not None:
        print(f"set KSHOT_DATA={arguments.root} so that the course finds it there")
    return 0


def _list(folder: Path) -> int:
    from kshot.download import card, cards, command

    for name in cards():
        facts = card(name)
        if "archives" not in facts:
            state = "drawn here in seconds, no download"
        elif (folder / facts["packed"]).exists():
            state = f"here: {folder / facts['packed']}"
        else:
            state = f"not here: {command(f'data {name}')} downloads {facts['download']}"
        print(f"{name:<10} {facts['about']}\n{'':<10} {facts['licence']} licence; {state}")
    return 0


def _doctor(_: argparse.Namespace) -> int:
    from kshot.doctor import examine, report

    findings = examine()
    print(report(findings, colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ))
    return int(any(finding.state == "missing" for finding in findings))


def _version(_: argparse.Namespace) -> int:
    def of(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return "not installed"

    print(f"kshot {of('kshot')}, Python {platform.python_version()}, torch {of('torch')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
