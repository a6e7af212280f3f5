"""Commands about what is rented find it wherever it was rented, without being told."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gdl.bootstrap import with_rented
from gdl.domain.phase import Billing
from gdl.domain.rental import Rental
from gdl.journal.store import Journal
from gdl.settings import Settings

AT = datetime(2026, 1, 1, tzinfo=UTC)


async def rent(folder: Path, *backends: str) -> None:
    journal = await Journal.open(folder / "journal.sqlite")
    for name in backends:
        one = Rental(f"i-{name}", "d", 1, name, name, "o", "me", 0.1, AT, Billing.ACTIVE, "s-1")
        await journal.save(one)
    await journal.aclose()


@pytest.mark.parametrize(
    ("chosen", "rented", "asked"),
    [
        ({}, (), "shopper"),
        ({}, ("local",), "local"),
        ({}, ("shopper", "ssh"), "shopper,ssh"),
        ({"shopper_url": "http://127.0.0.1:1"}, ("local",), "shopper,local"),
        ({"backend": "vastai"}, ("local", "vastai"), "vastai,local"),
        # Simulated and real machines do not go together; what another package brought may be gone.
        ({"backend": "sandbox"}, ("local",), "sandbox"),
        ({}, ("sandbox", "of-another-package"), "shopper"),
    ],
)
async def test_backends_where_something_is_rented_are_asked_too(
    tmp_path: Path, chosen: dict[str, Any], rented: tuple[str, ...], asked: str
) -> None:
    settings = Settings(data_dir=tmp_path, **chosen)
    assert (await with_rented(settings)).backend == settings.backend
    await rent(tmp_path, *rented)
    assert set((await with_rented(settings)).backends) == set(asked.split(","))


async def test_what_was_released_is_looked_for_nowhere(tmp_path: Path) -> None:
    await rent(tmp_path, "local")
    journal = await Journal.open(tmp_path / "journal.sqlite")
    (one,) = await journal.rentals()
    await journal.save(replace(one, billing=Billing.NONE, released_at=AT))
    await journal.aclose()
    assert (await with_rented(Settings(data_dir=tmp_path))).backend == "shopper"


async def test_the_command_line_needs_no_backend_for_what_is_rented(tmp_path: Path) -> None:
    await rent(tmp_path, "local")
    told = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gdl", "sessions"),
        env={**os.environ, "GDL_DATA_DIR": str(tmp_path)},
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await told.communicate()
    assert (told.returncode, b"nothing answers" in said) == (0, False)
