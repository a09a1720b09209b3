"""The GPUs of this machine as the grader sees them: what there is, what they hold, and what their errors mean."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from xml.etree import ElementTree

from autograder.grading.isolation.slot import Infrastructure

MEGABYTE = 1 << 20
ANSWER_SECONDS = 20.0
MIG_LINE = re.compile(r"^\s+MIG .*Device\s+(\d+):\s+\(UUID:\s*(MIG-[^)]+)\)")
MEMORY = re.compile(
    r"CUDA out of memory|CUDA error: out of memory|CUDNN_STATUS_ALLOC_FAILED|CUBLAS_STATUS_ALLOC_FAILED"
)
# An assert on the device is the code's own doing (a label out of range); all other errors may be the machine's.
DEVICE = re.compile(
    r"CUDA error: (?!device-side assert|out of memory)|CUDA driver error|\bXid\b|GPU is lost|fallen off the bus"
    r"|No CUDA GPUs are available|CUDA-capable device\(s\) is/are busy|uncorrectable ECC|CUDA unknown error"
)


@dataclass(frozen=True)
class Gpu:
    """One GPU, or one MIG instance of it. `name` is what `--gpus` calls it: an index, or a MIG UUID."""

    name: str
    uuid: str
    total: int  # bytes of memory
    minor: int  # N of /dev/nvidiaN
    part: str = ""  # the number of a MIG instance on its GPU
    capabilities: tuple[str, ...] = ()  # /dev/nvidia-caps/… that a MIG instance needs

    @property
    def capped(self) -> bool:
        """Whether the hardware itself keeps others out of this share's memory."""
        return bool(self.part)

    @property
    def files(self) -> tuple[str, ...]:
        """The device files that a sandbox on this GPU needs, and no others."""
        return (f"/dev/nvidia{self.minor}", "/dev/nvidiactl", "/dev/nvidia-uvm", *self.capabilities)


@dataclass(frozen=True)
class Usage:
    """What a GPU holds at one moment, in bytes. `processes` is empty where the driver does not tell them apart."""

    used: int
    processes: dict[int, int]
    broken: str | None = None  # what the driver says must be done before the GPU can be used again


class Devices(Protocol):
    """What the grader asks of the driver; tests put a stand-in here."""

    def gpus(self) -> list[Gpu]:
        """All GPUs and MIG instances."""

    def usage(self, gpu: Gpu) -> Usage:
        """What `gpu` holds now. Raises Infrastructure where the driver does not answer."""


class NvidiaSmi:
    """The NVIDIA driver, asked through `nvidia-smi`: a process of its own, so that a stuck driver stops no thread."""

    def gpus(self) -> list[Gpu]:
        """All GPUs in nvidia-smi's order; one that is split by MIG stands for nothing but its instances."""
        return read_gpus(_ask("-q", "-x"), _ask("-L"))

    def usage(self, gpu: Gpu) -> Usage:
        """One answer of the driver, half a second on a machine of eight GPUs."""
        return read_usage(_ask("-q", "-x"), gpu)


