"""Backends by name: built-in ones, those of other packages, and what is no backend."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deployment_support import Simulation, deployed, last, of_type, phases, spec
from gdl.backends import base, registry
from gdl.backends.base import BackendContext
from gdl.cli.runtime import Cli, load_settings, open_orchestrator
from gdl.domain import events as ev
from gdl.domain.backend import BackendTraits
from gdl.domain.errors import UsageError
from gdl.domain.offers import OfferQuery
from gdl.domain.phase import Billing, Phase
from gdl.settings import Settings
from local_processes import processes_naming
from outside_packages import install

BUILT_IN = ["vastai", "runpod", "shopper", "ssh", "local", "sandbox"]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another package, installed for this test."""
    folder = install("spare_machines", tmp_path / "site")
    monkeypatch.syspath_prepend(str(folder))
    return folder


def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, name: str) -> None:
    """A package whose backend is not what it should be."""
    (tmp_path / f"broken_{name}.py").write_text(module)
    info = tmp_path / f"broken_{name}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: broken-{name}\nVersion: 1\n")
    entry = f"[gdl.backends]\n{name} = broken_{name}:ENTRY\n"
    (info / "entry_points.txt").write_text(entry)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_other_packages_come_after_the_built_in_backends(site: Path) -> None:
    names = registry.names()
    assert names[: len(BUILT_IN)] == BUILT_IN and "spare" in names[len(BUILT_IN) :]


@pytest.mark.parametrize(
    ("typed", "meant"), [("shoper", "shopper"), ("SSH", ""), ("spar", "spare"), ("", "")]
)
def test_a_typo_is_answered_with_what_was_meant(site: Path, typed: str, meant: str) -> None:
    with pytest.raises(UsageError, match="unknown backend") as caught:
        registry.entry(typed)
    assert all(name in caught.value.hint for name in [*BUILT_IN, "spare"])
    assert (f"did you mean {meant}?" in caught.value.hint) == bool(meant)


@pytest.mark.parametrize(
    ("module", "words"),
    [("raise RuntimeError('\\x1b[2J')\n", "RuntimeError"), ("import nothing_of_that_name\n", "No"),
     ("ENTRY = object()\n", "is not a BackendEntry"), ("", "AttributeError")],
)  # fmt: skip
async def test_a_broken_package_is_an_error_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, words: str
) -> None:
    name = words.split()[0].lower()
    broken(tmp_path, monkeypatch, module, name)
    with pytest.raises(UsageError, match="cannot be loaded") as caught:
        registry.entry(name)
    assert words in caught.value.message and f"broken-{name}" in caught.value.hint
    assert caught.value.message.isprintable()
    # The others are found all the same.
    settings = Settings(shopper_url="http://127.0.0.1:9", data_dir=tmp_path)
    found = await registry.discover(BackendContext(settings, "me"))
    assert [source.backend for source in found] == [*BUILT_IN, name]
    assert not found[-1].usable and words in found[-1].detail


def test_a_built_in_backend_cannot_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(tmp_path, monkeypatch, "raise RuntimeError\n", "local")
    assert registry.names() == BUILT_IN
    assert registry.create("local", BackendContext(Settings(data_dir=tmp_path), "me"))


async def test_an_outside_backend_is_found_beside_the_others(site: Path, tmp_path: Path) -> None:
    settings = Settings(shopper_url="http://127.0.0.1:9", data_dir=tmp_path)
    found = await registry.discover(BackendContext(settings, "me"))
    assert [source.backend for source in found] == [*BUILT_IN, "spare"]
    assert found[-1].usable and found[-1].title == "Spare machines"


async def test_an_outside_backend_serves_and_is_released(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sim = Simulation(monkeypatch, tmp_path)
    sim.flags["backend"] = "spare"
    async with sim.orchestrator() as orchestrator:
        assert [row.offer.id for row in await orchestrator.market.offers(OfferQuery())] == [
            "spare-1",
            "spare-2",
        ]
        seen = await deployed(orchestrator, spec("spare", after="destroy"))
        assert Phase.SERVING in phases(seen)
        assert last(seen).outcome == "released" and last(seen).billing is Billing.RELEASED
        (rented,) = of_type(seen, ev.SessionRented)
        (row,) = await orchestrator.sessions.rows()
        assert row.session.id == rented.session_id and row.session.terminal
        # What has ended is not extended, and it takes no benchmarks.
        with pytest.raises(UsageError, match="is over"):
            await orchestrator.sessions.extend(rented.session_id, 1)
        assert not orchestrator.publishes
        assert (await orchestrator.market.costs()).total == 0
    assert processes_naming(rented.session_id) == []


def test_an_outside_backend_on_the_command_line(tmp_path: Path) -> None:
    folder = install("spare_machines", tmp_path / "site")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GDL_")},
        "PYTHONPATH": str(folder),
        "GDL_DATA_DIR": str(tmp_path / "data"),
        "HOME": str(tmp_path),
    }

    def gdl(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "gdl", *words],
            env=environment, text=True, capture_output=True, timeout=60, check=False,
        )  # fmt: skip

    listed = gdl("--backend", "spare", "offers", "--json")
    assert listed.returncode == 0, listed.stderr
    offers = [json.loads(line) for line in listed.stdout.splitlines()]
    assert [offer["id"] for offer in offers] == ["spare-1", "spare-2"]
    typo = gdl("--backend", "spar", "offers")
    assert typo.returncode == 2 and "did you mean spare?" in typo.stderr
    host = gdl("--backend", "spare", "--host", "me@gpu", "offers")
    assert host.returncode == 2 and "--host names a machine of the ssh backend" in host.stderr


async def test_a_backend_that_bills_without_telling_the_costs(tmp_path: Path) -> None:
    class Silent:
        name = "silent"
        traits = BackendTraits()

    with pytest.raises(UsageError, match="the silent backend does not tell what was spent"):
        await base.costs(Silent())  # type: ignore[arg-type] # as much of one as is asked


def test_without_a_choice_every_marketplace_with_a_key_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("GDL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("GDL_SHOPPER_URL", raising=False)
    cli = Cli(open_orchestrator)
    assert load_settings(cli).backend == "shopper"
    monkeypatch.setenv("RUNPOD_API_KEY", "rpa_0123456789")
    assert load_settings(cli).backend == "runpod"
    monkeypatch.setenv("VAST_API_KEY", "0123456789abcdef")
    assert registry.at_hand(Settings()) == ["vastai", "runpod"]
    monkeypatch.delenv("VAST_API_KEY")
    # A key that is none is told when it is used, and no reason to take another backend.
    monkeypatch.setenv("RUNPOD_API_KEY", "no")
    assert load_settings(cli).backend == "runpod"
    cli.backend = "local"
    assert load_settings(cli).backend == "local"
    (tmp_path / "gdl-tui").mkdir()
    (tmp_path / "gdl-tui" / "config.toml").write_text('backend = "sandbox"\n')
    cli.backend = None
    assert load_settings(cli).backend == "sandbox"
