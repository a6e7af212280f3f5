"""`deploy` and `attach` on a written deployment: narration, JSON lines, exit codes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from cli_support import (
    ID,
    RELEASED,
    SCENARIOS,
    TO_SERVING,
    UP_TO_INSTALL,
    Scenario,
    Scripted,
    ScriptedDeployments,
    failing,
    finished,
    opener_of,
)
from gdl.cli.app import run
from gdl.cli.deployment_output import TextDeployment
from gdl.cli.follower import Follower
from gdl.cli.output import Output
from gdl.domain import events as ev
from gdl.domain.errors import Cancelled, GdlError, RemoteCodeNotAllowed, UsageError
from gdl.domain.phase import Billing, Phase
from gdl.domain.spec import DeploymentSpec
from waiting import wait_until

pytestmark = pytest.mark.usefixtures("own_data")


def play(scenario: Scenario, *arguments: str) -> tuple[int, Scripted]:
    scripted = Scripted(scenario)
    return run(arguments, opener=opener_of(scripted)), scripted


def test_the_narration_tells_the_whole_story(capsys: pytest.CaptureFixture[str]) -> None:
    code, scripted = play(SCENARIOS["destroy"], "deploy", "smollm2-135m", "--destroy")
    out, err = capsys.readouterr()
    assert code == 0
    assert out == ""
    for text in (
        "deploying smollm2-135m",
        "2 suitable offers, 1 excluded (1 too expensive)",
        "attempt 1: 1x RTX 4090 24 GB from vastai, Finland, $0.400/h",
        "INSTALLING  vllm 0.32.0 by uv",
        "step 1/1: install vLLM",
        "install | Resolved 150 packages",
        "7 lines dropped",
        "loading the model, 3 s  50%",
        "check health: ok in 12 ms",
        "Q: What is the capital of France?",
        "A: The capital of France is Paris.",
        "output tokens per second     100.00",
        "billing: released",
        "released: smollm2, billing released, $0.010",
    ):
        assert text in err
    assert "\x1b" not in err and "\u202e" not in err
    assert scripted.calls == ["deploy", "aclose"]


def test_json_is_one_object_a_line_and_ends_with_the_result(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, scripted = play(SCENARIOS["destroy"], "deploy", "m", "--destroy", "--json")
    out, err = capsys.readouterr()
    events = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert err == ""
    assert len(events) == len(scripted.history)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert all({"type", "seq", "at", "deployment_id"} <= event.keys() for event in events)
    last = events[-1]
    assert last["type"] == "deployment_finished"
    assert {
        *("outcome", "endpoint", "model", "session_id", "billing"),
        *("attempts", "benchmark", "error", "hint"),
    } <= last.keys()
    assert last["outcome"] == "released"
    assert last["benchmark"]["output_throughput"] == 100.0


def test_options_reach_the_deployment() -> None:
    _, scripted = play(
        SCENARIOS["destroy"],
        *("--backend", "local", "deploy", "m", "--destroy", "--no-bench", "--hours", "3"),
        *("--provider", "vastai", "--exclude-provider", "a", "--exclude-provider", "b"),
        *("--offer", "o-1", "--max-price", "0.5", "--max-attempts", "7"),
        *("--engine-arg", "--enforce-eager", "--engine-arg=--dtype=half"),
    )
    spec = scripted.spec
    assert spec is not None
    assert (spec.model, spec.backend, spec.hours, spec.max_attempts) == ("m", "local", 3, 7)
    assert (spec.bench, spec.after) == (False, "destroy")
    assert spec.engine_args == ("--enforce-eager", "--dtype=half")
    assert spec.query.exclude_providers == ("a", "b")
    assert (spec.query.provider, spec.query.offer_id) == ("vastai", "o-1")
    assert (spec.query.max_price, spec.query.model) == (0.5, "m")


def test_tools_and_the_models_own_code_are_the_users_to_decide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decided(*options: str) -> tuple[bool, bool | None]:
        _, scripted = play(SCENARIOS["destroy"], "deploy", "m", "--destroy", *options)
        assert scripted.spec is not None
        return scripted.spec.tools, scripted.spec.trust_remote_code

    assert decided() == (True, None)
    assert decided("--no-tools", "--trust-remote-code") == (False, True)
    assert decided("--no-trust-remote-code") == (True, False)
    monkeypatch.setenv("GDL_ENGINE__TOOLS", "false")
    assert decided() == (False, None)
    assert decided("--tools") == (True, None)


@pytest.mark.parametrize(
    ("terminal", "answer", "options", "code"),
    [
        (True, "y", (), 0),
        (True, "", (), 2),
        (True, "y", ("--no-trust-remote-code",), 2),
        (True, "y", ("--json",), 2),
        (False, "y", (), 2),
        (False, "", ("--trust-remote-code",), 0),
    ],
)
def test_a_models_own_code_runs_only_when_somebody_said_so(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    terminal: bool,
    answer: str,
    options: tuple[str, ...],
    code: int,
) -> None:
    class Careful(ScriptedDeployments):
        async def deploy(self, spec: DeploymentSpec) -> str:
            if not spec.trust_remote_code:
                raise RemoteCodeNotAllowed("it runs its own code", "say --trust-remote-code")
            return await super().deploy(spec)

    questions = []

    async def ask(question: str) -> str:
        questions.append(question)
        return answer

    monkeypatch.setattr("gdl.cli.consent.at_terminal", lambda: terminal)
    monkeypatch.setattr("gdl.cli.prompt.ask", ask)
    scripted = Scripted(SCENARIOS["destroy"])
    scripted.deployments = scripted.resumption = Careful(scripted)
    ended = run(("deploy", "m", "--destroy", *options), opener=opener_of(scripted))
    assert ended == code
    assert (scripted.spec is not None) == (code == 0)
    assert len(questions) == (terminal and not options)
    out, err = capsys.readouterr()
    if code:
        assert "it runs its own code" in out + err and "say --trust-remote-code" in out + err


def test_the_subcommands_backend_wins_and_a_host_means_ssh() -> None:
    _, one = play(SCENARIOS["keep"], "--backend", "local", "deploy", "m", "--backend", "shopper")
    _, two = play(SCENARIOS["keep"], "deploy", "m", "--host", "me@there:22", "--identity", "k")
    assert one.spec and one.spec.backend == "shopper"
    assert two.spec and two.spec.backend == "ssh"


@pytest.mark.parametrize(
    ("billing", "words"),
    [
        (Billing.ACTIVE, "it keeps serving and billing;"),
        (Billing.NONE, "it keeps serving;"),
    ],
)
def test_keep_says_how_to_come_back_and_what_goes_on(
    capsys: pytest.CaptureFixture[str], billing: Billing, words: str
) -> None:
    end = finished("serving", billing)
    code, scripted = play(Scenario((*UP_TO_INSTALL, *TO_SERVING, end)), "deploy", "m", "--keep")
    out, err = capsys.readouterr()
    assert code == 0
    assert out == "GDL_SESSION=sess-1\nOPENAI_MODEL=smollm2\n"
    assert f"{words} `gdl-tui attach sess-1`" in err
    assert scripted.spec and scripted.spec.after == "keep"


@pytest.mark.parametrize(
    ("kind", "billing", "code"),
    [
        ("no_suitable_offer", Billing.NONE, 3),
        ("machine", Billing.RELEASED, 4),
        ("ssh_auth", Billing.RELEASED, 4),
        ("deploy", Billing.RELEASED, 5),
        ("verification", Billing.RELEASED, 6),
        ("backend_unreachable", Billing.NONE, 7),
        ("deploy", Billing.UNKNOWN, 9),
        ("deploy", Billing.REQUESTED, 9),
        ("verification", Billing.ACTIVE, 9),
        ("something_new", Billing.NONE, 1),
    ],
)
def test_a_failure_ends_with_its_code_and_two_lines(
    capsys: pytest.CaptureFixture[str], kind: str, billing: Billing, code: int
) -> None:
    ended, _ = play(Scenario(failing(kind, billing)), "deploy", "m", "--destroy")
    out, err = capsys.readouterr()
    assert ended == code
    assert out == ""
    assert "cause: the disk is full" in err
    assert "> No space left" in err
    assert err.splitlines()[-2:] == ["error: step vllm failed", "hint: try another machine"]


def test_released_in_doubt_is_9() -> None:
    events = (*UP_TO_INSTALL, *TO_SERVING, *RELEASED, finished("released", Billing.UNKNOWN))
    assert play(Scenario(events), "deploy", "m", "--destroy")[0] == 9


def test_cancelled_is_8() -> None:
    events = (*UP_TO_INSTALL, finished("cancelled", Billing.RELEASED))
    assert play(Scenario(events), "deploy", "m", "--destroy")[0] == 8


@pytest.mark.parametrize(
    ("error", "code", "outcome"),
    [
        (UsageError("no model nosuch", "did you mean smollm2-135m?"), 2, "failed"),
        (Cancelled("interrupted", "again?"), 8, "cancelled"),
    ],
)
def test_json_ends_with_the_result_even_when_nothing_began(
    capsys: pytest.CaptureFixture[str], error: GdlError, code: int, outcome: str
) -> None:
    ended, _ = play(Scenario((), fails=error), "deploy", "m", "--json")
    out, err = capsys.readouterr()
    last = json.loads(out)
    assert ended == code
    assert (last["type"], last["seq"]) == ("deployment_finished", 1)
    assert (last["outcome"], last["error"], last["billing"]) == (outcome, error.message, "none")
    assert err == f"error: {error.message}\nhint: {error.hint}\n"


def test_a_defect_is_one_line_and_a_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    # A phase that nobody may enter from here: the fold of the events refuses it.
    broken = Scenario((ev.PhaseChanged(1, Phase.SERVING),))
    code, scripted = play(broken, "deploy", "m", "--destroy")
    err = capsys.readouterr().err
    logs = list((tmp_path / "data" / "logs").glob("crash-*.log"))
    assert code == 1
    assert len(logs) == 1
    assert "IllegalTransition" in logs[0].read_text()
    assert logs[0].stat().st_mode & 0o777 == 0o600
    last = err.splitlines()[-1]
    assert last.startswith("internal error: IllegalTransition: ") and str(logs[0]) in last
    assert "Traceback" not in err
    assert scripted.calls[-1] == "aclose"


async def test_a_long_silence_is_broken(capsys: pytest.CaptureFixture[str]) -> None:
    scripted = Scripted(SCENARIOS["busy"])
    follower = Follower(scripted.deployments, TextDeployment(Output(as_json=False)), quiet_s=0.02)
    following = asyncio.create_task(
        follower.follow(scripted.deployments.deploy(DeploymentSpec("m", "local")))
    )
    told: list[str] = []

    def told_twice() -> bool:
        told.append(capsys.readouterr().err)
        return "".join(told).count("still INSTALLING") >= 2

    await wait_until(told_twice)
    await scripted.deployments.cancel(ID)
    assert (await following).finished.outcome == "cancelled"
