"""The load generator's figures by hand, its workloads, timetables, sweeps and results."""

from __future__ import annotations

import csv
import io
import json
import math
import random
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import cast

import pytest

from gdl.domain.benchmark import Histogram
from gdl.domain.errors import UsageError
from gdl.domain.secret import Secret
from gdl.endpoint.protocol import Fault
from gdl.loadgen.charts import bars, distributions, histogram, throughputs
from gdl.loadgen.decode import Sample, decode
from gdl.loadgen.exchange import Exchange
from gdl.loadgen.load import LoadShape, Outcome
from gdl.loadgen.metrics import Figures, Slo, Spread, figures
from gdl.loadgen.request_template import RequestTemplate
from gdl.loadgen.result_files import (
    Context,
    csv_text,
    markdown,
    money,
    notes,
    rows,
    sweep_table,
    vllm_json,
)
from gdl.loadgen.schedule import Arrivals
from gdl.loadgen.strain import Strain
from gdl.loadgen.sweep import Measure, Swept, sweep
from gdl.loadgen.workload import Length, Workload

KEY = Secret("")
CALM = Strain(0.1, 0.1, 0.2, 0.5)
CONTEXT = Context(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "http://x", "random", 0.36)


def event(choices: bool = True, **more: object) -> bytes:
    one = {"choices": [{"index": 0, "delta": {"content": "a"}}] if choices else [], **more}
    return f"data: {json.dumps(one)}\n\n".encode()


def recorded(
    sent: float,
    reads: list[tuple[float, list[bytes]]],
    *,
    due: float | None = None,
    tag: int = 0,
    status: int = 200,
    fault: Fault | None = None,
) -> Exchange:
    """An exchange whose reads came at these times."""
    exchange = Exchange(tag, due)
    exchange.sent, exchange.status, exchange.fault = sent, status, fault
    for at, pieces in reads:
        exchange.pieces += pieces
        exchange.times.append(at)
        exchange.counts.append(len(exchange.pieces))
        exchange.ended = at
    return exchange


def usage(given: int, out: int) -> bytes:
    return event(False, usage={"prompt_tokens": given, "completion_tokens": out})


DONE = b"data: [DONE]\n\n"
# Sent at 10.0: headers, a token at .1, two in one read at .3, one at .6, then counts.
FIRST = recorded(
    10.0,
    [
        (10.05, []),
        (10.1, [event()]),
        (10.3, [event(), event()]),
        (10.6, [event()]),
        (10.9, [usage(20, 4), DONE]),
    ],
    tag=1,
)
# Due at 10.0, sent half a second late; the second token's event is cut into two reads.
SECOND = recorded(
    10.5,
    [
        (11.0, [event()]),
        (11.1, [event()[:9]]),
        (12.0, [event()[9:]]),
        (12.1, [usage(30, 2) + DONE]),
    ],
    due=10.0,
    tag=2,
)
ONE_TOKEN = recorded(11.0, [(11.25, [event(), usage(5, 1), DONE])], tag=3)
BROKEN = recorded(11.0, [(11.2, [event()]), (12.0, [])], tag=4)
REFUSED = recorded(11.0, [(11.1, [b'{"error": {"message": "no"}}'])], status=503, tag=5)
SAMPLES = [decode(e, KEY) for e in (FIRST, SECOND, ONE_TOKEN, BROKEN, REFUSED)]


def test_samples_from_recorded_reads() -> None:
    first, second, one, broken, refused = SAMPLES
    assert first.ttft == pytest.approx(0.1) and first.latency == pytest.approx(0.6)
    assert first.itls == pytest.approx((0.2, 0.0, 0.3))
    assert (first.input_tokens, first.output_tokens, first.error) == (20, 4, "")
    # Its time counts from when it was due, and a chunk's from its last byte.
    assert second.ttft == pytest.approx(1.0) and second.latency == pytest.approx(2.0)
    assert second.itls == pytest.approx((1.0,))
    assert one.itls == () and one.latency == pytest.approx(0.25)
    assert (broken.kind, refused.kind) == ("truncated", "http_503")
    assert broken.latency == pytest.approx(1.0) and refused.error == "HTTP 503: no"


