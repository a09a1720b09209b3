"""How fast grading is: `otter run`, one submission after another, against `autograder grade --jobs 2`, in one run.

    python benchmarks/grading.py

Thirty submissions of HW2, all right and all different, are graded by both in interleaved rounds; then the same batch is
made longer (`--long`, 300 by default) and the grader's memory is watched. Needs root and bubblewrap, as grading does.
Writes benchmarks/results/grading.json. `otter run` takes minutes: `--submissions 6 --long 0` gives a first idea.
"""

import argparse
import copy
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from autograder.author.build import autograder_zip
from autograder.author.root import project_root
from autograder.demo import HOMEWORK, Student, export, made_up

RESULTS = Path(__file__).parent / "results" / "grading.json"
ROUNDS = 3
BIN = Path(sys.executable).parent


def hand_in(folder: Path, count: int) -> list[Path]:
    """`count` exports of the solved homework that differ in a comment."""
    solved = next(student for student in made_up(project_root()) if student.name == "ada")
    folder.mkdir()
    paths = []
    for number in range(count):
        notebook = copy.deepcopy(solved.notebook)
        first = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
        first["source"] = f"# student {number}\n" + "".join(first["source"])
        paths.append(folder / f"student{number:03}.zip")
        paths[-1].write_bytes(export(Student(paths[-1].stem, "", notebook, solved.weights)))
    return paths


def otter(bundle: Path, submissions: list[Path], scratch: Path) -> tuple[float, set]:
    """(wall seconds, the scores) of `otter run` on each submission in turn."""
    scores, start = set(), time.perf_counter()
    for path in submissions:
        command = [BIN / "otter", "run", "-a", bundle, "-o", scratch, "--no-logo", path]
        subprocess.run(command, cwd=scratch, check=True, capture_output=True)
        results = json.loads((scratch / "results.json").read_text())
        scores.add(round(sum(test["score"] for test in results["tests"] if "score" in test), 6))
    return time.perf_counter() - start, scores


def ours(bundle: Path, submissions: Path, out: Path, jobs: int) -> dict:
    """One `autograder grade`: wall seconds, the records, and the grader's resident memory in MB as records came in."""
    command = [BIN / "autograder", "grade", bundle, submissions, "--out", out, "--jobs", str(jobs)]
    start, memory, done = time.perf_counter(), [], threading.Event()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def watch() -> None:
        while not done.wait(0.25):
            count = len(list((out / "results").glob("*.json"))) if out.exists() else 0
            memory.append((count, _resident(process.pid)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = process.wait()
    done.set()
    watcher.join()
    seconds = time.perf_counter() - start
    if code != 0:
        raise RuntimeError(f"autograder grade ended with {code}")
    records = [json.loads(path.read_text()) for path in sorted((out / "results").glob("*.json"))]
    return {"seconds": seconds, "records": records, "memory": memory}


def _resident(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:")), 0.0)


def throughput(folder: Path, bundle: Path, count: int) -> dict:
    """Submissions a minute of both, in rounds one after the other."""
    paths = hand_in(folder / "submissions", count)
    rounds = []
    for number in range(ROUNDS):
        share = paths[number::ROUNDS]
        scratch = folder / f"otter{number}"
        scratch.mkdir()
        seconds, scores = otter(bundle, share, scratch)
        batch = ours(bundle, folder / "submissions", folder / f"ours{number}", jobs=2)
        same = scores | {record["score"] for record in batch["records"]}
        rounds.append(
            {
                "otter_seconds_each": round(seconds / len(share), 3),
                "grade_seconds_each": round(batch["seconds"] / count, 3),
                "ratio": round((seconds / len(share)) / (batch["seconds"] / count), 2),
                "scores": sorted(same),
            }
        )
        print(f"round {number + 1}: {rounds[-1]}", flush=True)
    return {"submissions": count, "rounds": rounds, "ratio": statistics.median(entry["ratio"] for entry in rounds)}


def latency(folder: Path, bundle: Path) -> dict:
    """Seconds a submission one at a time: the first (cold), the others (warm), and what of it is not student code."""
    records = ours(bundle, folder / "submissions", folder / "latency", jobs=1)["records"]
    own = [record["resources"]["student_seconds"] for record in records]
    total = [record["seconds"] for record in records]
    beyond = [seconds - student for seconds, student in zip(total, own)]
    return {
        "cold_seconds": round(max(total), 2),
        "warm_seconds": round(statistics.median(total), 2),
        "warm_beyond_student_seconds": round(statistics.median(beyond), 2),
        "student_seconds": round(statistics.median(own), 2),
        "sandbox_memory_mb": round(statistics.median(record["resources"]["memory_mb"] for record in records)),
    }


def endurance(folder: Path, bundle: Path, count: int) -> dict:
    """A long batch to its end: its rate, and the grader's memory on the way."""
    hand_in(folder / "many", count)
    batch = ours(bundle, folder / "many", folder / "long", jobs=2)
    marks = {at: [memory for done, memory in batch["memory"] if done >= at][:1] for at in range(25, count, 25)}
    graded = sum(record["status"] == "graded" for record in batch["records"])
    return {
        "submissions": count,
        "graded": graded,
        "seconds": round(batch["seconds"], 1),
        "per_minute": round(60 * count / batch["seconds"], 1),
        "grader_mb_after": {at: round(found[0]) for at, found in marks.items() if found},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--submissions", type=int, default=30)
    parser.add_argument("--long", type=int, default=300)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="grading-") as folder:
        folder, bundle = Path(folder), autograder_zip(HOMEWORK)
        found = {"throughput": throughput(folder, bundle, options.submissions), "latency": latency(folder, bundle)}
        if options.long:
            found["endurance"] = endurance(folder, bundle, options.long)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    print(markdown(found))


def markdown(found: dict) -> str:
    """The figures as a table."""
    rounds, late, long = found["throughput"]["rounds"], found["latency"], found.get("endurance")
    times = f"{found['throughput']['ratio']:.0f} times the throughput"
    median = {key: statistics.median(entry[key] for entry in rounds) for key in rounds[0] if key != "scores"}
    lines = [
        "| | |",
        "|---|---|",
        f"| `otter run`, one by one | {median['otter_seconds_each']:.1f} s a submission |",
        f"| `autograder grade --jobs 2` | {median['grade_seconds_each']:.2f} s a submission, {times} |",
        f"| the first submission of a slot | {late['cold_seconds']:.1f} s |",
        f"| every other | {late['warm_seconds']:.2f} s, of it {late['student_seconds']:.2f} s the student's own code |",
        f"| memory of a sandbox | {late['sandbox_memory_mb']} MB |",
    ]
    if long:
        memory = list(long["grader_mb_after"].values())
        span = f"{memory[0]} MB after 25, {memory[-1]} MB at the end" if memory else "not seen"
        lines.append(
            f"| {long['submissions']} submissions | {long['per_minute']:.0f} a minute; the grader holds {span} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