def _ask(*arguments: str) -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        raise Infrastructure("nvidia-smi is not installed: it comes with NVIDIA's driver.")
    try:
        done = subprocess.run(
            [program, *arguments], capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise Infrastructure(f"nvidia-smi did not answer within {ANSWER_SECONDS:g} s: the driver hangs.") from None
    if done.returncode != 0:
        raise Infrastructure(f"nvidia-smi failed: {(done.stdout + done.stderr).strip()[-300:]}")
    return done.stdout


def read_gpus(report: str, listing: str) -> list[Gpu]:
    """The GPUs in `nvidia-smi -q -x`; the UUIDs of MIG instances stand only in `nvidia-smi -L`."""
    mig: list[dict[str, str]] = []
    for line in listing.splitlines():
        if line.startswith("GPU "):
            mig.append({})
        elif found := MIG_LINE.match(line):
            mig[-1][found[1]] = found[2]
    gpus = []
    for index, (element, instances) in enumerate(zip(_elements(report), mig, strict=True)):
        minor = int(element.findtext("minor_number", str(index)))
        parts = element.findall("mig_devices/mig_device")
        for part in parts:
            number = part.findtext("index", "")
            gpus.append(
                Gpu(
                    instances[number],
                    instances[number],
                    _bytes(part, "total"),
                    minor,
                    number,
                    _capabilities(minor, part),
                )
            )
        if not parts:
            gpus.append(Gpu(str(index), element.findtext("uuid", ""), _bytes(element, "total"), minor))
    return gpus


def read_usage(report: str, gpu: Gpu) -> Usage:
    """What `gpu` holds according to `nvidia-smi -q -x`."""
    for element in _elements(report):
        if int(element.findtext("minor_number", "-1")) != gpu.minor:
            continue
        holder, instance = element, "N/A"
        for part in element.findall("mig_devices/mig_device"):
            if part.findtext("index") == gpu.part:
                holder, instance = part, part.findtext("gpu_instance_id", "")
        processes: dict[int, int] = {}
        for process in element.findall("processes/process_info"):
            held = process.findtext("used_memory", "")
            if held.endswith("MiB") and process.findtext("gpu_instance_id", "N/A") == instance:
                pid = int(process.findtext("pid", "0"))
                processes[pid] = processes.get(pid, 0) + int(held.split()[0]) * MEGABYTE
        return Usage(_bytes(holder, "used"), processes, _broken(element))
    raise Infrastructure(f"GPU {gpu.name} is gone: the driver no longer lists it.")


def _elements(report: str) -> list[ElementTree.Element]:
    try:
        return ElementTree.fromstring(report).findall("gpu")
    except ElementTree.ParseError:
        raise Infrastructure("nvidia-smi's report cannot be read.") from None


def _bytes(element: ElementTree.Element, which: str) -> int:
    text = element.findtext(f"fb_memory_usage/{which}", "")
    if not text.endswith("MiB"):
        raise Infrastructure(f"nvidia-smi does not tell the memory of a GPU (it says {text or 'nothing'!r}).")
    return int(text.split()[0]) * MEGABYTE


def _broken(element: ElementTree.Element) -> str | None:
    if element.findtext("gpu_reset_status/reset_required") == "Yes":
        return "the driver asks for a reset"
    action = element.findtext("gpu_recovery_action", "None")
    return None if action in ("None", "N/A") else f"the driver asks for: {action}"


def _capabilities(minor: int, part: ElementTree.Element) -> tuple[str, ...]:
    """A MIG instance is opened through two capability files, whose numbers the driver keeps in /proc."""
    instance = Path(f"/proc/driver/nvidia/capabilities/gpu{minor}/mig/gi{part.findtext('gpu_instance_id')}")
    found = []
    for access in (instance / "access", instance / f"ci{part.findtext('compute_instance_id')}" / "access"):
        number = re.search(r"DeviceFileMinor: (\d+)", access.read_text()) if access.is_file() else None
        if number:
            found.append(f"/dev/nvidia-caps/nvidia-cap{number[1]}")
    return tuple(found)


def choose(gpus: Sequence[Gpu], names: Sequence[str]) -> list[Gpu]:
    """The GPUs that `--gpus` names, all without names. Raises ValueError with a sentence."""
    if not gpus:
        raise ValueError("There is no GPU on this machine: use --device cpu.")
    known = {key: gpu for gpu in gpus for key in (gpu.uuid, gpu.name)}
    for name in names:
        if name not in known:
            raise ValueError(f"There is no GPU {name} on this machine; there are {', '.join(g.name for g in gpus)}.")
    return [known[name] for name in dict.fromkeys(names)] or list(gpus)


def trouble(text: str) -> str | None:
    """`memory` or `device` where the words of a failure on a GPU may be the machine's fault; else None."""
    if DEVICE.search(text):
        return "device"
    return "memory" if MEMORY.search(text) else None
