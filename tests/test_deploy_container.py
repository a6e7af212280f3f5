"""vLLM from its container image on a machine with docker: a simulated docker whose containers are
real processes, over real SSH."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import pytest

from deployment_support import SIMULATED, Simulation, SpecFields, deployed, last, of_type, told
from deployment_support import spec as orchestrator_spec
from gdl.bootstrap import open_orchestrator
from gdl.domain import events as ev
from gdl.domain.decisions import AfterServing
from gdl.domain.spec import DeploymentSpec
from local_processes import processes_naming

pytestmark = pytest.mark.long

IMAGE = "vllm/vllm-openai:v0.33.0"


@dataclass
class Docker:
    """The simulated daemon's state. `last`: what the container removed last was told."""

    state: Path

    @property
    def calls(self) -> list[str]:
        path = self.state / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def called(self, command: str) -> list[str]:
        return [call for call in self.calls if call.split()[0] == command]

    def containers(self) -> list[str]:
        return [p.name for p in (self.state / "containers").glob("*")]

    def told(self, name: str, container: str = "") -> str:
        folder = self.state / "containers" / container if container else self.state / "last"
        return (folder / name).read_text()


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Simulation:
    simulation = Simulation(monkeypatch, tmp_path)
    simulation.with_gpu()
    monkeypatch.setenv("PATH", f"{SIMULATED / 'container'}:{os.environ['PATH']}")
    monkeypatch.setenv("SIM_DOCKER", str(tmp_path / "docker"))
    return simulation


@pytest.fixture
def docker(tmp_path: Path) -> Docker:
    return Docker(tmp_path / "docker")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "my models" / "it's $(id) tiny"
    folder.mkdir(parents=True)
    return folder


def spec(model: Path | str, **more: Unpack[SpecFields]) -> DeploymentSpec:
    return orchestrator_spec(model=str(model), **more)


CONTAINER = {"install": {"runtime": "container"}}


async def test_a_model_is_served_from_the_image(
    sim: Simulation, docker: Docker, model: Path
) -> None:
    async with sim.orchestrator(**CONTAINER) as orchestrator:
        ident = await orchestrator.deployments.deploy(spec(model, after="hold"))
        async with asyncio.timeout(40):
            async for recorded in orchestrator.deployments.events(ident):
                event = recorded.event
                if isinstance(event, ev.Noted) and "holding" in event.text:
                    break
                assert not isinstance(event, ev.DeploymentFinished), event.error
        attempt = orchestrator.deployments.attempt(ident)
        assert attempt is not None
        port = attempt.machine.rental.engine_port
        (container,) = docker.containers()
        assert docker.told("publish", container) == f"127.0.0.1:{port}:{port}"
        assert docker.told("user", container) not in ("", "0:0", "root")
        assert docker.told("model", container) == str(model)
        env = dict(
            line.split("=", 1) for line in docker.told("env", container).splitlines() if line
        )
        assert env["VLLM_API_KEY"].startswith("gdl-") and env["GDL_CUDA"] == "1"
        assert env["GDL_JOB"] and env["HOME"] == "/gdl"
        words = docker.told("args", container).splitlines()
        assert words[:3] == ["/gdl/launch.py", "--model", "/model/it-s-id-tiny"]
        assert words[words.index("--host") + 1] == "0.0.0.0"
        # The key stands in no command line and no file that is left.
        assert docker.told("env-file-mode", container).strip() == "600"
        assert docker.calls and env["VLLM_API_KEY"] not in "".join(docker.calls)
        assert not list((sim.folder / "data").rglob("container.env"))
        await orchestrator.deployments.decide(ident, AfterServing.RELEASE)
        events = await told(orchestrator, ident)
    assert last(events).outcome == "released", last(events).error
    assert [e.name for e in of_type(events, ev.StepFinished)] == ["model", "image", "container"]
    assert docker.containers() == []
    assert processes_naming(f"--port {port}") == []
    assert any("layers" in e.text for e in of_type(events, ev.Progressed))
    assert f"in container {IMAGE}" in " ".join(e.detail for e in of_type(events, ev.PhaseChanged))


