"""Accidents: what honest students hand in. Graded where the meaning is clear, at the cost of what is really missing."""

import json

from assignment import HONEST, notebook
from attack import Attack, as_notebook, honest_but, of_bytes, of_cells

RIGHT = 12  # all but the checkpoint
FULL = {"points": (RIGHT, RIGHT)}


def handed_in(name: str, cells: list[str] = HONEST, metadata: dict | None = None, **fields) -> Attack:
    """The right answers in a notebook that is odd."""
    return as_notebook(name, notebook(cells, metadata, **fields), **FULL)


def bare(content: str) -> str:
    """A notebook without the ids and metadata of its cells."""
    found = json.loads(content)
    for cell in found["cells"]:
        for key in ("id", "metadata", "execution_count", "outputs"):
            cell.pop(key)
    return json.dumps(found)


SCRIPT = "\n".join(f"# %%\n{cell}" for cell in HONEST)

ATTACKS = [
    honest_but("a_cell_raises", "1 / 0", points=RIGHT, says="ZeroDivisionError"),
    honest_but("a_cell_is_no_python", "def f(:", points=RIGHT, says="SyntaxError"),
    honest_but("exits", "import sys\nsys.exit(1)", "quit()", "exit", points=RIGHT),
    honest_but("exits_in_a_function", "def squares(n):\n    raise SystemExit", points=RIGHT - 1),
    honest_but("interrupts_itself", "raise KeyboardInterrupt", points=RIGHT),
    honest_but("asks_for_input", "name = input('Your name? ')", points=RIGHT),
    honest_but(
        "uses_magics",
        "%matplotlib inline\n%timeit -n1 -r1 1\n%load_ext autoreload",
        "!pip install nothing-at-all",
        points=RIGHT,
    ),
    honest_but(
        "draws", "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\ndisplay(plt.gcf())", points=RIGHT
    ),
    honest_but("shows_progress", "from tqdm.notebook import tqdm\nfor n in tqdm(range(9)): pass", points=RIGHT),
    honest_but(
        "uses_widgets", "import ipywidgets\ndisplay(ipywidgets.interactive(lambda x: x, x=(0, 9)))", points=RIGHT
    ),
    honest_but("changes_the_working_folder", "import os\nos.makedirs('a')\nos.chdir('a')", points=RIGHT),
    honest_but("recurses_without_end", "def f(): return f()\nf()", points=RIGHT, says="RecursionError"),
    honest_but("shadows_names", "list = set = len = print = None", points=RIGHT),
    honest_but("answers_a_number_of_numpy", "import numpy\nanswer = numpy.int64(4)", points=RIGHT),
    honest_but(
        "leaves_a_thread",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(99,)).start()",
        points=RIGHT,
    ),
    of_cells("lost_a_cell", [HONEST[0], *HONEST[2:]], points=(RIGHT - 4, RIGHT - 4), says="does not define mean"),
    of_cells("has_a_cell_twice", [*HONEST, HONEST[1], *HONEST], **FULL),
    of_cells("reordered_its_cells", [HONEST[0], *reversed(HONEST[1:])], **FULL),
    handed_in("unknown_kernel", metadata={"kernelspec": {"name": "my-env-3", "display_name": "mine"}}),
    handed_in("lost_its_metadata", metadata={"kernelspec": None, "otter": None}),
    handed_in("changed_its_tests", metadata={"otter": {"assignment_name": "toy", "tests": {"q1": {}}}}),
    *(handed_in(f"format_4_{minor}", nbformat_minor=minor) for minor in range(6)),
    as_notebook("lost_its_cells_fields", bare(notebook(HONEST)), **FULL),
    of_bytes("is_a_script", "is_a_script.py", SCRIPT.encode(), **FULL),
    of_bytes(
        "is_a_script_of_windows",
        "is_a_script_of_windows.py",
        ("\ufeff" + SCRIPT).replace("\n", "\r\n").encode(),
        **FULL,
    ),
    as_notebook("begins_with_a_mark", "\ufeff" + notebook(HONEST), **FULL),
    as_notebook("ends_lines_as_windows_does", notebook([cell.replace("\n", "\r\n") for cell in HONEST]), **FULL),
    as_notebook(
        "has_a_merge_conflict",
        "<<<<<<< HEAD\n" + notebook(HONEST) + "\n=======\n{}\n>>>>>>> theirs\n",
        points=(0, 0),
        status="failed",
        says="merge conflict",
    ),
]
