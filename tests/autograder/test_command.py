"""The command line and course.toml: exit codes, and one sentence for everything that is used wrongly."""

import os
import stat

import pytest

from autograder.cli import main
from autograder.course import Limits, read_course
from autograder.grading.batches.secret import secret
from autograder.grading.isolation.protections import missing

CASE = "\n@test_case(points=1, hidden=False)\ndef test_a(f):\n    assert f(1) == 1\n"


@pytest.fixture
def zip_path(make_bundle, tmp_path):
    make_bundle({"q1": (1, CASE)})
    return str(tmp_path / "toy-autograder.zip")


def test_wrong_usage_is_two_and_a_sentence(zip_path, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "no.zip").write_bytes(b"no")
    out = ["--out", str(tmp_path / "out")]
    wrong = {
        "There is no autograder zip": ["grade", str(tmp_path / "absent.zip"), str(tmp_path), *out],
        "not a readable zip": ["grade", str(tmp_path / "no.zip"), str(tmp_path), *out],
        "no homework 'hw99'": ["grade", "hw99", str(tmp_path), *out],
    }
    for said, arguments in wrong.items():
        assert main(arguments) == 2
        assert said in capsys.readouterr().err


@pytest.mark.sandbox
def test_folders_that_do_not_serve(zip_path, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["grade", zip_path, str(tmp_path / "empty"), "--out", str(tmp_path / "out")]) == 2
    assert "holds no submissions" in capsys.readouterr().err
    assert main(["grade", zip_path, str(tmp_path / "absent"), "--out", str(tmp_path / "out")]) == 2
    assert "There is no folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_no_gpu_is_said(zip_path, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["grade", zip_path, str(tmp_path), "--out", str(tmp_path / "out"), "--device", "cuda"]) == 2
    assert "no GPU" in capsys.readouterr().err
    for option in (["--gpus", "0,1"], ["--per-gpu", "4"]):
        assert main(["grade", zip_path, str(tmp_path), "--out", str(tmp_path / "out"), *option]) == 2
        assert "--gpus and --per-gpu need a GPU" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--jobs", "0"], ["--jobs", "two"], ["--timeout", "-1"], ["--timeout", "nan"]])
def test_numbers_that_make_no_sense(zip_path, tmp_path, option, capsys):
    with pytest.raises(SystemExit) as exit_code:
        main(["grade", zip_path, str(tmp_path), "--out", str(tmp_path / "out"), *option])
    assert exit_code.value.code == 2 and option[0] in capsys.readouterr().err


@pytest.fixture
def looked_at_afresh():
    """What this machine has is looked at again, in the test and after it."""
    missing.cache_clear()
    yield
    missing.cache_clear()


def test_without_bubblewrap_nothing_is_graded(zip_path, tmp_path, capsys, monkeypatch, looked_at_afresh):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["grade", zip_path, str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "bubblewrap is not installed" in capsys.readouterr().err
    assert main(["doctor"]) == 1
    assert "Grading refuses to run" in capsys.readouterr().out


@pytest.mark.sandbox
def test_doctor_says_what_holds(capsys):
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "✓ sandbox" in shown and "Grading can run." in shown


def test_limits_come_from_the_course_and_a_timeout_shortens_them(tmp_path):
    (tmp_path / "course.toml").write_text("[limits]\ncell_seconds = 90\nmemory_mb = 1000\n")
    limits = read_course(tmp_path).limits
    assert (limits.cell_seconds, limits.memory_mb, limits.processes) == (90.0, 1000, Limits().processes)
    shorter = limits.within(60)
    assert (shorter.submission_seconds, shorter.cell_seconds, shorter.question_seconds) == (60, 20, 20)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[limits]\nspeed = 3", "no limit 'speed'"),
        ("[limits]\nmemory_mb = -1", "above 0"),
        ("[limits]\nmemory_mb = true", "above 0"),
        ("[limits", "not valid TOML"),
    ],
)
def test_a_course_file_with_mistakes_is_explained(tmp_path, text, said):
    (tmp_path / "course.toml").write_text(text)
    with pytest.raises(ValueError, match=said):
        read_course(tmp_path)


def test_this_course_can_be_read():
    assert read_course().content["assignments"]["hw2"]["weight"] == 15


def test_the_secret_is_private_and_stays(tmp_path, monkeypatch):
    monkeypatch.delenv("AUTOGRADER_SECRET", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    first = secret()
    assert len(first) == 64 and secret() == first
    mode = os.stat(tmp_path / "autograder" / "secret").st_mode
    assert stat.S_IMODE(mode) == 0o600 and len(list((tmp_path / "autograder").iterdir())) == 1
