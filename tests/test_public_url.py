"""Endpoints on the internet: a real job on a real SSH host, with a stand-in for cloudflared that a
real HTTP server hands out."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deployment_support import SIMULATED, Simulation, last, spec, told
from gdl.domain.decisions import AfterServing
from gdl.domain.errors import DeployError, GdlError, MachineError, UsageError
from gdl.orchestrator.endpoint import cloudflared
from gdl.orchestrator.service import Orchestrator
from gdl.settings import Public
from local_processes import processes_naming
from market_support import Place, held

PROGRAM = SIMULATED / "public" / "cloudflared"
SUM = hashlib.sha256(PROGRAM.read_bytes()).hexdigest()
FIRST = "https://first-words-of-four.trycloudflare.com/v1"
OTHER = "https://other-words-of-four.trycloudflare.com/v1"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(PROGRAM.parent)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/cloudflared"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@asynccontextmanager
async def serving(sim: Simulation, **public: str) -> AsyncIterator[tuple[Orchestrator, str, Path]]:
    """(the orchestrator, a deployment that is held, the folder of its machine's program)."""
    async with sim.orchestrator(public=public) as orchestrator:
        ident = await orchestrator.deployments.deploy(spec(after="hold"))
        await held(orchestrator, ident)
        (work_dir,) = (sim.folder / "data" / "local").glob("*/work")
        yield orchestrator, ident, work_dir / "public"
        await orchestrator.deployments.decide(ident, AfterServing.RELEASE)
        assert last(await told(orchestrator, ident)).outcome == "released"
        assert await orchestrator.sessions.public_rows() == []
        assert processes_naming(str(work_dir)) == []


async def refused(sim: Simulation, ident: str, **public: str) -> GdlError:
    """Why another process, with these settings, cannot make it public."""
    async with sim.orchestrator(public=public) as orchestrator:
        with pytest.raises(GdlError) as caught:
            await orchestrator.sessions.make_public(ident, lambda _: None)
        assert await orchestrator.sessions.public_rows() == []
    return caught.value


@pytest.mark.long
async def test_an_address_is_had_kept_followed_and_ended(sim: Simulation, url: str) -> None:
    said: list[str] = []
    async with serving(sim, cloudflared=url, sha256=SUM) as (orchestrator, ident, folder):
        assert await orchestrator.sessions.public_rows() == []
        row = await orchestrator.sessions.make_public(ident, said.append)
        assert (row.url, row.deployment_id, row.model) == (FIRST, ident, "smollm2-135m")
        assert said and await orchestrator.sessions.public_rows() == [row]
        assert [s.public for s in await orchestrator.sessions.rows()] == [FIRST]

        words = (folder / "arguments").read_text().splitlines()
        to = words[words.index("--url") + 1]
        assert to.startswith("http://127.0.0.1:") and "--no-autoupdate" in words
        # What vLLM answers without a key is not let through.
        rules = json.loads((folder / "rules").read_text())
        assert rules["ingress"] == [
            {"path": "^/v1/", "service": to},
            {"service": "http_status:404"},
        ]
        key = Path(row.api_key_file).read_text().strip()
        assert processes_naming(key) == []

        # Asked for again it is the same one; a new address is read from the log.
        assert await orchestrator.sessions.make_public(ident, said.append) == row
        async with aclosing(orchestrator.sessions.watch_public(ident)) as rows:
            assert await anext(rows) == row
            (folder / "change").touch()
            async with asyncio.timeout(20):
                assert (await anext(rows)).url == OTHER
        assert [r.url for r in await orchestrator.sessions.public_rows()] == [OTHER]

        await orchestrator.sessions.stop_public(ident)
        assert await orchestrator.sessions.public_rows() == []
        assert processes_naming(str(folder)) == []
        with pytest.raises(UsageError, match="is not public"):
            await orchestrator.sessions.stop_public(ident)
        # It ends with the deployment, too: `serving` looks.
        await orchestrator.sessions.make_public(ident, said.append)
        assert processes_naming(str(folder)) != []


@pytest.mark.long
async def test_what_is_refused_and_fails_leaves_nothing(sim: Simulation, url: str) -> None:
    theirs = sim.folder / "home" / "cloudflared"
    theirs.write_bytes(PROGRAM.read_bytes())
    async with serving(sim) as (orchestrator, ident, folder):
        wrong = "0" * 64
        error = await refused(sim, ident, cloudflared=url, sha256=wrong)
        assert isinstance(error, DeployError)
        assert SUM in error.message and wrong in error.message and "not run" in error.message
        assert list(folder.glob("*")) == []

        error = await refused(sim, ident, cloudflared=f"{url}-not-there", sha256=SUM)
        assert "404" in error.message and "GDL_PUBLIC__CLOUDFLARED" in error.hint

        (folder / "fail").touch()
        error = await refused(sim, ident, cloudflared=url, sha256=SUM)
        assert "no such host" in error.message
        assert processes_naming(str(folder)) == []
        (folder / "fail").unlink()

        # A copy of a file of the machine; one that was changed since is made again.
        (copy,) = folder.glob("cloudflared-*")
        copy.write_text("#!/bin/sh\necho owned\n")
        async with sim.orchestrator(
            public={"cloudflared": "~/cloudflared", "sha256": SUM}
        ) as other:
            assert (await other.sessions.make_public(ident, lambda _: None)).url == FIRST
        assert copy.read_bytes() == PROGRAM.read_bytes()
        assert [row.url for row in await orchestrator.sessions.public_rows()] == [FIRST]


@pytest.mark.long
async def test_an_endpoint_without_a_key_stays_where_it_is(sim: Simulation, url: str) -> None:
    sim.server("keyless")
    async with serving(sim, cloudflared=url, sha256=SUM) as (_, ident, _folder):
        error = await refused(sim, ident, cloudflared=url, sha256=SUM)
        assert isinstance(error, MachineError) and "without a key" in error.message


def test_which_file_is_run() -> None:
    for arch, name in (("x86_64", "amd64"), ("aarch64", "arm64")):
        known = cloudflared.binary(Public(), arch)
        assert known.source.startswith("https://github.com/cloudflare/cloudflared/releases/")
        assert known.source.endswith(f"cloudflared-linux-{name}") and len(known.sha256) == 64
    with pytest.raises(UsageError, match="riscv64"):
        cloudflared.binary(Public(), "riscv64")
    with pytest.raises(UsageError, match=r"public\.sha256"):
        cloudflared.binary(Public(cloudflared="/usr/bin/cloudflared"), "x86_64")
    for bad in ({"cloudflared": "ftp://x/y"}, {"cloudflared": "bin"}, {"sha256": "abc"}):
        with pytest.raises(ValueError, match="pattern"):
            Public(**bad)


@pytest.mark.long
async def test_the_command_line(place: Place, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDL_PUBLIC__CLOUDFLARED", url)
    monkeypatch.setenv("GDL_PUBLIC__SHA256", SUM)
    assert await place.gdl("public", place.session) == f"{FIRST}\n"
    (row,) = [json.loads(line) for line in (await place.gdl("public", "--json")).splitlines()]
    assert (row["session_id"], row["url"]) == (place.session, FIRST)
    assert FIRST in await place.gdl("public")
    assert json.loads(await place.gdl("sessions", "--json"))["public"] == FIRST
    await place.gdl("public", place.session, "--stop")
    assert await place.gdl("public", "--json") == ""
    assert "is not public" in await place.gdl("public", place.session, "--stop", code=2)
    assert "read-only" in await place.gdl("--read-only", "public", place.session, code=2)
    # Destroying the machine from another process ends it, too.
    await place.gdl("public", place.session)
    await place.gdl("destroy", place.session, "--yes")
    assert await place.gdl("public", "--json") == ""
    assert processes_naming("trycloudflare") == []
