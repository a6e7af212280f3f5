"""What a start of vLLM no longer waits for: byte code, the model's class, the weights."""

from __future__ import annotations

import os
import subprocess
import venv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from gdl.domain.model import Model
from gdl.domain.model_facts import FactsSource, ModelFacts, RepoFile
from gdl.domain.secret import Secret
from gdl.engines.base import Step
from gdl.engines.vllm import plan
from gdl.engines.vllm.programs import remote_file
from gdl.settings import Engine, Install, Settings

PARTS = tuple(RepoFile(f"model-0000{n}-of-00002.safetensors", 5_000_000_000) for n in (1, 2))
SMALL = (RepoFile("config.json", 700), RepoFile("tokenizer.json", 9_000_000))


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """An interpreter with nothing but what a test puts beside it."""
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    return tmp_path / "venv/bin/python"


def put(python: Path, files: Mapping[str, str]) -> Path:
    site = next(python.parent.parent.glob("lib/python3*/site-packages"))
    for name, text in files.items():
        path = site / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return site


def run(python: Path, program: str, *arguments: str, **env: str) -> str:
    folder = python.parent.parent.parent
    name, text = remote_file(program)
    (folder / name).write_text(text)
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [python, f"./{name}", *arguments],
        cwd=folder, env=clean | env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def compiled(site: Path) -> set[str]:
    return {path.name.partition(".")[0] for path in site.rglob("*.pyc")}


def test_what_an_import_reads_is_compiled_and_nothing_else(python: Path) -> None:
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from first import typed\n"
    perhaps = "try:\n    import second\nexcept ImportError:\n    pass\n"
    site = put(python, {
        "first/__init__.py": f"{typed}from . import inner\nfrom .deep.er import thing\n",
        "first/inner.py": f"import first.by_name\n{perhaps}",
        "first/by_name.py": "def later():\n    import first.lazy\n",
        "first/deep/__init__.py": "",
        "first/deep/er.py": "from ..sibling import *\nthing = 1\n",
        "first/sibling.py": "import absent.module\n",
        "first/lazy.py": "", "first/typed.py": "", "first/apart.py": "",
        "broken.py": "from broken import (\n",
    })  # fmt: skip
    assert "7 modules" in run(python, "bytecode.py", "record", "first", "broken.nothing")
    assert compiled(site) == {"__init__", "inner", "by_name", "er", "sibling"}
    put(python, {"second.py": "import third\n", "third.py": ""})
    assert "9 modules" in run(python, "bytecode.py", "record", "first")
    assert {"second", "third"} <= compiled(site)


SERVER = """\
import gc, sys
import vllm.beside
if __name__ == "__main__":
    from vllm.child import child
    print("server", gc.isenabled(), sys.argv[1:])
    print("child", child())
"""
CHILD = """\
import gc, multiprocessing, sys
def work(queue):
    names = "vllm.v1.engine.core", "vllm.entrypoints.openai.api_server"
    queue.put((gc.isenabled(), *(name in sys.modules for name in names)))
def child():
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=work, args=(queue,), name="EngineCore_DP0")
    process.start()
    said = queue.get()
    process.join()
    return said
"""
REGISTRY = """\
from pathlib import Path
import os
class Known:
    def _save_modelinfo_to_cache(self): ...
    def inspect_model_cls(self):
        folder = Path(os.environ["VLLM_CACHE_ROOT"], "modelinfos")
        folder.mkdir(parents=True, exist_ok=True)
        _run_in_subprocess(lambda: (folder / "vllm-models-x-SomeLM.json").write_text("{}"))
class ModelRegistry:
    models = {"SomeLM": Known()}
def _run_in_subprocess(look): raise AssertionError("once more")
"""


def test_a_server_starts_with_its_imports_done_and_its_model_looked_at(
    python: Path, tmp_path: Path
) -> None:
    empty = ("numpy", "torch", "vllm", "vllm/entrypoints", "vllm/entrypoints/openai", "vllm/v1",
             "vllm/v1/engine", "vllm/model_executor", "vllm/model_executor/models")  # fmt: skip
    put(python, {f"{name}/__init__.py": "" for name in empty} | {
        "torch/__init__.py": "class version: cuda = None\n",
        "vllm/entrypoints/openai/api_server.py": SERVER,
        "vllm/child.py": CHILD,
        "vllm/beside.py": "import gc\nprint('imported', gc.isenabled())\n",
        "vllm/v1/engine/core.py": "",
        "vllm/plugins.py": "def load_general_plugins(): ...\n",
        "vllm/model_executor/models/registry.py": REGISTRY,
    })  # fmt: skip
    (tmp_path / "model_class.py").write_text(remote_file("model_class.py")[1])
    (tmp_path / "m").mkdir()
    (tmp_path / "m/config.json").write_text('{"architectures": ["SomeLM"]}')
    cache = str(tmp_path / "cache")
    said = run(python, "launch.py", "--model", "m", VLLM_CACHE_ROOT=cache).splitlines()
    assert said[-3:] == [
        "imported False", "server True ['--model', 'm']", "child (True, True, False)",
    ]  # fmt: skip
    if len(os.sched_getaffinity(0)) > 1:
        assert (tmp_path / "cache/modelinfos/vllm-models-x-SomeLM.json").exists()


# -- weights ---------------------------------------------------------------------------------------


def hub_model(*files: RepoFile, **changes: Any) -> Model:
    facts = ModelFacts("org/m-65b", FactsSource.HUB, files=files)
    return replace(Model("org/m-65b", "hub", "org/m-65b", "org/m-65b", facts=facts), **changes)


def fetched(model: Model, settings: Settings | None = None, *arguments: str) -> Step | None:
    made = plan.model_steps(model, settings or Settings(), arguments)
    return made[0] if made else None


def test_weights_come_beside_the_installation() -> None:
    env = {"HF_ENDPOINT": "https://mirror.example", "OTHER": "x"}
    settings = Settings(hf_token=SecretStr("hf_secret"), engine=Engine(env=env))
    other = (RepoFile("original/model.safetensors", 9), RepoFile("run.py", 3), RepoFile("a b", 1))
    step = fetched(hub_model(*other, *PARTS, *SMALL), settings)
    assert step is not None and step.after == "venv"
    words = "org/m-65b ./weights.turn 10009000700 config.json tokenizer.json " + " ".join(
        part.path for part in PARTS
    )
    assert f"./weights.py {words}\n" in step.script
    assert "export HF_ENDPOINT=https://mirror.example" in step.script
    assert "OTHER" not in step.script and "hf_secret" not in step.script
    assert step.secret_env == {"HF_TOKEN": Secret("hf_secret")}


@pytest.mark.parametrize(
    "model",
    [
        hub_model(*SMALL),
        hub_model(RepoFile("pytorch_model.bin", 9)),
        hub_model(*PARTS, RepoFile("consolidated.safetensors", 9)),
        hub_model(*PARTS, RepoFile("adapter_model.safetensors", 9)),
        hub_model(*PARTS, file="Q4_K_M"),
        hub_model(*PARTS, facts=None),
    ],
)
def test_what_the_server_may_fetch_otherwise_is_left_to_it(model: Model) -> None:
    assert fetched(model) is None


def test_a_user_may_want_the_weights_otherwise() -> None:
    model = hub_model(*PARTS)
    assert fetched(model) is not None
    assert fetched(model, None, "--revision") is None
    assert fetched(model, Settings(engine=Engine(env={"HF_HUB_OFFLINE": "1"}))) is None
    assert fetched(model, Settings(install=Install(installer="pip"))) is None
