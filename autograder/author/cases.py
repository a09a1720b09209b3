"""The test cases of a homework: stable names, checked text, points that add up."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

import yaml
from nbformat import NotebookNode

from autograder.author.mutants import question_of

__all__ = ["Case", "case_settings", "cases_of", "check_cases", "name_cases", "points_of"]

CONFIG = re.compile(r'"""\s*#\s*BEGIN TEST CONFIG\n(?P<yaml>.*?)\n"""\s*#\s*END TEST CONFIG', re.DOTALL | re.IGNORECASE)
GENERATED = re.compile(r"@test_case\((?=(?:[^\n]*\n)+?def (?P<function>\w+)\()")


@dataclass(frozen=True)
class Case:
    """One test case: `points` of the question's, shown to students unless `hidden`."""

    question: str
    name: str
    points: float
    hidden: bool
    message: str
    body: str


def name_cases(text: str) -> str:
    """Otter's generated test file with each case named after its function: test_case(name="averages its own class")."""
    return GENERATED.sub(lambda found: f'@test_case(name="{_words(found["function"])}", ', text)


def cases_of(question: str, text: str) -> list[Case]:
    """The cases in a generated, named test file.

    Raises:
        ValueError: if the file is not Python. Otter Assign writes such a file without complaint when a failure_message
            holds a quote.
    """
    try:
        module = ast.parse(text)
    except SyntaxError as error:
        raise ValueError(
            f"Question {question}: the generated tests do not compile ({error.msg}, line {error.lineno}). "
            "A double quote, a backslash or a line break in a failure_message does this: write it without."
        ) from error
    cases = []
    for function in module.body:
        if isinstance(function, ast.FunctionDef):
            settings = {word.arg: ast.literal_eval(word.value) for word in function.decorator_list[0].keywords}
            body = ast.unparse(function.body)
            message = settings.get("failure_message") or ""
            cases.append(Case(question, settings["name"], settings["points"], settings["hidden"], message, body))
    return cases


def declared_cases(master: NotebookNode) -> dict[tuple[str, str], dict]:
    """The settings of every test cell of a master by (question, case name), as its author wrote them.

    Raises:
        ValueError: for a test without a failure_message or points, or two tests of one question with one name.
    """
    declared: dict[tuple[str, str], dict] = {}
    question, testing = None, False
    for cell in master.cells:
        settings = question_of(cell)
        if settings is not None:
            question = settings.get("name")
        elif cell.cell_type == "raw":
            testing = bool(re.match(r"#\s*BEGIN TESTS", cell.source, re.IGNORECASE))
        elif testing:
            name, case = _declared(question, cell.source)
            if (question, name) in declared:
                raise ValueError(f"Question {question} has two tests named '{name}': rename one of the functions.")
            declared[question, name] = case
    return declared


def points_of(master: NotebookNode) -> dict[str, float]:
    """The points of every question of a master, those that a person reads too.

    Raises:
        ValueError: where the tests of a question, or the questions of the homework, do not add up: a sentence for each.
    """
    wrong, points, declared = [], {}, declared_cases(master)
    for settings in filter(None, map(question_of, master.cells)):
        name, points[settings["name"]] = settings["name"], settings.get("points", 0)
        in_cases = sum(case["points"] for (question, _), case in declared.items() if question == name)
        if not settings.get("manual") and in_cases != points[name]:
            wrong.append(f"Question {name} is worth {points[name]} points, but its tests add up to {in_cases}.")
    total = master.metadata.get("homework", {}).get("points")
    if total is None:
        wrong.append("The master's header does not declare the homework's points: add 'homework: {points: 25}'.")
    elif sum(points.values()) != total:
        wrong.append(f"The homework declares {total} points, but its questions add up to {sum(points.values())}.")
    if wrong:
        raise ValueError("\n".join(wrong))
    return points


def check_cases(master: NotebookNode, cases: list[Case]) -> None:
    """Compare what the master declares with what Otter Assign wrote.

    Raises:
        ValueError: where a case was lost, or its message, points or secrecy changed on the way: a sentence for each.
    """
    wrong, written = [], {(case.question, case.name): case for case in cases}
    for (question, name), settings in declared_cases(master).items():
        case = written.get((question, name))
        if case is None:
            wrong.append(f"Question {question}: the test '{name}' is missing from the generated tests.")
        elif case.message != settings["failure_message"]:
            wrong.append(
                f"Question {question}, test '{name}': its failure_message reaches students as '{case.message}': "
                "write it without double quotes, backslashes and line breaks."
            )
        elif (case.points, case.hidden) != (settings["points"], bool(settings.get("hidden"))):
            wrong.append(
                f"Question {question}, test '{name}': its points or its secrecy changed in the generated tests."
            )
    if wrong:
        raise ValueError("\n".join(wrong))


def case_settings(source: str) -> dict:
    """What the TEST CONFIG of a test cell says: points, hidden, failure_message."""
    found = CONFIG.match(source)
    return (yaml.safe_load(found["yaml"]) or {}) if found else {}


def _words(function: str) -> str:
    return function.removeprefix("test_").replace("_", " ")


def _declared(question: str | None, source: str) -> tuple[str, dict]:
    settings = case_settings(source)
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    if len(functions) != 1:
        raise ValueError(f"Question {question}: a test cell holds one function, this one {len(functions)}:\n{source}")
    name = _words(functions[0].name)
    for key in ("points", "failure_message"):
        if settings.get(key) is None:
            raise ValueError(f"Question {question}, test '{name}': give it {key} in its TEST CONFIG.")
    return name, settings
