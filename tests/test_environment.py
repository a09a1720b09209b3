"""The house keeps its rules: one set of versions, a light import, an order of modules, nothing of one machine."""

import ast
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("kshot", "autograder")

# Each module imports only from its left; the files of `learners` and those of `exercises` never one another.
ORDER = (
    "devices",
    "episodes",
    "strokes",
    "glyphs",
    "download",
    "omniglot_pack",
    "tasks",
    "data",
    "first_block",
    "nets",
    "inner",
    "inner_rates",
    "functional",
    "stacked",
    "curvature",
    "outer",
    "gradient_based",
    "black_box",
    "causal",
    "learners",
    "settings",
    "checkpoint",
    "scores",
    "run",
    "train",
    "recipes",
    "pretrained",
    "see",
    "diagnosis",
    "exercises",
    "doctor",
    "cli",
)
# What `import kshot` must do without, by the name under which it is imported.
LATER = ("matplotlib", "ipywidgets", "anywidget", "IPython", "jupyterlab", "PIL", "otter", "nbgrader", "jupytext")
CORE = {"torch", "numpy", "safetensors"}
# Modules that need more than CORE to load, and so are loaded only when used.
LAZY = ("see", "exercises")


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def required(project) -> dict[str, Requirement]:
    """Every third-party package that pyproject.toml names, with its range."""
    texts = project["dependencies"] + [text for extra in project["optional-dependencies"].values() for text in extra]
    found = [Requirement(text) for text in texts if not text.startswith("kshot")]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


@pytest.fixture(scope="module")
def pinned() -> dict[str, str]:
    """Every pin of constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pins}


@pytest.fixture(scope="module")
def conda() -> dict:
    return yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


def test_constraints_hold_names_and_versions_only():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    odd = [line for line in pins if not re.fullmatch(r"[A-Za-z0-9][\w.-]*==\d[\w.]*", line)]
    assert not odd and len(pins) > 10
    names = [canonicalize_name(line.split("==")[0]) for line in pins]
    assert len(names) == len(set(names))


def test_every_dependency_is_pinned_inside_its_range(required, pinned):
    assert not set(required) - set(pinned)
    outside = {
        name: (str(requirement.specifier), pinned[name])
        for name, requirement in required.items()
        if not requirement.specifier.contains(pinned[name], prereleases=True)
    }
    assert not outside and all(requirement.specifier for requirement in required.values())


def test_the_core_is_torch_numpy_and_safetensors(project):
    assert {canonicalize_name(Requirement(text).name) for text in project["dependencies"]} == CORE
    assert {"lab", "instructor", "test"} <= set(project["optional-dependencies"])


def test_conda_makes_the_same_environment(conda, project):
    assert conda["name"] == "kshot"
    plain = [entry for entry in conda["dependencies"] if isinstance(entry, str)]
    [pip] = [entry["pip"] for entry in conda["dependencies"] if isinstance(entry, dict)]
    assert sorted(re.match(r"[\w-]+", entry)[0] for entry in plain) == ["pip", "python"]

    [python] = [entry for entry in plain if entry.startswith("python")]
    named = re.search(r"\d+\.\d+", python)[0]
    assert SpecifierSet(project["requires-python"]).contains(f"{named}.0")

    words = " ".join(pip).split()
    assert ("-c", "constraints.txt") in list(pairwise(words))
    own = [word for previous, word in pairwise(words) if previous == "-e"]
    extras = [extra for word in own for extra in re.fullmatch(r"\.\[([\w,]+)\]", word)[1].split(",")]
    assert set(extras) == {"lab", "instructor", "test"} <= set(project["optional-dependencies"])
    assert set(words) == {"-c", "constraints.txt", "-e", *own}, "every other version belongs in pyproject.toml"


def test_beside_a_clone_called_kshot_the_package_is_still_found(tmp_path):
    """Python takes the folder above for a namespace package where an editable install is a hook and not a path."""
    pytest.importorskip("setuptools")
    clone, place = tmp_path / "clones" / "kshot", tmp_path / "site-packages"
    for package in PACKAGES:
        (clone / package).mkdir(parents=True)
        (clone / package / "__init__.py").write_text("HERE = True\n")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    build = f"from setuptools import build_meta; print(build_meta.build_editable({str(tmp_path)!r}))"
    subprocess.run([sys.executable, "-c", build], cwd=clone, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(place)
    found = f"import site; site.addsitedir({str(place)!r}); import kshot; print(kshot.HERE)"
    for folder in (clone, clone.parent, tmp_path):
        ran = subprocess.run([sys.executable, "-S", "-c", found], cwd=folder, capture_output=True, text=True)
        assert ran.stdout == "True\n", f"{folder}: {ran.stderr}"


def test_a_first_installation_says_that_it_takes_minutes():
    if not shutil.which("make"):
        pytest.skip("make is not here")
    for target in ("lab", "setup"):
        dry = ["make", "--dry-run", "--always-make", target]
        steps = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
        first = next(number for number, step in enumerate(steps) if "pip install" in step)
        assert steps[first - 1].startswith("echo") and "minutes" in steps[first - 1]


def test_weights_made_by_the_readme_are_not_committed():
    """The shipped checkpoints are."""
    patterns = (ROOT / ".gitignore").read_text().split()
    assert "/*.safetensors" in patterns and "*.safetensors" not in patterns


def test_import_kshot_needs_only_the_core():
    """It works where nothing else is installed, and loads nothing else where it is."""
    names = repr((*LATER, "tqdm"))
    blocked = f"import sys; sys.modules.update(dict.fromkeys({names})); import kshot"
    ran = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    loaded = subprocess.run(
        [sys.executable, "-c", "import kshot, sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not set(LATER) & set(loaded) and set(loaded) >= CORE


def modules(package: str) -> dict[str, Path]:
    """Every module of a package by its dotted name, packages under their own name."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: dict[str, Path], at_load: bool = False) -> Iterator[str]:
    """The dotted names that a file imports, or only those it needs to load; of `from a import b`, the module a.b."""
    inside = path.relative_to(ROOT).with_suffix("").parts
    for node in walk(ast.parse(path.read_text(encoding="utf-8")), at_load):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*inside[: len(inside) - node.level], *filter(None, [node.module])] if node.level else [node.module]
            for alias in node.names:
                longer = ".".join([*base, alias.name])
                yield longer if longer in known else ".".join(base)


