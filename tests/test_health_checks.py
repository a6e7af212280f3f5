"""Checks in their order, and readiness noticed in time."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import pytest

from gdl.domain.errors import CommandTimeout, VerificationError
from gdl.domain.health import Check, CheckStatus
from gdl.domain.host import CommandResult
from gdl.domain.secret import Secret
from gdl.endpoint.client import EndpointClient
from gdl.endpoint.health_checks import NAMES, run_checks, wait_ready
from gdl.endpoint.ssh_curl import SshCurl
from local_shell import Shell, put_script
from virtual_time import in_virtual_time
from vllm_support import FakeVllm
from waiting import wait_until

KEY = Secret("k")


@pytest.fixture
async def server() -> AsyncIterator[FakeVllm]:
    async with FakeVllm(model="tiny", api_key="k") as running:
        running.answers["capital of France"] = "The capital of France is Paris."
        yield running


@pytest.fixture
async def client(server: FakeVllm) -> AsyncIterator[EndpointClient]:
    opened = EndpointClient(server.url, KEY, timeout_s=5)
    yield opened
    await opened.aclose()


async def collect(client: EndpointClient | None, **given: object) -> dict[str, Check]:
    settings = {"model": "tiny", "runner": None, "pid": None, "has_gpu": False} | given
    checks = [check async for check in run_checks(client, **settings)]  # type: ignore[arg-type]
    assert tuple(check.name for check in checks) == NAMES
    return {check.name: check for check in checks}


async def test_all_is_well(client: EndpointClient, tmp_path: Path) -> None:
    put_script(tmp_path, "nvidia-smi", "echo 'Tesla T4, 900, 15360, 7, 40, 30.0, 535.161.08'\n")
    os.symlink("/bin/sed", tmp_path / "sed")
    checks = await collect(client, runner=Shell(tmp_path), pid=os.getpid(), has_gpu=True)
    assert {check.status for check in checks.values()} == {CheckStatus.PASSED}
    assert checks["gpu"].detail.startswith("Tesla T4 0.9/15.0 GiB")
    assert checks["process"].detail == f"pid {os.getpid()} runs"
    assert checks["models"].detail == "tiny, takes 1,048,576 tokens"
    assert checks["inference"].detail == '"The capital of France is Paris.", 6 tokens'
    assert all(check.latency_ms is not None for check in checks.values())


async def test_a_cpu_machine_has_no_gpu_check(client: EndpointClient) -> None:
    checks = await collect(client, runner=Shell())
    assert checks["gpu"].status is CheckStatus.SKIPPED and checks["gpu"].detail == "no GPU"
    assert checks["process"].status is CheckStatus.SKIPPED


async def test_a_gpu_that_went_away(client: EndpointClient, tmp_path: Path) -> None:
    checks = await collect(client, runner=Shell(tmp_path), has_gpu=True)
    assert checks["gpu"].status is CheckStatus.FAILED
    assert checks["inference"].status is CheckStatus.PASSED


async def test_a_process_that_has_ended(client: EndpointClient) -> None:
    ended = subprocess.Popen(["true"])
    # Until it is waited for it is a zombie, which a signal 0 would still reach.
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    for _ in range(2):
        checks = await collect(client, runner=Shell(), pid=ended.pid)
        assert checks["process"].status is CheckStatus.FAILED
        assert checks["process"].detail == f"the server (pid {ended.pid}) has ended"
        ended.wait()


async def test_a_dead_engine(server: FakeVllm, client: EndpointClient) -> None:
    server.health_status = 503
    server.fail_next = 1
    checks = await collect(client)
    assert checks["health"].status is CheckStatus.FAILED
    assert checks["health"].detail == "HTTP 503: the engine is dead"
    assert checks["models"].status is CheckStatus.PASSED
    assert checks["inference"].status is CheckStatus.FAILED
    assert "HTTP 500: EngineCore encountered an issue" in checks["inference"].detail


async def test_another_model(client: EndpointClient) -> None:
    checks = await collect(client, model="huge")
    assert checks["models"].detail == "serves tiny, not huge"
    assert "The model `huge` does not exist" in checks["inference"].detail


async def test_an_empty_answer_is_a_failure(server: FakeVllm, client: EndpointClient) -> None:
    server.answers["capital of France"] = ""
    checks = await collect(client)
    assert checks["inference"].status is CheckStatus.FAILED


async def test_without_inference(server: FakeVllm, client: EndpointClient) -> None:
    checks = await collect(client, inference=False)
    assert checks["inference"].status is CheckStatus.SKIPPED
    assert {request.method for request in server.requests} == {"GET"}


async def test_a_model_without_chat_template_says_so(
    server: FakeVllm, client: EndpointClient
) -> None:
    server.chat_template = False
    checks = await collect(client)
    assert checks["inference"].status is CheckStatus.PASSED
    assert "plain completion" in checks["inference"].detail


async def test_checks_come_in_their_order(server: FakeVllm, client: EndpointClient) -> None:
    checks = run_checks(client, model="tiny", runner=None, pid=None, has_gpu=False)
    assert [check.name async for check in checks] == list(NAMES)
    assert len(server.requests) == 3, "each was asked once"


@pytest.mark.parametrize("with_client", [True, False])
async def test_asked_on_the_machine_when_the_tunnel_is_no_way(
    server: FakeVllm, with_client: bool
) -> None:
    dead = EndpointClient("http://127.0.0.1:9", KEY, timeout_s=1) if with_client else None
    curl = SshCurl(Shell(), server.port, KEY)
    checks = await collect(dead, runner=Shell(), fallback=curl)
    assert checks["health"].detail == "200 OK (asked on the machine)"
    assert checks["inference"].status is CheckStatus.PASSED
    if dead:
        await dead.aclose()


async def test_nothing_answers() -> None:
    dead = EndpointClient("http://127.0.0.1:9", KEY, timeout_s=1)
    checks = await collect(dead)
    assert checks["health"].status is CheckStatus.FAILED
    assert checks["health"].detail == "connection refused"
    assert checks["models"].status is checks["inference"].status is CheckStatus.SKIPPED
    await dead.aclose()
    checks = await collect(None)
    assert checks["health"].status is CheckStatus.SKIPPED


async def test_a_lost_machine_is_a_failed_check(client: EndpointClient) -> None:
    class Lost:
        async def run(
            self, command: str, *, timeout: float = 30.0, input: str | None = None
        ) -> CommandResult:
            raise CommandTimeout("no answer within 20 s")

    checks = await collect(client, runner=Lost(), pid=7, has_gpu=True)
    assert checks["gpu"].detail == checks["process"].detail == "no answer within 20 s"
    assert checks["health"].status is CheckStatus.PASSED


def health_probe(client: EndpointClient) -> Callable[[], Awaitable[bool]]:
    async def probe() -> bool:
        return await client.health() == 200

    return probe


async def test_a_server_that_comes_later_is_noticed() -> None:
    server = FakeVllm()
    await server.start()
    port = server.port
    await server.aclose()
    client = EndpointClient(f"http://127.0.0.1:{port}", KEY)
    probes = 0

    async def probe() -> bool:
        nonlocal probes
        probes += 1
        return await client.health() == 200

    waiting = asyncio.create_task(wait_ready(probe, ended=asyncio.Event(), timeout_s=30))
    await wait_until(lambda: probes >= 2)
    assert not waiting.done()
    server = FakeVllm(port=port)
    await server.start()
    # The one that is under way may be too early.
    latest = probes + 1
    assert await waiting is True
    assert probes <= latest
    await client.aclose()
    await server.aclose()


@in_virtual_time
async def test_ready_is_noticed_soon() -> None:
    now = asyncio.get_running_loop().time
    ready_at = now() + 17.3

    async def probe() -> bool:
        return now() >= ready_at

    assert await wait_ready(probe, ended=asyncio.Event(), timeout_s=30) is True
    assert now() - ready_at <= 0.4


async def test_a_nudge_probes_at_once() -> None:
    ready, probes = False, 0

    async def probe() -> bool:
        nonlocal probes
        probes += 1
        return ready

    nudge = asyncio.Event()
    waiting = asyncio.create_task(
        wait_ready(
            probe,
            ended=asyncio.Event(),
            nudge=nudge,
            timeout_s=20,
            first_interval_s=15,
            max_interval_s=15,
        )
    )
    await wait_until(lambda: probes == 1)
    nudge.set()
    await wait_until(lambda: probes == 2)
    assert not nudge.is_set() and not waiting.done()
    ready = True
    nudge.set()
    assert await asyncio.wait_for(waiting, 30) is True


@pytest.mark.parametrize("hanging", [True, False])
@in_virtual_time
async def test_the_end_of_the_server_is_noticed_at_once(hanging: bool) -> None:
    probing = asyncio.Event()

    async def probe() -> bool:
        probing.set()
        if hanging:
            await asyncio.Event().wait()
        raise VerificationError("connection refused")

    ended = asyncio.Event()
    waiting = asyncio.create_task(
        wait_ready(probe, ended=ended, timeout_s=20, first_interval_s=15, max_interval_s=15)
    )
    await probing.wait()
    now = asyncio.get_running_loop().time
    started = now()
    ended.set()
    assert await waiting is False
    assert now() == started


@in_virtual_time
async def test_the_intervals_grow_to_their_maximum() -> None:
    times: list[float] = []

    async def probe() -> bool:
        times.append(asyncio.get_running_loop().time())
        return len(times) == 6

    assert await wait_ready(
        probe, ended=asyncio.Event(), timeout_s=5, first_interval_s=0.02, max_interval_s=0.05
    )
    gaps = [b - a for a, b in pairwise(times)]
    assert gaps == pytest.approx([0.02, 0.03, 0.045, 0.05, 0.05])


async def test_time_runs_out() -> None:
    async def probe() -> bool:
        return False

    with pytest.raises(VerificationError, match=r"not ready within 0\.1 s") as caught:
        await wait_ready(probe, ended=asyncio.Event(), timeout_s=0.1)
    assert "log" in caught.value.hint


async def test_a_cancelled_wait_leaves_nothing_behind() -> None:
    probing, stopped = asyncio.Event(), asyncio.Event()

    async def probe() -> bool:
        probing.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return False

    before = asyncio.all_tasks()
    waiting = asyncio.create_task(wait_ready(probe, ended=asyncio.Event(), timeout_s=20))
    await probing.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert stopped.is_set()
    assert asyncio.all_tasks() == before
