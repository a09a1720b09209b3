"""Slots: GPUs as the driver reports them, shares of their memory, and what becomes of a submission where one fails.

The devices are stand-ins with scripted memory and errors; the reports have nvidia-smi's form (schemas 12 and 13).
"""

import threading

import pytest

from autograder.grading.batches.batch import Gpus, shares_of
from autograder.grading.batches.crew import ATTEMPTS, Crew, Work
from autograder.grading.batches.desk import Warm, on_gpu
from autograder.grading.batches.gpu import MEGABYTE, Gpu, Usage, choose, read_gpus, read_usage, trouble
from autograder.grading.batches.plan import Job
from autograder.grading.batches.share import BACK_SECONDS, SLACK, Board, Monitor, Room, Share
from autograder.grading.isolation.slot import Infrastructure
from autograder.grading.judging import grade as grading
from autograder.grading.judging.grade import OutOfGpuMemory
from autograder.grading.submissions.submission import Submission

LISTING = """GPU 0: NVIDIA A100-SXM4-80GB (UUID: GPU-aaa)
  MIG 3g.40gb     Device  0: (UUID: MIG-one)
  MIG 3g.40gb     Device  1: (UUID: MIG-two)
GPU 1: NVIDIA RTX A5000 (UUID: GPU-bbb)
"""
REPORT = """<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log>
  <gpu id="00000000:01:00.0">
    <mig_devices>
      <mig_device><index>0</index><gpu_instance_id>1</gpu_instance_id><compute_instance_id>0</compute_instance_id>
        <fb_memory_usage><total>40192 MiB</total><used>37 MiB</used></fb_memory_usage></mig_device>
      <mig_device><index>1</index><gpu_instance_id>2</gpu_instance_id><compute_instance_id>0</compute_instance_id>
        <fb_memory_usage><total>40192 MiB</total><used>537 MiB</used></fb_memory_usage></mig_device>
    </mig_devices>
    <uuid>GPU-aaa</uuid><minor_number>1</minor_number>
    <gpu_reset_status><reset_required>No</reset_required></gpu_reset_status>
    <fb_memory_usage><total>81920 MiB</total><used>574 MiB</used></fb_memory_usage>
    <processes><process_info><gpu_instance_id>2</gpu_instance_id><pid>77</pid><used_memory>500 MiB</used_memory>
    </process_info></processes>
  </gpu>
  <gpu id="00000000:81:00.0">
    <mig_devices>None</mig_devices>
    <uuid>GPU-bbb</uuid><minor_number>0</minor_number>
    <gpu_recovery_action>Reset</gpu_recovery_action>
    <fb_memory_usage><total>24564 MiB</total><used>812 MiB</used></fb_memory_usage>
    <processes>
      <process_info><gpu_instance_id>N/A</gpu_instance_id><pid>5</pid><used_memory>300 MiB</used_memory></process_info>
      <process_info><gpu_instance_id>N/A</gpu_instance_id><pid>6</pid><used_memory>N/A</used_memory></process_info>
    </processes>
  </gpu>
</nvidia_smi_log>
"""


def test_the_drivers_report_is_read():
    """A split GPU stands for its instances alone; device files go by the minor number, not by the order."""
    one, two, plain = gpus = read_gpus(REPORT, LISTING)
    assert [gpu.name for gpu in gpus] == ["MIG-one", "MIG-two", "1"] and [gpu.minor for gpu in gpus] == [1, 1, 0]
    assert one.capped and two.capped and not plain.capped and plain.total == 24564 * MEGABYTE
    assert plain.files == ("/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm")
    assert read_usage(REPORT, one) == Usage(37 * MEGABYTE, {})
    assert read_usage(REPORT, two) == Usage(537 * MEGABYTE, {77: 500 * MEGABYTE})
    assert read_usage(REPORT, plain) == Usage(812 * MEGABYTE, {5: 300 * MEGABYTE}, "the driver asks for: Reset")
    assert choose(gpus, ["1", "MIG-two", "1"]) == [plain, two] and choose(gpus, []) == gpus
    with pytest.raises(ValueError, match="no GPU 7 on this machine; there are MIG-one, MIG-two, 1"):
        choose(gpus, ["7"])
    with pytest.raises(Infrastructure, match="GPU 9 is gone"):
        read_usage(REPORT, Gpu("9", "GPU-x", 1, 9))


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("RuntimeError: CUDA error: an illegal memory access was encountered", "device"),
        ("RuntimeError: CUDA error: unspecified launch failure", "device"),
        ("NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.", "device"),
        ("RuntimeError: No CUDA GPUs are available", "device"),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB.", "memory"),
        ("RuntimeError: CUDA error: out of memory", "memory"),
        ("RuntimeError: CUDA error: device-side assert triggered", None),  # a label out of range: the code's own doing
        ("IndexError: index 5 is out of range", None),
    ],
)
def test_errors_of_a_gpu_are_told_from_those_of_the_code(said, kind):
    assert trouble(said) == kind


