"""Reads an autograder zip made by Otter Assign: its tests, points, support files, and whether they can run outside."""

import ast
import hashlib
import io
import json
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from otter.test_files.exception_test import ExceptionTestFile
from otter.test_files.ok_test import OKTestFile

MOST_BYTES = 512 << 20
STAMP = re.compile(r"[-_]autograder(_\d{4}(_\d\d){2}T\d\d(_\d\d){2}_\d+)?$")


class BadBundle(ValueError):
    """The file is no usable autograder zip; the message says why in one sentence."""


@dataclass(frozen=True)
class Test:
    """One test file: `name` is what `grader.check` calls it; `split` says whether it can be judged from outside."""

    name: str
    source: str
    ok_format: bool
    split: bool

    def load(self):
        """A fresh instance of Otter's own test file class."""
        if not self.ok_format:
            return ExceptionTestFile.from_string(self.source, f"tests/{self.name}.py")
        space: dict = {}
        exec(compile(self.source, f"tests/{self.name}.py", "exec"), space)
        return OKTestFile.from_spec(space["test"], f"tests/{self.name}.py")


@dataclass(frozen=True)
class Bundle:
    """An assignment as the grader knows it."""

    name: str
    sha256: str
    tests: tuple[Test, ...]
    files: dict[str, bytes] = field(repr=False)
    config: dict
    possible: float
    named: bool  # whether the assignment says its name, or it was taken from the file's
    digests: dict[str, str]  # of all that a question's verdict rests on, by question: its tests and the support files

    @property
    def mode(self) -> str:
        """`split` if every hidden test stays outside the student's process, else `shared`."""
        return "split" if all(test.split for test in self.tests) else "shared"

    def seeded(self, cells: list) -> list:
        """The cells, each with what Otter runs before it where the assignment sets a seed: [source, checked, code]."""
        seed, variable = self.config.get("seed"), self.config.get("seed_variable")
        if seed is None:
            return cells
        before = f"__import__('numpy').random.seed({seed}); __import__('random').seed({seed})"
        return [[source, checked, f"{variable} = {seed}" if variable else before] for source, checked in cells]


def read_bundle(path: Path) -> Bundle:
    """The bundle in the zip at `path`. Every test is compiled and its points resolved, so that a broken one shows now.

    Raises BadBundle with a sentence.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise BadBundle(f"{path} cannot be read: {error.strerror}.") from None
    members = _members(content, path)
    tests = tuple(
        _test(name, members[name], path) for name in sorted(members) if re.fullmatch(r"tests/[^/]+\.py", name)
    )
    if not tests:
        raise BadBundle(f"{path} holds no tests/*.py: it is not an autograder zip made by otter assign.")
    try:
        config = json.loads(members.get("otter_config.json", b"{}"))
    except ValueError:
        raise BadBundle(f"{path}: otter_config.json is not JSON.") from None
    names = [test.load().name for test in tests]
    if len(set(names)) != len(names):
        raise BadBundle(f"{path}: two tests have the same name.")
    given, seed, variable = (config.get(name) for name in ("assignment_name", "seed", "seed_variable"))
    if not isinstance(seed, int | None) or not (variable is None or str(variable).isidentifier()):
        raise BadBundle(
            f"{path}: otter_config.json sets a seed that is no whole number, or a variable that is no name."
        )
    files = {name.removeprefix("files/"): body for name, body in members.items() if name.startswith("files/")}
    support = hashlib.sha256()
    for name, body in sorted(files.items()):
        support.update(f"{name}\0{len(body)}\0".encode() + body)
    digests = {
        name: hashlib.sha256(support.digest() + test.source.encode()).hexdigest()[:16]
        for name, test in zip(names, tests)
    }
    return Bundle(
        name=given or STAMP.sub("", Path(path).stem),
        sha256=hashlib.sha256(content).hexdigest(),
        tests=tests,
        files=files,
        config=config,
        possible=float(sum(test.load().possible for test in tests)),
        named=bool(given),
        digests=digests,
    )


def _members(content: bytes, path: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MOST_BYTES:
                raise BadBundle(f"{path} holds more than {MOST_BYTES >> 20} MB.")
            return {entry.filename: archive.read(entry) for entry in archive.infolist() if not entry.is_dir()}
    except (zipfile.BadZipFile, RuntimeError, EOFError, NotImplementedError):
        raise BadBundle(f"{path} is not a readable zip file.") from None


def _test(name: str, body: bytes, path: Path) -> Test:
    try:
        source = body.decode("utf-8")
        tree = ast.parse(source)
    except (SyntaxError, UnicodeDecodeError, ValueError) as error:
        where = f" (line {error.lineno})" if isinstance(error, SyntaxError) else ""
        raise BadBundle(f"{path}: {name} is not valid Python{where}: build the assignment again.") from None
    ok_format = _says_ok(tree)
    split = not ok_format and not any(_wants_env(node) for node in ast.walk(tree))
    test = Test(Path(name).stem, source, ok_format, split)
    try:
        test.load()
    except Exception as error:
        raise BadBundle(f"{path}: {name} cannot be loaded ({type(error).__name__}: {error}).") from None
    return test


def _says_ok(tree: ast.Module) -> bool:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == "OK_FORMAT" for target in node.targets):
            return isinstance(node.value, ast.Constant) and bool(node.value.value)
    return not any(isinstance(node, (ast.FunctionDef, ast.ImportFrom)) for node in tree.body)


def _wants_env(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef) and any(argument.arg == "env" for argument in node.args.args)
