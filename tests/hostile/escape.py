"""Escape and damage: the host, its other processes, the kernel, the network. Each tells what it could do."""

from attack import tells, wrong_and

# System calls by their numbers on x86_64. One that is refused for a bad argument was let through to the kernel.
CALL = """import ctypes, os
if os.uname().machine != "x86_64":
    raise RuntimeError("FOUND []")
libc = ctypes.CDLL(None, use_errno=True)
call = libc.syscall
call.restype = ctypes.c_long
def allowed(number, *arguments):
    ctypes.set_errno(0)
    return call(number, *arguments) >= 0 or ctypes.get_errno() not in (1, 38)  # EPERM, ENOSYS
"""

ATTACKS = [
    tells(
        "writes_kernel_settings",
        """
        found = []
        for path in ("kernel/core_pattern", "kernel/modprobe", "kernel/hostname", "vm/drop_caches", "fs/file-max"):
            try:
                open("/proc/sys/" + path, "r+").close()
                found.append(path)
            except OSError:
                pass
        for path in ("/proc/sysrq-trigger", "/proc/kcore", "/proc/kmsg", "/sys/kernel/uevent_helper"):
            try:
                open(path, "r+b", buffering=0).close()
                found.append(path)
            except OSError:
                pass
        """,
    ),
    tells(
        "traces_other_processes",
        CALL
        + """
found = []
pids = [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]
for pid in pids:
    for request in (16, 0x4206):  # PTRACE_ATTACH, PTRACE_SEIZE
        if allowed(101, request, pid, 0, 0):
            found.append(("ptrace", pid))
    vector = (ctypes.c_ulong * 2)(id(found), 8)
    if allowed(310, pid, vector, 1, vector, 1, 0):
        found.append(("process_vm_readv", pid))
    descriptor = call(434, pid, 0)  # pidfd_open
    if descriptor >= 0 and allowed(438, descriptor, 0, 0):
        found.append(("pidfd_getfd", pid))
""",
    ),
    tells(
        "writes_into_an_unfiltered_process",
        """
        import os
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            status = open(f"/proc/{pid}/status").read()
            if "Seccomp:\\t2" not in status or "CapEff:\\t0000000000000000" not in status:
                try:
                    open(f"/proc/{pid}/mem", "r+b", buffering=0).close()
                    found.append(pid)
                except OSError:
                    pass
        """,
    ),
    tells(
        "opens_every_socket_family",
        """
        import socket
        found = []
        for family in range(50):
            for make in (socket.socket, socket.socketpair):
                for kind in (1, 2, 3, 5):
                    try:
                        made = make(family, kind, 0)
                        found += [(make.__name__, family)] * (family != socket.AF_UNIX)
                    except OSError:
                        pass
        """,
    ),
    tells(
        "speaks_to_the_network",
        """
        import socket, subprocess, urllib.request
        found = []
        for address in (("1.1.1.1", 53), ("127.0.0.1", 22), ("169.254.169.254", 80)):
            try:
                socket.create_connection(address, 1)
                found.append(address)
            except OSError:
                pass
        try:
            with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as line:
                line.settimeout(1)
                line.connect((2, 1024))
                found.append("vsock")
        except OSError as error:
            found += ["vsock answered"] * (error.errno in (104, 111))
        for path in ("/run/docker.sock", "/var/run/dbus/system_bus_socket", "/run/systemd/notify"):
            with socket.socket(socket.AF_UNIX) as line:
                found += [path] * (line.connect_ex(path) == 0)
        """,
    ),
    tells(
        "uses_inherited_descriptors",
        """
        import os, socket, stat, struct
        found, wires = [], 0
        for name in os.listdir("/proc/self/fd"):
            try:
                kind = os.fstat(int(name)).st_mode
                target = os.readlink("/proc/self/fd/" + name)
            except OSError:
                continue
            if stat.S_ISSOCK(kind):  # Python has pairs of its own; who made it says whether this one was inherited
                with socket.fromfd(int(name), socket.AF_UNIX, socket.SOCK_STREAM) as end:
                    maker = struct.unpack("3i", end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
                wires += maker != os.getpid()
            plain = target == "/dev/null" or target.startswith(("pipe:", "socket:", "/proc", "anon_inode:[eventp"))
            found += [(name, target)] * (not plain)
        found += [f"{wires} wires"] * (wires != 1)
        for pid in filter(str.isdigit, os.listdir("/proc")):
            for name in os.listdir(f"/proc/{pid}/fd") if int(pid) != os.getpid() else ():
                target = os.readlink(f"/proc/{pid}/fd/{name}")
                found += [(pid, target)] * (target.startswith("/") and target != "/dev/null")
        """,
    ),
    tells(
        "asks_for_kernel_interfaces",
        CALL
        + """
buffer = ctypes.create_string_buffer(4096)
asked = {
    "io_uring": (425, 8, buffer), "keyctl": (250, 0, -3, 1), "add_key": (248, b"user", b"k", b"v", 1, -3),
    "request_key": (249, b"user", b"k", None, -3), "bpf": (321, 0, buffer, 120), "userfaultfd": (323, 1),
    "perf_event_open": (298, buffer, 0, -1, -1, 0), "fanotify": (300, 0, 0), "memfd_secret": (447, 0),
    "name_to_handle": (303, -100, b"/", buffer, buffer, 0), "kcmp": (312, os.getpid(), 1, 0, 0, 0),
    "syslog": (103, 3, buffer, 4096), "personality": (135, 0x0400000), "iopl": (172, 3), "acct": (163, b"/tmp/acct"),
    "memfd": (319, b"m", 0), "shmget": (29, 0, 4096, 0o1600), "msgget": (68, 0, 0o1600), "semget": (64, 0, 1, 0o1600),
    "quotactl": (179, 0, 0, 0, 0), "settimeofday": (164, buffer, 0),
}
found = [name for name, arguments in asked.items() if allowed(*arguments)]
""",
    ),
    tells(
        "calls_by_another_convention",
        CALL
        + """
import mmap
found = []
code = mmap.mmap(-1, 4096, prot=7)
code.write(bytes.fromhex("5389f8bb2800000089f1b90100000031d2cd805bc3"))  # int 0x80: the 32-bit socket(AF_VSOCK, 1, 0)
old = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
for name, attempt in {"x32": lambda: call(0x40000000 | 41, 40, 1, 0), "i386": lambda: old(359)}.items():
    if os.fork() == 0:
        os._exit(attempt() >= 0)
    found += [name] * (os.wait()[1] == 256)
""",
    ),
    tells(
        "nests_namespaces",
        CALL
        + """
found = []
for name, flag in dict(user=0x10000000, mount=0x20000, pid=0x20000000, net=0x40000000, ipc=0x8000000, uts=0x4000000,
                       cgroup=0x2000000, time=0x80).items():
    if os.fork() == 0:
        os._exit(libc.unshare(flag) == 0 or libc.unshare(flag | 0x10000000) == 0)
    if os.wait()[1] >> 8:
        found.append("unshare " + name)
    pid = call(56, flag | 17, 0, 0, 0, 0) if flag != 0x80 else -1  # clone, which takes 0x80 for a signal
    if pid == 0:
        os._exit(0)
    if pid > 0:
        os.waitpid(pid, 0)
        found.append("clone " + name)
    arguments = (ctypes.c_uint64 * 11)(flag, 0, 0, 0, 17)
    pid = call(435, arguments, 88)  # clone3
    if pid == 0:
        os._exit(0)
    if pid > 0:
        os.waitpid(pid, 0)
        found.append("clone3 " + name)
for name in os.listdir("/proc/1/ns"):
    descriptor = os.open(f"/proc/1/ns/{name}", os.O_RDONLY)
    found += ["setns " + name] * (libc.setns(descriptor, 0) == 0)
""",
    ),
    tells(
        "mounts",
        CALL
        + """
found = []
BIND, REMOUNT = 4096, 32
for mount in (
    (b"t", b"/tmp", b"tmpfs", 0), (b"/", b"/tmp", None, BIND), (b"proc", b"/tmp", b"proc", 0),
    (None, b"/", None, REMOUNT), (None, b"/runtime/course", None, BIND | REMOUNT),
):
    found += [mount] * (libc.mount(*mount, None) == 0)
for target in (b"/dev", b"/proc", b"/runtime/course"):
    found += [("umount", target)] * (libc.umount2(target, 2) == 0)
found += ["chroot"] * (libc.chroot(b"/tmp") == 0)
found += ["pivot_root"] * allowed(155, b"/tmp", b"/tmp")
found += ["fsopen"] * allowed(430, b"tmpfs", 0)
found += ["open_tree"] * allowed(428, -100, b"/", 1)
""",
    ),
    tells(
        "uses_devices",
        """
        import os
        allowed = {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "core"}
        found = [name for name in os.listdir("/dev") if name not in allowed | {"fd", "stdin", "stdout", "stderr"}]
        found = [name for name in found if not name.startswith("nvidia")]
        for folder in ("/tmp", "/work", "/dev/shm"):
            for number in (os.makedev(1, 1), os.makedev(8, 0), os.makedev(253, 0), os.makedev(10, 232)):
                try:
                    os.mknod(folder + "/device", 0o60600, number)
                    found.append((folder, number))
                except OSError:
                    pass
        """,
    ),
    tells(
        "loads_kernel_modules",
        """
        import fcntl, os, pty, struct
        found = []
        for discipline in range(1, 30):  # of a terminal: the kernel would load a module for most
            try:
                master, slave = pty.openpty()
                fcntl.ioctl(slave, 0x5423, struct.pack("i", discipline))
                found.append(discipline)
            except OSError:
                pass
        """,
    ),
    tells(
        "becomes_root",
        """
        import os, subprocess
        found = []
        for change in (os.setuid, os.setgid, os.seteuid):
            try:
                change(0)
                found.append(change.__name__)
            except OSError:
                pass
        status = open("/proc/self/status").read()
        found += [line for line in ("NoNewPrivs:\\t0", "Seccomp:\\t0") if line in status]
        found += [line for line in status.splitlines() if line.startswith("Cap") and int(line.split()[1], 16)]
        uid = int(open("/proc/self/uid_map").read().split()[1])
        found += ["root of this machine"] * (uid == 0)
        for program in ("su", "mount", "sudo", "pkexec", "newgrp"):
            asked = subprocess.run(f"{program} -c id; {program}", shell=True, stdin=-3, capture_output=True, text=True)
            found += [program] * ("uid=0" in asked.stdout)
        """,
    ),
    wrong_and(
        "signals_its_parents",
        """
        import os, signal
        for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGKILL):
            for pid in (1, os.getppid(), 0, -1):
                try:
                    if pid or number == signal.SIGKILL:
                        os.kill(pid, number)
                except OSError:
                    pass
        """,
    ),
    wrong_and(
        "kills_all_others",
        """
        import os
        for pid in filter(str.isdigit, os.listdir("/proc")):
            if int(pid) != os.getpid():
                try:
                    os.kill(int(pid), 9)
                except OSError:
                    pass
        """,
    ),
    wrong_and(
        "stops_itself",
        """
        import os, signal
        def mean(x):
            os.kill(os.getpid(), signal.SIGSTOP)
            return x[0]
        """,
    ),
    tells(
        "writes_outside",
        """
        import os
        found = []
        for folder in ("/", "/usr/lib", "/usr/bin", "/runtime", "/runtime/course", "/runtime/packages", "/dev"):
            try:
                open(folder + "/left-behind", "w").close()
                found.append(folder)
            except OSError:
                pass
        for path in ("/usr/bin/env", "/runtime/course/kshot/__init__.py", "/runtime/packages/torch/__init__.py"):
            for change in (lambda: open(path, "a"), lambda: os.chmod(path, 0o777), lambda: os.unlink(path)):
                try:
                    change()
                    found.append(path)
                except OSError:
                    pass
        """,
    ),
    wrong_and(
        "passes_descriptors_out",
        """
        import gc, os, socket, struct, time
        wire = next(o for o in gc.get_objects() if type(o).__name__ == "Worker").connection
        def mean(x):
            wire.sendall(struct.pack(">Q", 1 << 62))  # from here on nobody reads, and what is sent stays in the queue
            socket.send_fds(wire, [b"x"], [0, 1, 2])
            time.sleep(60)
        """,
    ),
    wrong_and(
        "shrinks_memory_that_it_shared",
        """
        import gc, os, socket
        wire = next(o for o in gc.get_objects() if type(o).__name__ == "Worker").connection
        def mean(x):
            with open("/dev/shm/shared", "w+b") as file:
                file.truncate(1 << 20)
                socket.send_fds(wire, [b""], [file.fileno()])
                socket.send_fds(wire, [(9).to_bytes(8, "big")], [file.fileno()])
                file.truncate(0)
            return x[0]
        """,
    ),
    wrong_and(
        "stays_behind",
        """
        import os, subprocess
        for n in range(3):
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    os.execvp("sleep", ["sleep", "7531.1"])
                os._exit(0)
        subprocess.Popen("nohup setsid sleep 7531.1 &", shell=True)
        """,
    ),
]
