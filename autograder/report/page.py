"""Writes the pages: `report.html` for the instructor and `feedback/<submission>.html` for each student."""

import base64
import functools
import hashlib
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from autograder.author.write import write
from autograder.report.duplicates import Duplicates, Group, find_duplicates
from autograder.report.feedback import headline, next_steps, shown_questions, what_happened
from autograder.report.read import ASIDE, FAILED, GRADED, Record, Results, read_results
from autograder.report.tally import tally
from autograder.report.text import clean, count, duration, number, short

LONG = 8000  # characters of a log on the page


def write_report(folder: Path, submissions: Path | None = None, notebook: Path | None = None) -> Path:
    """Write all pages of the graded `folder`; returns the instructor's. Raises NoResults, BadPlace or OSError.

    `submissions` says where they lie if they moved, `notebook` what students received.
    """
    results = read_results(folder)
    duplicates = find_duplicates(results, submissions, notebook)
    for record in results.records:
        write(folder / "feedback" / f"{record.submission}.html", feedback_page(results, record).encode())
    page = folder / "report.html"
    write(page, report_page(results, duplicates, datetime.now()).encode())
    return page


def report_page(results: Results, duplicates: Duplicates, now: datetime) -> str:
    """The instructor's page. Near-duplicates are marked in the table of students, too."""
    alike = _members(duplicates.code or ())
    same_weights = _members(duplicates.weights)
    return _render(
        "report.html",
        results=results,
        tally=tally(results),
        duplicates=duplicates,
        alike=alike,
        same_weights=same_weights,
        flagged=len(alike | same_weights),
        unsafe=[record for record in results.counted if record.protection != "full"],
        shared=any(record.mode == "shared" for record in results.counted),
        versions=_versions(results),
        now=f"{now.day} {now:%B %Y, %H:%M}",
    )


def feedback_page(results: Results, record: Record) -> str:
    """One student's page."""
    happened, notes = what_happened(record)
    return _render(
        "feedback.html",
        assignment=results.assignment,
        record=record,
        questions=shown_questions(record),
        headline=headline(record),
        happened=happened,
        notes=notes,
        steps=next_steps(record),
    )


def _members(groups: tuple[Group, ...]) -> set[str]:
    return {record.submission for group in groups for record in group.members}


def _versions(results: Results) -> list[tuple[str, str]]:
    """What the submissions were graded with; several values where the records differ."""
    found: dict[str, set[str]] = {}
    for record in results.counted:
        for name, version in record.versions:
            found.setdefault(name, set()).add(version[:12] if name == "bundle" else version)
    return [(name, ", ".join(sorted(versions))) for name, versions in sorted(found.items())]


@functools.cache
def _pages() -> Environment:
    """The templates: everything that they print is cleaned and escaped; only our own style and script may run."""
    pages = Environment(
        loader=PackageLoader("autograder.report"),
        autoescape=True,
        finalize=lambda value: value if hasattr(value, "__html__") else clean(value),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters.update(short=short, number=number, duration=duration, href=_href, long=_long)
    style, script = (pages.loader.get_source(pages, name)[0] for name in ("style.css", "table.js"))
    allowed = f"style-src {_digest(style)}; script-src {_digest(script)}"
    pages.globals.update(
        GRADED=GRADED,
        FAILED=FAILED,
        ASIDE=ASIDE,
        count=count,
        style=Markup(style),
        script=Markup(script),
        policy=f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'",
    )
    return pages


def _render(template: str, **values) -> str:
    return _pages().get_template(template).render(**values)


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _href(record: Record) -> str:
    return f"feedback/{quote(record.submission)}.html"


def _long(text: str) -> Markup:
    return escape(clean(text, LONG))
