"""Chat templates come out of a release's source archive, from whatever index the machine uses."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from engine_support import gpu_host
from gdl.engines.base import Step
from gdl.engines.vllm import compat, server_flags, templates
from gdl.settings import Install, Settings

GEMMA = "tool_chat_template_gemma4.jinja"
ARCHIVE = "vllm-0.32.0.tar.gz"
MEMBER = f"vllm-0.32.0/examples/{GEMMA}"
TEXT = b"{{ messages }}\n"
SECRET = "s3cret-word"


def packed(*members: tuple[str, bytes | str]) -> bytes:
    """A .tar.gz; a str is where a symbolic link leads."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                tar.addfile(entry)
            else:
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


GOOD = packed(("vllm-0.32.0/setup.py", b"raise SystemExit"), (MEMBER, TEXT))


@dataclass
class Index:
    """A package index on loopback. pages: path -> (content type, body); moved: path -> address.
    asked: (path, Authorization) of every request."""

    pages: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    port: int = 0

    def url(self, path: str = "", who: str = "") -> str:
        return f"http://{who}127.0.0.1:{self.port}{path}"


@pytest.fixture
def index() -> Iterator[Index]:
    yield from served(Index())


@pytest.fixture
def other() -> Iterator[Index]:
    yield from served(Index())


