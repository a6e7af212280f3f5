"""Is it alive, does it answer, is it ready."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from gdl.domain.engine import NOTHING_MORE, Capabilities
from gdl.domain.errors import GdlError, VerificationError
from gdl.domain.health import Check, CheckStatus
from gdl.domain.host import CommandRunner
from gdl.domain.text import one_line
from gdl.endpoint.capability_checks import run_capability_checks
from gdl.endpoint.question import Endpoint, ask
from gdl.endpoint.ssh_curl import SshCurl
from gdl.host.gpu import gpu_status
from gdl.host.gpu_errors import gpu_errors

if TYPE_CHECKING:
    from gdl.endpoint.client import EndpointClient

_T = TypeVar("_T")

NAMES = ("gpu", "process", "health", "models", "inference")
"""The checks, in the order in which they come."""

_QUESTION = "Name the capital of France."
"""Asked "What is ...?", a small model in 4 bits answers in French on some processors."""
_ANSWER_TOKENS = 24
_FIRST_PROBE_S = 2.0
_LONGEST_PROBE_S = 10.0


async def run_checks(
    client: EndpointClient | None,
    *,
    model: str,
    runner: CommandRunner | None,
    pid: int | None,
    has_gpu: bool,
    inference: bool = True,
    fallback: SshCurl | None = None,
    can: Capabilities = NOTHING_MORE,
) -> AsyncIterator[Check]:
    """All checks in the order of `NAMES`, asked at once, then those of what the server was started
    for (can), each as soon as it is known. Never raises.

    The endpoint is asked through `client`; through `fallback` when there is no client, or when
    nothing answers it.
    """
    async with _Asked() as asked:
        gpu = asked.now(_check_gpu(runner, has_gpu))
        process = asked.now(_check_process(runner, pid))
        health = asked.now(_check_health(client, fallback))
        first = client or fallback
        # Nothing is known of its health yet; a long way is worth the question.
        early = () if first is None else _questions(asked, first, model, inference)
        yield await gpu
        yield await process
        check, endpoint = await health
        yield check
        if endpoint is None:
            reason = "the endpoint does not answer"
            yield Check("models", CheckStatus.SKIPPED, reason)
            yield Check("inference", CheckStatus.SKIPPED, reason)
            return
        if endpoint is not first:
            early = _questions(asked, endpoint, model, inference)
        for question in early:
            yield await question
    if not inference:
        yield Check("inference", CheckStatus.SKIPPED, "not asked for")
        return
    degraded = False
    async for check in run_capability_checks(endpoint, model, can):
        degraded = degraded or check.status is CheckStatus.DEGRADED
        yield check
    if degraded:
        # It may have died of what was asked.
        again, _ = await _check_health(client, fallback)
        if again.status is CheckStatus.FAILED:
            yield again


class _Asked:
    """Questions that are under way; those nobody needs an answer to any more end with it."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[Any]] = []

    def now(self, question: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        task = asyncio.create_task(question)
        self._tasks.append(task)
        return task

    async def __aenter__(self) -> _Asked:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _questions(
    asked: _Asked, endpoint: Endpoint, model: str, inference: bool
) -> tuple[asyncio.Task[Check], ...]:
    models = asked.now(_check_models(endpoint, model))
    return (models, asked.now(_check_inference(endpoint, model))) if inference else (models,)


async def wait_ready(
    probe: Callable[[], Awaitable[bool]],
    *,
    ended: asyncio.Event,
    nudge: asyncio.Event | None = None,
    timeout_s: float,
    first_interval_s: float = 0.1,
    max_interval_s: float = 0.4,
) -> bool:
    """Probe until the server is ready: True then, False as soon as `ended` is set.

    A GdlError of the probe counts as "not yet". `nudge` (something hints that it is ready) makes
    it probe at once; it is cleared. Raises VerificationError after `timeout_s` seconds.
    """
    gone = asyncio.create_task(ended.wait())
    try:
        async with asyncio.timeout(timeout_s):
            return await _poll(probe, gone, nudge, first_interval_s, max_interval_s)
    except TimeoutError:
        raise VerificationError(
            f"the server was not ready within {timeout_s:g} s",
            "its log shows how far it came; a big model may need a longer start time-out",
        ) from None
    finally:
        await _end(gone)


async def _poll(
    probe: Callable[[], Awaitable[bool]],
    gone: asyncio.Future[Any],
    nudge: asyncio.Event | None,
    first_interval_s: float,
    max_interval_s: float,
) -> bool:
    interval, limit = first_interval_s, _FIRST_PROBE_S
    # Without a nudge nobody ever sets this one.
    nudge = nudge or asyncio.Event()
    while True:
        nudge.clear()
        attempt = asyncio.ensure_future(_probe_once(probe, limit))
        try:
            await asyncio.wait({attempt, gone}, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                return False
            ready = attempt.result()
        finally:
            await _end(attempt)
        if ready:
            return True
        if ready is None:
            limit = min(limit * 2, _LONGEST_PROBE_S)
        nudged = asyncio.create_task(nudge.wait())
        try:
            await asyncio.wait(
                {nudged, gone}, timeout=interval, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            await _end(nudged)
        if gone.done():
            return False
        # A nudge means that it is nearly there: look closely again.
        interval = first_interval_s if nudge.is_set() else min(interval * 1.5, max_interval_s)


async def _probe_once(probe: Callable[[], Awaitable[bool]], limit: float) -> bool | None:
    """Whether it is ready; None when the probe ran into its time limit."""
    try:
        async with asyncio.timeout(limit):
            return await probe()
    except TimeoutError:
        return None
    except (GdlError, OSError):
        return False


async def _end(task: asyncio.Future[Any]) -> None:
    """Cancel a task and see it end."""
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
    if not task.cancelled():
        # Seen here, or asyncio complains that nobody looked at it.
        task.exception()


async def _check_gpu(runner: CommandRunner | None, has_gpu: bool) -> Check:
    if not has_gpu:
        return Check("gpu", CheckStatus.SKIPPED, "no GPU")
    if runner is None:
        return Check("gpu", CheckStatus.SKIPPED, "no connection to the machine")
    started = time.perf_counter()
    try:
        status, worn = await asyncio.gather(gpu_status(runner), gpu_errors(runner))
    except GdlError as error:
        return _failed("gpu", error.message)
    # Answers computed in broken memory prove nothing; what the driver wrote may be another's.
    good = bool(status.gpus) and not worn.memory
    detail = ", ".join(part for part in (status.summary, worn.told) if part)
    verdict = CheckStatus.PASSED if good else CheckStatus.FAILED
    return Check("gpu", verdict, one_line(detail, 400), _since(started))


async def _check_process(runner: CommandRunner | None, pid: int | None) -> Check:
    if runner is None or pid is None:
        what = "no connection to the machine" if runner is None else "the process is not known"
        return Check("process", CheckStatus.SKIPPED, what)
    pid = int(pid)
    # Images without procps have no ps; machines that are not Linux have no /proc.
    command = (
        f"if [ -d /proc/self ]; then sed -n 's/^State:[^A-Za-z]*//p' /proc/{pid}/status; "
        f"else ps -o stat= -p {pid}; fi 2>/dev/null"
    )
    started = time.perf_counter()
    try:
        result = await runner.run(command, timeout=20.0)
    except GdlError as error:
        return _failed("process", error.message)
    state = result.stdout.strip()[:1]
    if state in ("", "Z", "X"):
        return _failed("process", f"the server (pid {pid}) has ended")
    return Check("process", CheckStatus.PASSED, f"pid {pid} runs", _since(started))


async def _check_health(
    client: EndpointClient | None, fallback: SshCurl | None
) -> tuple[Check, Endpoint | None]:
    """The check, and the way on which something answered."""
    ways: list[tuple[Endpoint, str]] = []
    if client is not None:
        ways.append((client, ""))
    if fallback is not None:
        ways.append((fallback, " (asked on the machine)"))
    if not ways:
        return Check("health", CheckStatus.SKIPPED, "no way to the endpoint"), None
    error = ""
    for endpoint, note in ways:
        started = time.perf_counter()
        try:
            status = await endpoint.health()
        except GdlError as caught:
            error = error or caught.message
            continue
        if status in endpoint.readiness.ready:
            detail = ("200 OK" if status == 200 else f"HTTP {status}") + note
            return Check("health", CheckStatus.PASSED, detail, _since(started)), endpoint
        meaning = "the engine is dead" if status in endpoint.readiness.dead else "not healthy"
        detail = f"HTTP {status}: {meaning}{note}"
        return Check("health", CheckStatus.FAILED, detail, _since(started)), endpoint
    return _failed("health", error), None


async def _check_models(endpoint: Endpoint, model: str) -> Check:
    started = time.perf_counter()
    try:
        served = await endpoint.models()
    except GdlError as error:
        return _failed("models", error.message)
    if model not in served:
        return _failed("models", f"serves {', '.join(served) or 'nothing'}, not {model}")
    context = served[model]
    takes = f", takes {context:,} tokens" if context else ""
    detail = one_line(", ".join(served)) + takes
    return Check("models", CheckStatus.PASSED, detail, _since(started))


async def _check_inference(endpoint: Endpoint, model: str) -> Check:
    result = await ask(endpoint, model, _QUESTION, max_tokens=_ANSWER_TOKENS)
    if not result.ok:
        return _failed("inference", result.error)
    answer = one_line(result.answer, 120)
    if not answer:
        return _failed("inference", "the answer was empty")
    tokens = f", {result.output_tokens} tokens" if result.output_tokens is not None else ""
    mode = "" if endpoint.mode == "chat" else " (no chat template: plain completion)"
    mode += "" if result.text.strip() else " (reasoning so far)"
    return Check("inference", CheckStatus.PASSED, f'"{answer}"{tokens}{mode}', result.e2el_ms)


def _failed(name: str, detail: str) -> Check:
    return Check(name, CheckStatus.FAILED, one_line(detail, 300))


def _since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
