"""What holds inside a sandbox, asked from inside: privileges, system calls, files, limits; for forks and fresh ones."""

import contextlib
import ctypes
import errno
import glob
import json
import os
import socket
import time
from dataclasses import replace
from pathlib import Path

import pyseccomp
import pytest

from autograder.course import Limits
from autograder.grading.isolation import protections
from autograder.grading.isolation.cgroup import Group
from autograder.grading.isolation.filter import REFUSED, program
from autograder.grading.isolation.launcher import Launcher
from autograder.grading.isolation.mounts import OWN_PROCESSES
from autograder.grading.isolation.sandbox import Sandbox
from autograder.grading.isolation.slot import Infrastructure, Slot, share_of_cores
from autograder.grading.isolation.watch import tree
from autograder.grading.judging.session import Session

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(os.getuid() != 0, reason="only root can give a slot its own host user"),
]
LIMITS = Limits(cell_seconds=30, question_seconds=10, submission_seconds=90, memory_mb=1500, processes=64, file_mb=64)


def inside(launch, *cells: str, limits: Limits = LIMITS):
    """(Session after the run of the cells, what they printed)."""
    session = Session(launch, {}, [[cell, []] for cell in cells], 0, limits)
    return session, session.run().printed


NUMBERS = {name: pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name) for name in (*REFUSED, "clone", "clone3")}
WORDS = [str(Path(__file__).parents[2]), "solutions", "AUTOGRADER_SECRET"]
LOOKS = {
    "status": "found = dict(line.split(':', 1) for line in open('/proc/self/status').read().splitlines())",
    "namespaces": "import os\nfound = {n: os.readlink('/proc/self/ns/' + n) for n in os.listdir('/proc/self/ns')}",
    "devices": "import os\nfound = sorted(os.listdir('/dev'))",
    "descriptors": """
import os
found = []
for name in os.listdir("/proc/self/fd"):
    try:
        found.append([int(name), os.readlink("/proc/self/fd/" + name)])
    except OSError:  # the one that listed
        pass
""",
    "calls": f"""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
found, numbers = {{}}, {NUMBERS!r}
def call(name, *arguments):
    ctypes.set_errno(0)
    return [libc.syscall(numbers[name], *arguments), ctypes.get_errno()]
for name in numbers:
    found[name] = call(name, 0, 0, 0, 0, 0, 0) if name != "clone" else [-1, 1]
for flag in (0x20000, 0x10000000, 0x40000000):
    found[hex(flag)] = call("clone", flag | 17, 0, 0, 0, 0)
""",
    "sockets": """
import socket
found = set()
for family in range(48):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):
        try:
            socket.socket(family, kind).close()
            found.add(family)
        except OSError:
            pass
found = sorted(found)
""",
    "words": f"""
import glob
seen = ""
for path in ["/proc/self/maps", "/proc/self/mountinfo", *glob.glob("/proc/*/cmdline"), *glob.glob("/proc/*/environ")]:
    try:
        seen += open(path).read()
    except OSError:
        pass
found = [len(seen) > 1000, *(word for word in {WORDS!r} if word in seen)]
""",
}


@pytest.fixture(scope="module", params=["fork", "fresh"])
def seen(request, runtime, launcher):
    """What student code sees, by name; in a fork of the slot's fork server, and in a fresh Python."""
    launch = launcher if request.param == "fork" else lambda: Sandbox(runtime, LIMITS, launcher.slot)
    tell = "\nimport json; print('FOUND' + json.dumps(found))"
    session, printed = inside(launch, *(code + tell for code in LOOKS.values()))
    found = dict(zip(LOOKS, map(json.loads, printed.split("FOUND")[1:]), strict=True))
    found["outside"] = _open_outside(session.sandbox.processes())
    found["owners"] = {Path(f"/proc/{pid}").stat().st_uid for pid in session.sandbox.processes()}
    session.close()
    return found


def _open_outside(inside: list[int]) -> set[str]:
    """What every process of this machine has open but those."""
    found = set()
    for path in glob.glob("/proc/[0-9]*/fd/*"):
        if int(path.split("/")[2]) not in inside:
            with contextlib.suppress(OSError):  # it is gone, or another sandbox's
                found.add(os.readlink(path))
    return found


def test_it_has_no_privilege_and_a_host_user_of_its_own(seen, launcher):
    status = {name: text.strip() for name, text in seen["status"].items()}
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0, name
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2" and status["Uid"].split() == ["1000"] * 4
    assert seen["owners"] == {launcher.slot.uid}


