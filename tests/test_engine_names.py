"""No engine is known outside its own folder, but for what is listed here with its reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gdl import settings
from gdl.domain.errors import UsageError
from gdl.engines import registry

PACKAGE = Path(settings.__file__).parent.parent
OWN = ("engines/vllm/",)
ALLOWED = {
    "domain/default_engine.py": "the engine of journals and settings that name none",
    "journal/schema.sql": "the same, for the rows of such a journal",
    "settings/sections.py": "the example of an image's name",
    "settings/names.py": "the old name of install.version is understood",
    "engines/registry.py": "where the built-in engine is",
    "cli/commands/doctor.py": "the old name of --engine-version is understood",
    "backends/shopper/backend.py": "the service has words of its own for what runs",
    "domain/requirements/weights.py": "whose kernels the padding is of",
    "engines/python/stages.py": "whose way of dividing layers it is",
    "domain/server_memory.py": "how the comparison reads",
    "domain/agent_settings.py": "what LiteLLM calls such a server",
    "hub/catalogue.toml": "where its figures are from",
    # A key of `models show --json`.
    "orchestrator/api/model_views.py": "the key min_vllm",
    "orchestrator/leasing/model_details.py": "the key min_vllm",
    "cli/model_page.py": "the key min_vllm",
    # A file format and the definitions of figures, whatever serves: `vllm bench serve`.
    "domain/benchmark.py": "figures are defined as that tool defines them",
    "loadgen/metrics.py": "the same",
    "loadgen/schedule.py": "the same",
    "loadgen/result_files.py": "the same, and its file format",
    "cli/load_results.py": "that file format",
    "cli/bench_options.py": "that file format",
    # vllm-router is a program's name; it balances servers of any engine.
    "cli/fleet_options.py": "the name of a router",
    "domain/fleet_spec.py": "the name of a router",
    "domain/fleet_router.py": "the name of a router",
    "handover/script.py": "the name of a router",
    "orchestrator/leasing/speeds.toml": "where its figures are from",
    "orchestrator/fleet/dialects.py": "the name of a router",
    # Logs of any origin are read, also where no deployment says which engine it was.
    "diagnosis/programs.py": "whose a traceback's files are",
    "diagnosis/places.py": "which modules an error is from, and what it advises itself",
    "diagnosis/reading.py": "which commands people type before an error",
    "diagnosis/prefixes.py": "which prefixes of log lines there are",
    "diagnosis/headline.py": "the example of a module's name",
    "diagnosis/rules/gpu.toml": "switches that a log or a remedy names",
    "diagnosis/rules/host.toml": "the same",
    "diagnosis/rules/hub.toml": "the same",
    "engines/sglang/rules.toml": "errors that its vLLM kernels raise",
}
SIMULATED = "simulator/"
"""The simulated machines serve with a simulated vLLM."""


def test_nothing_else_names_an_engine() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*")
        if path.suffix in (".py", ".toml", ".sql", ".tcss", ".json", ".sh")
        and re.search("vllm", path.read_text("utf-8"), re.IGNORECASE)
    }
    others = {name for name in found if not name.startswith((*OWN, SIMULATED))}
    assert others - ALLOWED.keys() == set(), "ask the deployment's engine instead"
    assert ALLOWED.keys() - others == set(), "no longer needed on the list"


def test_engines_are_had_by_name() -> None:
    assert registry.names()[0] == "vllm"
    assert registry.get("vllm") is registry.get("vllm")
    with pytest.raises(UsageError, match="unknown engine") as caught:
        registry.get("no-such")
    assert "vllm" in caught.value.hint


def test_an_engine_that_is_gone_still_has_a_name() -> None:
    gone = registry.info("no-such")
    assert (gone.name, gone.display_name, gone.log_title) == ("no-such", "no-such", "no-such.log")


@pytest.mark.parametrize("text", ['vllm_version = "0.9.2"', 'version = "0.9.2"'])
def test_the_old_name_of_the_version_is_understood(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # `load` remembers the file for whoever reads the settings next.
    monkeypatch.setattr(settings, "_config_file", settings._config_file)
    config = tmp_path / "config.toml"
    config.write_text(f"[install]\n{text}\n")
    assert settings.load(config).install.version == "0.9.2"
    # What counts more, counts more by either name.
    for name in ("GDL_INSTALL__VLLM_VERSION", "GDL_INSTALL__VERSION"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "0.10.0")
            assert settings.load(config).install.version == "0.10.0"
            chosen = settings.load(config, install={"version": "0.11.0"})
            assert chosen.install.version == "0.11.0"
