"""Fetching and packing Omniglot against a local server, through every failure a network and a disk have."""

import errno
import hashlib
import io
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kshot import data, download, omniglot_pack
from kshot.download import DownloadError, Progress, card, cards
from kshot.omniglot_pack import install, shrink

ALPHABETS = {"images_background": {"Greek": 2, "Angelic": 3}, "images_evaluation": {"Atlantean": 1}}
WRITERS = 4
CONTENTS = {"alphabets": 3, "characters": 6, "writers": WRITERS}
BACKGROUND = "images_background.zip"


def png(ink: np.ndarray) -> bytes:
    """A 1-bit PNG, black where `ink` [H, W] is True, as the archives hold them."""
    file = io.BytesIO()
    Image.fromarray(~ink).save(file, format="PNG")
    return file.getvalue()


def drawings() -> dict[str, np.ndarray]:
    """The ink [105, 105] of each drawing, by its path; characters numbered in the archives' order."""
    random, found, identity = np.random.default_rng(0), {}, 0
    for top, alphabets in ALPHABETS.items():
        for alphabet, size in alphabets.items():
            for number in range(1, size + 1):
                identity += 1
                for writer in range(1, WRITERS + 1):
                    path = f"{top}/{alphabet}/character{number:02d}/{identity:04d}_{writer:02d}.png"
                    found[path] = random.random((105, 105)) < random.random()
    return found


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def archives() -> dict[str, bytes]:
    files = {path: png(ink) for path, ink in drawings().items()}
    return {
        f"{top}.zip": zipped({path: files[path] for path in reversed(files) if path.startswith(top)})
        for top in ALPHABETS
    }


@dataclass
class Server:
    """What the server holds, how it behaves, and what it was asked for."""

    files: dict[str, bytes]
    address: str = ""
    ranges: bool = True
    lengths: bool = True
    status: int | None = None
    cut: float | None = None  # the share of each answer after which the connection breaks
    gate: threading.Event | None = None  # half of an answer is sent, the rest waits for this
    asked: list[tuple[str, int]] = field(default_factory=list)  # file, first byte

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        name = handler.path.strip("/").removeprefix("python/")
        wanted = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        first = int(wanted[1]) if wanted and self.ranges else 0
        self.asked.append((name, first))
        if self.status or name not in self.files:
            return handler.send_error(self.status or 404)
        whole = self.files[name]
        if first >= len(whole):
            return handler.send_error(416)
        body = whole[first:]
        handler.send_response(206 if first else 200)
        if first:
            handler.send_header("Content-Range", f"bytes {first}-{len(whole) - 1}/{len(whole)}")
        if self.lengths:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if self.cut is not None:
            body = body[: int(self.cut * len(body))]
        half = len(body) // 2
        handler.wfile.write(body[:half])
        handler.wfile.flush()
        if self.gate is not None:
            self.gate.wait(timeout=30)  # a test that never opens it fails instead of hanging
        handler.wfile.write(body[half:])


@pytest.fixture
def server(archives):
    state = Server(dict(archives))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with suppress(BrokenPipeError, ConnectionResetError):  # the client was interrupted
                state.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    service = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.address = f"http://127.0.0.1:{service.server_port}/python"
    yield state
    if state.gate is not None:
        state.gate.set()
    service.shutdown()
    service.server_close()
    thread.join()


@pytest.fixture
def root(tmp_path) -> Path:
    """A data folder that is not there yet."""
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def small_card(tmp_path, monkeypatch, archives) -> Path:
    """A card for the small archives, in the place of the real one; returns the folder of cards."""
    folder = tmp_path / "cards"
    folder.mkdir()
    write_card(folder, {name: hashlib.md5(content).hexdigest() for name, content in archives.items()})
    monkeypatch.setattr(download, "CARDS", folder)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return folder


def write_card(folder: Path, checksums: dict[str, str]) -> None:
    lines = ['title = "Omniglot"', 'base = "http://127.0.0.1:9/unused"', f'packed = "{data.OMNIGLOT_FILE}"']
    for name, md5 in checksums.items():
        lines += ["[[archives]]", f'file = "{name}"', f'md5 = "{md5}"']
    lines += ["[contents]", *(f"{what} = {count}" for what, count in CONTENTS.items())]
    (folder / "omniglot.toml").write_text("\n".join(lines))


