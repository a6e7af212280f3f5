"""How the registry knows the `local` backend."""

from __future__ import annotations

from gdl.backends.base import Backend, BackendContext, BackendEntry
from gdl.domain.backend import BackendSource


def _create(context: BackendContext) -> Backend:
    from gdl.backends.local.backend import LocalBackend

    return LocalBackend(context.settings)


async def _discover(context: BackendContext) -> BackendSource:
    from gdl.backends.local import discovery

    return await discovery.discover()


ENTRY = BackendEntry(_create, _discover)
