"""The benchmark: figures by hand, and whole runs against a real HTTP server."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncIterator
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdl.domain.benchmark import BenchLoad, BenchReport, Histogram, Percentiles, QualityAnswer
from gdl.domain.errors import VerificationError
from gdl.domain.secret import Secret
from gdl.domain.serialization import to_plain
from gdl.endpoint.client import EndpointClient, StreamResult
from gdl.endpoint.ssh_curl import SshCurl
from gdl.loadgen.deployment_benchmark import run_bench
from gdl.loadgen.metrics import figures
from gdl.loadgen.quality import judge, load_prompts, passes
from gdl.loadgen.report import report, sample
from gdl.loadgen.stats import cost_per_million, percentile, tokens_per_s
from local_shell import Shell
from vllm_support import FakeVllm
from waiting import wait_until

KEY = Secret("k")


def result(
    ttft: float | None = 100.0,
    e2el: float = 400.0,
    output: int | None = 4,
    given: int = 10,
    error: str = "",
    kind: str = "",
) -> StreamResult:
    return StreamResult("some text", ttft, e2el, (), given, output, "stop", error, kind)


samples = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=60)


@given(samples)
def test_percentiles_agree_with_the_standard_library(values: list[float]) -> None:
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    for percent in (1, 25, 50, 95, 99):
        assert percentile(values, percent) == pytest.approx(cuts[percent - 1], abs=1e-6)


@given(samples, st.floats(0, 100), st.floats(0, 100))
def test_percentiles_rise_and_stay_inside(values: list[float], a: float, b: float) -> None:
    low, high = sorted((percentile(values, a), percentile(values, b)))
    assert min(values) <= low <= high <= max(values)
    assert percentile(values, max(a, b)) == high
    assert percentile(values, 0) == min(values) and percentile(values, 100) == max(values)


def test_percentiles_by_hand() -> None:
    # Places in 0-4: median 2, p95 3.8, p99 3.96.
    values = [50, 10, 40, 20, 30]
    assert [percentile(values, percent) for percent in (50, 95, 99)] == pytest.approx(
        [30, 48, 49.6]
    )
    assert percentile([7.0], 99) == 7.0
    for wrong in (-1, 101):
        with pytest.raises(ValueError, match="between 0 and 100"):
            percentile([1.0], wrong)
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 50)


def test_tokens_per_second_of_one_answer() -> None:
    assert tokens_per_s(result(100, 400, 4)) == 10.0
    assert tokens_per_s(result(output=None)) is None
    assert tokens_per_s(result(e2el=0)) is None


def test_cost_per_million_tokens() -> None:
    # 0.36 dollars an hour are 0.0001 a second; at 50 tokens a second 2e-6 a token.
    assert cost_per_million(0.36, 50) == pytest.approx(2.0)
    assert cost_per_million(0.0, 50) is None and cost_per_million(0.36, 0) is None


def test_a_report_by_hand() -> None:
    results = [
        result(100, 400, 4, 10),
        result(200, 800, 7, 12),
        result(None, 9000, None, 0, error="HTTP 500: a", kind="http_500"),
        result(50, 9000, 3, 10, error="it broke off", kind="truncated"),
    ]
    found = figures([sample(r, 0.0, n) for n, r in enumerate(results)], 2.0)
    made = report("m", found, price_per_hour=0.36, concurrency=2, note="slow")
    assert made == BenchReport(
        model="m",
        completed=2,
        failed=2,
        duration_s=2.0,
        input_tokens=22,
        output_tokens=11,
        request_throughput=1.0,
        output_throughput=5.5,
        ttft_ms=Percentiles(150, 150, 195, 199),
        tpot_ms=_near(Percentiles(100, 100, 100, 100)),
        e2el_ms=_near(Percentiles(600, 600, 780, 796)),
        cost_per_million=near(0.0001 / 5.5 * 1e6),
        concurrency=2,
        errors=("1 x http_500: HTTP 500: a", "1 x truncated: it broke off"),
        note="slow",
        ttft_spread=Histogram(100, near(10), (1, *(0,) * 9, 1)),
        e2el_spread=Histogram(400, near(50), (1, *(0,) * 7, 1)),
    )


def near(value: float) -> float:
    """Equal to what lies within rounding of it."""
    return cast("float", pytest.approx(value))


def _near(wanted: Percentiles) -> Percentiles:
    values = (wanted.mean, wanted.median, wanted.p95, wanted.p99)
    return Percentiles(*(near(value) for value in values))


def test_a_report_of_failures_alone_and_of_nothing() -> None:
    failures = figures([sample(result(error="x"), 0.0, 0)], 0.0)
    made = report("m", failures, price_per_hour=1.0, concurrency=1)
    assert (made.completed, made.failed, made.output_throughput) == (0, 1, 0.0)
    assert made.ttft_ms is None and made.tpot_ms is None and made.e2el_ms is None
    assert made.cost_per_million is None
    assert report("m", figures([], 1.0), price_per_hour=1, concurrency=1).failed == 0


def test_errors_are_counted_by_kind() -> None:
    results = [
        result(error="HTTP 500: request 1", kind="http_500"),
        result(),
        result(output=None),
        result(error="HTTP 500: request 2", kind="http_500"),
    ]
    found = figures([sample(r, 0.0, n) for n, r in enumerate(results)], 1.0)
    assert report("m", found, price_per_hour=0, concurrency=1).errors == (
        "2 x http_500: HTTP 500: request 1",
        "1 x no token counts: chunks were counted",
    )


@pytest.mark.parametrize(
    ("answer", "expected", "passed"),
    [
        ("The capital is PARIS!", ("paris",), True),
        ("Parisian streets", ("Paris",), False),
        ("He has 5.", ("5", "five"), True),
        ("He has 15.", ("5", "five"), False),
        ("twenty-five", ("five",), True),
        ("```python\ndef add(a, b):```", ("def",), True),
        ("a default", ("def",), False),
        ("C++ is", ("c++",), True),
        ("", ("x",), False),
    ],
)
def test_expected_words(answer: str, expected: tuple[str, ...], passed: bool) -> None:
    assert passes(answer, expected) is passed


def test_the_prompts() -> None:
    prompts = load_prompts()
    categories = [prompt.category for prompt in prompts.quality]
    assert categories == ["reasoning", "coding", "knowledge", "creative", "instruction"]
    knowledge = prompts.quality[2]
    assert knowledge.prompt == "Name the capital of France."
    assert knowledge.expected == ("Paris",)
    for prompt in prompts.quality:
        assert prompt.expected and 0 < prompt.max_tokens <= 64 and len(prompt.prompt) < 100
        # A model that only repeats the question must not pass.
        assert not passes(prompt.prompt, prompt.expected)
    longer = [prompts.longer_prompt(index) for index in range(40)]
    assert len(set(longer)) == 40 and all("{" not in prompt for prompt in longer)
    assert longer[0].split()[0] != longer[1].split()[0]


def test_a_failed_answer_never_passes() -> None:
    prompt = load_prompts().quality[2]
    broken = StreamResult("Paris", 1.0, 2.0, (), None, None, None, "it broke off", "truncated")
    answer = judge(prompt, broken)
    assert not answer.passed and answer.error == "it broke off" and answer.answer == "Paris"
    assert answer.tokens_per_s is None and answer.output_tokens == 0


@pytest.fixture
async def server() -> AsyncIterator[FakeVllm]:
    async with FakeVllm(model="tiny", api_key="k") as running:
        running.answers["capital of France"] = "The capital of France is Paris."
        running.answers["Python"] = "def add(a, b): return a + b"
        running.answers["article"] = " ".join(["word"] * 100)
        yield running


@pytest.fixture
async def client(server: FakeVllm) -> AsyncIterator[EndpointClient]:
    opened = EndpointClient(server.url, KEY, timeout_s=5)
    yield opened
    await opened.aclose()


class Watcher:
    def __init__(self) -> None:
        self.answers: list[QualityAnswer] = []
        self.progress: list[tuple[int, int, float]] = []

    async def run(self, client: EndpointClient | SshCurl, **given: BenchLoad) -> BenchReport:
        return await run_bench(
            client,
            "tiny",
            key=KEY,
            price_per_hour=0.36,
            on_answer=self.answers.append,
            on_progress=lambda *step: self.progress.append(step),
            **given,
        )


async def test_a_whole_run(server: FakeVllm, client: EndpointClient) -> None:
    server.first_delay_s, server.token_delay_s = 0.02, 0.002
    watcher = Watcher()
    report = await watcher.run(client, load=BenchLoad(max_tokens=10))
    assert [answer.passed for answer in watcher.answers] == [True, True, True, False, False]
    assert (report.quality_passed, report.quality_total) == (3, 5)
    assert watcher.answers[2].answer == "The capital of France is Paris."
    assert (report.completed, report.failed, report.output_tokens) == (8, 0, 80)
    assert report.output_throughput == pytest.approx(80 / report.duration_s)
    assert report.request_throughput == pytest.approx(8 / report.duration_s)
    # The server's own delays are the floor; how far above it is the machine's affair.
    assert report.ttft_ms and report.ttft_ms.median >= 20
    assert report.tpot_ms and report.tpot_ms.median >= 2
    assert report.e2el_ms and report.e2el_ms.median > report.ttft_ms.median
    assert report.cost_per_million == pytest.approx(0.0001 / report.output_throughput * 1e6)
    assert report.errors == () and report.concurrency == 4 and report.model == "tiny"
    assert server.most_running == 4
    assert [step[:2] for step in watcher.progress] == [(n, 8) for n in range(9)]
    assert watcher.progress[0][2] == 0.0 and watcher.progress[-1][2] > 0
    assert to_plain(report)["ttft_ms"]["p95"] > 0


async def test_quality_prompts_come_one_after_another(
    server: FakeVllm, client: EndpointClient
) -> None:
    await Watcher().run(client, load=BenchLoad(2, 1, 2))
    assert server.most_running == 1
    asked = [request.prompt for request in server.requests]
    assert asked[:5] == [prompt.prompt for prompt in load_prompts().quality]
    assert len(asked) == 7 and asked[5] != asked[6]


async def test_some_failures_are_counted(server: FakeVllm, client: EndpointClient) -> None:
    watcher = Watcher()
    steps: list[int] = []

    def after_quality(done: int, total: int, rate: float) -> None:
        steps.append(done)
        if done == 0:
            server.fail_next = 3

    report = await run_bench(
        client,
        "tiny",
        key=KEY,
        price_per_hour=0,
        on_answer=watcher.answers.append,
        on_progress=after_quality,
        load=BenchLoad(max_tokens=3),
    )
    assert (report.completed, report.failed) == (5, 3)
    assert report.errors == ("3 x http_500: HTTP 500: EngineCore encountered an issue",)
    assert report.output_tokens == 15 and report.cost_per_million is None
    assert steps[-1] == 8


async def test_when_every_request_fails_it_says_why(
    server: FakeVllm, client: EndpointClient
) -> None:
    server.fail_next = 1000
    watcher = Watcher()
    with pytest.raises(VerificationError, match="EngineCore encountered an issue"):
        await watcher.run(client)
    assert len(watcher.answers) == 5 and all(answer.error for answer in watcher.answers)
    assert len(server.requests) == 5


async def test_over_commands_on_the_machine(server: FakeVllm) -> None:
    report = await Watcher().run(SshCurl(Shell(), server.port, KEY), load=BenchLoad(2, 2, 4))
    assert (report.completed, report.output_tokens, report.quality_passed) == (2, 8, 3)
    assert report.ttft_ms is None and report.tpot_ms is None
    assert report.e2el_ms and report.e2el_ms.mean > 0


async def test_a_cancelled_run_leaves_nothing_behind(
    server: FakeVllm, client: EndpointClient
) -> None:
    under_load = asyncio.Event()
    before = asyncio.all_tasks()

    def stall(done: int, total: int, rate: float) -> None:
        server.stall_after = 1
        under_load.set()

    run = asyncio.create_task(
        run_bench(
            client, "tiny", key=KEY, price_per_hour=0, on_answer=lambda _: None, on_progress=stall
        )
    )
    await asyncio.wait_for(under_load.wait(), 5)
    await wait_until(lambda: server.running >= 4)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(run, 30)
    ours = {t for t in asyncio.all_tasks() - before if "vllm_api" not in repr(t)}
    assert not ours


async def test_a_failing_callback_ends_the_run_as_itself(client: EndpointClient) -> None:
    def broken(done: int, total: int, rate: float) -> None:
        if done:
            raise RuntimeError("the reader is broken")

    with pytest.raises(RuntimeError, match="the reader is broken"):
        await run_bench(
            client, "tiny", key=KEY, price_per_hour=0, on_answer=lambda _: None, on_progress=broken
        )