async def test_the_packaged_model_and_a_second_deployment(sim: Simulation, docker: Docker) -> None:
    """On a machine of one's own: what holds is skipped, and the image is not pulled again."""
    settings = {"backend": "ssh", **CONTAINER}
    async with sim.machine() as ((host, port, user), key):
        identity = sim.folder / "id"
        identity.write_text(key)
        identity.chmod(0o600)
        where = {"host": f"{user}@{host}:{port}", "identity": str(identity)}
        wanted = DeploymentSpec("smollm2-135m", "ssh", bench=False, after="destroy")
        outcomes = []
        for _ in range(2):
            async with open_orchestrator(sim.settings(**settings), options=where) as orchestrator:
                events = await deployed(orchestrator, wanted)
                assert last(events).outcome == "released", last(events).error
                outcomes.append({e.name: e.outcome for e in of_type(events, ev.StepFinished)})
    assert outcomes[0] == {"image": "done", "container": "done", "model": "done"}
    assert outcomes[1] == {"image": "skipped", "container": "skipped", "model": "skipped"}
    assert len(docker.called("pull")) == 1
    assert docker.told("args").splitlines()[2] == "/gdl/models/smollm2-135m"
    assert docker.containers() == []


async def test_an_image_that_wants_its_own_user_gets_it(
    sim: Simulation, docker: Docker, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIM_DOCKER_ROOT", "1")
    async with sim.orchestrator(**CONTAINER) as orchestrator:
        events = await deployed(orchestrator, spec(model))
    assert last(events).outcome == "released", last(events).error
    assert docker.told("user") == ""
    assert [" --user " in call for call in docker.called("run")] == [True, False]


async def test_the_image_comes_after_every_other_way(
    sim: Simulation, docker: Docker, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIM_INSTALL", "fail")
    async with sim.orchestrator() as orchestrator:
        events = await deployed(orchestrator, spec(model))
    assert last(events).outcome == "released", last(events).error
    tried = [text for e in of_type(events, ev.LogLines) for text in e.lines if "trying" in text]
    assert tried[0] == "[gdl] trying uv: vllm==0.33.0"
    assert "[gdl] trying pip: vllm==0.33.0" in tried
    said = [e.text for e in of_type(events, ev.Noted) if "now vllm 0.33.0" in e.text]
    assert len(said) == 1 and said[0].startswith("Install vllm 0.33.0 failed")
    outcomes = [(e.name, e.outcome) for e in of_type(events, ev.StepFinished)]
    assert outcomes[-4:] == [
        ("install", "failed"),
        ("model", "skipped"),
        ("image", "done"),
        ("container", "done"),
    ]


async def test_when_nothing_works_both_reasons_are_told(
    sim: Simulation, docker: Docker, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIM_INSTALL", "fail")
    monkeypatch.setenv("SIM_DOCKER_FAIL", "pull")
    async with sim.orchestrator() as orchestrator:
        end = last(await deployed(orchestrator, spec(model)))
    assert end.kind == "deploy" and end.error is not None
    assert f"Pull {IMAGE} failed" in end.error and "before that: Install vllm" in end.error


async def test_a_machine_without_docker_or_its_toolkit_says_so(
    sim: Simulation, model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(SIMULATED / "container" / "docker", alone / "docker")
    path = os.environ["PATH"].replace(str(SIMULATED / "container"), str(alone))
    for changed, words in (
        (path, "container toolkit is missing"),
        (path[len(str(alone)) :], "docker does not work"),
    ):
        monkeypatch.setenv("PATH", changed.lstrip(":"))
        async with sim.orchestrator(**CONTAINER) as orchestrator:
            end = last(await deployed(orchestrator, spec(model)))
        assert end.error is not None and words in end.error and end.hint


async def test_a_server_that_ends_in_its_container_is_diagnosed(
    sim: Simulation, docker: Docker, model: Path
) -> None:
    sim.server("oom")
    async with sim.orchestrator(**CONTAINER) as orchestrator:
        events = await deployed(orchestrator, spec(model))
    assert [d.rule for d in of_type(events, ev.Diagnosed)] == ["gpu-memory"]
    assert docker.containers() == []


async def test_killing_the_client_leaves_no_container_behind(
    sim: Simulation, docker: Docker, model: Path
) -> None:
    """Even when the job's own shell could not clean up, ending the job ends the server."""
    async with sim.orchestrator(**CONTAINER) as orchestrator:
        ident = await orchestrator.deployments.deploy(spec(model, after="hold", auto_fix=False))
        async with asyncio.timeout(40):
            async for recorded in orchestrator.deployments.events(ident):
                if isinstance(recorded.event, ev.Noted) and "holding" in recorded.event.text:
                    break
        attempt = orchestrator.deployments.attempt(ident)
        job = None if attempt is None else attempt.server.job
        assert attempt is not None and job is not None
        assert job.pid > 1 and os.getpgid(job.pid) == job.pid != os.getpgid(0)
        (rental,) = await orchestrator._journal.rentals()
        os.killpg(job.pid, 9)
        events = await told(orchestrator, ident)
    assert last(events).outcome == "failed"
    assert processes_naming(f"--port {rental.engine_port}") == []