class Devices:
    """One GPU of 80 MB whose memory is a dictionary: process id -> bytes. `lost` is what no process owns."""

    def __init__(self, total: int = 80 * MEGABYTE, names: bool = True):
        self.gpu, self.held, self.lost, self.names = Gpu("0", "GPU-0", total, 0), {}, 5 * MEGABYTE, names
        self.broken = None

    def gpus(self) -> list[Gpu]:
        return [self.gpu]

    def usage(self, gpu: Gpu) -> Usage:
        return Usage(sum(self.held.values()) + self.lost, dict(self.held) if self.names else {}, self.broken)


class Box:
    """A sandbox of one process."""

    def __init__(self, devices: Devices, pid: int):
        self.devices, self.pid, self.overrun, self.ended = devices, pid, None, False
        self.process = self

    def poll(self) -> int | None:
        return -9 if self.ended else None

    def kill(self) -> None:
        self.end()

    def processes(self) -> list[int]:
        return [] if self.ended else [self.pid]

    def end(self) -> None:
        self.ended = True
        self.devices.held.pop(self.pid, None)


def test_a_share_that_takes_too_much_is_stopped_and_its_neighbour_is_not():
    devices = Devices()
    board = Board(devices.gpu, devices, per_gpu=2)
    greedy, modest = Share(board), Share(board)
    boxes = [Box(devices, 11), Box(devices, 12)]
    for share, box in zip((greedy, modest), boxes):
        share.begin(alone=False)
        share.follow(box)
    devices.held = {11: 30 * MEGABYTE, 12: 20 * MEGABYTE}
    monitor = Monitor([greedy, modest])
    monitor.look()
    assert not boxes[0].ended and greedy.peak == 30 * MEGABYTE
    devices.held[11] = 41 * MEGABYTE
    monitor.look()
    assert boxes[0].ended and "share of the GPU's memory (40 MB)" in boxes[0].overrun and greedy.overrun
    assert not boxes[1].ended and modest.peak == 20 * MEGABYTE and not modest.overrun
    greedy.begin(alone=True)
    greedy.follow(Box(devices, 13))
    devices.held = {13: 70 * MEGABYTE}
    monitor.look()
    assert not greedy.overrun and greedy.peak == 70 * MEGABYTE


def test_where_the_driver_names_no_processes_the_whole_gpu_is_what_is_watched():
    devices = Devices(names=False)
    share = Share(Board(devices.gpu, devices, per_gpu=2))
    share.begin(alone=False)
    share.follow(Box(devices, 11))
    devices.held = {11: 50 * MEGABYTE}
    Monitor([share]).look()
    assert share.overrun and share.peak == 50 * MEGABYTE


def test_slots_are_dealt_to_the_gpus_in_turn_and_a_broken_one_is_left_out():
    first, second = Devices(), Devices()
    gpus = {"0": first, "1": second}

    class Both:
        def usage(self, gpu):
            return gpus[gpu.name].usage(gpu)

    chosen = tuple(Gpu(name, f"GPU-{name}", 80 * MEGABYTE, int(name)) for name in gpus)
    shares, left_out = shares_of(Gpus(chosen, 2, Both()), most=3)
    assert [share.board.gpu.name for share in shares] == ["0", "1", "0"] and not left_out
    assert shares[0].board is shares[2].board
    second.broken = "the driver asks for a reset"
    shares, left_out = shares_of(Gpus(chosen, 2, Both()), most=9)
    assert [share.board.gpu.name for share in shares] == ["0", "0"] and "GPU 1 cannot be used" in str(left_out[0])
    first.broken = second.broken
    with pytest.raises(Infrastructure, match="GPU 0 cannot be used"):
        shares_of(Gpus(chosen, 2, Both()), most=9)
    assert shares_of(None, most=2) == ([None, None], [])


