"""The first run: the start, what is found around, and the choice that is remembered."""

from __future__ import annotations

import asyncio
import gc
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import OptionList

from gdl import settings as settings_module
from gdl.backends import registry
from gdl.backends.base import BackendContext
from gdl.backends.ssh import discovery, ssh_config
from gdl.backends.ssh.ssh_config import aliases
from gdl.domain.errors import BackendUnreachable, GdlError, UsageError
from gdl.orchestrator.api.ports import OrchestratorApi
from gdl.settings import Settings, SshHost
from gdl.tui.boot import BootApp, BootScreen
from gdl.tui.screens.choose_several import ChooseSeveral
from gdl.tui.screens.offers import OffersScreen
from gdl.tui.screens.welcome import WelcomeScreen
from gdl.tui.widgets.keyed_table import KeyedTable
from local_ports import free_port
from tui_pilot import SIZE, ended, screen_text, until
from tui_support import Clock, ScriptedOrchestrator, new_folder

pytestmark = pytest.mark.long

UNREACHABLE = BackendUnreachable("nothing answers at http://localhost:8080", "start it")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config" / "config.toml"
    monkeypatch.setattr(settings_module, "_config_file", path)
    return path


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """The app that owns its process sets what the collector of garbage looks at."""
    yield
    gc.unfreeze()


class Connector:
    """Opens scripted orchestrators: the first cannot be reached, others list offers."""

    def __init__(self) -> None:
        self.asked: list[tuple[str | None, str | None]] = []
        self.gate: asyncio.Event | None = None
        self.error: GdlError | None = None
        self.active: list[str] = []

    async def connect(
        self, backend: str | None, host: str | None
    ) -> tuple[OrchestratorApi, Settings]:
        self.asked.append((backend, host))
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        made = ScriptedOrchestrator()
        made.backend_name = backend or "shopper"
        made.simulated = backend == "sandbox"
        if backend is None:
            made.error = UNREACHABLE
        settings = Settings(backend=made.backend_name, data_dir=new_folder())
        return made, settings

    def app(self) -> BootApp:
        return BootApp(self.connect, clock=Clock(), version="0.1.0")


async def choose(pilot: Pilot[Any], number: int, then: Callable[[], bool]) -> None:
    """Choose a source of the welcome screen."""
    app = pilot.app
    await until(pilot, lambda: isinstance(app.screen, WelcomeScreen))
    options = app.screen.query_one(OptionList)
    await until(pilot, lambda: options.option_count == 6)
    options.highlighted = number
    await pilot.press("enter")
    await until(pilot, then)


async def test_the_first_frame_waits_for_nothing() -> None:
    connector = Connector()
    connector.gate = asyncio.Event()
    app = connector.app()
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: "Starting… 0 s" in screen_text(app))
        await pilot.press("2", "question_mark", "f6")
        assert isinstance(app.screen, BootScreen)
        await pilot.press("q")
        await ended(app)


async def test_what_cannot_be_opened_ends_the_app_with_its_error() -> None:
    connector = Connector()
    connector.error = UsageError("setting backend: no such thing", "set it")
    app = connector.app()
    async with app.run_test(size=SIZE):
        await ended(app)
    assert app.failure is connector.error


async def test_a_first_run_without_a_backend_offers_what_there_is(config: Path) -> None:
    connector = Connector()
    app = connector.app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await until(pilot, lambda: isinstance(app.screen, WelcomeScreen))
        await until(pilot, lambda: "✓ This computer" in screen_text(app))
        text = screen_text(app)
        assert "nothing answers at http://localhost:8080" in text
        assert "✗ Vast.ai" in text and "✓ Sandbox" in text
        await choose(pilot, 1, lambda: connector.asked[-1] == ("local", None))
        await until(pilot, lambda: isinstance(app.screen, OffersScreen))
        await until(pilot, lambda: app.screen.query_one(KeyedTable).row_count == 9)
        assert "local" in screen_text(app)
        await until(pilot, lambda: "remembered in" in screen_text(app))
    assert tomllib.loads(config.read_text()) == {"backend": "local"}


