"""The benchmark that every deployment ends with: quality first, then load."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gdl.domain.benchmark import OWN_LOAD, BenchLoad, BenchReport, QualityAnswer
from gdl.domain.errors import VerificationError
from gdl.domain.secret import Secret
from gdl.endpoint.question import Endpoint, ask
from gdl.endpoint.ssh_curl import SshCurl
from gdl.loadgen.decode import Sample
from gdl.loadgen.load import LoadShape, run_load
from gdl.loadgen.metrics import Figures, figures
from gdl.loadgen.quality import judge, load_prompts
from gdl.loadgen.report import report, sample
from gdl.loadgen.request_template import RequestTemplate
from gdl.loadgen.transport import Limits
from gdl.loadgen.transport_factory import transport_for
from gdl.loadgen.workload import Conversation

if TYPE_CHECKING:
    from gdl.endpoint.client import EndpointClient

_HINT = "the server's log says more; `health` shows which check fails"

Progress = Callable[[int, int, float], None]
"""Called with (requests done, requests in all, output tokens a second so far)."""


async def run_bench(
    client: Endpoint,
    model: str,
    *,
    key: Secret,
    price_per_hour: float,
    on_answer: Callable[[QualityAnswer], None],
    on_progress: Progress,
    load: BenchLoad = OWN_LOAD,
) -> BenchReport:
    """Five quality prompts one after another, then longer ones as `load` says.

    The quality prompts are not timed for the report and so warm the server up. on_answer gets
    each quality answer; on_progress follows the longer ones, which the load generator sends or,
    where there is no tunnel, commands on the machine. Failed requests are counted in the report.
    Raises VerificationError when all quality prompts failed (nothing more is sent then), or when
    no connection can be made.
    """
    answers = await _run_quality(client, model, on_answer)
    if answers and all(answer.error for answer in answers):
        raise VerificationError(f"no prompt was answered: {answers[0].error}", _HINT)
    options = _BenchOptions(model, load.requests, load.concurrency, load.max_tokens, on_progress)
    on_progress(0, load.requests, 0.0)
    if isinstance(client, SshCurl):
        found, note = await _ByCommands(client, options).run(), ""
    else:
        found, note = await _by_load(client, key, options)
    return report(
        model,
        found,
        price_per_hour=price_per_hour,
        concurrency=load.concurrency,
        quality=answers,
        note=note,
    )


_THINKING_TOKENS = 1024
"""For the answer of a model that reasons before it."""


async def _run_quality(
    client: Endpoint, model: str, on_answer: Callable[[QualityAnswer], None]
) -> list[QualityAnswer]:
    answers = []
    for prompt in load_prompts().quality:
        result = await ask(client, model, prompt.prompt, max_tokens=prompt.max_tokens)
        if result.ok and not result.text.strip() and result.finish_reason == "length":
            # It thinks before it answers.
            result = await ask(client, model, prompt.prompt, max_tokens=_THINKING_TOKENS)
        answers.append(judge(prompt, result))
        on_answer(answers[-1])
    return answers


@dataclass(frozen=True, slots=True)
class _BenchOptions:
    model: str
    requests: int
    concurrency: int
    max_tokens: int
    on_progress: Progress


class _Tally:
    """Tells the progress of a benchmark, sample by sample."""

    def __init__(self, options: _BenchOptions) -> None:
        self._options = options
        self._done = self._tokens = 0
        self._began = time.perf_counter()

    def __call__(self, one: Sample) -> None:
        self._done += 1
        self._tokens += one.output if one.ok else 0
        rate = self._tokens / max(one.end - self._began, 1e-9)
        self._options.on_progress(self._done, self._options.requests, rate)


async def _by_load(
    client: EndpointClient, key: Secret, options: _BenchOptions
) -> tuple[Figures, str]:
    """(figures, what speaks against them)."""
    prompts = load_prompts()
    conversations = [
        Conversation(((prompts.longer_prompt(index), options.max_tokens),))
        for index in range(options.requests)
    ]
    transport = transport_for(client.base_url, key, Limits(request_s=client.timeout_s))
    try:
        outcome = await run_load(
            transport,
            RequestTemplate(options.model, client.mode),
            conversations,
            LoadShape(options.concurrency),
            key,
            on_sample=_Tally(options),
        )
    finally:
        await transport.aclose()
    return outcome.figures, outcome.strain.limited or outcome.note


class _ByCommands:
    """A closed loop over commands: each of N workers sends its next request when the last one is
    answered."""

    def __init__(self, client: SshCurl, options: _BenchOptions) -> None:
        self._client = client
        self._options = options
        self._samples: list[Sample] = []
        self._waiting = iter(range(options.requests))
        self._told = _Tally(options)

    async def run(self) -> Figures:
        """Send all requests. The duration is from the first dispatch to the last finish."""
        began = finished = time.perf_counter()
        count = min(self._options.concurrency, self._options.requests)
        workers = [asyncio.create_task(self._work()) for _ in range(count)]
        try:
            finished = max(await asyncio.gather(*workers), default=finished)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return figures(self._samples, finished - began)

    async def _work(self) -> float:
        """Take requests until none is left; when the last one ended."""
        options, ended = self._options, 0.0
        for index in self._waiting:
            prompt = load_prompts().longer_prompt(index)
            start = time.perf_counter()
            result = await ask(self._client, options.model, prompt, max_tokens=options.max_tokens)
            ended = time.perf_counter()
            self._samples.append(sample(result, start, index))
            self._told(self._samples[-1])
        return ended
