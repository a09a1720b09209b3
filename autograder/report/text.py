"""Makes hostile text harmless and visible before it is escaped: control characters, bidi overrides, floods."""

import unicodedata

LONGEST = 2000  # characters of one piece of text on a page
MOST_MARKS = 4  # combining marks in a row; more climb over the neighbouring lines
JOINERS = "\u200c\u200d"  # Persian, Indic scripts and emoji need them


def clean(value, longest: int = LONGEST) -> str:
    """`value` as text that cannot reorder, overdraw or control anything: what is invisible gets a visible name.

    Line ends and tabs stay. Control characters become their pictures (␛), format characters such as a right-to-left
    override become ‹U+202E›, lone surrogates �; floods of combining marks and what is longer than `longest` are cut.
    """
    text = str(value)
    cut = len(text) > longest
    shown, marks = [], 0
    for letter in text[:longest].replace("\r\n", "\n"):
        kind = unicodedata.category(letter)
        marks = marks + 1 if kind in ("Mn", "Me") else 0
        if marks <= MOST_MARKS:
            shown.append(_visible(letter, kind))
    return "".join(shown) + ("…" if cut else "")


def _visible(letter: str, kind: str) -> str:
    if letter in "\n\t":
        return letter
    code = ord(letter)
    if code < 0x20:
        return chr(0x2400 + code)
    if kind == "Cc":
        return "␡" if code == 0x7F else f"‹U+{code:04X}›"
    if kind == "Cs":
        return "\ufffd"
    if kind in ("Zl", "Zp") or (kind == "Cf" and letter not in JOINERS):
        return f"‹U+{code:04X}›"
    return letter


def short(value, longest: int = 60) -> str:
    """One line of `value`, cut at `longest` characters: for names in tables."""
    return clean(" ".join(clean(value).split()), longest)


def number(value: float, digits: int = 1) -> str:
    """A number without trailing zeros: 5, 4.5, 3.25."""
    return f"{value:.{digits}f}".rstrip("0").rstrip(".") if digits else f"{value:.0f}"


def duration(seconds: float) -> str:
    """Seconds as a person says them: 0.8 s, 42 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 10:
        return f"{number(seconds)} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    return f"{whole // 3600} h" + (f" {whole % 3600 // 60} min" if whole % 3600 // 60 else "")


def count(amount: int, noun: str, plural: str | None = None) -> str:
    """`1 submission`, `3 submissions`."""
    return f"{amount:,} {noun if amount == 1 else plural or noun + 's'}"