async def test_an_ssh_host_is_chosen_and_the_sandbox_is_not_remembered(config: Path) -> None:
    connector = Connector()
    app = connector.app()
    async with app.run_test(size=SIZE) as pilot:
        await choose(pilot, 2, lambda: connector.asked[-1] == ("sandbox", None))
        await until(pilot, lambda: isinstance(app.screen, OffersScreen))
        assert not config.exists()
        await pilot.press("f6")
        await choose(pilot, 0, lambda: isinstance(app.screen, ChooseSeveral))
        await pilot.press("down", "enter")
        await until(pilot, lambda: connector.asked[-1] == ("ssh", "lab"))
        await until(pilot, config.exists)
    assert tomllib.loads(config.read_text()) == {"backend": "ssh", "hosts": [{"host": "lab"}]}


async def test_several_ssh_hosts_are_chosen_and_remembered(config: Path) -> None:
    connector = Connector()
    app = connector.app()
    async with app.run_test(size=SIZE) as pilot:
        await choose(pilot, 0, lambda: isinstance(app.screen, ChooseSeveral))
        await pilot.press("space", "space")
        await until(pilot, lambda: screen_text(app).count("[x]") == 2)
        await pilot.press("enter")
        await until(pilot, lambda: connector.asked[-1] == ("ssh", "gpu1,lab"))
        await until(pilot, config.exists)
    hosts = tomllib.loads(config.read_text())["hosts"]
    assert hosts == [{"host": "gpu1"}, {"host": "lab"}]


async def test_what_is_shown_is_left_out_of_later_collections(config: Path) -> None:
    app = Connector().app()
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: isinstance(app.screen, WelcomeScreen))
        assert gc.get_freeze_count() == 0
        await choose(pilot, 2, lambda: gc.get_freeze_count() > 0)
        assert isinstance(app.screen, OffersScreen)


async def test_a_configuration_that_is_there_is_left_alone(config: Path) -> None:
    config.parent.mkdir()
    config.write_text("# mine\n")
    connector = Connector()
    app = connector.app()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, lambda: "F6 to choose where machines come from" in screen_text(app))
        assert isinstance(app.screen, OffersScreen), "somebody who has set something is not asked"
        await pilot.press("f6")
        await choose(pilot, 1, lambda: connector.asked[-1] == ("local", None))
        await until(pilot, lambda: "for this run only" in screen_text(app))
    assert config.read_text() == "# mine\n"


async def test_a_source_that_cannot_be_used_says_why(config: Path) -> None:
    connector = Connector()
    app = connector.app()
    async with app.run_test(size=SIZE) as pilot:
        await choose(pilot, 5, lambda: "Not now: nothing answers" in screen_text(app))
        connector.error = UsageError("no space [b]here[/b]", "make some")
        options = app.screen.query_one(OptionList)
        options.highlighted = 2
        await pilot.press("enter")
        await until(pilot, lambda: "no space [b]here[/b]" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, OffersScreen))
        assert "nothing answers" in screen_text(app)


async def test_looks_around_for_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ssh = tmp_path / "config"
    ssh.write_text("Host gpu1 *.lab\n  User me\nHost *\n  Port 2222\nHost gpu2 !bad\n")
    settings = Settings(shopper_url=f"http://127.0.0.1:{free_port()}", data_dir=tmp_path)
    monkeypatch.setattr(ssh_config, "default_path", lambda: ssh)
    found = await registry.discover(BackendContext(settings, "me"))
    names = ("shopper", "ssh", "local", "sandbox")
    shopper, hosts, local, sandbox = [s for s in found if s.backend in names]
    assert not shopper.usable and "127.0.0.1" in shopper.detail
    assert hosts.usable and hosts.hosts == ("gpu1", "gpu2")
    assert local.usable and local.detail
    assert sandbox.usable
    assert not (await discovery.discover(settings, tmp_path / "missing")).usable
    listed = settings.model_copy(update={"hosts": (SshHost(host="me@gpu:22"),)})
    configured = await discovery.discover(listed, ssh)
    assert configured.usable and configured.hosts == ()


def test_aliases_are_single_hosts_alone(tmp_path: Path) -> None:
    (tmp_path / "more").write_text("Host=other\n")
    path = tmp_path / "config"
    path.write_text(f"Include {tmp_path}/more\nHost a b?c *\nMatch host x\nHost a d\n")
    assert aliases(path) == ["other", "a", "d"]


def test_the_first_configuration_is_made_once(config: Path) -> None:
    assert settings_module.write_first("ssh", 'gpu"1\\') == config
    assert settings_module.load(config).hosts[0].host == 'gpu"1\\'
    with pytest.raises(UsageError, match="is there already"):
        settings_module.write_first("local")
    assert [p.name for p in config.parent.iterdir()] == ["config.toml"]
