"""Reports: names, outputs and errors that try to act in a browser, a spreadsheet or a terminal."""

from assignment import WRONG, notebook
from attack import of_bytes, wrong_and

SCRIPT = "<script>alert(1)</script>"
FORMULA = '=HYPERLINK("http://example.com","x")'
ESCAPES = "\x1b[2J\x1b]0;owned\x07\x9b31m\x08\x07"

# Names that a file system allows and nobody should trust.
NAMES = {
    "script_in_its_name": "<img src=x onerror=alert(1)>.ipynb",
    "quotes_in_its_name": "'\"><svg onload=alert(1)>.ipynb",
    "formula_in_its_name": "=cmd|' ⁄C calc'!A0.ipynb",
    "formula_after_a_blank": "  +1+1.ipynb",
    "formula_at_sign": "@SUM(1,1).ipynb",
    "formula_minus": "-2+3.ipynb",
    "formula_full_width": "＝1+1.ipynb",
    "comma_in_its_name": "a,13,13,=1+1.ipynb",
    "line_break_in_its_name": "a\nhonest,13,13.ipynb",
    "escapes_in_its_name": "\x1b[2Jred\x1b[31m.ipynb",
    "turned_around": "\u202egnp.ipynb",
    "not_utf8_in_its_name": "caf\udce9.ipynb",
    "long_name": "x" * 200 + ".ipynb",
    "device_name": "nul.ipynb",
}

ATTACKS = [
    *(of_bytes(name, file, notebook(WRONG).encode()) for name, file in NAMES.items()),
    wrong_and("script_in_its_error", f"raise RuntimeError({(SCRIPT + FORMULA)!r})"),
    wrong_and("script_in_its_source", f"{SCRIPT!r}; 1 / 0"),
    wrong_and("escapes_in_its_error", f"raise RuntimeError({ESCAPES!r})"),
    wrong_and("formula_in_its_error", f"raise type('=1+1', (Exception,), {{}})({FORMULA!r} + chr(10) + '+1')"),
    wrong_and(
        "script_in_its_output",
        f"""
        from IPython.display import HTML, Javascript, display
        print({SCRIPT!r}, {ESCAPES!r})
        display(HTML({SCRIPT!r}), Javascript("alert(1)"))
        """,
    ),
    wrong_and(
        "script_in_its_names",
        f"""
        class Name:
            __name__ = {SCRIPT!r}
        def mean(x): raise type({SCRIPT!r}, (Exception,), {{}})({ESCAPES!r})
        mean.__name__ = loss.__name__ = {SCRIPT!r}
        answer = Name()
        """,
    ),
    wrong_and(
        "ends_the_page", "raise RuntimeError('--></style></script></textarea></title><script>alert(1)//{{7*7}}')"
    ),
]