class Clock:
    """Time that passes only while somebody waits; `events` happen at their second."""

    def __init__(self, events: dict | None = None):
        self.now, self.events = 0.0, dict(events or {})

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds
        for moment in [moment for moment in self.events if moment <= self.now]:
            self.events.pop(moment)()


@pytest.mark.parametrize("names", [True, False])
def test_a_slot_goes_on_once_its_gpu_has_its_memory_back(names):
    devices = Devices(names=names)
    share, box = Share(Board(devices.gpu, devices, per_gpu=1)), Box(devices, 11)
    share.begin(alone=False)
    share.follow(box)
    devices.held = {11: 75 * MEGABYTE}
    Monitor([share]).look()
    box.ended = True
    clock = Clock({3.0: lambda: devices.held.clear()})
    share.settle(clock, clock.wait)
    assert clock.now == 3.0


def test_a_slot_does_not_wait_for_the_memory_of_its_neighbours():
    devices = Devices(names=False)
    board = Board(devices.gpu, devices, per_gpu=2)
    share, clock = Share(board), Clock()
    share.begin(alone=False)
    devices.held = {12: 40 * MEGABYTE, 13: 30 * MEGABYTE}
    with board.room.shared():
        share.settle(clock, clock.wait)
    assert clock.now == 0
    with pytest.raises(Infrastructure, match="still holds 70 MB"):
        share.settle(clock, clock.wait)


def test_a_slot_whose_gpu_keeps_memory_or_breaks_is_set_aside():
    devices = Devices()
    share = Share(Board(devices.gpu, devices, per_gpu=1))
    share.begin(alone=False)
    devices.lost += SLACK + MEGABYTE
    clock = Clock()
    with pytest.raises(Infrastructure, match="GPU 0 still holds 65 MB of a submission"):
        share.settle(clock, clock.wait)
    assert BACK_SECONDS < clock.now < BACK_SECONDS + 2
    devices.broken = "the driver asks for a reset"
    with pytest.raises(Infrastructure, match="broke down: the driver asks for a reset"):
        share.settle(clock, clock.wait)
    with pytest.raises(Infrastructure, match="GPU 0 cannot be used"):
        Board(devices.gpu, devices, per_gpu=1)


def test_being_alone_waits_for_the_others_and_keeps_new_ones_out():
    room, order = Room(), []
    inside, leave, asked = threading.Event(), threading.Event(), threading.Event()

    def neighbour():
        with room.shared():
            inside.set()
            leave.wait(30)
            order.append("neighbour left")

    def lonely():
        asked.set()
        with room.alone():
            order.append("alone")

    def latecomer():
        with room.shared():
            order.append("latecomer")

    threads = [threading.Thread(target=target) for target in (neighbour, lonely, latecomer)]
    threads[0].start()
    inside.wait(30)
    threads[1].start()
    asked.wait(30)
    while not room.wanted:
        pass
    threads[2].start()
    leave.set()
    for thread in threads:
        thread.join(30)
    assert order == ["neighbour left", "alone", "latecomer"]


def job(name: str) -> Job:
    return Job(Submission(None, name, name, "0" * 64, ("t",)))


class Grader:
    """Takes GPU memory as the submission's name says (`ada-30`: 30 MB) and fails as a CUDA program would."""

    device = "cuda:0"

    def __init__(self, devices: Devices, share: Share, pid: int):
        self.devices, self.share, self.pid, self.runs = devices, share, pid, []

    def grade(self, job: Job, alone: bool) -> tuple[dict, str]:
        box = Box(self.devices, self.pid)
        self.share.follow(box)
        self.runs.append((job.submission.name, alone))
        asked = int(job.submission.name.split("-")[1]) * MEGABYTE
        passed = self.devices.usage(None).used + asked <= self.devices.gpu.total
        if passed:
            self.devices.held[self.pid] = asked
        Monitor([self.share]).look()
        box.end()
        if not passed and not alone:
            raise OutOfGpuMemory("CUDA out of memory")
        score = 1.0 if passed else 0.0
        result = {"submission": job.submission.name, "status": "graded", "score": score, "resources": {}}
        return result, ""


