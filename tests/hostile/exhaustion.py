"""Exhaustion: memory, processes, disk, output, descriptors, time. Each is bounded, should the grader's limits fail."""

import torch
from attack import honest_but, wrong_and

WORKER = "import gc\nworker = next(o for o in gc.get_objects() if type(o).__name__ == 'Worker')\n"

ATTACKS = [
    wrong_and(
        "takes_memory",
        "held = [torch.ones(16 << 20) for n in range(24)]",
        says="memory",
    ),
    wrong_and(
        "takes_memory_unseen",
        """
        import os
        for fd in (1, 2): os.close(fd)
        """,
        """
        import ctypes, os
        held, libc = [], ctypes.CDLL(None, use_errno=True)
        libc.shmat.restype = ctypes.c_void_p
        for n in range(10):
            fd = libc.memfd_create(b"m", 0)
            if fd >= 0:
                held.append(os.write(fd, bytes(50 << 20)))
            at = libc.shmget(0, 50 << 20, 0o1600)
            if at >= 0:
                place = libc.shmat(at, None, 0)
                ctypes.memset(place, 1, 50 << 20)
                libc.shmdt(ctypes.c_void_p(place))
                held.append(50 << 20)
        raise RuntimeError(f"FOUND {sum(held)}")
        """,
        says="FOUND 0",
    ),
    wrong_and(
        "takes_memory_in_page_tables",
        """
        import mmap
        def mean(x):
            held = mmap.mmap(-1, 600 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, prot=mmap.PROT_READ)
            for at in range(0, 600 << 30, 2 << 20): held[at]
            return x[0]
        """,
    ),
    wrong_and(
        "takes_memory_in_many_processes",
        """
        import os, time
        for n in range(12):
            if os.fork() == 0:
                held = bytearray(b"x" * (120 << 20))
                time.sleep(60)
        time.sleep(3)
        """,
        says="memory",
    ),
    wrong_and(
        "forks",
        """
        import os
        for n in range(300):
            try:
                if os.fork() == 0:
                    os.execvp("sleep", ["sleep", "7531.1"])
            except OSError:
                break
        """,
    ),
    wrong_and(
        "keeps_every_core_busy",
        """
        import os, time
        end = time.monotonic() + 6
        for n in range(120):
            try:
                if os.fork() == 0:
                    os.setsid()  # a group of its own for the kernel's scheduler
                    while time.monotonic() < end: pass
                    os._exit(0)
            except OSError:
                break
        time.sleep(4)
        """,
    ),
    wrong_and(
        "starts_threads",
        """
        import threading, time
        def mean(x):
            for n in range(400):
                threading.Thread(target=time.sleep, args=(60,)).start()
            return x[0]
        """,
    ),
    wrong_and(
        "fills_the_disk",
        """
        for folder in ("/work", "/tmp", "/dev/shm", "/home/student", "/", "/usr", "/runtime/course"):
            for n in range(3):
                try:
                    with open(f"{folder}/big{n}", "wb") as file:
                        for n in range(40): file.write(bytes(1 << 20))
                except OSError:
                    pass
        """,
    ),
    wrong_and(
        "makes_many_files",
        """
        import os, time
        end = time.monotonic() + 3
        try:
            for n in range(100_000):
                os.close(os.open(f"/tmp/{n}", os.O_CREAT))
                if time.monotonic() > end: break
        except OSError:
            pass
        """,
    ),
    wrong_and("prints_without_end", 'for n in range(30_000): print("x" * 1000)'),
    wrong_and(
        "prints_beside_python",
        """
        import os, sys
        line = b"x" * 1_000_000
        def mean(x):
            for n in range(200): os.write(1 + n % 2, line)
            return x[0]
        """,
        "print('x' * 200_000_000)",
        "'y' * 100_000_000",
        "raise ValueError('z' * 50_000_000)",
    ),
    *(
        wrong_and(
            name,
            WORKER
            + f"""
real = worker._send
worker._send = lambda reply: real(["done", {errors}, "p" * 15_000_000] if reply[0] == "done" else reply)
""",
        )
        for name, errors in {
            "reports_errors_without_end": '[[n, "K" * 10**6, "t" * 10**6] for n in range(1, 9)] + [[1, "", ""]] * 9**5',
            "reports_errors_of_no_cell": '[[10**9, "K", "t"], [-5, "K", "t"], [0, "K", "t"], [True, "K", "t"]]',
        }.items()
    ),
    wrong_and(
        "opens_descriptors",
        """
        import os
        held = []
        try:
            while len(held) < 100_000: held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        """,
    ),
    wrong_and(
        "fills_sockets",
        """
        import socket
        held, sent = [], 0
        try:
            while sent < 300 << 20:
                held.append(socket.socketpair())
                for end in held[-1]:
                    end.setblocking(False)
                    try:
                        while True: sent += end.send(bytes(1 << 16))
                    except BlockingIOError:
                        pass
        except OSError:
            pass
        """,
    ),
    wrong_and(
        "never_ends",
        """
        def mean(x):
            while True: pass
        """,
        says="longer than",
    ),
    wrong_and(
        "never_ends_and_resists",
        """
        import signal
        def mean(x):
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
            while True:
                try:
                    while True: pass
                except BaseException:
                    pass
        """,
        says="longer than",
    ),
    honest_but("never_ends_in_a_cell", "while True: pass", points=12, says="was stopped after"),
    honest_but(
        "never_ends_in_one_question",
        "def squares(n):\n    import time\n    time.sleep(1000)",
        points=11,
        says="longer than",
    ),
    honest_but(
        "ends_the_process_in_a_cell",
        "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)",
        points=12,
        says="was skipped",
    ),
    wrong_and(
        "ends_the_process",
        """
        import os
        def mean(x): os._exit(0)
        def loss(w): os.abort()
        def squares(n): os.kill(os.getpid(), 9)
        def twice(f, x): import sys; sys.exit(0)
        """,
        says="ended the Python process",
    ),
    wrong_and(
        "replies_slowly",
        WORKER
        + """
import struct, time
def mean(x):
    worker.connection.sendall(struct.pack(">Q", 1000))
    while True:
        worker.connection.sendall(b"N")
        time.sleep(0.02)
""",
        says="longer than",
    ),
    wrong_and(
        "announces_much_and_sends_little",
        WORKER
        + """
import struct, time
def mean(x):
    worker.connection.sendall(struct.pack(">Q", (1 << 28) - 1) + b"[")
    time.sleep(60)
""",
        says="longer than",
    ),
    wrong_and(
        "yields_without_end",
        """
        import itertools
        def squares(n): yield from itertools.count()
        """,
    ),
    wrong_and(
        "yields_tensors_without_end",
        """
        def squares(n):
            while True: yield torch.ones(5_000_000)
        """,
    ),
    wrong_and(
        "calls_back_without_end",
        """
        def twice(f, x):
            while True: f(x)
        """,
    ),
    wrong_and(
        "calls_back_with_itself",
        """
        def twice(f, x):
            class Again:
                def __rmul__(self, other): return f(self)
            return f(Again())
        """,
    ),
    wrong_and(
        "calls_back_with_much",
        """
        def twice(f, x):
            return f(f(torch.ones(20_000_000)))
        def squares(n):
            return list(range(900_000))
        """,
    ),
    wrong_and(
        "answers_too_deep",
        """
        deep, cycle = [], []
        for n in range(100_000): deep = [deep]
        cycle.append(cycle)
        answer = deep
        def mean(x): return cycle
        def squares(n): return [[]] * 900_000
        def loss(w): return list(range(2_000_000))
        def twice(f, x): return 10 ** 4900
        """,
    ),
    wrong_and(
        "answers_with_colliding_keys",
        """
        prime = (1 << 61) - 1
        def mean(x): return {n * prime for n in range(10_000)}
        def squares(n): return [{n * prime: 0 for n in range(5000)} for k in range(30)]
        """,
    ),
    wrong_and(
        "writes_garbage_on_the_wire",
        """
        import os, struct
        def mean(x):
            for fd in range(3, 32):
                try:
                    os.write(fd, struct.pack(">Q", 1 << 62) + b"x" * 100)
                except OSError:
                    pass
            return x[0]
        """,
        says="cannot be read",
    ),
    wrong_and(
        "is_too_much_for_the_parser", "(" * 5000 + ")" * 5000, "x = " + "-" * 100_000 + "1", "[" * 400 + "]" * 400
    ),
]

if torch.cuda.is_available():
    ATTACKS.append(wrong_and("takes_gpu_memory", "held = [torch.ones(1 << 28, device='cuda') for n in range(400)]"))
