"""A diagnostics archive: what is known of one deployment, for somebody who is to help."""

from __future__ import annotations

import asyncio
import io
import json
import os
import platform
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

from pydantic import BaseModel, SecretStr

from gdl import version_line
from gdl.domain import events as ev
from gdl.domain.errors import UsageError
from gdl.domain.events import Recorded
from gdl.domain.id_matching import matching
from gdl.domain.phase import Phase
from gdl.domain.rental import Rental
from gdl.domain.serialization import recorded_to_plain, to_plain
from gdl.journal.store import Journal
from gdl.orchestrator.support.redact import Redactor
from gdl.settings import Settings
from gdl.settings.names import sounds_secret

_MOST_OF_A_LOG = 32 * 2**20
"""Bytes of a log's end that are packed."""
_MOST_OF_A_LINE = 64 * 2**10
_PACKAGES = ("asyncssh", "httpx", "pydantic", "textual", "typer")
_README = """\
What gdl-tui knows of one deployment. Keys, tokens and passwords are removed; look before you
send it all the same.

summary.json   outcome, phases, steps, diagnoses and remedies
facts.json     each machine as it was found
events.jsonl   every event, one a line
settings.json  the settings in force when this was packed
rentals.json   what was rented, and where it was reached
versions.json  this program, Python and the libraries
logs/          what the machines printed
"""


async def write(deployment_id: str, path: Path, journal: Journal, settings: Settings) -> Path:
    """Write the archive, readable for its owner alone. Raises UsageError when it cannot be made
    there, GdlError when the journal cannot be read."""
    events = await journal.events(deployment_id)
    rentals = [r for r in await journal.rentals() if r.deployment_id == deployment_id]
    return await asyncio.to_thread(_write, deployment_id, path, events, rentals, settings)


def _write(
    ident: str, path: Path, events: list[Recorded], rentals: list[Rental], settings: Settings
) -> Path:
    redactor = Redactor(known_secrets(settings, rentals))
    parts = {
        "summary.json": _summary(events),
        "facts.json": [to_plain(e.facts) for e in _of(events, ev.HostInspected)],
        "settings.json": settings.model_dump(mode="json"),
        "rentals.json": [to_plain(rental) for rental in rentals],
        "versions.json": _versions(),
    }
    try:
        with (
            os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as raw,
            tarfile.open(fileobj=raw, mode="w:gz") as archive,
        ):
            folder = f"gdl-tui-{ident}"
            _add(archive, f"{folder}/README.txt", _README.encode())
            for name, value in parts.items():
                text = json.dumps(redactor.value(value), indent=2, ensure_ascii=False)
                _add(archive, f"{folder}/{name}", text.encode())
            lines = (json.dumps(redactor.value(recorded_to_plain(r))) for r in events)
            _add(archive, f"{folder}/events.jsonl", "".join(f"{x}\n" for x in lines).encode())
            for log in sorted((settings.logs_dir / ident).glob("*")):
                if log.is_file() and not log.is_symlink():
                    _add_log(archive, f"{folder}/logs/{log.name}", log, redactor)
    except FileExistsError:
        raise UsageError(f"{path} already exists", "name another file with --output") from None
    except OSError as error:
        path.unlink(missing_ok=True)
        raise UsageError(
            f"cannot write {path}: {error.strerror}", "name another place with --output"
        ) from None
    return path


def known_secrets(settings: Settings, rentals: Sequence[Rental]) -> Iterable[str]:
    """Secrets by their text: of the settings, of the key files, and of this environment."""
    yield from _secrets_in(settings)
    for name, value in (*settings.engine.env.items(), *os.environ.items()):
        if sounds_secret(name) and not Path(value).exists():
            yield value
    for rental in rentals:
        for file in (rental.api_key_file, rental.key_file):
            try:
                text = Path(file).read_text("utf-8") if file else ""
            except (OSError, UnicodeDecodeError):
                continue
            yield text
            yield from (line for line in text.splitlines() if len(line) > 30)


def _secrets_in(settings: BaseModel) -> Iterable[str]:
    """Tokens, keys and addresses that may hold one, wherever in the settings they are."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            yield value.get_secret_value()
        elif isinstance(value, BaseModel):
            yield from _secrets_in(value)


def _summary(events: list[Recorded]) -> dict[str, Any]:
    planned = _of(events, ev.DeploymentPlanned)
    plans = [e.detail for e in _of(events, ev.PhaseChanged) if e.phase is Phase.INSTALLING]
    return {
        "spec": to_plain(planned[0].spec) if planned else None,
        "plans": plans,
        "phases": [
            [r.at.isoformat(), r.event.attempt, r.event.phase.value]
            for r in events
            if isinstance(r.event, ev.PhaseChanged)
        ],
        "steps": [to_plain(e) for e in _of(events, ev.StepFinished)],
        "diagnoses": [to_plain(e) for e in _of(events, ev.Diagnosed)],
        "remedies": [to_plain(e) for e in _of(events, ev.RemedyApplied)],
        "failures": [to_plain(e) for e in _of(events, ev.AttemptFailed)],
        "finished": [to_plain(e) for e in _of(events, ev.DeploymentFinished)],
    }


def _of(events: list[Recorded], type_: type[Any]) -> list[Any]:
    return [r.event for r in events if isinstance(r.event, type_)]


def _versions() -> dict[str, str]:
    found = {
        "gdl-tui": version_line().removeprefix("gdl-tui "),
        "python": platform.python_version(),
    }
    found["platform"] = platform.platform()
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    return found


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    _add_stream(archive, name, io.BytesIO(data), len(data))


def _add_stream(archive: tarfile.TarFile, name: str, data: IO[bytes], size: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = size
    entry.mode = 0o600
    archive.addfile(entry, data)


def _add_log(archive: tarfile.TarFile, name: str, log: Path, redactor: Redactor) -> None:
    """Line by line through a file: a log may be long, and its size has to be known first."""
    with log.open("rb") as source, tempfile.TemporaryFile() as cleaned:
        size = source.seek(0, os.SEEK_END)
        start = max(size - _MOST_OF_A_LOG, 0)
        source.seek(start)
        if start:
            source.readline()
            cleaned.write(f"[{start} bytes before this are omitted]\n".encode())
        while line := source.readline(_MOST_OF_A_LOG):
            text = line[:_MOST_OF_A_LINE].decode("utf-8", "replace")
            if len(line) > _MOST_OF_A_LINE:
                # At the cut, half a secret would not be known as one.
                text = f"{text.rpartition(' ')[0]} [the rest of {len(line)} bytes is omitted]"
            cleaned.write(redactor.line(text.rstrip("\n")).encode("utf-8", "replace") + b"\n")
        end = cleaned.tell()
        cleaned.seek(0)
        _add_stream(archive, name, cleaned, end)


def find(ident: str, known: Sequence[tuple[str, str | None]]) -> str:
    """The deployment that an id of its own or of its session names, or its beginning. known:
    (deployment, session) ids, newest first. Raises UsageError."""
    rows = matching(ident, known, lambda pair: pair)
    found = list(dict.fromkeys(deployment for deployment, _ in rows))
    if len(found) == 1 or (found and ident in rows[0]):
        return found[0]
    if found:
        raise UsageError(f"{ident} names several deployments", "type more of the id")
    if not known:
        raise UsageError("there has been no deployment yet", "`gdl-tui deploy MODEL` creates one")
    newest = ", ".join(d for d, _ in known[:3])
    raise UsageError(f"no deployment {ident[:80]}", f"the newest are {newest}")
