"""What students write in Jupyter runs while it is graded: magics, help, display, widgets, await, processes, exits."""

import json

import pytest

from autograder.course import Limits

pytestmark = pytest.mark.sandbox

LIMITS = Limits(cell_seconds=30, question_seconds=10, submission_seconds=200, output_kb=64)


# name -> its cells; they leave what they found in the variable `name_`
FINE = {
    "timeit": ["%timeit -n 1 -r 1 sum(range(10))", "timeit_ = 1"],
    "time": ["%%time\ntime_ = 1"],
    "matplotlib": ["%matplotlib inline\n%matplotlib widget\nmatplotlib_ = 1"],
    "figure_format": ["%config InlineBackend.figure_format = 'retina'\nfigure_format_ = 1"],
    "unknown_config": ["%config Nothing.at_all = 3\nunknown_config_ = 1"],
    "pip": ["%pip install -q nothing-of-that-name\n%conda install nothing\npip_ = 1"],
    "shell_pip": ["!pip install nothing-of-that-name\n!python3 -m pip install nothing\nshell_pip_ = 1"],
    "unknown_magic": ["%tensorboard --logdir runs\n%watermark\nunknown_magic_ = 1"],
    "unknown_extension": ["%load_ext an_extension_that_is_nowhere\nunknown_extension_ = 1"],
    "run_script": ["%%writefile script.py\nfrom_script = __name__", "%run script.py\nrun_script_ = from_script"],
    "run_notebook": ["%run other.ipynb\nrun_notebook_ = from_other"],
    "imports": ["%%writefile made_here.py\nnumber = 7", "import made_here\nimports_ = made_here.number"],
    "capture": ["%%capture out\nprint('held')", "capture_ = out.stdout"],
    "bash": ["%%bash --out bash_\necho from bash"],
    "bash_fails": ["%%bash\nexit 3", "bash_fails_ = 1"],
    "shell": ["!echo to the log; false", "shell_ = _exit_code"],
    "shell_reads": ["!read line; echo read nothing", "shell_reads_ = 1"],
    "shell_value": ["word = 'there'\nshell_value_ = !echo hello {word}\nshell_value_ = list(shell_value_)"],
    "env": ["%env A_NAME=a value", "import os\nenv_ = os.environ['A_NAME']"],
    "cd": ["!mkdir -p below", "%cd below", "import os\ncd_ = os.getcwd().endswith('below')", "%cd .."],
    "help": ["print?\nsum??\n%pinfo len\nhelp(len)", "help_ = 1"],
    "doc_magics": ["%lsmagic\n%who\n%history\n%prun sum([1])", "doc_magics_ = 1"],
    "edit": ["%edit -x nothing.py\nedit_ = 1"],
    "display": ["display('x', 3); from IPython.display import *\ndisplay(HTML('<b>'), Markdown('*'))\ndisplay_ = 1"],
    "clear": ["from IPython.display import clear_output\nclear_output(wait=True)\nclear_ = 1"],
    "last": ["40 + 2", "last_ = _"],
    "history": ["'of inputs'", "history_ = ['of inputs' in text for text in In][-2], Out[sorted(Out)[-1]]"],
    "awaits": ["import asyncio\nawait asyncio.sleep(0)\nawaits_ = 1"],
    "task": [
        "async def work():\n    await asyncio.sleep(0)\n    return 5\njob = asyncio.create_task(work())",
        "task_ = await job",
    ],
    "gather": ["gather_ = await asyncio.gather(work(), work())"],
    "precision": ["import decimal\ndecimal.getcontext().prec = 5", "precision_ = decimal.getcontext().prec"],
    "plot": [
        "import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nax.plot([1, 2]); plt.show(); plt.pause(0.01)\nfig",
        "plot_ = len(plt.get_fignums())",
    ],
    "style": [
        "from matplotlib_inline.backend_inline import set_matplotlib_formats\nset_matplotlib_formats('svg')\nstyle_ = 1"
    ],
    "interact": [
        "from ipywidgets import *\nfound = []\n@interact(x=(0, 10))\ndef shown(x=3):\n    found.append(x)",
        "interact_ = found",
    ],
    "output": [
        "import ipywidgets as widgets\nbox = widgets.Output()\nwith box:\n    print('inside')\n    output_ = 1\nbox",
    ],
    "slider": [
        "seen = []\nslide = widgets.IntSlider(value=7)\n"
        "slide.observe(lambda change: seen.append(change.new), 'value')\n"
        "widgets.VBox([slide, widgets.Button(description='go')])\nslide.value = 9\nslider_ = seen",
    ],
    "anywidget": [
        "import anywidget, traitlets\nclass Counter(anywidget.AnyWidget):\n    _esm = 'export default {}'\n"
        "    value = traitlets.Int(0).tag(sync=True)\ncounter = Counter(value=2)\ncounter",
        "anywidget_ = counter.value",
    ],
    "kshot": [
        "import kshot\nfrom kshot import see\n@see.picture\ndef wave(ax):\n    (line,) = ax.plot([0, 1], [0, 1])\n"
        "    ax.set(xlabel='x (rad)', ylabel='height (m)')\n    def update(state):\n"
        "        line.set_ydata(state['peak'])\n        ax.set_title('A wave')\n    return update",
        "figure = see.Explorer(wave, alt=lambda state: 'A wave.', points={'peak': (1.5, 1.0)})\nfigure",
        "pen = kshot.predict('Which?', 'choice', choices='ABC', key='pen')\npen",
        "kshot_ = [type(figure).__name__, pen is not None]",
    ],
    "tqdm": [
        "from tqdm import tqdm\nfrom tqdm.auto import tqdm as auto\nfrom tqdm.notebook import tqdm as inside, trange\n"
        "tqdm_ = [sum(bar(range(3))) for bar in (tqdm, auto, inside)] + list(trange(2))",
    ],
    "processes": [
        "import multiprocessing\ndef double(x):\n    return 2 * x\n"
        "with multiprocessing.get_context('fork').Pool(2) as pool:\n    processes_ = pool.map(double, [1, 2])",
    ],
    "loader": [
        "import torch\nfrom torch.utils.data import DataLoader, TensorDataset\n"
        "data = DataLoader(TensorDataset(torch.arange(6.0)), batch_size=2, num_workers=2)\n"
        "loader_ = float(torch.stack([batch.sum() for (batch,) in data]).sum())",
    ],
    "threads": [
        "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()\nthreads_ = 1",
    ],
    "atexit": ["import atexit\natexit.register(lambda: time.sleep(1000))\natexit_ = 1"],
    "warnings": ["import warnings\nwarnings.warn('look')\nwarnings.simplefilter('error')\nwarnings_ = 1"],
    "fork": ["import os\nif os.fork() == 0:\n    pass", "fork_ = 1"],
    "exit_line": ["exit()", "quit", "exit_line_ = 1"],
    "breakpoint": ["def looked():\n    breakpoint()\n    return 1\nbreakpoint_ = looked()"],
    "argv": ["import argparse\nargv_ = vars(argparse.ArgumentParser().parse_args())"],
    "stdout": ["import sys\nsys.stdout.buffer.write(b'bytes')\nsys.stdout.reconfigure(encoding='utf-8')\nstdout_ = 1"],
    "surrogate": ["print('\\ud800')\nsurrogate_ = 1"],
    "colab": [
        "from google.colab import drive, files\ndrive.mount('/content/drive')\n%cd /content/drive/MyDrive\ncolab_ = 1"
    ],
    "pylab": ["%pylab inline\npylab_ = float(np.array([1.0]).sum()) and callable(plt.plot)"],
    "autoreload": ["%load_ext autoreload\n%autoreload 2\nautoreload_ = 1"],
    "store": ["kept = 1\n%store kept\nstore_ = 1"],
}
RAISES = {"bash_fails"}
EXPECTED = {
    "pylab": True,
    "run_script": "__main__",
    "run_notebook": 11,
    "imports": 7,
    "capture": "held\n",
    "bash": "from bash\n",
    "shell_value": ["hello there"],
    "env": "a value",
    "cd": True,
    "last": 42,
    "history": (True, "of inputs"),
    "task": 5,
    "gather": [5, 5],
    "precision": 5,
    "plot": 0,
    "interact": [3],
    "slider": [9],
    "anywidget": 2,
    "kshot": ["Explorer", True],
    "tqdm": [3, 3, 3, 0, 1],
    "processes": [2, 4],
    "loader": 15.0,
    "argv": {},
}