def near(value: float) -> float:
    """Equal to what lies within rounding of it."""
    return cast("float", pytest.approx(value))


def test_figures_by_hand() -> None:
    got = figures(SAMPLES, 4.0, Slo.parse("ttft:500,tpot:200"))
    assert (got.completed, got.failed) == (3, 2)
    assert (got.input_tokens, got.output_tokens) == (55, 7)
    assert got.request_throughput == 0.75
    assert (got.output_throughput, got.total_throughput) == (1.75, 15.5)
    # TPOT 166.7, 1000 and (one token) none, which keeps any limit; TTFT 100, 1000, 250.
    assert (got.good, got.goodput) == (2, 0.5)
    assert got.ttft_ms == Spread(
        near(450),
        near(250),
        near(math.sqrt((350**2 + 550**2 + 200**2) / 3)),
        # Places in 0-2: p90 1.8, p95 1.9, p99 1.98.
        {50: near(250), 90: near(850), 95: near(925), 99: near(985)},
        Histogram(near(100), near(100), (1, 1, 0, 0, 0, 0, 0, 0, 0, 1)),
    )
    assert got.tpot_ms is not None and got.itl_ms is not None and got.e2el_ms is not None
    assert got.tpot_ms.median == pytest.approx((500 / 3 + 1000) / 2)
    assert got.itl_ms.mean == pytest.approx(1500 / 4) and got.itl_ms.median == pytest.approx(250)
    assert got.e2el_ms.mean == pytest.approx((600 + 2000 + 250) / 3)
    assert got.late_ms == pytest.approx(500)
    assert got.errors == {"truncated": 1, "http_503": 1}
    # Within the first second: 4 tokens of the first; requests 1 and 2 in it, 2 and 3 in the next.
    assert (got.most_tokens_per_s, got.most_at_once) == (4, 2)


def test_answers_without_token_counts_are_counted_by_chunks_and_told() -> None:
    sample = decode(recorded(0.0, [(0.1, [event()]), (0.2, [event(), DONE])]), KEY)
    got = figures([sample], 1.0)
    assert (got.output_tokens, got.counted_chunks) == (2, 1)
    assert figures([], 0.0) == Figures(0.0, 0, 0, 0, 0, 0.0, 0.0, 0.0)


def test_limits_are_read_and_refused() -> None:
    assert Slo.parse("ttft:500, e2el:1e3").limits == {"ttft": 500.0, "e2el": 1000.0}
    for wrong in ("", "ttft", "ttft:x", "itl:5", "ttft:-1", "ttft:0", "ttft:inf", "ttft:nan"):
        with pytest.raises(UsageError):
            Slo.parse(wrong)


# -- timetables --------------------------------------------------------------------------------


def gaps_of(times: list[float]) -> list[float]:
    return [b - a for a, b in pairwise([0.0, *times])]


@pytest.mark.parametrize("burstiness", [0.5, 1.0, 4.0, math.inf])
def test_arrivals_have_the_rate_and_the_spread_of_their_distribution(burstiness: float) -> None:
    times = Arrivals(5.0, burstiness).times(4000, random.Random(1))
    assert times == sorted(times) and times[-1] == pytest.approx(800)
    gaps = gaps_of(times)
    mean = sum(gaps) / len(gaps)
    variation = math.sqrt(sum((g - mean) ** 2 for g in gaps) / len(gaps)) / mean
    # A gamma distribution's coefficient of variation is 1 / sqrt(shape).
    assert variation == pytest.approx(1 / math.sqrt(burstiness), abs=0.06)


def test_a_ramp_rises() -> None:
    gaps = gaps_of(Arrivals.parse("1..10", math.inf).times(10, random.Random(1)))
    assert gaps == pytest.approx([1 / rate for rate in range(1, 11)])
    assert Arrivals.parse("2.5") == Arrivals(2.5)
    for wrong in ("", "x", "0", "-1", "inf", "1..", "1..0", "nan"):
        with pytest.raises(UsageError):
            Arrivals.parse(wrong)


