"""How the registry knows the `vastai` backend."""

from __future__ import annotations

from gdl.backends.base import Backend, BackendContext, BackendEntry
from gdl.domain.backend import BackendSource


def _create(context: BackendContext) -> Backend:
    from gdl.backends.vastai.backend import VastaiBackend

    return VastaiBackend(context.settings)


async def _discover(context: BackendContext) -> BackendSource:
    from gdl.backends.vastai import discovery

    return await discovery.discover(context.settings)


ENTRY = BackendEntry(_create, _discover)