def test_what_runs_in_jupyter_runs_here(sandboxed, as_notebook):
    cells = [cell for group in FINE.values() for cell in group]
    of = [name for name, group in FINE.items() for _ in group]
    other = json.dumps(as_notebook("x = 1", "from_other = 10 + x")).encode()
    session = sandboxed(*cells, files={"other.ipynb": other}, limits=LIMITS)
    assert [
        (of[number - 1], kind, text) for number, kind, text in session.ran.errors if of[number - 1] not in RAISES
    ] == []
    assert session.ran.skipped == {} and session.limits_hit == []
    found = {name: session.get(f"{name}_") for name in FINE}
    assert found == {**dict.fromkeys(FINE, 1), **EXPECTED}
    printed = session.ran.printed
    assert "to the log" in printed
    assert printed.count("Nothing is installed") == 4
    assert "No module named 'an_extension_that_is_nowhere'" in printed and "%watermark does nothing" in printed


ENDS = {
    "input('Your name? ')": ("EOFError", "nobody to answer it"),
    "import getpass\ngetpass.getpass()": ("EOFError", "nobody to answer it"),
    "import sys\nsys.exit(2)": ("SystemExit", "2"),
    "raise SystemExit": ("SystemExit", ""),
    "raise KeyboardInterrupt": ("KeyboardInterrupt", ""),
    "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nwhile True: pass": ("KeyboardInterrupt", ""),
    "this is no python": ("SyntaxError", "invalid syntax"),
    "<<<<<<< HEAD\nx = 1\n=======\nx = 2\n>>>>>>> theirs": ("SyntaxError", "invalid syntax"),
    "  x = 1\n y = 2": ("IndentationError", "indent"),
    "def f(): return f()\nf()": ("RecursionError", "maximum recursion"),
    "class Odd(Exception):\n    def __str__(self): raise ValueError\n    def __bool__(self): return False\nraise Odd": (
        "Odd",
        "",
    ),
    "import asyncio\nasyncio.run(asyncio.sleep(0))": ("RuntimeError", "running event loop"),
    "%%nothing_of_that_name\nx = 1": ("UsageError", "not found"),
    "raise ExceptionGroup('both', [ValueError(1), KeyError(2)])": ("ExceptionGroup", "both"),
    "del grader\ngrader.check('another')": ("NameError", "grader"),
}