# -- workloads ---------------------------------------------------------------------------------


def test_made_up_prompts_have_the_wanted_lengths() -> None:
    work = Workload("random", Length.parse("10-20"), Length.parse("30~5"), turns=2, prefix=7)
    found = work.conversations(50)
    assert len(found) == 50 and found == work.conversations(50)
    lengths = [len(text.split()) for one in found for text, _ in one.turns]
    assert min(lengths) == 10 and max(lengths) == 20
    outputs = [tokens for one in found for _, tokens in one.turns]
    assert 27 < sum(outputs) / len(outputs) < 33 and len(set(outputs)) > 5
    assert len({one.system for one in found}) == 1 and len(found[0].system.split()) == 7
    assert len({one.turns for one in found}) == 50


def test_prefixes_come_in_groups_and_seeds_differ() -> None:
    grouped = Workload("random", prefix=5, prefixes=3).conversations(9)
    systems = [o.system for o in grouped]
    assert len(set(systems)) == 3 and systems == systems[:3] * 3
    one, two = Workload(seed=1).conversations(20), Workload(seed=2).conversations(20)
    assert not {o.turns for o in one} & {o.turns for o in two}
    assert all(o.turns[0][1] == 128 for o in one)


def test_lengths_are_read_and_refused() -> None:
    assert Length.parse("5") == Length(5, 5) and Length.parse("5-9") == Length(5, 9)
    for wrong in ("", "x", "0", "9-5", "5~x", "-5", "5~-1", "99999999"):
        with pytest.raises(UsageError):
            Length.parse(wrong)


def test_data_sets_from_files(tmp_path: Path) -> None:
    lines = tmp_path / "a.jsonl"
    lines.write_text('{"prompt": "hello", "output_tokens": 9}\n\n{"x": 1}\n')
    assert Workload(str(lines)).conversations(3)[2].turns == (("hello", 9),)
    sharegpt = tmp_path / "b.json"
    said = [
        {"from": "system", "value": "be short"},
        {"from": "human", "value": "one two three"},
        {"from": "gpt", "value": "a b c"},
        {"from": "human", "value": "more"},
    ]
    sharegpt.write_text(json.dumps([{"id": "x", "conversations": said}, {"conversations": []}, 7]))
    (one,) = Workload(str(sharegpt), turns=2).conversations(1)
    assert one.system == "be short" and one.turns == (("one two three", 4), ("more", 128))
    (cut,) = Workload(str(sharegpt), input_len=Length(2, 2)).conversations(1)
    assert cut.turns == (("one two", 4),)
    messages = tmp_path / "c.jsonl"
    messages.write_text('{"messages": [{"role": "user", "content": "q"}]}')
    assert Workload(str(messages)).conversations(1)[0].turns == (("q", 128),)
    for name, text in (("d.json", "{"), ("e.jsonl", "{}"), ("f.json", "[]")):
        (tmp_path / name).write_text(text)
        with pytest.raises(UsageError):
            Workload(str(tmp_path / name)).conversations(1)
    with pytest.raises(UsageError):
        Workload(str(tmp_path / "missing.json")).conversations(1)


def test_bodies() -> None:
    (one,) = Workload("random", Length(2, 2), Length(3, 3), turns=2, prefix=1).conversations(1)
    chat = json.loads(RequestTemplate("m", ignore_eos=True).body(one, ("so",)))
    assert [m["role"] for m in chat["messages"]] == ["system", "user", "assistant", "user"]
    assert chat["ignore_eos"] is True and chat["max_tokens"] == 3 and chat["stream"] is True
    plain = json.loads(RequestTemplate("m").plainly().body(one))
    assert plain["prompt"] == f"{one.system}\n{one.turns[0][0]}" and "ignore_eos" not in plain


# -- the sweep ---------------------------------------------------------------------------------