def test_running_out_of_gpu_memory_counts_only_alone():
    devices = Devices()
    share = Share(Board(devices.gpu, devices, per_gpu=2))
    grader = Grader(devices, share, 11)
    result, log = on_gpu(share, grader, job("modest-30"))
    assert result["score"] == 1 and result["resources"]["gpu_mb"] == 30 and grader.runs == [("modest-30", False)]
    result, log = on_gpu(share, grader, job("large-60"))  # more than its share, but it fits alone
    assert result["score"] == 1 and result["resources"]["gpu_mb"] == 60 and "alone on it" in log
    assert grader.runs[1:] == [("large-60", False), ("large-60", True)]
    result, log = on_gpu(share, grader, job("vast-200"))
    assert result["score"] == 0 and grader.runs[3:] == [("vast-200", False), ("vast-200", True)]


@pytest.mark.parametrize(
    ("said", "device", "alone", "raised"),
    [
        ("cell 3: RuntimeError: CUDA error: unspecified launch failure", "cuda:0", True, Infrastructure),
        ("q1 - 2: torch.OutOfMemoryError: CUDA out of memory.", "cuda:0", False, OutOfGpuMemory),
        ("q1 - 2: torch.OutOfMemoryError: CUDA out of memory.", "cuda:0", True, None),
        ("q1 - 2: RuntimeError: CUDA error: device-side assert triggered", "cuda:0", False, None),
        ("cell 3: RuntimeError: CUDA error: unspecified launch failure", "cpu", True, None),  # only said, there is none
    ],
)
def test_what_the_code_meets_on_a_gpu_is_not_charged_where_the_machine_may_be_at_fault(
    said, device, alone, raised, make_bundle, monkeypatch
):
    def run(attempt):
        attempt.private.append(said)
        return {"status": "graded", "fault": None, "reason": None, "score": 0.0}

    monkeypatch.setattr("autograder.grading.judging.grade._Attempt.run", run)
    bundle = make_bundle({"q1": (1, "@test_case(points=1)\ndef test_a(x):\n    pass\n")})
    grader = grading.Grader(bundle, None, b"", None, device)
    if raised is None:
        assert grader.grade(job("ada"), alone=alone)[0]["status"] == "graded"
    else:
        with pytest.raises(Infrastructure) as error:
            grader.grade(job("ada"), alone=alone)
        assert error.type is raised


class Worker:
    """A slot that does what `behave(slot, name)` says: return a score, or raise."""

    def __init__(self, number, behave, journal, settle=lambda number: None):
        self.number, self.behave, self.journal, self.settling = number, behave, journal, settle

    def grade(self, job):
        self.journal.append((job.submission.name, self.number))
        score = self.behave(self.number, job.submission.name)
        return {"submission": job.submission.name, "status": "graded", "fault": None, "score": score}, ""

    def settle(self):
        self.settling(self.number)

    def stop(self):
        pass

    def close(self):
        pass


def run(jobs, boards, behave, settle=lambda number: None):
    """(results by submission, order of (submission, slot), the crew) of a batch on scripted slots."""
    journal, results = [], {}

    def finish(result, log):
        results[result["submission"]] = {**result, "log": log}

    def give_up(job):
        name = job.submission.name
        return {"submission": name, "status": "failed", "fault": "infrastructure"}, "\n".join(job.log)

    crew = Crew(jobs, lambda number, wanted: Worker(number, behave, journal, settle), boards, finish, give_up)
    crew.run()
    return results, journal, crew


def fails_on(*slots):
    def behave(slot, name):
        if name == "b" and slot in slots:
            raise Infrastructure(f"slot {slot} met Xid 79")
        return 1.0

    return behave


def test_a_slot_is_not_given_again_what_it_failed_on():
    """Unless it is the only one left."""
    first, second = job("first"), job("second")
    work = Work([first, second], slots=2)
    assert work.take(0) is first
    first.tried.add(0)
    work.done(again=first)
    assert work.take(0) is second
    work.done()
    assert work.more() and work.take(1) is first
    work.done(again=first)
    work.leave(1)
    assert work.take(0) is first and not work.more()
    work.done()
    assert work.take(0) is None


def test_what_fails_on_one_slot_goes_to_another():
    results, journal, _ = run([job(name) for name in "abcd"], [0, 1, 2], fails_on(0, 1))
    slots = [slot for name, slot in journal if name == "b"]
    assert slots[-1] == 2 and len(slots) == len(set(slots)) <= 3
    assert all(results[name]["score"] == 1 for name in "abcd")


