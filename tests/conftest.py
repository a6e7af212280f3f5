"""For all tests: byte code may be written, and an interrupt is not ignored.

They start Python by the dozen, and where the environment forbids byte code, each process would
compile everything anew. A run that a shell started in the background ignores interrupts, and every
process that it starts would do so too."""

from __future__ import annotations

import compileall
import os
import signal
import sys
import time
from pathlib import Path

import pytest

pytest_plugins = ["market_support", "real_vllm", "vllm_environment"]

sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Times are shown as the clock on the wall shows them.
os.environ["TZ"] = "UTC"
time.tzset()
# No test asks the real model hub; those of the hub name a server of their own.
os.environ["HF_HUB_OFFLINE"] = "1"
for name in ("HF_ENDPOINT", "HF_TOKEN", "VAST_API_KEY", "RUNPOD_API_KEY"):
    os.environ.pop(name, None)
# Nor a real marketplace, though whoever runs them may have a key in a file.
for name in ("VASTAI", "RUNPOD"):
    os.environ[f"GDL_{name}__URL"] = "http://127.0.0.1:9"


def pytest_configure(config: pytest.Config) -> None:
    """Compile the program once, before every worker would do so for itself."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):
        compileall.compile_dir(Path(__file__).parent.parent / "src", quiet=2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest is begun first: else it is waited for at the end, alone."""

    def later(item: pytest.Item) -> tuple[bool, bool]:
        return item.get_closest_marker("minute") is None, item.get_closest_marker("long") is None

    items.sort(key=later)


@pytest.fixture(autouse=True)
def toasts_stay(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy computer five seconds go by between two looks at the screen."""
    if request.module.__name__.startswith("test_tui_"):
        monkeypatch.setattr("textual.app.App.NOTIFICATION_TIMEOUT", 600.0)


@pytest.fixture
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data and configuration of the test alone."""
    monkeypatch.setenv("GDL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