def outcome_of(concurrency: int, token_s: float, seats: int, first_s: float = 0.02) -> Outcome:
    """What a load of 4 x concurrency requests on a server with `seats` amounts to: it runs
    that many at a time, the others wait for a seat."""
    samples, ends = [], [0.0] * min(concurrency, seats)
    arrivals = [0.0] * concurrency
    for number in range(4 * concurrency):
        arrivals.sort()
        ends.sort()
        start = arrivals.pop(0)
        begin = max(start, ends.pop(0))
        gap = token_s * (1 + 0.02 * (min(concurrency, seats) - 1))
        itls = (gap,) * 31
        ttft = begin - start + first_s
        samples.append(
            Sample(start, start, ttft, ttft + sum(itls), itls, 32, 32, tag=number, text="")
        )
        ends.append(start + samples[-1].latency)
        arrivals.append(start + samples[-1].latency)
    duration = max(sample.end for sample in samples)
    return Outcome(
        RequestTemplate("m"),
        LoadShape(concurrency),
        tuple(samples),
        figures(samples, duration),
        CALM,
        "x",
        "",
    )


async def swept(seats: int, token_s: float, slo: Slo | None = None) -> Swept:
    async def measure(concurrency: int, window: int) -> Outcome:
        one = outcome_of(concurrency, token_s * (1 + 0.001 * window), seats)
        made = figures(one.samples, one.figures.duration_s, slo)
        return Outcome(one.request_template, one.shape, one.samples, made, CALM, "x", "")

    return await sweep(measure, slo=slo)


@pytest.mark.parametrize(("seats", "token_s"), [(8, 0.02), (16, 0.01), (32, 0.004)])
async def test_a_sweep_finds_the_seats_of_a_server(seats: int, token_s: float) -> None:
    found = await swept(seats, token_s)
    assert found.best is not None and found.best.concurrency == seats
    assert found.points[-1].concurrency == 2 * seats and "no longer grew" in found.ended
    assert found.sure and found.doubt == ""


async def test_a_sweep_stops_at_the_limits_and_looks_between() -> None:
    # TPOT 10 ms x (1 + 0.02 (n - 1)): 14.5 ms are kept up to n = 23.
    found = await swept(64, 0.01, Slo.parse("tpot:14.5"))
    assert found.best is not None and 21 <= found.best.concurrency <= 23
    assert max(p.concurrency for p in found.points) == 32
    assert all(p.kept is not None and p.kept >= 0.95 for p in found.points[:-2])


async def test_a_sweep_tells_when_it_is_not_sure() -> None:
    async def noisy(concurrency: int, window: int) -> Outcome:
        return outcome_of(concurrency, 0.01 * (1 + 1.0 * window), 8)

    found = await sweep(noisy)
    assert found.best is not None and not found.sure and "is as good" in found.doubt

    found = await sweep(disturbed(lambda concurrency, _window: concurrency == 4))
    assert found.best is not None and found.best.concurrency == 2
    assert not found.sure and "97%" in found.doubt and "97%" in found.ended


def disturbed(when: Callable[[int, int], bool]) -> Measure:
    """Windows of a generator that is the bottleneck in some of them."""

    async def measure(concurrency: int, window: int) -> Outcome:
        one = outcome_of(concurrency, 0.01, 64)
        strain = Strain(1.0, 0.97, 0.1, 0.1) if when(concurrency, window) else CALM
        return Outcome(one.request_template, one.shape, one.samples, one.figures, strain, "x", "")

    return measure


async def test_a_window_that_was_disturbed_is_measured_again_but_not_for_ever() -> None:
    found = await sweep(disturbed(lambda concurrency, window: concurrency == 2 and window == 1))
    (point,) = (point for point in found.points if point.concurrency == 2)
    assert len(point.outcomes) == 3 and not point.limited
    found = await sweep(disturbed(lambda concurrency, window: concurrency == 2 and window > 0))
    assert found.points[-1].concurrency == 2 and found.points[-1].limited
    assert len(found.points[-1].outcomes) == 5 and "97%" in found.ended


