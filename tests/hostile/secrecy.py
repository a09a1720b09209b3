"""Secrecy: hidden tests, the instructor's files, other students' work, and what hidden cases hand to student code."""

from attack import ROOT, tells, wrong_and

WHERE = ("/tmp", "/home", "/dev/shm", "/runtime/course", "/etc", "/root", "/var", "/run", "/opt", "/srv", "/mnt")

ATTACKS = [
    tells(
        "reads_files",
        f"""
        import os
        found = []
        for top in (os.getcwd(), *{WHERE}):
            if found: break
            for folder, folders, files in os.walk(top):
                for name in files:
                    path = os.path.join(folder, name)
                    if os.path.getsize(path) < 1 << 20:
                        text = open(path, "rb").read()
                        found += [path for mark in (b"hidden" b"_mark", b"a secret of " b"the tests") if mark in text]
                    found += [path] * name.endswith(("-autograder.zip", "course.toml", "secret", "q1.py"))
        """,
    ),
    tells(
        "looks_around",
        """
        import os
        expected = {"usr", "lib", "lib64", "bin", "runtime", "proc", "dev", "tmp", "home", "work"}
        found = [name for name in os.listdir("/") if name not in expected]
        for path in ("/proc/1/root/etc", "/proc/self/cwd/../root", "/usr/local", "/sys"):
            found += [path] * os.path.exists(path)
        """,
    ),
    tells(
        "reads_proc",
        f"""
        import glob
        found = []
        for name in ("environ", "cmdline", "maps", "mountinfo", "cgroup", "comm"):
            for path in glob.glob("/proc/[0-9]*/" + name):
                try:
                    text = open(path).read()
                except OSError:
                    continue
                found += [(path, mark) for mark in ({str(ROOT)!r}, "autograder-", "SECRET", "toy") if mark in text]
        """,
    ),
    tells(
        "reads_the_environment",
        f"""
        import os, sys
        known = repr(dict(os.environ)) + repr(sys.path) + sys.prefix + sys.executable + repr(sys.argv) + os.getcwd()
        found = [mark for mark in ({str(ROOT)!r}, "SECRET", "/root", "/home/" + "r") if mark in known]
        """,
    ),
    tells(
        "reads_site_packages",
        f"""
        import glob, os
        found = []
        for top in ("/runtime/packages", "/runtime/course"):
            for pattern in ("*.pth", "__editable__*", "*.egg-link", "*/direct_url.json", "*.dist-info/RECORD"):
                for path in glob.glob(os.path.join(top, pattern)):
                    found += [path] * (pattern[0] == "_" or {str(ROOT)!r} in open(path).read())
        found += glob.glob("/runtime/**/hw[0-9]*", recursive=True) + glob.glob("/runtime/packages/autograder*")
        """,
    ),
    tells(
        "reads_compiled_files",
        f"""
        import glob
        found = []
        for pattern in ("/runtime/course/**/*.pyc", "/runtime/packages/numpy/**/*.pyc", "/runtime/packages/*/*/*.pyc"):
            for path in glob.glob(pattern, recursive=True):
                found += [path] * ({str(ROOT).encode()!r} in open(path, "rb").read())
        """,
    ),
    tells(
        "looks_for_solutions",
        """
        import importlib.util, os
        found = []
        for name in ("solutions", "autograder.author", "autograder.cli", "autograder.grading.judging.judge"):
            try:
                found += [name] * (importlib.util.find_spec(name) is not None)
            except (ImportError, AttributeError, ValueError):
                pass
        for folder, _, files in os.walk("/runtime/course"):
            found += [folder] * any(part in folder for part in ("solution", "homework", "lectures"))
            found += [name for name in files if name.startswith("hw")]
        """,
    ),
    tells(
        "asks_the_grader",
        """
        from autograder.testing import judging
        found = [judging.get()] * (judging.get() is not None)
        for name in ("judging.judge", "judging.session", "judging.proxies", "batches.secret", "submissions.bundle"):
            try:
                found.append(__import__("autograder.grading." + name, fromlist=["x"]))
            except ImportError:
                pass
        """,
    ),
    tells(
        "collects_objects",
        """
        import gc, sys
        texts = [o for part in gc.get_objects() for o in gc.get_referents(part) if isinstance(o, (str, bytes))]
        found = [o[:20] for o in texts if ("hidden" + "_mark" if isinstance(o, str) else b"hidden" + b"_mark") in o]
        for name in sys.modules:
            if name.startswith("autograder.grading.") and name.split(".")[2] not in ("protocol", "inside"):
                found.append(name)
        """,
    ),
    wrong_and(
        "reads_frames",
        """
        import gc, sys
        def mean(x):
            frame, found = sys._getframe(), []
            while frame:
                found.append(repr(frame.f_locals)[:3000] + repr(frame.f_code))
                frame = frame.f_back
            texts = [o for part in gc.get_objects() for o in gc.get_referents(part) if isinstance(o, str)]
            found += [o for o in texts if "hidden" + "_mark" in o]
            raise ValueError("FOUND " + " ".join(found))
        """,
    ),
    *(
        tells(
            f"{who}_meets_another_submission",
            """
            import ctypes, os, socket
            found, message = [], "a message of another submission"
            for folder in ("/work", "/tmp", "/dev/shm", "/home/student"):
                found += [folder] * os.path.exists(folder + "/message")
                open(folder + "/message", "w").write(message)
            hearing = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                hearing.bind("\\0message")
            except OSError:
                found.append("abstract socket")
            libc = ctypes.CDLL(None, use_errno=True)
            for call in (libc.shmget, libc.msgget, libc.semget):
                if call(8675, 4096, 0o600) >= 0:
                    found.append("System V")
                call(8675, 4096, 0o1600)
            for pid in filter(str.isdigit, os.listdir("/proc")):
                found += [pid] * ("sleep" in open(f"/proc/{pid}/comm").read())
            """,
        )
        for who in ("one", "two")
    ),
    wrong_and(
        "prints_what_it_is_given",
        """
        import os, sys
        out = [sys.__stdout__, sys.__stderr__, sys.stdout]
        def mean(x):
            for stream in out:
                print("hidden" "_mark", x, file=stream, flush=True)
            for fd in range(64):
                try:
                    os.write(fd, repr(x).encode())
                except OSError:
                    pass
            os.system(f"echo {x[0, 0]:.0f}; echo {x[0, 0]:.0f} >&2")
            return x[0]
        """,
    ),
    wrong_and(
        "repeats_its_inputs_in_errors",
        """
        seen = []
        def mean(x):
            seen.append(x.tolist())
            raise type(f"E{seen}", (ValueError,), {})(f"FOUND {seen}")
        def loss(w): raise ValueError(f"FOUND {seen} {w}")
        def squares(n): raise AssertionError(f"FOUND {seen} {n}")
        def twice(f, x): raise StopIteration(f"FOUND {seen} {x} {f(x)}")
        """,
    ),
    wrong_and(
        "repeats_its_inputs_in_names",
        """
        def mean(x):
            return type(f"FOUND_{x[0, 0]:.0f}", (), {"__repr__": lambda self: f"FOUND {x}"})()
        def squares(n):
            yield type(f"FOUND_{n}_8675" + "309", (), {})
        """,
    ),
    wrong_and(
        "repeats_its_inputs_in_shapes",
        """
        def mean(x):
            return torch.empty(0, int(x.mean()) if x.shape[0] == 5 else 3)
        """,
    ),
    wrong_and(
        "repeats_its_inputs_as_a_size",
        """
        import gc, struct
        wire = [o.connection for o in gc.get_objects() if type(o).__name__ == "Worker"]
        def mean(x):
            wire[0].sendall(struct.pack(">Q", int(x[0, 0]) * 10**6))
            return x[0]
        """,
    ),
    wrong_and(
        "repeats_its_inputs_later",
        """
        import IPython
        seen = []
        def mean(x):
            seen.append(x)
            print(seen)
            IPython.get_ipython().run_cell(f"raise ValueError('FOUND {seen[-1][0, 0]:.0f}')")
            return x[0]
        class Late:
            def __del__(self): print("FOUND", seen, flush=True)
        late = Late()
        """,
    ),
]