def test_what_ends_a_cell_ends_that_cell_only(sandboxed):
    cells = [cell for ending in ENDS for cell in (ending, "count = globals().get('count', 0) + 1")]
    session = sandboxed(*cells, limits=LIMITS)
    assert session.get("count") == len(ENDS) and session.ran.skipped == {}
    assert [(number - 1) // 2 for number, _, _ in session.ran.errors] == list(range(len(ENDS)))
    for (kind, text), (expected, part) in zip((error[1:] for error in session.ran.errors), ENDS.values()):
        assert kind == expected and part in text


def test_an_interrupted_await_does_not_go_on_beside_the_next_cell(sandboxed):
    session = sandboxed(
        "import asyncio\nturns = []\nwhile True:\n    turns.append(1)\n    await asyncio.sleep(0.01)",
        "before = len(turns)\nawait asyncio.sleep(0.1)\nafter = len(turns)",
        limits=Limits(cell_seconds=1),
    )
    assert session.ran.errors[0][:2] == [1, "OutOfTime"] and len(session.ran.errors) == 1
    assert session.get("after") == session.get("before") > 0


SEEDED = "import random, numpy, torch\ndrawn = [random.random(), float(numpy.random.rand()), float(torch.rand(()))]"


def test_each_submission_has_its_seed(sandboxed):
    assert sandboxed(SEEDED).get("drawn") == sandboxed(SEEDED).get("drawn")
    other = sandboxed(SEEDED, "random.seed(0); numpy.random.seed(0); torch.manual_seed(0)", SEEDED).get("drawn")
    assert other == sandboxed(SEEDED).get("drawn")  # the sessions of these tests have seed 0