async def test_what_was_measured_on_a_busy_computer_is_told_as_a_lower_bound() -> None:
    """Others have the cores: the generator is late at every point, but could do more itself."""
    late = Strain(1.0, 0.2, 14.0, 30.0, wait_share=0.4)

    async def measure(concurrency: int, window: int) -> Outcome:
        one = outcome_of(concurrency, 0.01, 8)
        strain = late if window != 1 else CALM
        return Outcome(one.request_template, one.shape, one.samples, one.figures, strain, "x", "")

    found = await sweep(measure)
    assert [point.concurrency for point in found.points] == [1, 2, 4, 8, 16], "not only the first"
    assert found.best is None and "14 ms late" in found.doubt
    assert found.at_least is not None and found.at_least.concurrency == 8
    assert all(point.middle.strain.limited for point in found.points), "each of them is marked"
    _heads, table = sweep_table([point.middle for point in found.points], CONTEXT)
    assert [row[0] for row in table] == ["1~", "2~", "4~", "8~", "16~"]


async def test_a_sweep_ends_for_what_ended_it_not_for_what_was_late_before() -> None:
    late, busy = Strain(1.0, 0.2, 14.0, 30.0), Strain(1.0, 0.97, 0.1, 0.1)

    async def measure(concurrency: int, window: int) -> Outcome:
        one = outcome_of(concurrency, 0.01, 8)
        strain = late if window == 0 else busy
        return Outcome(one.request_template, one.shape, one.samples, one.figures, strain, "x", "")

    assert (await sweep(measure)).ended == "the load generator used 97% of a core at 1"


async def test_a_late_point_beyond_the_best_one_is_a_doubt() -> None:
    async def measure(concurrency: int, window: int) -> Outcome:
        one = outcome_of(concurrency, 0.01, 8)
        strain = Strain(1.0, 0.2, 14.0, 30.0) if concurrency in (4, 8) else CALM
        return Outcome(one.request_template, one.shape, one.samples, one.figures, strain, "x", "")

    found = await sweep(measure, most=8)
    assert found.best is not None and found.best.concurrency == 2
    assert not found.sure and "14 ms late" in found.doubt


async def test_a_sweep_ends_when_requests_fail() -> None:
    bad = Sample(0.0, 0.0, None, 1.0, error="HTTP 500: x", kind="http_500")

    async def failing(concurrency: int, window: int) -> Outcome:
        one = outcome_of(concurrency, 0.01, 64)
        if concurrency < 4:
            return one
        made = figures([bad], 1.0)
        return Outcome(one.request_template, one.shape, (bad,), made, CALM, "x", "")

    found = await sweep(failing)
    assert found.best is not None and found.best.concurrency == 2 and "HTTP 500" in found.ended


# -- results -----------------------------------------------------------------------------------


def outcome(strain: Strain = CALM, note: str = "") -> Outcome:
    made = figures(SAMPLES, 4.0)
    return Outcome(
        RequestTemplate("m|x"), LoadShape(2), tuple(SAMPLES), made, strain, "asyncio", note
    )


def test_json_has_the_keys_of_vllm() -> None:
    got = vllm_json(outcome(), CONTEXT)
    assert json.loads(json.dumps(got)) == got
    assert got["date"] == "20260102-030405" and got["num_prompts"] == 5
    assert (got["completed"], got["failed"], got["duration"]) == (3, 2, 4.0)
    assert got["output_lens"] == [4, 2, 1, 0, 0] and got["input_lens"] == [20, 30, 5, 0, 0]
    assert got["ttfts"][:3] == pytest.approx([0.1, 1.0, 0.25])
    assert got["itls"][1] == pytest.approx([1.0]) and got["errors"][0] == ""
    # By hand in `test_figures_by_hand`.
    assert (got["mean_ttft_ms"], got["p99_ttft_ms"]) == pytest.approx((450, 985))
    for metric in ("ttft", "tpot", "itl", "e2el"):
        spread = outcome().figures.spread(metric)
        assert spread is not None
        wanted = {
            "mean": spread.mean,
            "median": spread.median,
            "std": spread.std,
            **{f"p{percent}": spread.percentiles[percent] for percent in (50, 90, 95, 99)},
        }
        assert {kind: got[f"{kind}_{metric}_ms"] for kind in wanted} == wanted
    empty = Outcome(RequestTemplate("m"), LoadShape(1), (), figures([], 0.0), CALM, "asyncio", "")
    assert vllm_json(empty, CONTEXT)["p99_itl_ms"] == 0.0