@pytest.mark.parametrize("name", ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"])
def test_every_namespace_is_another_than_this_machines(seen, name):
    assert seen["namespaces"][name] != os.readlink(f"/proc/self/ns/{name}")


def test_no_descriptor_of_a_process_outside_but_the_standard_ones(seen):
    links = {link for number, link in seen["descriptors"] if number > 2 and not link.startswith("anon_inode")}
    assert any(link.startswith("socket:") for link in links), "the wire is there"
    assert links & seen["outside"] == set()


def test_refused_system_calls_are_refused(seen):
    wrong = {name: outcome for name, outcome in seen["calls"].items() if outcome != [-1, errno.EPERM]}
    assert wrong == {"clone3": [-1, errno.ENOSYS]}


def test_no_socket_but_local_ones(seen):
    assert seen["sockets"] == [socket.AF_UNIX]


def test_only_four_devices(seen):
    assert seen["devices"] == ["fd", "null", "random", "shm", "stderr", "stdin", "stdout", "urandom", "zero"]


def test_nothing_tells_where_the_repository_lies(seen):
    assert seen["words"] == [True]


def test_sandboxes_share_nothing_that_one_can_write(launcher):
    first, _ = inside(
        launcher, "import torch, builtins\ntorch.left = builtins.left = 1\nopen('/tmp/left', 'w').write('x')"
    )
    second, printed = inside(
        launcher, "import torch, os\nprint(hasattr(torch, 'left'), 'left' in dir(__builtins__), os.listdir('/tmp'))"
    )
    first.close()
    second.close()
    assert printed.startswith("False False") and "'left'" not in printed


def test_a_fork_starts_much_faster_than_a_fresh_python(launcher, runtime):
    def seconds(launch) -> float:
        start = time.perf_counter()
        inside(launch)[0].close()
        return time.perf_counter() - start

    seconds(launcher)
    forked = min(seconds(launcher) for _ in range(3))
    assert forked < seconds(lambda: Sandbox(runtime, LIMITS, launcher.slot)) / 3


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("memory", "held = []\nwhile True: held.append(bytearray(b'x' * (32 << 20)))"),
        ("memory", "import mmap\nm = mmap.mmap(-1, 2000 << 20)\nfor at in range(0, 2000 << 20, 4096): m[at] = 1"),
        ("disk", "f = open('big', 'wb')\nfor n in range(100): f.write(bytes(1 << 20))"),
        ("disk", "import os\nfor n in range(150_000): open(f'/tmp/{n}', 'w').close()"),
    ],
)
def test_a_limit_that_was_hit_is_named(launcher, name, code):
    session, _ = inside(launcher, "x = 1", code + "\nimport time; time.sleep(1)", "y = 2")
    session.begin("q")
    assert session.get("y") == 2, "the cell after it ran"
    session.close()
    assert name in session.limits_hit


def test_too_many_processes_are_named(launcher):
    if Group.make("autograder-test", 1 << 30, 8) is None:
        pytest.skip("no control group can be made on this machine, and without one nothing counts refused forks")
    code = """
import os, time
for n in range(200):
    try:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
    except OSError:
        print("refused")
        break
"""
    session, printed = inside(launcher, code)
    pids = session.sandbox.processes()
    session.close()
    assert "refused" in printed and len(pids) <= LIMITS.processes + OWN_PROCESSES
    assert "processes" in session.limits_hit
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []


def test_a_killed_sandbox_leaves_neither_process_nor_group(launcher):
    session, _ = inside(launcher, "import subprocess\nsubprocess.Popen(['sleep', '100'])")
    sandbox = session.sandbox
    pids, group = sandbox.processes(), sandbox.group
    assert len(pids) >= 4
    session.close()
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    assert group is None or not any(folder.exists() for folder in group.folders.values())


def test_a_worker_that_ends_ends_all(launcher):
    session, _ = inside(launcher, "import os\nos.fork() or __import__('time').sleep(60)")
    pids = tree(*session.sandbox._payload())
    session.begin("q")
    with pytest.raises(BaseException, match="ended the Python process"):
        session.probe(_leave, (), {})
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    session.close()


def _leave():
    import os

    os._exit(0)


def test_the_waiting_process_cannot_be_used_to_make_refused_calls(launcher):
    """Its memory can be written by the worker, so it must be under the same filter."""
    session, printed = inside(launcher, "for n in (1, 2): print(open(f'/proc/{n}/status').read())")
    session.close()
    assert printed.count("Seccomp:\t2") == 2