def walk(node: ast.AST, outside_functions: bool) -> Iterator[ast.AST]:
    yield node
    if not (outside_functions and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
        for child in ast.iter_child_nodes(node):
            yield from walk(child, outside_functions)


def test_every_module_of_kshot_has_its_place():
    places = {name.split(".")[1] for name in modules("kshot") if "." in name} - {"__main__"}
    assert places <= set(ORDER), f"say in ORDER what {sorted(places - set(ORDER))} may import"


def test_each_module_imports_only_from_its_left():
    known, wrong = modules("kshot"), []
    for name, path in known.items():
        own = name.partition(".")[2].split(".")[0]
        if own not in ORDER:  # the package itself, or one that the test above names
            continue
        for imported in imports(path, known):
            parts = imported.split(".")
            if parts[0] != "kshot":
                continue
            if len(parts) == 1:
                wrong.append(f"{name} imports the whole package: name the module")
            elif parts[1] == own:
                if own == "learners" and name != "kshot.learners" and imported != name:
                    wrong.append(f"{name} imports {imported}: learners stand alone")
            elif parts[1] not in ORDER[: ORDER.index(own)]:
                wrong.append(f"{name} imports {imported}, which is not on its left")
    assert not wrong, "\n".join(wrong)


def test_core_modules_need_nothing_else_to_load():
    known, wrong = modules("kshot"), []
    for name, path in known.items():
        if name.partition(".")[2].split(".")[0] in LAZY:
            continue
        tops = {imported.split(".")[0] for imported in imports(path, known, at_load=True)}
        if odd := tops - CORE - {"kshot"} - sys.stdlib_module_names:
            wrong.append(f"{name} imports {sorted(odd)}: import it where it is used")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package, other, at_load", [("kshot", "autograder", False), ("autograder", "kshot", True)])
def test_the_two_packages_stand_alone(package, other, at_load):
    """kshot never imports the autograder; the autograder loads without kshot, and only hidden tests ask for it."""
    known = modules(package)
    assert len(known) > 5
    wrong = [
        f"{name} imports {imported}"
        for name, path in known.items()
        for imported in imports(path, known, at_load)
        if imported.split(".")[0] == other
    ]
    assert not wrong, "\n".join(wrong)


def tracked() -> list[Path]:
    """The files that a commit holds or would hold; all but the ignored ones where this is no git checkout."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode == 0:
        return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    skipped = ("build", "__pycache__")
    inside = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
    return [ROOT / p for p in inside if not any(part in skipped or part.startswith(".") for part in p.parts[:-1])]


def test_only_the_two_packages_have_an_init():
    """A folder called `datasets` with an __init__.py would hide the package of that name."""
    tops = {path.parent.name for path in tracked() if path.name == "__init__.py" and path.parent.parent == ROOT}
    assert tops == set(PACKAGES)


def test_no_file_names_this_machine_or_a_package_registry():
    kinds = {
        "a path of one machine": r"(?<![\w.])(?:/home/(?!student\b)[a-z]\w*/|/Users/\w+/|/root/\w|[A-Z]:\\Users\\)",
        "a kernel's folder": r"/tmp/ipykernel_\d",
        "this checkout": re.escape(str(ROOT)) + r"\b",
        "a package registry": r"\b(?:pypi\.org|pythonhosted\.org|anaconda\.org|npmjs\.\w+|download\.pytorch\.org)\b",
    }
    wrong = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for kind, pattern in kinds.items():
            wrong += [f"{path.relative_to(ROOT)}: {kind}: {found[0]}" for found in re.finditer(pattern, text)]
    assert len(tracked()) > 20 and not wrong, "\n".join(wrong)


def test_every_pin_installs_on_the_oldest_python_that_is_promised():
    """A pin that asks for 3.11.5 fails on a system Python of 3.11.2, however new this one is."""
    refusing = []
    for distribution in importlib.metadata.distributions():
        asked = distribution.metadata["Requires-Python"]
        if asked and not SpecifierSet(asked).contains("3.11.0"):
            refusing.append(f"{distribution.metadata['Name']} asks for Python {asked}")
    assert not refusing, "; ".join(refusing)