def test_money() -> None:
    # 0.36 dollars an hour are 0.0001 a second; 1.75 tokens a second.
    assert money(outcome(), CONTEXT) == pytest.approx((1e-4 / 1.75 * 1e6, 17_500))
    assert money(outcome(), Context(CONTEXT.at, "", "")) is None


def test_csv_and_markdown() -> None:
    (line,) = csv.DictReader(io.StringIO(csv_text([outcome()], CONTEXT)))
    assert line["completed"] == "3" and float(line["p99_ttft_ms"]) == pytest.approx(985)
    assert "| Model | m\\|x |" in markdown([outcome()], CONTEXT)
    table = markdown([outcome(), outcome()], CONTEXT).splitlines()
    assert len(table) == 4 and table[2] == table[3] and "985.0" in table[2]


def test_histograms_by_hand() -> None:
    values = [10.0, 10.9, 11.0, 12.5, 13.0, 13.9, 14.2, 16.1, 17.0, 17.9]
    assert histogram([*values, 18.0]) == [
        "      10 - 11  ######################################## 2",
        "      11 - 12  #################### 1",
        "      12 - 13  #################### 1",
        "      13 - 14  ######################################## 2",
        "      14 - 15  #################### 1",
        "      15 - 16   0",
        "      16 - 17  #################### 1",
        "      17 - 18  ######################################## 2",
        "  18 and more  #################### 1",
    ]
    # A straggler has a line of its own.
    many = histogram([20.0, 21.0] * 100 + [900.0])
    assert many[0].endswith(" 100") and many[-1] == "  21.20 and more  # 1"
    assert histogram([5.0] * 10)[0].endswith("#" * 40 + " 10")
    # Edges that binary numbers cannot hold.
    tenths = histogram([0.01 * number for number in range(100)])
    assert [line.rsplit(" ", 1)[1] for line in tenths] == ["20"] * 5
    assert bars([]) == [] and bars([("1", 0.0, "0")]) == ["  1   0"]


def test_distributions_come_with_enough_values() -> None:
    assert distributions(outcome()) == []
    many = [Sample(0.0, 0.0, 0.02, 0.06, (0.01, 0.03), 1, 3) for _ in range(10)]
    made = Outcome(
        RequestTemplate("m"), LoadShape(2), tuple(many), figures(many, 1.0), CALM, "asyncio", ""
    )
    lines = distributions(made)
    assert lines[1] == "Time to first token, ms" and lines[2].endswith(" 10")
    assert "Inter-token latency, ms" in lines
    assert [line[-3:] for line in throughputs([made])] == ["0.0"]


def test_a_reader_is_told_what_to_know() -> None:
    assert (
        notes(outcome())[0] == "1 x truncated: the answer broke off: its stream ended before [DONE]"
    )
    told = " ".join(notes(outcome(Strain(1.0, 0.95, 0.1, 0.1), "a proxy: measured through httpx")))
    assert "95% of a core" in told and "a proxy" in told and "500 ms late" in told
    late = Strain(0.1, 0.1, 25.0, 30.0)
    assert "25 ms late" in late.limited and CALM.limited == ""
    assert ("Requests", "3 completed, 2 failed") in rows(outcome(), CONTEXT)
    rented = Context(CONTEXT.at, "", "builtin", 0.9, "2 x RTX 3090", "vastai")
    assert ("Machine", "2 x RTX 3090, vastai, $0.900/h") in rows(outcome(), rented)