def test_a_descriptor_left_in_the_wire_does_not_hang_the_grader(launcher):
    code = """
import gc, socket, struct
wire = next(o.connection for o in gc.get_objects() if type(o).__name__ == "Worker")
wire.sendall(struct.pack(">Q", 100))
socket.send_fds(wire, [b"x"], [1, 2])
"""
    session = Session(launcher, {}, [[code, []]], 0, replace(LIMITS, cell_seconds=2, submission_seconds=8))
    start = time.monotonic()
    ran = session.run()
    session.close()
    assert list(ran.skipped) == [1] and time.monotonic() - start < 30


@pytest.mark.parametrize("uid", [None, 0])
def test_nothing_is_run_as_root(runtime, uid):
    with pytest.raises(Infrastructure, match="never run as root"):
        Sandbox(runtime, LIMITS, Slot(uid))


def test_slots_have_cores_of_their_own():
    cores = os.sched_getaffinity(0)
    shares = [set(share_of_cores(number, len(cores))) for number in range(len(cores))]
    assert set.union(*shares) == cores and sum(map(len, shares)) == len(cores)
    assert set(share_of_cores(0, 1)) == cores and len(share_of_cores(7, 99)) == 1


def test_code_cannot_leave_its_cores(runtime):
    slot = Slot.lease(cores=share_of_cores(1, 2))
    look = "import os\nprint(os.sched_getaffinity(0))\nos.sched_setaffinity(0, range(64))"
    with contextlib.closing(Launcher(runtime, LIMITS, slot)) as launcher:
        session, printed = inside(launcher, look)
        session.close()
    slot.release()
    assert printed.startswith(str(set(slot.cores)))
    assert [error[1] for error in session.ran.errors] == ["PermissionError"]


def test_a_slot_sees_the_files_of_its_own_gpu_and_no_other(runtime):
    slot = Slot.lease(devices=("/dev/full",), part="MIG-1")  # a device of this machine stands in
    look = "import os\nprint(sorted(os.listdir('/dev')), os.environ['AUTOGRADER_DEVICE'])"
    with contextlib.closing(Launcher(runtime, LIMITS, slot)) as launcher:
        session, printed = inside(launcher, look + "\nprint(os.environ['CUDA_VISIBLE_DEVICES'])")
        session.close()
    slot.release()
    assert "'full'" in printed and "nvidia" not in printed and printed.split()[-2:] == ["cuda", "MIG-1"]


def test_a_fork_server_that_died_is_replaced(launcher):
    inside(launcher)[0].close()
    launcher.server.process.kill()
    launcher.server.process.wait()
    session, printed = inside(launcher, "print('again')")
    session.close()
    assert "again" in printed


def test_the_filter_is_a_whole_program():
    built = program()
    assert built and len(built) % ctypes.sizeof(ctypes.c_uint64) == 0 and len(built) > 100


@pytest.mark.parametrize(
    "package, library, said",
    [
        (None, "libseccomp.so.2", "pyseccomp is missing (in the course's folder: make setup)"),
        (True, None, "libseccomp is missing (apt install libseccomp2)"),
        (None, None, "make setup), libseccomp is missing (apt install libseccomp2)"),
    ],
)
def test_a_missing_filter_comes_with_what_brings_it(package, library, said, monkeypatch):
    monkeypatch.setattr(protections, "program", lambda: None)
    monkeypatch.setattr(protections.importlib.util, "find_spec", lambda name: package)
    monkeypatch.setattr(protections.ctypes.util, "find_library", lambda name: library)
    assert any(sentence.endswith(f"{said}.") for sentence in protections.obstacles())
    lines, sound = protections.report()
    assert not sound and any(line.endswith(said) for line in lines)


def test_doctor_finds_what_is_missing(monkeypatch):
    assert protections.obstacles() == []
    monkeypatch.setattr(protections.os, "getuid", lambda: 1000)
    assert any("run the grader as root" in sentence for sentence in protections.obstacles())
    monkeypatch.setattr(protections, "program", lambda: None)
    lines, sound = protections.report()
    assert not sound and any("system calls" in line and "does not load" in line for line in lines)
    protections.missing.cache_clear()
    monkeypatch.setattr(protections.sys, "platform", "darwin")
    assert "virtual machine" in protections.obstacles()[0]
    protections.missing.cache_clear()
