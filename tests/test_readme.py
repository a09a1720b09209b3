"""README keeps its word: its code runs, its links lead somewhere, its table is the benchmark's."""

import json
import re
import runpy
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

import kshot

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_code_runs_and_runs_again_when_omniglot_has_come(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    short = code.replace("steps=500", "steps=2, progress=False").replace("(learner, test)", "(learner, test, 10)")
    assert short.count("2, progress") == short.count("test, 10") == 1
    monkeypatch.chdir(tmp_path)
    drawn = kshot.glyphs()
    for found in (drawn, replace(drawn, images=drawn.images.flip(0), source="Omniglot")):
        monkeypatch.setattr(kshot, "characters", lambda found=found: found)
        space: dict = {}
        exec(compile(short, "README.md", "exec"), space)
        assert space["logits"].shape == (8, 25, 5)
        assert "±" in capsys.readouterr().out
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


def test_what_is_not_written_yet_is_said():
    """Every lecture up to the last numbered one of lecture 00's map, and every homework of course.toml."""
    written = {path.name[:2] for path in (ROOT / "lectures").glob("[0-9][0-9]_*.ipynb")}
    promised = set(re.findall(r'\("(\d\d) ', (ROOT / "lectures" / "src" / "00_start_here.py").read_text()))
    homeworks = {path.name for path in (ROOT / "homeworks").iterdir() if path.is_dir()}
    planned = set(tomllib.loads((ROOT / "course.toml").read_text())["assignments"])
    lacking = [name[2:] for name in sorted(planned - homeworks) if re.fullmatch(r"hw\d", name)]
    lectures, numbers = (f"{', '.join(some[:-1])} and {some[-1]}" for some in (sorted(promised - written), lacking))
    assert f"Lectures {lectures}, and homeworks {numbers}, are not written yet." in README


def test_the_demo_is_preceded_by_what_it_needs():
    teaching = README[README.index("## Instructors") :]
    assert teaching.index("    make setup\n") < teaching.index("autograder demo")
    assert teaching.index("`. .venv/bin/activate`") < teaching.index("    autograder build")


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_a_link_leads_somewhere(target):
    assert (ROOT / target).exists()


@pytest.mark.parametrize(
    "name, options", [("omniglot", {}), ("grading", {}), ("families", {}), ("sinusoid", {"every": (10,)})]
)
def test_a_table_is_what_was_measured(name, options, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    script = runpy.run_path(str(ROOT / "benchmarks" / f"{name}.py"))
    report = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())
    assert between(name) == script["markdown"](report, **options)


def test_the_table_of_speed_is_what_was_measured(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks" / "speed")
    assert between("speed") == runpy.run_path(str(ROOT / "benchmarks" / "speed" / "table.py"))["table"]()


def between(name: str) -> str:
    """What stands between the markers `name` of README."""
    return re.search(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", README, re.DOTALL).group(1)


def test_the_latency_is_what_was_measured():
    report = json.loads((ROOT / "benchmarks" / "results" / "latency.json").read_text())
    assert f"in {report['median_ms']:.0f} ms" in README


def test_the_table_of_attacks_is_what_was_measured():
    script = runpy.run_path(str(ROOT / "benchmarks" / "hostile.py"))
    report = json.loads((ROOT / "benchmarks" / "results" / "hostile.json").read_text())
    security = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    shown = re.search(r"<!-- hostile -->\n(.*?)\n<!-- /hostile -->", security, re.DOTALL).group(1)
    assert shown == script["table"](report).strip()


@pytest.mark.parametrize(
    "command", re.findall(r"^    (?:\.venv/bin/)?((?:autograder|kshot) \w+)", README, re.MULTILINE)
)
def test_a_command_exists(command):
    program, verb = command.split()
    main = __import__(f"{program}.cli", fromlist=["main"]).main
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
