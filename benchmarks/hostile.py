"""Hostile submissions against plain `otter run` and against `autograder grade`: what is tried, and what succeeds.

`python benchmarks/hostile.py` takes from `tests/hostile` the submissions that mean the same to both graders and do no
harm to this machine. Otter itself runs them one by one inside a bubblewrap container without network, with limits of
memory and time, so that what it does not stop stays there. Writes benchmarks/results/hostile.json, prints a table.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "tests" / "hostile"))

from assignment import HIDDEN, SECRET, write_assignment  # noqa: E402
from attack import TOLD, Attack  # noqa: E402
from submissions import CLASSES, HONEST  # noqa: E402

RESULTS = HERE / "results" / "hostile.json"
SECONDS, MEMORY = 90, 6 << 30  # for one run of Otter; its own are a fraction of both
CHOSEN = {
    "secrecy": ("reads_files", "collects_objects", "reads_frames", "repeats_its_inputs_in_errors"),
    "forging": (
        *("patches_libraries", "patches_builtins", "patches_otter", "is_always_equal", "is_an_equal_number"),
        *("lies_about_a_tensor", "makes_its_input_match", "replaces_the_tests", "draws_the_tests_inputs_itself"),
        *("answers_not_a_number", "remembers_answers"),
    ),
    "escape and damage": (
        "asks_for_kernel_interfaces",
        "opens_every_socket_family",
        "nests_namespaces",
        "stays_behind",
    ),
    "exhaustion": (
        "never_ends",
        "ends_the_process",
        "never_ends_in_one_question",
        "ends_the_process_in_a_cell",
        "takes_memory",
    ),
    "archives and checkpoints": ("leads_out_0", "links_the_notebook", "checkpoint_of_another_shape", "brings_pickles"),
    "accidents": (
        "exits_in_a_function",
        "recurses_without_end",
        "unknown_kernel",
        "has_a_cell_twice",
        "is_a_script",
        "interrupts_itself",
    ),
}
TELLS = "open('/tmp/told', 'w').write(repr(found))"  # without a sandbox this file is as good as any other way out


def chosen() -> dict[str, list[Attack]]:
    """Class -> its submissions that are compared."""
    found = {}
    for name, wanted in CHOSEN.items():
        by_name = {attack.name: attack for attack in CLASSES[name]}
        found[name] = [by_name[attack] for attack in wanted]
    return found


def contained(folder: Path, arguments: list[str]) -> tuple[str, bool]:
    """(what was printed, whether it ended) of a command in a container that can write to `folder` alone, its /tmp."""
    script = " ".join(arguments) + '; for p in /proc/[0-9]*; do tr "\\0" " " < $p/cmdline; echo; done'
    command = ["prlimit", f"--as={MEMORY}", "--fsize=268435456", "--core=0:0", "bwrap"]
    command += [f"--unshare-{name}" for name in ("user", "pid", "net", "ipc", "uts")]
    command += ["--uid", "1000", "--gid", "1000", "--cap-drop", "ALL", "--die-with-parent", "--new-session"]
    command += ["--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--bind", str(folder), "/tmp"]
    command += ["--tmpfs", "/var/tmp", "--chdir", "/tmp", "--setenv", "HOME", "/tmp", "--setenv", "TMPDIR", "/tmp"]
    process = subprocess.Popen(
        [*command, "--", "sh", "-c", script],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    try:
        return process.communicate(timeout=SECONDS)[0], True
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()[0], False


def with_otter(attack: Attack) -> str | None:
    """How `attack` succeeded against `otter run`, in a few words, or None."""
    with tempfile.TemporaryDirectory(prefix="otter-") as place:
        folder = Path(place)
        write_assignment(folder / "toy-autograder.zip")
        handed_in, out = folder / "handed-in", folder / "out"
        handed_in.mkdir()
        out.mkdir()
        attack.write(handed_in)
        submission = next(handed_in.iterdir())
        if submission.suffix == ".ipynb":
            submission.write_text(submission.read_text().replace(TOLD, TELLS))
        otter = shutil.which("otter", path=str(Path(sys.executable).parent))
        run = [otter, "run", "-a", "/tmp/toy-autograder.zip", "-o", "/tmp/out", f"'/tmp/handed-in/{submission.name}'"]
        printed, ended = contained(folder, run)
        told = (folder / "told").read_text() if (folder / "told").exists() else "[]"
        results = out / "results.json"
        text = results.read_text() if results.exists() else ""
        if not ended:
            return "never ended"
        if told != "[]":
            return "found what it looked for"
        if "7531.1" in printed:
            return "left processes"
        if not text:
            return None if attack.status == "failed" else "no result"
        tests = json.loads(text)["tests"]
        shown = "".join(str(test.get("output", "")) for test in tests if test.get("visibility") != "hidden")
        if any(mark in shown for mark in HIDDEN):
            return "hidden text shown"
        return misjudged(attack, {test["name"]: test["score"] for test in tests if "score" in test})


def misjudged(attack: Attack, scores: dict[str, float]) -> str | None:
    """What is wrong with the points. Of wrong answers only q1's public case is worth one."""
    least, most = attack.points
    total = sum(scores.values())
    if most <= 1:
        forged = total - min(scores.get("q1", 0), 1)
        return f"{forged:g} points forged" if forged else None
    return f"{total:g} points, {least:g} deserved" if total < least else None