def left(root: Path) -> set[str]:
    """What lies in the data folder, but for the empty lock file."""
    return {path.name for path in (root / "omniglot").glob("*")} - {".lock"}


def refused_port() -> int:
    """A port of this machine at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def command(cards: Path, root: Path, server: Server, **options) -> subprocess.Popen:
    """`kshot data omniglot` in a process of its own, with the small card."""
    program = (
        "import signal, sys, pathlib; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "import kshot.cli, kshot.download; kshot.download.CARDS = pathlib.Path(sys.argv[1]);"
        "sys.exit(kshot.cli.main(['data', 'omniglot', '--root', sys.argv[2], '--url', sys.argv[3]]))"
    )
    arguments = [sys.executable, "-c", program, str(cards), str(root), server.address]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def read_until(process: subprocess.Popen, text: str) -> None:
    """Read the process's messages up to the line that holds `text`."""
    seen = []
    for line in process.stderr:
        seen.append(line)
        if text in line:
            return
    raise AssertionError(f"{text!r} never came; instead: {''.join(seen)}")


def test_packed_file_holds_every_drawing_in_the_archives_order(server, root):
    packed = install(root, server.address)
    assert packed == root / data.OMNIGLOT_FILE and left(root) == {packed.name}
    with np.load(packed, allow_pickle=False) as arrays:
        assert {name: arrays[name].dtype.kind for name in arrays} == {
            "images": "u", "alphabet_names": "U", "alphabet": "u", "character": "u", "char_id": "i", "background": "b"
        }  # fmt: skip
        assert arrays["alphabet_names"].tolist() == ["Angelic", "Atlantean", "Greek"]
        assert arrays["alphabet"].tolist() == [2, 2, 0, 0, 0, 1]
        assert arrays["character"].tolist() == [1, 2, 1, 2, 3, 1]
        assert arrays["char_id"].tolist() == [1, 2, 3, 4, 5, 6]
        assert arrays["background"].tolist() == [True] * 5 + [False]
        expected = np.stack([shrink(png(ink)) for ink in drawings().values()]).reshape(6, WRITERS, 28, 28)
        assert arrays["images"].dtype == np.uint8 and np.array_equal(arrays["images"], expected)


def test_the_course_reads_what_is_packed(server, root):
    install(root, server.address)
    found = data.omniglot(root)
    assert found.images.shape == (6, WRITERS, 1, 28, 28)
    assert [found.alphabet_names[index] for index in found.split("test").alphabet.tolist()] == ["Atlantean"]


def test_a_second_call_asks_nothing_of_the_network(server, root):
    install(root, server.address)
    asked = len(server.asked)
    install(root, server.address)
    assert len(server.asked) == asked == 2


def test_resumes_where_the_part_file_ends(server, root, archives):
    start_part(root, archives[BACKGROUND][:5000])
    install(root, server.address)
    assert server.asked[0] == (BACKGROUND, 5000) and left(root) == {"omniglot_28_uint8.npz"}


def test_a_server_without_ranges_sends_the_whole_file_again(server, root, archives):
    server.ranges = False
    start_part(root, archives[BACKGROUND][:5000])
    install(root, server.address)
    assert server.asked[0] == (BACKGROUND, 0) and left(root) == {"omniglot_28_uint8.npz"}


def test_a_complete_part_file_is_only_verified(server, root, archives):
    start_part(root, archives[BACKGROUND])
    install(root, server.address)
    assert server.asked == [(BACKGROUND, len(archives[BACKGROUND])), ("images_evaluation.zip", 0)]


def test_a_part_file_of_something_else_is_fetched_afresh(server, root):
    start_part(root, b"x" * 5000)
    install(root, server.address)
    assert server.asked[:2] == [(BACKGROUND, 5000), (BACKGROUND, 0)] and left(root) == {"omniglot_28_uint8.npz"}


def test_an_answer_without_a_length_is_taken_to_its_end(server, root):
    server.lengths = False
    assert install(root, server.address).exists()


def test_a_connection_that_breaks_is_taken_up_again(server, root):
    server.cut = 0.6
    with pytest.raises(DownloadError, match=r"broke after [\d,]+ bytes of images_background.zip: run the same command"):
        install(root, server.address)  # the last byte never comes
    firsts = [first for _, first in server.asked]
    assert len(firsts) > 3 and firsts == sorted(firsts) and left(root) == {f"{BACKGROUND}.part"}
    server.cut = None
    install(root, server.address)
    assert left(root) == {"omniglot_28_uint8.npz"}


