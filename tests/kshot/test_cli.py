"""The kshot command: what it prints, how it exits, and what its doctor finds."""

import re
import subprocess
import sys
import types
from collections import namedtuple

import pytest

from kshot import cli, data, doctor, download, omniglot_pack
from kshot.cli import main
from kshot.doctor import Finding, report


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty data folder."""
    monkeypatch.setenv("KSHOT_DATA", str(tmp_path))
    return tmp_path


def test_version_names_kshot_python_and_torch(capsys):
    assert main(["version"]) == 0
    assert re.fullmatch(r"kshot \S+, Python 3\.\d+\.\S+, torch \d+\.\d+\S*\n", capsys.readouterr().out)


def test_list_shows_every_card_and_what_is_here(capsys, folder):
    assert main(["data", "--list"]) == 0
    text = capsys.readouterr().out
    assert all(re.search(f"^{name} ", text, re.M) for name in download.cards())
    assert f"not here: {download.command('data omniglot')} downloads" in text
    (folder / "omniglot").mkdir()
    (folder / data.OMNIGLOT_FILE).touch()
    main(["data", "--list"])
    assert f"here: {folder / data.OMNIGLOT_FILE}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["data", "imagenet"], "no data set is called 'imagenet': choose from glyphs, omniglot"),
        (["data"], "name a data set, or ask for --list"),
        (["paint"], "invalid choice: 'paint'"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_why(arguments, words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2 and words in capsys.readouterr().err


def test_without_a_command_it_prints_the_help(capsys):
    assert main([]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("usage: kshot") and all(name in said.out for name in ("data", "doctor", "version"))
    assert said.err == ""


def test_root_names_the_data_folder_and_url_the_source(tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(omniglot_pack, "install", lambda root, base: asked.append((root, base)) or root / "packed")
    assert main(["data", "omniglot", "--root", str(tmp_path / "other"), "--url", "http://mirror"]) == 0
    assert asked == [(tmp_path / "other", "http://mirror")]
    assert f"set KSHOT_DATA={tmp_path / 'other'}" in capsys.readouterr().out


class Seven:
    source = "Glyphs (seed 0)"

    def __len__(self) -> int:
        return 7


def test_glyphs_are_drawn_not_downloaded(monkeypatch, capsys):
    monkeypatch.setattr(data, "dataset", lambda name: {"glyphs": Seven()}[name])
    assert main(["data", "glyphs"]) == 0
    assert capsys.readouterr().out == "Glyphs (seed 0): 7 characters, drawn here; nothing to download\n"


def test_a_failure_is_one_sentence_on_stderr(capsys):
    assert main(["data", "omniglot", "--url", "ftp://nowhere"]) == 1
    said = capsys.readouterr()
    assert said.out == "" and re.fullmatch(r"kshot: cannot fetch ftp://nowhere\S+: give an address .*\n", said.err)


def test_ctrl_c_exits_with_130_and_says_how_to_go_on(monkeypatch, capsys):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(omniglot_pack, "install", interrupted)
    assert main(["data", "omniglot"]) == 130
    assert capsys.readouterr().err == "kshot: interrupted: run the same command again to go on from here\n"


def test_a_bug_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(cli, "_list", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["data", "--list"])


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_early_is_no_failure(unbuffered, monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    command = f"{sys.executable} -m kshot.cli data --list | true; exit ${{PIPESTATUS[0]}}"
    ran = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_doctor_prints_every_check_and_exits_by_what_is_missing():
    ran = subprocess.run([sys.executable, "-m", "kshot.cli", "doctor"], capture_output=True, text=True)
    states = re.findall(r"^(ok|note|missing) +(\S+)", ran.stdout, re.M)
    assert {"Python", "torch", "GPU", "Omniglot", "Glyphs", "widgets", "bubblewrap", "Chromium"} <= {
        n for _, n in states
    }
    assert ran.returncode == int(any(state == "missing" for state, _ in states)) and ran.stderr == ""
    assert "\033" not in ran.stdout and len(ran.stdout.splitlines()) <= 24


@pytest.mark.parametrize("state, code", [("ok", 0), ("note", 0), ("missing", 1)])
def test_doctor_fails_only_where_the_course_cannot_run(state, code, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "ALONE", (lambda: Finding("widgets", state, "as found", "make setup"),))
    monkeypatch.setattr(doctor, "NEED_TORCH", ())
    assert main(["doctor"]) == code
    assert ("mend widgets" in capsys.readouterr().out) == bool(code)


def test_report_is_aligned_and_coloured_only_when_asked():
    findings = [Finding("Python", "ok", "DETAIL"), Finding("bubblewrap", "missing", "DETAIL", "MEND")]
    plain, coloured = report(findings), report(findings, colour=True)
    columns = {line.index("DETAIL") for line in plain.splitlines() if "DETAIL" in line}
    assert columns == {plain.splitlines()[2].index("to mend: MEND")}
    assert "\033" not in plain and re.sub(r"\033\[\d+m", "", coloured) == plain != coloured


def test_a_missing_package_comes_with_the_line_that_installs_it_here(monkeypatch, tmp_path):
    monkeypatch.chdir(doctor.CHECKOUT)
    name, state, detail, mend = doctor._packages("widgets", {"no-such-package": "no_such_package"})
    assert (name, state, detail) == ("widgets", "missing", "no-such-package is not installed")
    assert mend == f"{sys.executable} -m pip install -c constraints.txt -e '.[lab]'"
    monkeypatch.chdir(tmp_path)
    assert doctor._packages("widgets", {"no-such-package": "x"}).mend == f"cd {doctor.CHECKOUT} && {mend}"


def test_a_package_that_is_installed_but_broken_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    found = doctor.widgets()
    assert found.state == "missing" and found.detail.startswith("anywidget does not load: ")
    assert found.mend.endswith("--force-reinstall anywidget")


def test_a_torch_that_does_not_load_is_found_and_nothing_that_needs_it_is_tried(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(doctor, "NEED_TORCH", (lambda: pytest.fail("needs torch"),))
    found = {finding.name: finding for finding in doctor.examine()}
    assert found["torch"].state == "missing" and found["torch"].mend and found["Python"].state == "ok"


def test_versions_too_old_are_missing(monkeypatch):
    monkeypatch.setattr(doctor, "TORCH", (99, 0))
    monkeypatch.setattr(doctor, "PYTHON", (99, 0))
    assert (doctor.torch().state, doctor.python().state) == ("missing", "missing")
    assert doctor._numbers("2.9.1+cu128") < (2, 11) <= doctor._numbers("2.11.0")


Card = namedtuple("Card", "name total_memory")


def test_a_gpu_is_named_with_its_memory(monkeypatch):
    cuda = types.SimpleNamespace(
        is_available=lambda: True, device_count=lambda: 2, get_device_properties=lambda _: Card("Big Card", 24 * 2**30)
    )
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda))
    assert doctor.gpu() == ("GPU", "ok", "Big Card, 24 GiB and 1 more", "")


def test_a_gpu_that_torch_cannot_use_is_noted(monkeypatch):
    no = types.SimpleNamespace(is_available=lambda: False)
    torch = types.SimpleNamespace(cuda=no, backends=types.SimpleNamespace(mps=no))
    monkeypatch.setitem(sys.modules, "torch", torch)
    have(monkeypatch, "nvidia-smi")
    assert doctor.gpu().state == "note" and "CUDA" in doctor.gpu().mend
    have(monkeypatch)
    assert doctor.gpu().state == "ok" and "CPU" in doctor.gpu().detail


def have(monkeypatch, *programs: str) -> None:
    """Only these programs are on the PATH."""
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/bin/{name}" if name in programs else None)


@pytest.mark.parametrize(
    "manager, sandbox, browser",
    [
        ("apt-get", "sudo apt-get install -y bubblewrap", "sudo apt-get install -y chromium"),
        ("dnf", "sudo dnf install -y bubblewrap", "sudo dnf install -y chromium"),
        ("winget", None, "winget install Google.Chrome"),
        ("brew", None, "brew install --cask chromium"),
        ("none", "install bubblewrap with your system's package manager", "install chromium with your system's"),
    ],
)
def test_system_programs_come_with_this_systems_line(manager, sandbox, browser, monkeypatch):
    have(monkeypatch, manager)
    monkeypatch.setattr(doctor.platform, "system", lambda: "Linux" if sandbox else "Darwin")
    monkeypatch.setattr(doctor.Path, "exists", lambda _: False)
    assert doctor.chromium().state == "note" and doctor.chromium().mend.startswith(browser)
    assert doctor.bubblewrap().state == "note"
    assert doctor.bubblewrap().mend == (sandbox or "grade in a Linux machine or container")


def test_a_bubblewrap_that_may_make_no_sandbox_is_noted_with_its_own_words(monkeypatch, tmp_path):
    program = tmp_path / "bwrap"
    program.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(doctor.platform, "system", lambda: "Linux")
    monkeypatch.setattr(doctor.shutil, "which", lambda name: str(program))
    found = doctor.bubblewrap()
    assert found.state == "note" and "setting up uid map: Permission denied" in found.detail
    assert found.mend.split(": ")[-1].startswith("sudo sysctl -w ")


def test_omniglot_is_found_missing_and_damaged(folder):
    line = f"{sys.executable} -m kshot.cli data omniglot"
    assert doctor.omniglot()[:2] == ("Omniglot", "note") and doctor.omniglot().mend == line
    (folder / "omniglot").mkdir()
    (folder / data.OMNIGLOT_FILE).write_bytes(b"half a file")
    assert "damaged" in doctor.omniglot().detail and doctor.omniglot().mend == line


def test_the_line_that_mends_can_be_typed_where_no_environment_is_active(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    line = [*doctor._kshot("data").split(), "--list"]
    ran = subprocess.run(line, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert ran.returncode == 0 and "omniglot" in ran.stdout, ran.stderr


@pytest.mark.parametrize(
    "scripts, installed, typed",
    [
        (download.CARDS.parent / ".venv" / "bin", True, ".venv/bin/kshot data omniglot"),
        (download.CARDS.parent / ".venv" / "bin", False, ".venv/bin/kshot data omniglot"),
        ("/elsewhere/bin", True, "kshot data omniglot"),
        ("/elsewhere/bin", False, f"{sys.executable} -m kshot.cli data omniglot"),
    ],
)
def test_the_command_is_named_as_it_can_be_typed_in_the_courses_folder(scripts, installed, typed, monkeypatch):
    monkeypatch.setattr(download.sysconfig, "get_path", lambda name: str(scripts))
    monkeypatch.setattr(download.shutil, "which", lambda name: f"/elsewhere/bin/{name}" if installed else None)
    assert download.command("data omniglot") == typed
    with pytest.raises(FileNotFoundError) as missing:
        data.omniglot()
    assert f"`{typed}` downloads it" in str(missing.value)


def test_packages_that_grading_lacks_are_noted_with_make_setup(monkeypatch, tmp_path):
    monkeypatch.chdir(doctor.CHECKOUT)
    found = doctor.importlib.util.find_spec
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None if name == "pyseccomp" else found(name))
    monkeypatch.setattr(doctor, "GRADING", ("jupytext", "pyseccomp"))
    assert doctor.grading() == ("grading", "note", "pyseccomp is not installed", "make setup")
    monkeypatch.chdir(tmp_path)
    assert doctor.grading().mend == f"cd {doctor.CHECKOUT} && make setup"


def test_a_filter_without_its_library_is_noted_with_this_systems_line(monkeypatch):
    def without_library(name):
        raise RuntimeError("Unable to find libseccomp")

    monkeypatch.setattr(doctor, "GRADING", ("jupytext", "pyseccomp"))
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(doctor.importlib, "import_module", without_library)
    have(monkeypatch, "apt-get")
    assert doctor.grading().detail == "pyseccomp does not load: Unable to find libseccomp"
    assert doctor.grading().mend == "sudo apt-get install -y libseccomp2"


def test_students_are_not_told_what_grading_needs(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "INSTRUCTORS", tmp_path / "solutions")
    names = {"grading", "bubblewrap", "Chromium"}
    assert not names & {finding.name for finding in doctor.examine()}
    (tmp_path / "solutions").mkdir()
    assert names <= {finding.name for finding in doctor.examine()}


@pytest.mark.parametrize("count, words", [(1, ", 1 thread"), (2, ", 2 threads")])
def test_one_thread_is_no_plural(count, words, monkeypatch):
    monkeypatch.setattr(doctor.importlib.import_module("torch"), "get_num_threads", lambda: count)
    assert doctor.torch().detail.endswith(words)


def test_a_data_folder_that_is_not_there_will_be_made(monkeypatch, folder):
    assert "will be made" not in doctor.room().detail
    monkeypatch.setenv("KSHOT_DATA", str(folder / "new" / "one"))
    assert doctor.room().state == "ok" and f"{folder / 'new' / 'one'} (will be made)" in doctor.room().detail


def test_a_data_folder_without_room_is_noted(monkeypatch, folder):
    assert doctor.room().state == "ok"
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage(5 * 2**20))
    assert doctor.room().state == "note" and "only 5 MiB free" in doctor.room().detail
    (folder / "file").touch()
    monkeypatch.setenv("KSHOT_DATA", str(folder / "file" / "below"))
    assert "not writable" in doctor.room().detail and "KSHOT_DATA" in doctor.room().mend
