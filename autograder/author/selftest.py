"""Proves a homework: its solution scores full marks, its untouched notebook nothing, and every mutant loses points."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from autograder.author.build import archive
from autograder.author.homework import Homework, assemble, homework_sources
from autograder.author.mutants import Mutant
from autograder.author.submissions import Record, grade_with_engine, hand_in, hand_in_mutant
from autograder.report.text import count

__all__ = ["Report", "prove"]

Grade = Callable[[Path, Path, Path], dict[str, Record]]
ENOUGH = 3  # mutants a question
TOLERANCE = 1e-9  # points


@dataclass
class Report:
    """What the selftest found: `failures` disprove the homework, `remarks` are worth mending."""

    homework: Homework
    solution: Record
    untouched: Record
    runs: dict[Mutant, Record]
    failures: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def proved(self) -> bool:
        """Whether the solution, the untouched notebook and the mutants all scored as they should."""
        return not self.failures

    def text(self) -> str:
        """The matrix mutant by case for each question, then the findings, then the verdict."""
        lines = ["x: the case catches the mutant; the number behind: points that the mutant loses on its question"]
        for question in self.homework.graded:
            cases = [case for case in self.homework.cases if case.question == question]
            lines.append(f"\n{question} ({self.homework.points[question]} points)")
            for number, case in enumerate(cases, 1):
                lines.append(f"  {number:2}  {case.name} ({case.points:g}, {'hidden' if case.hidden else 'public'})")
            numbers = "".join(f"{number:>3}" for number in range(1, len(cases) + 1))
            lines.append(f"      {numbers}   lost by the mutant")
            for mutant, record in self.runs.items():
                if mutant.question == question:
                    passed = record.cases.get(question, {})
                    marks = "".join("  ." if passed.get(case.name) else "  x" for case in cases)
                    lines.append(f"      {marks}   {_lost(record, question, self.homework):g}  {mutant.name}")
        lines += ["", *(f"FAILED  {failure}" for failure in self.failures), *(f"remark  {r}" for r in self.remarks)]
        possible = sum(self.homework.points[question] for question in self.homework.graded)
        whole = [f"{sum(record.scores.values()):g} / {possible:g}" for record in (self.solution, self.untouched)]
        caught = sum(_lost(record, mutant.question, self.homework) > 0 for mutant, record in self.runs.items())
        lines.append(
            f"{self.homework.name}: solution {whole[0]}, untouched notebook {whole[1]}, "
            f"{caught} of {len(self.runs)} mutants caught: {'proved' if self.proved else 'not proved'}."
        )
        return "\n".join(lines)


def prove(root: Path, name: str, grade: Grade = grade_with_engine) -> Report:
    """Hand in the solution, the untouched student notebook and one notebook a mutant, grade them and compare.

    Args:
        grade: (autograder zip, folder of submissions, folder for results) -> record by submission; the grading engine.

    Raises:
        ValueError: for an unknown homework, naming those there are.
    """
    homeworks = homework_sources(root)
    if name not in homeworks:
        raise ValueError(f"There is no homework '{name}' here. There are: {', '.join(homeworks) or 'none yet'}.")
    homework = assemble(homeworks[name])
    mutants = {f"mutant_{number:02}": mutant for number, mutant in enumerate(homework.mutants, 1)}
    with tempfile.TemporaryDirectory(prefix="selftest-") as folder:
        zipped, submissions = Path(folder) / f"{name}-autograder.zip", Path(folder) / "submissions"
        zipped.write_bytes(archive(homework))
        hand_in(homework, submissions / "solution", notebook=homework.solved)
        hand_in(homework, submissions / "untouched", notebook=homework.student, with_files=False)
        for key, mutant in mutants.items():
            hand_in_mutant(homework, submissions / key, mutant)
        records = grade(zipped, submissions, Path(folder) / "graded")
    runs = {mutant: records[key] for key, mutant in mutants.items()}
    return judge(homework, records["solution"], records["untouched"], runs)


def judge(homework: Homework, solution: Record, untouched: Record, runs: dict[Mutant, Record]) -> Report:
    """The report on what each submission scored."""
    report = Report(homework, solution, untouched, runs)
    for question in homework.graded:
        possible = homework.points[question]
        scored = solution.scores.get(question, 0)
        if abs(scored - possible) > TOLERANCE:
            report.failures.append(
                f"the solution scores {scored:g} of {possible} on {question}: {solution.why(question)}"
            )
        if untouched.scores.get(question, 0) != 0:
            report.failures.append(f"the untouched notebook scores {untouched.scores[question]:g} on {question}")
    for mutant, record in runs.items():
        if not record.cases.get(mutant.question):
            report.failures.append(
                f"the mutant '{mutant.name}' of {mutant.question} was not graded: {record.why(mutant.question)}"
            )
        elif _lost(record, mutant.question, homework) <= TOLERANCE:
            report.failures.append(f"no test of {mutant.question} catches the mutant '{mutant.name}'")
    for question in homework.graded:
        own = {mutant: record for mutant, record in runs.items() if mutant.question == question}
        if len(own) < ENOUGH:
            few = count(len(own), "mutant")
            report.remarks.append(f"{question} has {few}: {ENOUGH} typical mistakes are the least")
        for case in (case for case in homework.cases if case.question == question):
            if not any(record.cases.get(question, {}).get(case.name) is False for record in own.values()):
                report.remarks.append(f"no mutant of {question} needs the case '{case.name}'")
    return report


def _lost(record: Record, question: str, homework: Homework) -> float:
    return homework.points[question] - record.scores.get(question, 0)
