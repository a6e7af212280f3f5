"""`gdl-tui export`: what runs, in the words of other tools; whatever is in it, and no secret."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml as pyyaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cli_support import SCENARIOS, Scripted, opener_of
from engine_support import L4, cpu_host, gpu_host
from gdl.cli.app import run
from gdl.domain import events as ev
from gdl.domain import fleet_events as fe
from gdl.domain.errors import UsageError
from gdl.domain.event import Event
from gdl.domain.events import Recorded
from gdl.domain.fleet_spec import FleetSpec
from gdl.domain.host import Gpu
from gdl.domain.launch import Launch
from gdl.domain.offers import OfferQuery
from gdl.domain.phase import Billing
from gdl.domain.rental import Rental
from gdl.domain.spec import DeploymentSpec
from gdl.handover import gpu_names
from gdl.handover.running import name_for_tools, running
from gdl.handover.targets import TARGETS, written
from gdl.handover.writing import quoted, shell_word, yaml
from gdl.journal.store import DeploymentRow, Journal
from gdl.orchestrator.support.export import exported, exported_fleet
from gdl.settings import load
from handover_support import (
    FLEET,
    HOSTILE,
    IDENT,
    NO_SAMPLER,
    NOW,
    SHORTER,
    fleet_of,
    planned,
    recorded,
    remedied,
    state_of,
    without_launch,
)

pytestmark = pytest.mark.usefixtures("own_data")

A100 = Gpu("NVIDIA A100-SXM4-80GB", 81920, "8.0")
HUB_TOKEN = {"hf_token": "hf_plantedHubToken0123456789"}


def handed(target: str, events: list[ev.Event]) -> Any:
    """The file as the other tool reads it."""
    return pyyaml.safe_load(written(state_of(events), target))


def words_of(launch: Launch, *, image: bool) -> list[str]:
    extra = launch.arguments_in_image if image else launch.arguments_installed
    return [*launch.arguments, *extra]


@pytest.mark.parametrize("target", [target for target in TARGETS if target != "toml"])
def test_what_several_machines_serve_together_is_written_for_ourselves_alone(target: str) -> None:
    query = OfferQuery(model="qwen3-8b", nodes=2)
    state = state_of(planned("qwen3-8b", gpu_host(L4), query=query, backend="ssh"))
    with pytest.raises(UsageError, match="is served by 2 machines together") as refused:
        written(state, target)
    assert f"gdl-tui export {IDENT} --to toml" in str(refused.value.hint)
    file = tomllib.loads(told := written(state, "toml"))
    assert file["nodes"] == 2
    assert "# - its 2 machines are named with --host" in told


def test_dstack_gets_the_engine_the_machine_and_the_limits() -> None:
    events = planned("llama-3.1-8b", gpu_host(L4, L4), settings=HUB_TOKEN, hours=2)
    made = handed("dstack", events)
    assert made["image"] == "vllm/vllm-openai:v0.33.0" and "python" not in made
    assert (made["name"], made["port"], made["replicas"]) == ("llama-3-1-8b", 8000, 1)
    assert {"VLLM_API_KEY", "HF_TOKEN"} < set(made["env"]), "gated: the token is named"
    assert made["resources"]["gpu"] == {
        "vendor": "nvidia", "name": "L4", "memory": "22GB..", "count": 2
    }  # fmt: skip
    assert (made["max_price"], made["max_duration"]) == (0.41, "120m")
    header = {"name": "Authorization", "value": "Bearer ${{ env.VLLM_API_KEY }}"}
    assert made["probes"][0]["headers"] == [header] and made["probes"][0]["url"] == "/health"
    # Its own route and probe send no key.
    assert "model" not in made and made["auth"] is False
    assert "--tensor-parallel-size 2" in made["commands"][-1]
    assert "/vllm-workspace/examples/" in made["commands"][-1], "the template of the image"


def test_a_release_without_an_image_of_its_cuda_is_installed_as_it_was_here() -> None:
    host = gpu_host(driver="550.54")
    made = handed(
        "dstack", planned("org/some-3b", host, settings={"install": {"version": "0.24.0"}})
    )
    assert "image" not in made and made["python"] == "3.12"
    assert any("--torch-backend=cu129" in line for line in made["commands"])


def test_limits_become_those_of_the_other_tool() -> None:
    query = OfferQuery(model="qwen3-8b", max_price=0.6, interruptible=True)
    events = planned("qwen3-8b", gpu_host(), query=query, idle_minutes=20, max_spend=1.23)
    dstack, sky = handed("dstack", events), handed("skypilot", events)
    assert (dstack["max_price"], dstack["max_duration"]) == (0.6, "180m"), "$1.23 at $0.41/h"
    assert dstack["replicas"] == "0..1" and dstack["scaling"]["scale_down_delay"] == "20m"
    assert dstack["spot_policy"] == "spot"
    assert sky["resources"]["max_hourly_cost"] == 0.6 and sky["resources"]["use_spot"] is True
    stop = {"idle_minutes": 180, "down": True, "wait_for": "none"}
    assert sky["resources"]["autostop"] == stop
    policy = sky["service"]["replica_policy"]
    assert (policy["min_replicas"], policy["downscale_delay_seconds"]) == (0, 1200)


def test_a_fleet_is_handed_over_with_its_replicas() -> None:
    query = OfferQuery(model="qwen3-8b", max_price=1.5)
    events = planned("qwen3-8b", gpu_host(L4, L4), query=query, max_spend=3.69)
    fleet = fleet_of(events, 3, policy="random", spread_markets=True)
    made = {name: written(state_of(events), name, fleet) for name in TARGETS}
    assert all(FLEET in text and IDENT not in text for text in made.values())

    dstack = pyyaml.safe_load(made["dstack"])
    assert (dstack["replicas"], dstack["max_price"]) == (3, 0.5), "a third for each"
    assert dstack["max_duration"] == "180m", "$3.69 at three times $0.41/h"
    sky = pyyaml.safe_load(made["skypilot"])
    policy = sky["service"]["replica_policy"]
    assert (policy["min_replicas"], policy["max_replicas"]) == (3, 3)
    assert "sky launch" not in made["skypilot"]

    services = pyyaml.safe_load(made["compose"])["services"]
    assert list(services) == ["qwen3-8b-1", "qwen3-8b-2", "qwen3-8b-3", "router"]
    gpus = [
        service["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"]
        for name, service in services.items()
        if name != "router"
    ]
    assert gpus == [["0", "1"], ["2", "3"], ["4", "5"]], "no two have the same"
    assert [name for name, service in services.items() if "ports" in service] == ["router"]
    asked = services["router"]["command"][-1]
    assert "vllm-router==0.1.17" in asked and "--policy random" in asked
    assert asked.split()[-3:] == [f"http://qwen3-8b-{n}:8000" for n in (1, 2, 3)]

    toml = tomllib.loads(made["toml"])
    assert (toml["replicas"], toml["spread_markets"], toml["max_price"]) == (3, True, 1.5)
    assert toml["fleet"] == {"router": "vllm-router", "policy": "random"}


@pytest.mark.parametrize("target", ["compose", "script"])
def test_a_router_that_would_show_the_key_is_not_handed_over(target: str) -> None:
    events = planned("qwen3-8b", gpu_host())
    with pytest.raises(UsageError) as refused:
        written(state_of(events), target, fleet_of(events, 2, router="smg"))
    assert "behind smg" in refused.value.message and "--to dstack" in refused.value.hint


def test_a_script_is_replica_or_router(tmp_path: Path) -> None:
    """It starts the router before the addresses that it is given, and asks for no key then."""
    events = planned("smollm2-135m", cpu_host(), backend="ssh", price=0.0)
    script = tmp_path / "serve.sh"
    script.write_text(written(state_of(events), "script", fleet_of(events, 2)))
    program = tmp_path / "router" / "bin" / "vllm-router"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o700)
    place = {"PATH": f"{tmp_path}:/usr/bin:/bin", "FOLDER": str(tmp_path), "PORT": "9100"}
    (tmp_path / "uv").write_text("#!/bin/sh\n")
    (tmp_path / "uv").chmod(0o700)
    urls = ["http://127.0.0.1:8001", "http://127.0.0.1:8002"]
    done = subprocess.run(
        ["sh", script, "router", *urls], env=place, capture_output=True, text=True, check=True
    )
    words = done.stdout.split()
    assert words[:4] == ["--host", "127.0.0.1", "--port", "9100"] and words[-2:] == urls
    alone = subprocess.run(["sh", script], env=place, capture_output=True, text=True, check=False)
    assert alone.returncode != 0 and "VLLM_API_KEY" in alone.stderr


async def test_a_fleet_is_found_by_its_id(tmp_path: Path) -> None:
    events = planned("qwen3-8b", gpu_host())
    journal = await Journal.open(tmp_path / "journal.sqlite")
    config = load(data_dir=tmp_path)
    spec = DeploymentSpec("qwen3-8b", "vastai", OfferQuery(model="qwen3-8b"))
    told: list[Event] = [
        fe.FleetPlanned(FleetSpec(spec, 2), "/keys/fleet.api"),
        fe.ReplicaStarted(IDENT, 1),
        fe.ReplicaStarted("20260506-070810-nothing", 1),
    ]
    for n, event in enumerate(told, 1):
        await journal.append(Recorded(FLEET, n, NOW, event))
    for one in recorded(events):
        await journal.append(one)
    text = await exported_fleet(FLEET, "dstack", journal, config)
    assert pyyaml.safe_load(text)["replicas"] == 2, "by the replica that came to a server"
    await journal.aclose()


def test_skypilot_gets_a_port_that_its_vast_can_reach() -> None:
    made = handed("skypilot", planned("qwen3-8b", gpu_host(A100)))
    assert made["resources"]["infra"] == "vast" and made["resources"]["ports"] == 8080
    assert "--port 8080" in made["run"]
    assert made["resources"]["accelerators"] == {"A100-80GB": 1}
    assert made["secrets"] == {"VLLM_API_KEY": None}
    assert made["service"]["readiness_probe"]["headers"] == {
        "Authorization": "Bearer $VLLM_API_KEY"
    }


def test_a_machine_of_ones_own_has_no_price() -> None:
    events = planned("smollm2-135m", cpu_host(), backend="ssh", price=0.0)
    events[1] = ev.AttemptStarted(1, "box", "ssh", "", 0, 0.0, 0.0, backend="ssh")
    for target in ("dstack", "skypilot"):
        made = handed(target, events)
        assert "max_price" not in made and "max_hourly_cost" not in made.get("resources", {})
        assert "no price is known" in written(state_of(events), target)
    compose = handed("compose", events)["services"]["smollm2-135m"]
    assert compose["image"] == "python:3.12" and "deploy" not in compose
    assert "HuggingFaceTB/SmolLM2-135M-Instruct" in compose["command"][2]


def test_a_program_that_nothing_installs_has_to_be_there(tmp_path: Path) -> None:
    events = planned("smollm2-135m", cpu_host(), engine="llamacpp", backend="ssh", price=0.0)
    launch = running(state_of(events)).launch
    assert launch.install == () and launch.key == "LLAMA_API_KEY"
    for target in ("dstack", "compose"):
        assert "/app/llama-server" in written(state_of(events), target), "not on the image's PATH"
    (service,) = handed("compose", events)["services"].values()
    assert asked_by(service["healthcheck"]["test"], tmp_path) == [
        "Authorization: Bearer k", "-fsS", "-m", "10", "-o", "/dev/null",
        "http://127.0.0.1:8000/health", "-H", "@-",
    ], "its image has curl and no Python"  # fmt: skip
    script = written(state_of(events), "script")
    assert "uv" not in script and "PYTHON=" not in script.replace("PYTHONUNBUFFERED=", "")
    place = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "LLAMA_API_KEY": "k"}
    done = subprocess.run(["sh"], input=script, env=place, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (127, "llama-server is not installed here\n")
    assert "llama-server" in handed("skypilot", events)["setup"]


def asked_by(check: list[str], folder: Path) -> list[str]:
    """What a health check of Compose gives to a curl of ours: its input, and its arguments."""
    kind, line = check
    assert kind == "CMD-SHELL"
    (folder / "curl").write_text("#!/bin/sh\ncat; printf '\\n%s' \"$@\"\n")
    (folder / "curl").chmod(0o755)
    place = {"PATH": f"{folder}:/usr/bin:/bin", "LLAMA_API_KEY": "k"}
    shell = ["sh", "-c", line.replace("$$", "$")]
    return subprocess.run(
        shell, env=place, capture_output=True, text=True, check=True
    ).stdout.splitlines()


def test_what_the_machine_was_found_to_need_is_handed_over_as_well() -> None:
    events = [*planned("qwen3-8b", gpu_host()), *remedied(SHORTER, NO_SAMPLER)]
    for target in TARGETS[1:]:
        text = written(state_of(events), target)
        assert "VLLM_USE_FLASHINFER_SAMPLER" in text, target
    assert running(state_of(events)).launch.arguments[-2:] == ("--max-model-len", "4096")
    told = tomllib.loads(written(state_of(events), "toml"))
    assert told["engine"]["args"] == ["--max-model-len", "4096"]
    assert "guard" not in told, "nothing was asked of one"


@pytest.mark.parametrize(
    "model", ["qwen3-8b", '/data/it\'s $(touch /tmp/pwned) `id` "x"; rm -rf ~']
)
def test_whatever_is_in_the_arguments_arrives_as_it_is(tmp_path: Path, model: str) -> None:
    env = {"GREETING": "it's $HOME ${{ x }} $$\n\x1b[31m"}
    host = gpu_host(A100, A100)
    events = planned(model, host, engine_args=HOSTILE, settings={"engine": {"env": env}})
    launch = running(state_of(events)).launch
    rest = words_of(launch, image=True)
    compose = next(iter(handed("compose", events)["services"].values()))
    assert [w.replace("$$", "$") for w in compose["command"][6:]] == rest
    dstack, sky = handed("dstack", events), handed("skypilot", events)
    for command in dstack["commands"]:
        assert "$$" not in command and "${{" not in command
    for script in ("\n".join(dstack["commands"]), sky["run"], written(state_of(events), "script")):
        seen = shell_runs(script, tmp_path, launch)
        assert seen["argv"][:3] == [*launch.program[1:], "--model"]
        assert seen["argv"][3] == model.replace("qwen3-8b", "Qwen/Qwen3-8B")
        assert seen["argv"][8:] == rest
        if script != sky["run"]:  # it has them as `envs`
            assert seen["env"]["GREETING"] == env["GREETING"]
    assert sky["envs"]["GREETING"] == env["GREETING"]


def shell_runs(script: str, folder: Path, launch: Launch) -> Any:
    """What the server is started with by a script whose uv and Python are ours."""
    home, bin_folder = folder / "home", folder / "bin"
    (home / "serve" / "venv" / "bin").mkdir(parents=True, exist_ok=True)
    bin_folder.mkdir(exist_ok=True)
    (home / "serve" / "venv" / "bin" / "activate").touch()
    uv = '#!/bin/sh\n[ "$1" != venv ] || { mkdir -p venv/bin && : > venv/bin/activate; }\n'
    tell = "import json, os, sys; print(json.dumps({'argv': sys.argv[1:], 'env': {**os.environ}}))"
    (bin_folder / "tell.py").write_text(tell)
    (bin_folder / "uv").write_text(uv)
    (bin_folder / "python3").write_text(
        f'#!/bin/sh\nexec {sys.executable} {bin_folder}/tell.py "$@"\n'
    )
    for name in ("uv", "python3"):
        (bin_folder / name).chmod(0o755)
    place = {"PATH": f"{bin_folder}:/usr/bin:/bin", "HOME": str(home)}
    place |= dict.fromkeys(launch.secrets, "key")
    done = subprocess.run(
        ["sh"], input=script, env=place, cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("engine", ["vllm", "llamacpp"])
async def test_no_secret_is_written(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = "plantedSecretOfSomebody0123"
    monkeypatch.setenv("MY_API_TOKEN", f"{planted}-env")
    args: tuple[str, ...]
    args = ("--hf-token", planted, "--hf-token=" + planted, f"--x=https://u:{planted}@example/y")
    args += ("-hft", planted) if engine == "llamacpp" else ()
    known_nowhere_else = "anotherSecretOfSomebody4567"
    args += ("--admin-api-key", *[known_nowhere_else] * 2, f"--passwd={known_nowhere_else}")
    own: dict[str, Any] = {
        "engine": {"env": {"MY_PASSWORD": planted, "PLACE": f"https://u:{planted}@example/z"}},
        "install": {"extra_index_url": (f"https://u:{planted}@pypi.example/simple",)},
        **HUB_TOKEN,
    }
    model = "smollm2-135m" if engine == "llamacpp" else "llama-3.1-8b"
    args += (f"--note={planted}-env",)
    events = planned(model, gpu_host(), settings=own, engine=engine, engine_args=args)
    settings = load(data_dir=tmp_path, **own)
    journal = await Journal.open(tmp_path / "journal.sqlite")
    await journal.add_deployment(DeploymentRow(IDENT, NOW, "m", "vastai", "", 0))
    rental = Rental("i", IDENT, 1, "vastai", "vastai", "o", "me", 0.4, NOW, Billing.RELEASED)
    await journal.save(rental)
    for event in recorded(events):
        await journal.append(event)
    for target in TARGETS:
        text = await exported(IDENT, target, journal, settings)
        assert planted not in text and HUB_TOKEN["hf_token"] not in text, target
        assert known_nowhere_else not in text, target
        assert "https://example/y" in text, target
        assert "--hf-token is omitted" in " ".join(text.replace("\n#", "").split()), target
    for target in TARGETS[1:]:
        assert "MY_PASSWORD" in await exported(IDENT, target, journal, settings), "it is named"
    await journal.aclose()


def test_what_never_came_to_a_server_cannot_be_handed_over_but_kept() -> None:
    early = state_of(planned("qwen3-8b", gpu_host())[:3])
    for target in TARGETS[1:]:
        with pytest.raises(UsageError, match="never came to starting a server"):
            written(early, target)
    kept = tomllib.loads(written(early, "toml"))
    assert kept["model"] == "qwen3-8b" and "install" not in kept
    secret = ("--admin-api-key", "of-somebody", "--seed", "1")
    text = written(state_of(planned("qwen3-8b", gpu_host(), engine_args=secret)[:3]), "toml")
    assert tomllib.loads(text)["engine"]["args"] == ["--seed", "1"]
    assert "--admin-api-key is omitted" in text and "of-somebody" not in text
    old = state_of(without_launch(planned("qwen3-8b", gpu_host())))
    with pytest.raises(UsageError, match="does not say how the server"):
        written(old, "dstack")
    assert tomllib.loads(written(old, "toml"))["model"] == "qwen3-8b"
    with pytest.raises(UsageError, match="the journal has nothing"):
        written(state_of([]), "toml")
    with pytest.raises(UsageError, match="nothing is known of 'nomad'"):
        written(early, "nomad")


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("Qwen/Qwen3-8B", "qwen3-8b"),
        ("org/3b_Model.v1", "llm-3b-model-v1"),
        ("é", "llm-server"),
        ("x", "llm-x"),
        ("a" * 80, "a" * 40),
    ],
)
def test_a_name_that_every_tool_takes(name: str, made: str) -> None:
    assert name_for_tools(name) == made


def test_gpus_go_by_the_names_of_others() -> None:
    assert gpu_names.of_dstack("NVIDIA GeForce RTX 4090") == "RTX4090"
    assert gpu_names.of_skypilot("NVIDIA RTX 6000 Ada Generation", 48) == ("RTX6000-Ada",)
    assert gpu_names.of_skypilot("NVIDIA H100 80GB HBM3", 79.6) == ("H100", "H100-SXM")
    assert gpu_names.of_skypilot("Tesla V100-SXM2-16GB", 16) == ("V100",)
    unknown = planned("smollm2-135m", gpu_host(Gpu("NVIDIA Nova 7", 40000, "9.0")))
    assert handed("skypilot", unknown)["resources"]["accelerators"] == "39GB+:1"
    assert "name" not in handed("dstack", unknown)["resources"]["gpu"]


TEXT = st.text(st.characters(codec="utf-8"), max_size=40)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        TEXT, st.recursive(TEXT | st.integers() | st.booleans(), st.lists, max_leaves=5), max_size=4
    )
)
def test_yaml_is_read_as_it_was_meant(value: dict[str, Any]) -> None:
    assert pyyaml.safe_load("\n".join(yaml(value)) or "{}") == value


@settings(max_examples=60, deadline=None)
@given(TEXT)
def test_strings_are_read_as_they_were_meant(text: str) -> None:
    assert tomllib.loads(f"x = {quoted(text)}")["x"] == text


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text("a'\"$\\{}`\n\x1b\u202eé ", max_size=12), min_size=1, max_size=8))
def test_a_shell_gets_the_words_that_were_meant(texts: list[str]) -> None:
    words = [shell_word(text) for text in texts]
    assert not any("$$" in word or "${{" in word for word in words)
    assert all(line.isprintable() for word in words for line in word.split("\n"))
    line = f"printf '%s\\0' {' '.join(words)}"
    said = subprocess.run(["sh", "-c", line], capture_output=True, check=True).stdout
    assert said.decode().split("\0")[:-1] == texts


# -- the command -----------------------------------------------------------------------------------


class Exporting(Scripted):
    """Hands every deployment over in one word."""

    def __post_init__(self) -> None:
        super().__post_init__()

        async def export(ident: str, target: str) -> str:
            return f"#!/bin/sh\n# {ident} for {target}\n"

        self.support.export = export  # type: ignore[method-assign]


def export(*arguments: str) -> int:
    scripted = Exporting(SCENARIOS["keep"])
    return run(("export", *arguments), opener=opener_of(scripted))


def test_a_file_is_written_whole_and_never_over_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "serve.sh"
    assert export("dep-1", "--to", "script", "-o", str(path)) == 0
    assert capsys.readouterr().out == f"{path}\n"
    assert path.read_text() == "#!/bin/sh\n# dep-1 for script\n"
    assert path.stat().st_mode & 0o100, "it can be run"
    assert export("dep-2", "--to", "script", "-o", str(path)) == 2
    assert "already exists" in capsys.readouterr().err and "dep-1" in path.read_text()
    assert export("dep-2", "--to", "script", "-o", str(path), "--force") == 0
    assert "dep-2" in path.read_text() and list(tmp_path.glob(".*")) == []


def test_a_folder_is_no_file_to_be_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for more in ((), ("--force",)):
        assert export("dep-1", "--to", "toml", "-o", str(tmp_path), *more) == 2
        assert f"error: {tmp_path} is a folder" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export("d", "--to", "toml", "-o", str(tmp_path / "none" / "x.toml")) == 2
    err = capsys.readouterr().err
    assert "cannot write" in err and "No such file or directory" in err and "hint: " in err
    assert export("d", "--to", "nomad") == 2
    assert "'dstack'" in capsys.readouterr().err


def test_without_a_file_it_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert export("d", "--to", "toml") == 0
    assert capsys.readouterr().out == "#!/bin/sh\n# d for toml\n"
    assert export("d", "--to", "toml", "--json") == 0
    assert json.loads(capsys.readouterr().out)["text"] == "#!/bin/sh\n# d for toml\n"