def with_ours(attacks: list[Attack]) -> dict[str, str | None]:
    """Attack -> how it succeeded against `autograder grade`, or None."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="ours-") as place:
        folder = Path(place)
        write_assignment(folder / "toy-autograder.zip")
        (folder / "submissions").mkdir()
        for attack in attacks:
            attack.write(folder / "submissions")
        command = [sys.executable, "-m", "autograder", "grade", "toy-autograder.zip", "submissions", "--out", "out"]
        environment = {**os.environ, "AUTOGRADER_SECRET": SECRET}
        (folder / "course.toml").write_text("[limits]\ncell_seconds = 10\nquestion_seconds = 6\nmemory_mb = 1000\n")
        subprocess.run([*command, "--jobs", "2"], cwd=folder, env=environment, capture_output=True, check=False)
        for attack in attacks:
            path = folder / "out" / "results" / f"{attack.name}.json"
            if not path.exists():
                found[attack.name] = "no result"
                continue
            record = json.loads(path.read_text())
            if record["fault"] == "infrastructure":
                found[attack.name] = "not graded"
            elif "FOUND [" in str(record["reason"]) and "FOUND []" not in record["reason"]:
                found[attack.name] = record["reason"][:100]
            elif any(mark in path.read_text() for mark in HIDDEN):
                found[attack.name] = "hidden text shown"
            else:
                scores = {question["name"]: question["score"] for question in record["questions"]}
                found[attack.name] = misjudged(attack, scores)
    return found


def table(found: dict) -> str:
    """The results as Markdown: a row a class, then what succeeded against Otter."""
    lines = ["| class | submissions | succeed with `otter run` | with `autograder grade` |", "|---|---|---|---|"]
    for name, attempts in found["classes"].items():
        otter, ours = (sum(attempt[grader] is not None for attempt in attempts) for grader in ("otter", "ours"))
        lines.append(f"| {name} | {len(attempts)} | {otter} | {ours} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, write the JSON, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--otter", nargs="*", metavar="NAME", help="run Otter on these alone; keep what it gave before")
    again = parser.parse_args().otter
    kept = {}
    if again is not None:
        earlier = json.loads(RESULTS.read_text())["classes"].values()
        kept = {attempt["attempt"]: attempt["otter"] for listed in earlier for attempt in listed}
    attacks, control = chosen(), HONEST[0]
    ours = with_ours([control, *(attack for listed in attacks.values() for attack in listed)])
    assert ours[control.name] is None and with_otter(control) is None, "the honest submission has full points with both"
    classes = {}
    for name, listed in attacks.items():
        classes[name] = []
        for attack in listed:
            keep = attack.name in kept and attack.name not in again
            otter = kept[attack.name] if keep else with_otter(attack)
            classes[name].append({"attempt": attack.name, "otter": otter, "ours": ours[attack.name]})
            print(f"{name}: {classes[name][-1]}", file=sys.stderr, flush=True)
    found = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "seconds": SECONDS, "classes": classes}
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    print(table(found))


if __name__ == "__main__":
    main()
