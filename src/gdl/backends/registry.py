"""The backends by name. A new one is a file beside this and a line in `BACKENDS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gdl.backends.base import Backend
from gdl.domain.errors import UsageError
from gdl.domain.session import SshAddress
from gdl.domain.text import one_line
from gdl.settings import Settings


@dataclass(frozen=True, slots=True)
class Wanted:
    """Everything a backend may be made from. `host` and `identity` are for `ssh` alone;
    known: addresses of earlier sessions by session id."""

    settings: Settings
    consumer_id: str
    host: str | None = None
    identity: str | None = None
    known: Mapping[str, SshAddress] | None = None


# Imported when asked for: each brings a library that the others do not need.


def _shopper(wanted: Wanted) -> Backend:
    from gdl.backends.shopper.backend import ShopperBackend

    return ShopperBackend(wanted.settings, wanted.consumer_id)


def _ssh(wanted: Wanted) -> Backend:
    from gdl.backends.ssh.backend import SshHostsBackend

    return SshHostsBackend(
        wanted.settings, host=wanted.host, identity=wanted.identity, known=wanted.known
    )


def _local(wanted: Wanted) -> Backend:
    from gdl.backends.local.backend import LocalBackend

    return LocalBackend(wanted.settings)


def _sandbox(wanted: Wanted) -> Backend:
    from gdl.backends.sandbox.backend import SandboxBackend

    return SandboxBackend(wanted.settings, wanted.consumer_id)


BACKENDS: dict[str, Callable[[Wanted], Backend]] = {
    "shopper": _shopper,
    "ssh": _ssh,
    "local": _local,
    "sandbox": _sandbox,
}


def create(
    name: str,
    settings: Settings,
    consumer_id: str,
    *,
    host: str | None = None,
    identity: str | None = None,
    known: Mapping[str, SshAddress] | None = None,
) -> Backend:
    """The backend of that name. Raises UsageError when there is none, or when `host` or
    `identity` cannot be used."""
    factory = BACKENDS.get(name)
    if factory is None:
        raise UsageError(
            f"unknown backend {one_line(name, 40)}", f"known backends: {', '.join(BACKENDS)}"
        )
    return factory(Wanted(settings, consumer_id, host, identity, known))
