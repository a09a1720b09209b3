"""The system calls that student code may not make: a seccomp program, loaded before any of that code runs.

Everything else is allowed: PyTorch, IPython, threads, subprocesses and DataLoader workers work as they do anywhere.
"""

import errno
import functools
import socket
import tempfile

# Ways to other processes, to the kernel's inner parts, or to memory that no limit sees.
REFUSED = (
    *("mount", "umount2", "pivot_root", "move_mount", "open_tree", "fsopen", "fsconfig", "fsmount", "fspick"),
    *("mount_setattr", "unshare", "setns", "ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd"),
    *("bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register"),
    *("keyctl", "add_key", "request_key", "name_to_handle_at", "open_by_handle_at", "fanotify_init"),
    *("init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "swapon", "swapoff"),
    *("acct", "syslog", "quotactl", "sched_setaffinity", "iopl", "ioperm", "modify_ldt", "vhangup", "personality"),
    *("settimeofday", "clock_settime", "clock_adjtime", "adjtimex"),
    *("memfd_create", "memfd_secret", "shmget", "msgget", "semget"),
)
# The flags of clone that make a namespace: mount, cgroup, uts, ipc, user, pid, net, time.
NAMESPACE_FLAGS = (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000, 0x80)
# Requests of ioctl that put input into a terminal.
TERMINAL_REQUESTS = (0x5412, 0x541C)


@functools.cache
def program() -> bytes | None:
    """The compiled filter (struct sock_filter[]), or None where pyseccomp or libseccomp is missing."""
    try:
        import pyseccomp as seccomp
    except (ImportError, OSError, RuntimeError):
        return None
    refuse = seccomp.ERRNO(errno.EPERM)
    built = seccomp.SyscallFilter(seccomp.ALLOW)
    for name in REFUSED:
        if seccomp.resolve_syscall(seccomp.Arch.NATIVE, name) >= 0:  # an architecture may lack some
            built.add_rule(refuse, name)
    built.add_rule(refuse, "socket", seccomp.Arg(0, seccomp.NE, socket.AF_UNIX))
    for flag in NAMESPACE_FLAGS:
        built.add_rule(refuse, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, flag, flag))
    for request in TERMINAL_REQUESTS:
        built.add_rule(refuse, "ioctl", seccomp.Arg(1, seccomp.MASKED_EQ, 0xFFFFFFFF, request))
    # Its flags lie in memory, where no filter can look: without it the C library falls back on clone.
    built.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")
    with tempfile.TemporaryFile() as file:
        built.export_bpf(file)
        file.seek(0)
        return file.read()
