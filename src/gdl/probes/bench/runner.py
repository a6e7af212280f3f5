"""The benchmark that every deployment ends with: quality first, then load."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from gdl.domain.errors import VerificationError
from gdl.domain.models import BenchReport, QualityAnswer
from gdl.probes.bench.quality import judge, load_prompts
from gdl.probes.bench.stats import build_report
from gdl.probes.endpoint import Endpoint, ask
from gdl.probes.protocol import StreamResult

_HINT = "the server's log tells more; `health` shows which check fails"


async def run_bench(
    client: Endpoint,
    model: str,
    *,
    price_per_hour: float,
    on_answer: Callable[[QualityAnswer], None],
    on_progress: Callable[[int, int, float], None],
    concurrency: int = 4,
    requests: int = 8,
    max_tokens: int = 64,
) -> BenchReport:
    """Five quality prompts one after another, then `requests` longer ones at `concurrency`.

    The quality prompts are not timed for the report and so warm the server up. on_answer gets
    each quality answer; on_progress (requests done, requests in all, output tokens a second so
    far) follows the longer ones. Failed requests are counted in the report. Raises
    VerificationError when every request failed; when all quality prompts did, nothing more is
    sent.
    """
    answers = await _run_quality(client, model, on_answer)
    if answers and all(answer.error for answer in answers):
        raise VerificationError(f"no prompt was answered: {answers[0].error}", _HINT)
    load = _Load(client, model, requests, max_tokens, on_progress)
    duration_s = await load.run(concurrency)
    return build_report(
        model,
        load.results,
        duration_s=duration_s,
        price_per_hour=price_per_hour,
        concurrency=concurrency,
        quality=answers,
    )


async def _run_quality(
    client: Endpoint, model: str, on_answer: Callable[[QualityAnswer], None]
) -> list[QualityAnswer]:
    answers = []
    for prompt in load_prompts().quality:
        result = await ask(client, model, prompt.prompt, max_tokens=prompt.max_tokens)
        answers.append(judge(prompt, result))
        on_answer(answers[-1])
    return answers


class _Load:
    """A closed loop: each of N workers sends its next request when the last one is answered."""

    def __init__(
        self,
        client: Endpoint,
        model: str,
        requests: int,
        max_tokens: int,
        on_progress: Callable[[int, int, float], None],
    ) -> None:
        self.results: list[StreamResult] = []
        self._client = client
        self._model = model
        self._total = requests
        self._max_tokens = max_tokens
        self._on_progress = on_progress
        self._waiting = iter(range(requests))
        self._started = 0.0

    async def run(self, concurrency: int) -> float:
        """Send all requests; the seconds from the first dispatch to the last finish."""
        self._on_progress(0, self._total, 0.0)
        self._started = finished = time.perf_counter()
        workers = [asyncio.create_task(self._work()) for _ in range(min(concurrency, self._total))]
        try:
            ends = await asyncio.gather(*workers)
            finished = max(ends, default=finished)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return finished - self._started

    async def _work(self) -> float:
        """Take requests until none is left; when the last one ended."""
        ended = self._started
        for index in self._waiting:
            prompt = load_prompts().longer_prompt(index)
            result = await ask(self._client, self._model, prompt, max_tokens=self._max_tokens)
            ended = time.perf_counter()
            self.results.append(result)
            tokens = sum(r.output_tokens or 0 for r in self.results if r.ok)
            self._on_progress(len(self.results), self._total, tokens / (ended - self._started))
        return ended