def served(index: Index) -> Iterator[Index]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            index.asked.append((self.path, self.headers.get("Authorization", "")))
            if self.path in index.moved:
                self.send_response(302)
                self.send_header("Location", index.moved[self.path])
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            kind, body = index.pages.get(self.path, ("text/plain", b"no such page"))
            self.send_response(200 if self.path in index.pages else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on the tests' own output."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        index.port = server.server_port
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield index
        server.shutdown()
        thread.join()


def html(*links: str) -> tuple[str, bytes]:
    return "text/html; charset=utf-8", "".join(f'<a href="{x}">x</a>' for x in links).encode()


def listing(*links: str) -> tuple[str, bytes]:
    body = {"files": [{"filename": link.rpartition("/")[2], "url": link} for link in links]}
    return "application/vnd.pypi.simple.v1+json", json.dumps(body).encode()


def the_step(archive: bytes = GOOD) -> Step:
    """The step as a plan has it, with the checksum of the stand-in archive."""
    choice = compat.for_gpu(gpu_host(), Install(version="0.32.0"))
    (step,) = templates.steps(GEMMA, choice, Settings())
    known, stand_in = server_flags.archive_sha256("0.32.0"), hashlib.sha256(archive).hexdigest()
    assert known in step.script
    return Step(
        step.name,
        step.title,
        step.script.replace(known, stand_in),
        step.timeout_s,
        step.check,
        step.files,
    )


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    (folder / "venv/bin").mkdir(parents=True)
    (folder / "venv/bin/python").symlink_to(sys.executable)
    return folder


def shell(text: str, work: Path, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {"PATH": "/usr/bin:/bin", "HOME": str(work.parent), "GDL_RUN": "run-1"}
    return subprocess.run(
        ["/bin/sh"],
        input=text,
        cwd=work,
        env=clean | {"PIP_CONFIG_FILE": "/dev/null"} | env,
        text=True,
        capture_output=True,
        timeout=60,
    )


def brought(step: Step, work: Path, **env: str) -> tuple[bytes | None, str]:
    """(the template's bytes, what was printed) after the step, which has to hold by its check."""
    for name, text in step.files:
        (work / name).write_text(text)
    done = shell(step.script, work, **env)
    assert done.returncode == 0, done.stderr
    assert step.check is not None
    assert shell(step.check, work).returncode == 0
    there = work / "templates/0.32.0" / GEMMA
    # Nothing else is left of the archive, in any case.
    left = {entry.name for entry in (work / "templates/0.32.0").iterdir()}
    assert left == {GEMMA} if there.exists() else {f"{GEMMA}.missing"}
    return (there.read_bytes() if there.exists() else None), done.stdout + done.stderr


@pytest.mark.parametrize("write", [html, listing])
def test_an_index_is_asked_in_both_of_its_forms(index: Index, work: Path, write: object) -> None:
    page = html if write is html else listing
    index.pages = {
        "/simple/vllm/": page("../../files/vllm-0.31.0.tar.gz", f"../../files/{ARCHIVE}#sha256=x"),
        f"/files/{ARCHIVE}": ("application/gzip", GOOD),
    }
    found, said = brought(the_step(), work, PIP_INDEX_URL=index.url("/simple"))
    assert found == TEXT
    assert f"{ARCHIVE} is from 127.0.0.1, its SHA-256 is right" in said


@pytest.mark.parametrize(
    "words",
    [
        "  The default package index (by default: <{}>) [env: UV_DEFAULT_INDEX]",
        "  -i, --index-url <url>  Base URL of the package index (default {}). This should",
        "  The URL of the package index (by\n          default: <{}>) [env: UV_INDEX_URL]",
    ],
)
def test_where_nobody_names_an_index_the_installers_own_is_asked(
    index: Index, work: Path, words: str
) -> None:
    index.pages = {
        "/simple/vllm/": html(f"/{ARCHIVE}"),
        f"/{ARCHIVE}": ("application/gzip", GOOD),
    }
    uv = work / "uv/bin/uv"
    uv.parent.mkdir(parents=True)
    uv.write_text(f"#!/bin/sh\ncat <<'END'\n{words.format(index.url('/simple'))}\nEND\n")
    uv.chmod(0o755)
    assert brought(the_step(), work)[0] == TEXT


def test_the_real_pip_says_which_index_it_asks(work: Path) -> None:
    step = the_step()
    for name, text in step.files:
        (work / name).write_text(text)
    code = "import source_file; print(source_file.default_index())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=work, text=True, capture_output=True, check=True
    )
    assert done.stdout.startswith("https://") and done.stdout.rstrip().endswith("/simple")


def test_a_folder_with_wheels_comes_first(index: Index, work: Path, tmp_path: Path) -> None:
    folder = tmp_path / "wheels"
    folder.mkdir()
    (folder / ARCHIVE).write_bytes(GOOD)
    env = {"PIP_INDEX_URL": index.url("/simple"), "PIP_FIND_LINKS": str(folder)}
    assert brought(the_step(), work, **env)[0] == TEXT
    assert index.asked == []


def test_an_index_in_a_folder_serves_without_a_network(work: Path, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / ARCHIVE).write_bytes(GOOD)
    (tmp_path / "simple/vllm").mkdir(parents=True)
    (tmp_path / "simple/vllm/index.html").write_bytes(html(f"../../files/{ARCHIVE}")[1])
    url = (tmp_path / "simple").as_uri()
    assert brought(the_step(), work, PIP_INDEX_URL=url)[0] == TEXT


def test_another_archive_of_that_name_is_not_used(index: Index, other: Index, work: Path) -> None:
    for place, archive in ((index, packed((MEMBER, b"evil"))), (other, GOOD)):
        place.pages = {
            "/simple/vllm/": html(f"/{ARCHIVE}"),
            f"/{ARCHIVE}": ("application/gzip", archive),
        }
    # The extra one comes first.
    env = {"PIP_INDEX_URL": other.url("/simple"), "PIP_EXTRA_INDEX_URL": index.url("/simple")}
    found, said = brought(the_step(), work, **env)
    assert found == TEXT
    assert f"no {ARCHIVE} from 127.0.0.1: its SHA-256 does not match" in said


@pytest.mark.parametrize(
    "archive",
    [
        packed(("vllm-0.32.0/setup.py", b"")),
        packed((MEMBER, "/etc/passwd")),
        packed((MEMBER, b"x" * (2 << 20))),
        packed((f"../{MEMBER}", TEXT), (f"/{MEMBER}", TEXT), (f"./{MEMBER}/../x", TEXT)),
        b"not an archive at all",
    ],
    ids=["without it", "a link", "too big", "other paths", "no archive"],
)
def test_an_archive_without_the_plain_file_gives_nothing(
    index: Index, work: Path, archive: bytes
) -> None:
    index.pages = {
        "/simple/vllm/": html(f"/{ARCHIVE}"),
        f"/{ARCHIVE}": ("application/gzip", archive),
    }
    found, said = brought(the_step(archive), work, PIP_INDEX_URL=index.url("/simple"))
    assert found is None
    assert "could not be had; the model's own will do" in said


@pytest.mark.parametrize(
    "page",
    [None, ("text/html", b"\xff\xfe<a href="), ("x/y+json", b"[1]"), html("ftp://h/" + ARCHIVE)],
)
def test_an_index_that_says_nothing_useful_costs_no_deployment(
    index: Index, work: Path, page: tuple[str, bytes] | None
) -> None:
    index.pages = {} if page is None else {"/simple/vllm/": page}
    found, said = brought(the_step(), work, PIP_INDEX_URL=index.url("/simple"))
    assert found is None and "Traceback" not in said


def test_what_was_missing_is_looked_for_again_by_the_next_run(index: Index, work: Path) -> None:
    step = the_step()
    assert brought(step, work, PIP_INDEX_URL=index.url("/simple"))[0] is None
    assert step.check is not None
    assert shell(step.check, work, GDL_RUN="run-2").returncode != 0


def test_credentials_go_to_their_own_host_alone_and_are_not_said(
    index: Index, other: Index, work: Path
) -> None:
    index.pages = {"/simple/vllm/": html(f"/files/{ARCHIVE}")}
    # Another port is another host.
    index.moved = {f"/files/{ARCHIVE}": other.url(f"/{ARCHIVE}")}
    other.pages = {f"/{ARCHIVE}": ("application/gzip", GOOD)}
    url = index.url("/simple", who=f"me:{SECRET}@")
    found, said = brought(the_step(), work, PIP_INDEX_URL=url)
    assert found == TEXT
    basic = "Basic " + b64encode(f"me:{SECRET}".encode()).decode()
    assert index.asked == [("/simple/vllm/", basic), (f"/files/{ARCHIVE}", basic)]
    assert other.asked == [(f"/{ARCHIVE}", "")]
    assert SECRET not in said


def test_no_index_means_no_index(index: Index, work: Path) -> None:
    env = {"PIP_INDEX_URL": index.url("/simple"), "PIP_NO_INDEX": "1"}
    assert brought(the_step(), work, **env)[0] is None
    assert index.asked == []


def test_no_step_where_the_image_has_it_or_no_checksum_is_known() -> None:
    machine = gpu_host(docker="docker", docker_gpus=True)
    image = compat.for_image(machine, Install(version="0.32.0"))
    assert templates.steps(GEMMA, image, Settings()) == ()
    assert templates.lacking(GEMMA, image) == ""
    without = compat.for_gpu(gpu_host(), Install(version="0.15.0"))
    assert templates.steps(GEMMA, without, Settings()) == ()
    assert templates.lacking(GEMMA, without) == (
        "no checksum of the source archive of vLLM 0.15.0 is known"
    )


@pytest.mark.real
def test_the_real_archive_has_the_real_template(work: Path) -> None:
    choice = compat.for_gpu(gpu_host(), Install(version="0.32.0"))
    (step,) = templates.steps(GEMMA, choice, Settings())
    for name, text in step.files:
        (work / name).write_text(text)
    done = subprocess.run(
        ["/bin/sh"], input=step.script, cwd=work, text=True, check=True, timeout=300
    )
    assert done.returncode == 0
    found = (work / "templates/0.32.0" / GEMMA).read_text()
    assert "tool" in found and "{%" in found