def test_slots_of_one_gpu_fail_together():
    results, journal, _ = run([job("b")] * 1, ["x", "x", "y"], fails_on(0, 1))
    slots = [slot for name, slot in journal if name == "b"]
    assert slots in ([2], [0, 2], [1, 2]) and results["b"]["score"] == 1


def test_a_failure_everywhere_is_set_aside_with_its_log_after_two_retries():
    results, journal, _ = run([job(name) for name in "abc"], [0, 1], fails_on(0, 1))
    assert sum(name == "b" for name, _ in journal) == ATTEMPTS == 3
    assert results["b"]["fault"] == "infrastructure" and results["b"]["log"].count("Xid 79") == 3
    assert results["a"]["score"] == results["c"]["score"] == 1


@pytest.mark.parametrize("error", [KeyError("a bug"), SystemExit("a bug")])
def test_an_error_of_the_grader_itself_is_no_students_fault(error):
    def broken(slot, name):
        raise error

    results, _, _ = run([job("b")], [0], broken)
    assert results["b"]["fault"] == "infrastructure" and results["b"]["log"].count(type(error).__name__) == 3


def test_a_slot_set_aside_takes_no_more_and_the_others_go_on():
    def settle(number):
        if number == 0:
            raise Infrastructure("GPU 0 still holds 900 MB")

    results, journal, crew = run([job(f"s{n}") for n in range(6)], [0, 1], lambda slot, name: 1.0, settle)
    assert len(results) == 6 and sum(slot == 0 for _, slot in journal) <= 1
    results, journal, crew = run([job(f"s{n}") for n in range(3)], [0], lambda slot, name: 1.0, settle)
    assert len(results) == 1 and [str(trouble) for trouble in crew.troubles] == ["GPU 0 still holds 900 MB"]


def test_a_result_that_cannot_be_kept_ends_its_slot_and_not_in_a_hang():
    def finish(result, log):
        raise OSError("No space left on device")

    crew = Crew([job("a"), job("b")], lambda number, wanted: Worker(0, lambda s, n: 1.0, []), [0], finish, None)
    crew.run()
    assert [str(trouble) for trouble in crew.troubles] == ["No space left on device"]


class GpuWorker(Worker):
    """A slot with a share of a stand-in GPU."""

    def __init__(self, number, devices, share):
        self.share, self.grader = share, Grader(devices, share, 100 + number)

    def grade(self, job):
        return on_gpu(self.share, self.grader, job)

    def settle(self):
        self.share.settle()


def test_twenty_submissions_share_a_gpu_by_four_and_one_runs_out_of_memory():
    """The neighbours of the one keep their points, and the GPU its memory."""
    devices = Devices(total=200 * MEGABYTE)
    board = Board(devices.gpu, devices, per_gpu=4)
    shares = [Share(board) for _ in range(4)]
    names = [f"s{n:02}-{20 + n % 5}" for n in range(19)] + ["hog-4000"]
    results, troubles = {}, []
    crew = Crew(
        [job(name) for name in names],
        lambda number, wanted: GpuWorker(number, devices, shares[number]),
        [0, 0, 0, 0],
        lambda result, log: results.update({result["submission"]: result["score"]}),
        lambda job: troubles.append(job),
    )
    crew.run()
    assert results == {name: 0.0 if name == "hog-4000" else 1.0 for name in names}
    assert not troubles and not crew.troubles and devices.usage(None).used == board.start


def test_a_sandbox_that_cannot_be_warmed_ahead_is_started_when_needed():
    made = []

    def launch():
        made.append(len(made))
        if len(made) == 2:
            raise Infrastructure("no memory for another")
        return Box(Devices(), len(made))

    warm = Warm(launch, lambda: True)
    first, second = warm.take(), warm.take()
    assert first is not second and len(made) == 4


def test_stopping_a_slot_ends_its_sandboxes_also_the_one_that_is_just_starting():
    devices, boxes = Devices(), []

    def launch():
        boxes.append(Box(devices, len(boxes)))
        if len(boxes) == 3:
            warm.stop()
        return boxes[-1]

    warm = Warm(launch, lambda: False)
    assert [warm.take(), warm.take()] == boxes
    with pytest.raises(Infrastructure, match="stopped"):
        warm.take()
    assert len(boxes) == 3 and all(box.ended for box in boxes)
    with pytest.raises(Infrastructure, match="stopped"):
        warm.take()
    assert len(boxes) == 3