def test_a_truncated_answer_that_cannot_be_resumed_ends_with_a_sentence(server, root, archives):
    server.cut, server.ranges = 0.6, False
    with pytest.raises(DownloadError, match=f"broke after {int(0.6 * len(archives[BACKGROUND])):,} bytes of"):
        install(root, server.address)
    assert left(root) == {f"{BACKGROUND}.part"}


def test_a_server_that_falls_silent_is_given_up(server, root, monkeypatch):
    monkeypatch.setattr(download, "SILENCE", 0.2)
    server.gate, server.ranges = threading.Event(), False
    with pytest.raises(DownloadError, match="broke after"):
        install(root, server.address)
    assert left(root) == {f"{BACKGROUND}.part"}


def test_an_answer_with_no_bytes_leaves_nothing(server, root):
    server.cut = 0
    with pytest.raises(DownloadError, match="broke after 0 bytes"):
        install(root, server.address)
    assert left(root) == set()


def test_a_wrong_checksum_keeps_nothing(server, root, archives):
    damaged = bytearray(archives[BACKGROUND])
    damaged[len(damaged) // 2] ^= 1
    server.files[BACKGROUND] = bytes(damaged)
    was, wanted = (hashlib.md5(content).hexdigest() for content in (damaged, archives[BACKGROUND]))
    with pytest.raises(DownloadError, match=f"checksum {was} instead of {wanted}, so it was thrown away: run"):
        install(root, server.address)
    assert left(root) == set()


@pytest.mark.parametrize("status, words", [(404, "no file at .*HTTP 404"), (503, "refuses .*HTTP 503"), (403, "403")])
def test_a_refusal_names_address_and_code_and_leaves_nothing(server, root, status, words):
    server.status = status
    with pytest.raises(DownloadError, match=words):
        install(root, server.address)
    assert left(root) == set()


def test_no_network_is_one_sentence_and_keeps_what_was_fetched(root, archives):
    start_part(root, archives[BACKGROUND][:5000])
    with pytest.raises(DownloadError, match=r"no connection to 127.0.0.1:\d+ .*refused.*: check the network"):
        install(root, f"http://127.0.0.1:{refused_port()}")
    assert left(root) == {f"{BACKGROUND}.part"}


def test_an_address_of_another_kind_is_refused(root):
    with pytest.raises(DownloadError, match="starts with http"):
        install(root, "file:///etc")


def test_a_file_far_too_large_is_given_up(server, root, monkeypatch):
    monkeypatch.setattr(download, "LARGEST_FILE", 1000)
    with pytest.raises(DownloadError, match="sends more than 1,000 bytes"):
        install(root, server.address)
    assert left(root) == set()


def test_archives_fetched_by_hand_need_no_network(root, archives):
    for name, content in archives.items():
        start_part(root, content, name)
    assert install(root, f"http://127.0.0.1:{refused_port()}").exists()


def test_a_damaged_packed_file_is_made_anew(server, root):
    packed = install(root, server.address)
    content = bytearray(packed.read_bytes())
    content[200] ^= 1
    packed.write_bytes(content)
    packed.with_name(f"{packed.name}.part").write_bytes(b"left by a killed process")
    assert not omniglot_pack.whole(packed)
    install(root, server.address)
    assert omniglot_pack.whole(packed) and left(root) == {packed.name}


def start_part(root: Path, content: bytes, name: str = f"{BACKGROUND}.part") -> None:
    (root / "omniglot").mkdir(parents=True, exist_ok=True)
    (root / "omniglot" / name).write_bytes(content)


def test_a_full_disk_while_fetching_keeps_nothing(server, root, small_card):
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # noqa: E731
    process = command(small_card, root, server, preexec_fn=limit)
    _, message = process.communicate()
    assert process.returncode == 1 and "no space is left for" in message and "Traceback" not in message
    assert message.splitlines()[-1].startswith("kshot: ") and left(root) == set()


def test_a_full_disk_while_packing_keeps_only_whole_archives(server, root, archives, monkeypatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(DownloadError, match="no space is left for"):
        patch.setattr(os, "fsync", full)
        install(root, server.address)
    assert left(root) == set(archives)
    server.status = 503
    assert install(root, server.address).exists()


def test_a_data_folder_that_is_a_file_is_one_sentence(tmp_path, server):
    (tmp_path / "data").write_text("in the way")
    with pytest.raises(DownloadError, match=r"cannot write into .*: name another folder with --root or KSHOT_DATA"):
        install(tmp_path / "data", server.address)


def test_an_interrupt_keeps_the_part_file_and_the_next_call_goes_on(server, root, small_card, archives):
    server.gate = threading.Event()
    process = command(small_card, root, server)
    read_until(process, f"{BACKGROUND}: ")
    process.send_signal(signal.SIGINT)
    _, message = process.communicate()
    assert process.returncode == 130 and "interrupted" in message and "Traceback" not in message
    assert left(root) == {f"{BACKGROUND}.part"}
    kept = (root / "omniglot" / f"{BACKGROUND}.part").read_bytes()
    assert kept and archives[BACKGROUND].startswith(kept)
    server.gate.set()
    install(root, server.address)
    assert server.asked[1] == (BACKGROUND, len(kept)) and left(root) == {"omniglot_28_uint8.npz"}


def test_of_two_processes_at_once_the_second_takes_the_firsts_file(server, root, small_card):
    server.gate = threading.Event()
    first = command(small_card, root, server)
    read_until(first, f"{BACKGROUND}: ")
    second = command(small_card, root, server)
    read_until(second, "waiting for it")
    server.gate.set()
    outputs = [process.communicate() for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0], outputs
    assert all("Omniglot is ready" in output for output, _ in outputs)
    assert server.asked == [(BACKGROUND, 0), ("images_evaluation.zip", 0)]
    assert left(root) == {"omniglot_28_uint8.npz"} and omniglot_pack.whole(root / data.OMNIGLOT_FILE)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere(monkeypatch):
    def shown(stderr: io.StringIO) -> str:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", stderr)
            with Progress("a.zip", total=200, done=100) as bar:
                for _ in range(4):
                    bar.update(25)
        return stderr.getvalue()

    assert shown(io.StringIO()) == "a.zip: 60 %\na.zip: 70 %\na.zip: 80 %\na.zip: 100 %\n"
    assert re.search(r"\ra\.zip: +100%.*200/200", shown(Terminal()))
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert shown(Terminal()).endswith("a.zip: 100 %\n")


@pytest.fixture
def real_cards(monkeypatch) -> None:
    monkeypatch.setattr(download, "CARDS", Path(download.__file__).resolve().parents[1] / "datasets")


def test_every_card_says_what_where_and_under_which_licence(real_cards):
    assert cards() == ("glyphs", "omniglot")
    for name in cards():
        facts = card(name)
        assert all(facts[key] for key in ("title", "about", "source", "licence", "copyright", "contents", "splits"))
        assert all(re.fullmatch("[0-9a-f]{32}", archive["md5"]) for archive in facts.get("archives", []))


def test_card_and_reader_agree_on_the_packed_file(real_cards):
    assert card("omniglot")["packed"] == data.OMNIGLOT_FILE


@pytest.mark.parametrize("name", ["imagenet", "../omniglot", ""])
def test_an_unknown_card_names_those_there_are(name, real_cards):
    with pytest.raises(FileNotFoundError, match="choose from glyphs, omniglot"):
        card(name)


def test_without_a_checkout_the_card_says_how_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "CARDS", tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="pip install -e"):
        card("omniglot")


@pytest.mark.omniglot
def test_the_real_omniglot_is_what_its_card_says(real_cards):
    facts = card("omniglot")
    with np.load(data.data_folder() / facts["packed"], allow_pickle=False) as arrays:
        images, background, names = arrays["images"], arrays["background"], arrays["alphabet_names"]
        contents = {
            "alphabets": len(names),
            "characters": len(images),
            "writers": images.shape[1],
            "background_alphabets": len(set(arrays["alphabet"][background].tolist())),
            "background_characters": int(background.sum()),
        }
    assert contents == facts["contents"]
    validation = data.omniglot().split("validation").alphabet.unique().tolist()
    assert [str(names[index]) for index in validation] == facts["splits"]["validation"]
