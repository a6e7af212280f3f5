"""What is handed over, before those it is for: dstack's, SkyPilot's and Compose's own parsers, and
a shell on a plain SSH host, where the exported script serves.

Some minutes, and several hundred MB of packages; run with `pytest -m "real and long"`.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine_support import B200, L4, T4, V100, cpu_host, gpu_host
from gdl.domain import events as ev
from gdl.domain.host import Gpu
from gdl.domain.offers import OfferQuery
from gdl.handover.running import running
from gdl.handover.targets import written
from handover_support import HOSTILE, NO_SAMPLER, SHORTER, fleet_of, planned, remedied, state_of
from local_ports import free_port
from real_sshd import Sshd, real_sshd
from real_support import GDL, environment

pytestmark = [pytest.mark.real, pytest.mark.long]

ROOT = Path(__file__).parents[1]
PIPCONF = ROOT / "src/gdl/engines/python/remote/pipconf.py"
CONTAINER: dict[str, Any] = {"docker": "docker", "docker_gpus": True}
NASTY = '/data/it\'s $(touch /tmp/pwned) `id` "x" $$ ${{ env.X }}; rm -rf ~'


def cases() -> dict[str, list[ev.Event]]:
    """Deployments as they come: ranges, several GPUs, gated, hostile, old drivers, no GPU."""
    spot = OfferQuery(model="qwen3-8b", max_price=0.6, interruptible=True, context=8192)
    token = {"hf_token": "hf_plantedHubToken0123456789"}
    hostile = {"engine": {"env": {"GREETING": 'it\'s $HOME ${{ x }} $$\n"q"', "EMPTY": ""}}}
    return {
        "tensor-parallel": planned("qwen3-32b", gpu_host(L4, L4, L4, L4)),
        "gated": planned("llama-3.1-8b", gpu_host(), settings=token, hours=12),
        "limits": planned("qwen3-8b", gpu_host(), query=spot, idle_minutes=7.5, max_spend=2.5),
        "hostile": planned("qwen3-8b", gpu_host(), engine_args=HOSTILE, settings=hostile),
        "hostile-path": planned(NASTY, gpu_host(), engine_args=HOSTILE),
        "older-driver": planned("qwen2.5-7b", gpu_host(T4, T4, driver="535.183.01")),
        "cuda-118": planned("mistral-7b", gpu_host(V100, driver="470.57.02")),
        "wheel": planned(
            "org/some-3b", gpu_host(driver="550.54"), settings={"install": {"version": "0.24.0"}}
        ),
        "container": planned(
            "qwen3-8b",
            gpu_host(B200, **CONTAINER),
            settings={"install": {"runtime": "container"}, "engine": {"port": 9000}},
        ),
        "unknown-gpu": planned("qwen3-8b", gpu_host(Gpu("NVIDIA Nova 7", 81000, "9.0"))),
        "cpu": planned("smollm2-135m", cpu_host(), backend="ssh", price=0.0),
        "remedied": [*planned("qwen3-8b", gpu_host()), *remedied(SHORTER, NO_SAMPLER)],
        "runpod": planned("qwen3-8b", gpu_host(Gpu("NVIDIA A100-SXM4-80GB", 81920, "8.0"))),
    }


def files(folder: Path, target: str) -> dict[str, Path]:
    made = {}
    for name, events in cases().items():
        path = folder / f"{name}.{target}.yaml"
        path.write_text(written(state_of(events), target))
        made[name] = path
    events = planned("qwen3-8b", gpu_host(L4, L4), query=OfferQuery("qwen3-8b", max_price=2.0))
    made["fleet"] = folder / f"fleet.{target}.yaml"
    made["fleet"].write_text(written(state_of(events), target, fleet_of(events, 3)))
    return made


def installed(folder: Path, *packages: str, options: tuple[str, ...] = ()) -> Path:
    """An interpreter that has these packages."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    pip = ("-m", "pip", "install", "--quiet", *options, *packages)
    subprocess.run([python, *pip], check=True, timeout=900)
    return python


