"""The results of a batch in one look: the table that `autograder grade` ends with, and the same as CSV."""

import csv
import io

FORMULA = tuple("=+-@＝＋－＠")  # the wide forms too: some spreadsheets take them


def table(results: list[dict], superseded: set[str] = frozenset()) -> str:
    """One line a submission: student, score, a column a question, and what there is to say; totals below."""
    questions = list(dict.fromkeys(question["name"] for result in results for question in result["questions"]))
    heads = ["student", "score", *questions, "remarks"]
    rows = []
    for result in sorted(results, key=lambda result: (result["student"], result["submission"])):
        scores = {question["name"]: f"{question['score']:g}" for question in result["questions"]}
        total = f"{result['score']:g} / {result['possible']:g}" if result["submission"] not in superseded else "–"
        reached = limits(result)
        remark = " ".join(filter(None, [reached and f"Limit reached: {reached}.", result["reason"]]))
        if result["status"] == "failed" and result["submission"] not in superseded:
            remark = f"failed: {remark}"
        rows.append(
            [_short(result["student"], 24), total, *(scores.get(name, "–") for name in questions), _short(remark, 90)]
        )
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip() for row in [heads, *rows]]
    lines.insert(1, "  ".join("─" * width for width in widths))
    counted = [result for result in results if result["submission"] not in superseded]
    graded = [result["score"] for result in counted if result["status"] == "graded"]
    failed = len(counted) - len(graded)
    mean = f", mean {sum(graded) / len(graded):.1f}" if graded else ""
    lines.append(
        f"{len(graded)} graded{mean}, {failed} failed" + (f", {len(superseded)} replaced" if superseded else "") + "."
    )
    return "\n".join(lines)


def limits(result: dict) -> str:
    """The limits that the submission reached, by name; empty where it reached none."""
    return ", ".join(result.get("limits") or ())  # records of earlier versions have no such field


def _short(text: str, width: int) -> str:
    text = printable(text)
    return text if len(text) <= width else text[: width - 1] + "…"


def summary(results: list[dict], superseded: set[str] = frozenset()) -> str:
    """The CSV text: student, score, possible, a column a question, status, reason, limits reached."""
    counted = [result for result in results if result["submission"] not in superseded]
    names = list(dict.fromkeys(question["name"] for result in counted for question in result["questions"]))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["student", "score", "possible", *map(cell, names), "status", "reason", "limits"])
    for result in sorted(counted, key=lambda result: result["student"]):
        scores = {question["name"]: question["score"] for question in result["questions"]}
        row = [cell(result["student"]), result["score"], result["possible"], *(scores.get(name, 0.0) for name in names)]
        writer.writerow([*row, result["status"], cell(result["reason"] or ""), cell(limits(result))])
    return out.getvalue()


def cell(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    text = printable(text)
    return f"'{text}" if text.lstrip().startswith(FORMULA) else text


def printable(text: str) -> str:
    """Text without line breaks and control characters: no terminal acts on it."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
