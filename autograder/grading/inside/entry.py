"""How a process made by the fork server becomes a sandbox's: it joins the namespaces, then gives up every privilege.

Runs before any student code, as the slot's own host user, in a process that has one thread.
"""

import ctypes
import os
from pathlib import Path

NAMESPACES = 0x10000000 | 0x20000 | 0x20000000 | 0x40000000 | 0x8000000 | 0x4000000 | 0x2000000
PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 4, 22, 24, 38, 47
PR_CAP_AMBIENT_CLEAR_ALL, SECCOMP_MODE_FILTER, CAPABILITY_VERSION_3, CAPABILITIES = 4, 2, 0x20080522, 64

_libc = ctypes.CDLL(None, use_errno=True)
_ZERO = ctypes.c_ulong(0)


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def join(pidfd: int) -> None:
    """Join every namespace of the process behind `pidfd`; its pid namespace holds for children. Raises OSError."""
    _check(_libc.setns(pidfd, NAMESPACES), "setns")


def give_up_privileges(program: bytes) -> None:
    """No capability, none to be gained, and the system-call filter `program` (b"" for none). Raises OSError."""
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    for capability in range(CAPABILITIES):
        if _libc.prctl(PR_CAPBSET_DROP, ctypes.c_ulong(capability), _ZERO, _ZERO, _ZERO) != 0:
            break  # beyond the kernel's last
    _prctl(PR_SET_DUMPABLE, 1)  # joining a user namespace had taken the process its own /proc/self
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    _check(_libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")
    if program:
        filtering = _Program(len(program) // 8, program)
        mode = ctypes.c_ulong(SECCOMP_MODE_FILTER)
        _check(_libc.prctl(PR_SET_SECCOMP, mode, ctypes.byref(filtering), _ZERO, _ZERO), "seccomp")
    held = Path("/proc/self/status").read_text(encoding="ascii")
    if "CapEff:\t0000000000000000" not in held or "CapBnd:\t0000000000000000" not in held:
        raise OSError("the capabilities are still there")


def keep_only(descriptors: list[int]) -> None:
    """Close every descriptor but 0, 1, 2 and those."""
    low = 3
    for descriptor in sorted(descriptors):
        os.closerange(low, descriptor)
        low = descriptor + 1
    os.closerange(low, 65536)


def _prctl(option: int, value: int) -> None:
    _check(_libc.prctl(option, ctypes.c_ulong(value), _ZERO, _ZERO, _ZERO), f"prctl {option}")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