def answers(python: Path, program: str, paths: dict[str, Path], folder: Path) -> dict[str, Any]:
    """What the program says of each file, by its name."""
    place = {**os.environ, "HOME": str(folder), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    done = subprocess.run(
        [python, "-c", program, json.dumps({name: str(path) for name, path in paths.items()})],
        env=place, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


# As its command line does it: the file, then the references in commands, probes and environment.
DSTACK = """
import json, sys, yaml
from dstack._internal.core.models.configurations import ServiceConfiguration
from dstack._internal.core.models.configurations import parse_run_configuration
from dstack._internal.core.services import is_valid_dstack_resource_name
from dstack._internal.utils.interpolator import VariablesInterpolator
said = {}
for name, path in json.loads(sys.argv[1]).items():
    conf = parse_run_configuration(yaml.safe_load(open(path)))
    assert isinstance(conf, ServiceConfiguration), name
    assert is_valid_dstack_resource_name(conf.name), conf.name
    run = VariablesInterpolator({"run": {"args": ""}}, skip=["secrets"])
    env = VariablesInterpolator({"env": {"VLLM_API_KEY": "the-key"}}, skip=["secrets"])
    values = VariablesInterpolator({"secrets": {}})
    said[name] = {
        "commands": [run.interpolate_or_error(command) for command in conf.commands],
        "same": [run.interpolate_or_error(c) == c for c in conf.commands],
        "headers": [env.interpolate_or_error(h.value) for p in conf.probes for h in p.headers],
        "env": {
            k: values.interpolate_or_error(v) for k, v in conf.env.items() if isinstance(v, str)
        },
        "to set": [k for k, v in conf.env.items() if not isinstance(v, str)],
        "gpus": conf.resources.gpu.count.min, "price": conf.max_price,
        "port": conf.port.container_port, "image": conf.image,
        "replicas": [conf.replicas.min, conf.replicas.max],
    }
print(json.dumps(said))
"""


def test_dstack_accepts_every_export(tmp_path: Path) -> None:
    python = installed(tmp_path / "dstack", "dstack==0.22.5")
    said = answers(python, DSTACK, files(tmp_path, "dstack"), tmp_path)
    for name, events in cases().items():
        run, one = running(state_of(events)), said[name]
        assert all(one["same"]), f"{name}: nothing in a command is taken for dstack's own"
        assert one["headers"] == ["Bearer the-key"], name
        assert one["to set"] == list(run.launch.secrets), name
        assert (one["gpus"], one["price"]) == (run.gpu_count, run.ceiling), name
        assert one["port"] == run.launch.port
        dollars = [n for n, v in run.launch.environment if "$" in v]
        assert set(one["env"]) == {n for n, _ in run.launch.environment} - set(dollars), name
        for command in one["commands"]:
            subprocess.run(["sh", "-n", "-c", command], check=True)
    assert said["container"]["image"] == "vllm/vllm-openai:v0.33.0"
    assert (said["fleet"]["replicas"], said["fleet"]["gpus"]) == ([3, 3], 2)


SKYPILOT = """
import json, sys, yaml
import sky
said = {}
for name, path in json.loads(sys.argv[1]).items():
    sky.Task.from_yaml(path)
    config = yaml.safe_load(open(path))
    secrets = [(each, "the-key") for each in config.get("secrets", ())]
    task = sky.Task.from_yaml_config(config, secrets_overrides=secrets)
    one = next(iter(task.resources))
    said[name] = {
        "headers": task.service.readiness_headers, "probe": task.service.readiness_path,
        "accelerators": sorted({a for r in task.resources for a in (r.accelerators or {})}),
        "count": sum((one.accelerators or {}).values()),
        "price": one._max_hourly_cost if hasattr(one, "_max_hourly_cost") else one.max_hourly_cost,
        "ports": one.ports, "envs": task.envs, "run": task.run, "setup": task.setup,
        "autostop": one.autostop_config and one.autostop_config.idle_minutes,
        "down": one.autostop_config and one.autostop_config.down,
        "replicas": [task.service.min_replicas, task.service.max_replicas],
    }
print(json.dumps(said))
"""


def test_skypilot_accepts_every_export(tmp_path: Path) -> None:
    python = installed(tmp_path / "sky", "skypilot==0.14.1")
    made = files(tmp_path, "skypilot")
    del made["unknown-gpu"]  # what has so much memory it asks its catalogue, over the network
    said = answers(python, SKYPILOT, made, tmp_path)
    assert said["fleet"]["replicas"] == [3, 3]
    for name in made.keys() - {"fleet"}:
        run, one = running(state_of(cases()[name])), said[name]
        assert one["headers"] == {"Authorization": "Bearer the-key"}, name
        assert one["probe"] == "/health"
        assert one["count"] == run.gpu_count and one["price"] == run.ceiling, name
        assert one["envs"] == dict(run.launch.environment), name
        assert one["down"] is (True if run.hours else None), name
        for script in (one["run"], one["setup"]):
            subprocess.run(["bash", "-n", "-c", script], check=True)
    assert said["runpod"]["accelerators"] == ["A100-80GB"]
    assert said["limits"]["autostop"] == int(2.5 / 0.41 * 60)


COMPOSE = (
    *("docker-compose==1.29.2", "docker<7", "dockerpty", "docopt", "jsonschema<4", "python-dotenv"),
    *("texttable", "websocket-client<1", "distro", "requests<2.32", "pyyaml", "six", "attrs"),
    *("pyrsistent", "urllib3", "certifi", "idna", "charset-normalizer", "packaging", "setuptools"),
)
"""It asks for a PyYAML that needs a compiler, and runs with a newer one as well."""


def test_compose_accepts_every_export(tmp_path: Path) -> None:
    import yaml

    python = installed(tmp_path / "compose", *COMPOSE, options=("--no-deps",))
    for name, path in files(tmp_path, "compose").items():
        events = cases()["limits" if name == "fleet" else name]
        launch = running(state_of(events)).launch
        place = {**os.environ, **dict.fromkeys(launch.secrets, "the-key"), "HOME": str(tmp_path)}
        done = subprocess.run(
            [python.parent / "docker-compose", "-f", path, "config"],
            env=place, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, (name, done.stderr)
        services = yaml.safe_load(done.stdout)["services"]
        if name == "fleet":
            assert services.keys() == {"qwen3-8b-1", "qwen3-8b-2", "qwen3-8b-3", "router"}
            continue
        service = next(iter(services.values()))
        assert service["environment"]["VLLM_API_KEY"] == "the-key"
        plain = {n: v.replace("$", "$$") for n, v in launch.environment}
        assert {n: service["environment"][n] for n in plain} == plain, name
        if launch.image:  # `config` writes what it read so that it could be read again
            wanted = [*launch.arguments, *launch.arguments_in_image]
            words = [word.replace("$$", "$") for word in service["command"]]
            assert words[-len(wanted) :] == wanted, name


# -- the script ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with real_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


def over_ssh(sshd: Sshd, command: str) -> list[str]:
    quiet = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-q")
    where = ("-i", str(sshd.identity), "-p", str(sshd.port), f"{sshd.user}@{sshd.host}")
    return ["ssh", *quiet, *where, command]


@pytest.mark.timeout(3600)
def test_the_exported_script_serves_on_a_plain_host(tmp_path: Path, sshd: Sshd) -> None:
    """Deployed, released and exported; then a person runs the script by hand."""
    place = environment(tmp_path)
    place["GDL_INSTALL__WORK_DIR"] = str(tmp_path / "work")
    job = ["deploy", "smollm2-135m", "--host", sshd.address, "--identity", str(sshd.identity)]
    subprocess.run([GDL, *job, "--no-bench", "--destroy"], env=place, check=True, timeout=1800)
    by_hand(tmp_path, place, sshd)


def by_hand(tmp_path: Path, place: dict[str, str], sshd: Sshd) -> None:
    work = Path(place["GDL_INSTALL__WORK_DIR"])
    ident = next((Path(place["GDL_DATA_DIR"]) / "logs").iterdir()).name
    script = tmp_path / "serve.sh"
    subprocess.run([GDL, "export", ident, "--to", "script", "-o", script], env=place, check=True)

    key, port = "a key of one's own", free_port()
    set_by_hand = {
        "VLLM_API_KEY": key, "PORT": str(port), "FOLDER": str(tmp_path / "serve"),
        # No hub here: the model is where the deployment has unpacked it.
        "MODEL": str(work / "models" / "smollm2-135m"), "HF_HUB_OFFLINE": "1",
        "PYTHON": f"{sys.version_info.major}.{sys.version_info.minor}",
    }  # fmt: skip
    shown = " ".join(f"{name}={shlex.quote(value)}" for name, value in set_by_hand.items())
    places = f'eval "$({shlex.quote(sys.executable)} {shlex.quote(str(PIPCONF))})"'
    command = f"{places}; echo $$; exec env {shown} sh {shlex.quote(str(script))}"
    log = tmp_path / "serve.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            over_ssh(sshd, command), stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        wait_until_it_serves(f"http://127.0.0.1:{port}", process, log)
        url, question = (
            f"http://127.0.0.1:{port}/v1/chat/completions",
            "What is the capital of France?",
        )
        body = {
            "model": "smollm2-135m", "max_tokens": 24, "temperature": 0,
            "messages": [{"role": "user", "content": question}],
        }  # fmt: skip
        assert httpx.post(url, json=body, timeout=120).status_code == 401
        header = {"Authorization": f"Bearer {key}"}
        answer = httpx.post(url, json=body, headers=header, timeout=120)
        assert answer.status_code == 200, answer.text
        assert answer.json()["usage"]["completion_tokens"] > 3
    finally:
        # By its own number, which the script keeps to the server.
        pid = int(log.read_text().splitlines()[0])
        os.kill(pid, 15)
        process.wait(60)


def wait_until_it_serves(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 1200
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            if httpx.get(f"{url}/health", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(2)
    raise AssertionError(log.read_text()[-3000:])
