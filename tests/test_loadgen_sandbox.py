"""The load generator against the sandbox's simulated GPUs, whose best points are known, in virtual
time: what is measured are their models of speed, not this machine's."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from gdl.domain.secret import Secret
from gdl.loadgen.bench_session import Bench, LoadOptions, connected
from gdl.loadgen.load import LoadShape, Outcome
from gdl.loadgen.metrics import Slo
from gdl.loadgen.request_template import RequestTemplate
from gdl.loadgen.schedule import Arrivals
from gdl.loadgen.sweep import Swept
from gdl.loadgen.transport import Limits
from gdl.loadgen.workload import Length, Workload
from gdl.simulator.programs import vllm_api
from virtual_time import VirtualClock, clock_for

BENCH = "gdl.loadgen"
WORK = Workload("random", Length(32, 32), Length(32, 32))
LIMITS = Limits(600, 60, 10)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> VirtualClock:
    # Each of their ticks is a step of this clock; none is needed here.
    monkeypatch.setattr(f"{BENCH}.strain.EVERY_S", 1.0)
    monkeypatch.setattr(f"{BENCH}.socket_transport._LOOK_EVERY_S", 1.0)
    return clock_for(
        monkeypatch,
        f"{BENCH}.http_connection.perf_counter",
        f"{BENCH}.socket_transport.perf_counter",
        f"{BENCH}.load_driver.perf_counter",
        f"{BENCH}.strain.time",
        "gdl.simulator.programs.vllm_api.time",
    )


def gpu(token_s: float, seats: int) -> vllm_api.Served:
    """A simulated GPU: seconds for a token, requests at a time."""
    return vllm_api.Served("tiny", 4096, "", token_s, 1.0, "0.32.0", "", "", lambda: None, seats)


async def measured(
    served: vllm_api.Served, options: LoadOptions, shape: LoadShape | None = None
) -> Swept | Outcome:
    """A sweep, or one load, over real sockets."""
    api = vllm_api.Api(served)
    server = await asyncio.start_server(api.accept, "127.0.0.1", 0, limit=2**20)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        request_template = RequestTemplate("tiny", ignore_eos=True)
        async with connected(url, Secret(""), request_template, options, LIMITS) as bench:
            assert isinstance(bench, Bench)
            return await (bench.sweep(256) if shape is None else bench.load(shape))
    finally:
        server.close()


# A 4090, an A100 and an H100 with a model of 7 * 10^9 parameters, by their memories' bandwidths.
@pytest.mark.long
@pytest.mark.parametrize(
    ("token_s", "seats"),
    [
        pytest.param(0.0253, 8, marks=pytest.mark.soak),
        pytest.param(0.0125, 16, marks=pytest.mark.soak),
        (0.0076, 32),
    ],
)
def test_the_sweep_finds_the_best_point(clock: VirtualClock, token_s: float, seats: int) -> None:
    found = clock.run(measured(gpu(token_s, seats), LoadOptions(WORK)))
    assert isinstance(found, Swept)
    assert found.best is not None and found.best.concurrency == seats
    assert found.points[-1].concurrency == 2 * seats and found.sure
    # Seats tokens in each gap, less what the first token takes longer.
    gap = token_s * (1 + 0.02 * (seats - 1))
    assert 0.8 * seats / gap < found.best.throughput < seats / gap


@pytest.mark.minute
@pytest.mark.long
def test_the_sweep_keeps_the_limits(clock: VirtualClock) -> None:
    # A token takes 12.5 ms x (1 + 0.02 (n - 1)): at 16 a time 16.25, at 32 20.3 ms.
    options = LoadOptions(WORK, slo=Slo.parse("tpot:17"))
    found = clock.run(measured(gpu(0.0125, 64), options))
    assert isinstance(found, Swept) and found.best is not None
    assert 16 <= found.best.concurrency <= 19
    assert found.best.kept == 1.0


def test_a_load_sees_the_speed_of_the_gpu(clock: VirtualClock) -> None:
    found = clock.run(measured(gpu(0.02, 8), LoadOptions(WORK, requests=4), LoadShape(1)))
    assert isinstance(found, Outcome)
    figures = found.figures
    assert (figures.completed, figures.output_tokens) == (4, 128)
    assert figures.tpot_ms is not None and figures.ttft_ms is not None
    # The first chunk is the role alone, a token later the first word: 31 gaps in 31 tokens.
    assert figures.tpot_ms.median == pytest.approx(20, rel=0.05)
    # 18 ms, two tokens, and a sixtieth of a token for each of the 40 of the prompt.
    assert figures.ttft_ms.median == pytest.approx(18 + 40 + 40 * 20 / 60, rel=0.05)


def test_an_open_loop_does_not_hide_a_server_that_falls_behind(clock: VirtualClock) -> None:
    """One seat serves a request in 0.7 s; one comes every 0.5 s: each waits 0.2 s longer, and the
    clock starts when it is due."""
    shape = LoadShape(arrivals=Arrivals(2.0, float("inf")))
    found = clock.run(measured(gpu(0.02, 1), LoadOptions(WORK, requests=10), shape))
    assert isinstance(found, Outcome)
    waits = sorted(sample.ttft or 0.0 for sample in found.samples)
    took = min(sample.latency for sample in found.samples)
    steps = [b - a for a, b in pairwise(waits)]
    assert steps == pytest.approx([took - 0.5] * 9, abs=0.03)
