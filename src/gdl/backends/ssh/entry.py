"""How the registry knows the `ssh` backend."""

from __future__ import annotations

from gdl.backends.base import Backend, BackendContext, BackendEntry
from gdl.domain.backend import BackendSource
from gdl.domain.session import SshAddress


def _create(context: BackendContext) -> Backend:
    from gdl.backends.ssh.backend import SshHostsBackend

    known = {
        rental.session_id: SshAddress(rental.host, rental.port, rental.user)
        for rental in context.rentals
        if rental.session_id and rental.host
    }
    options = context.options
    return SshHostsBackend(
        context.settings, host=options.get("host"), identity=options.get("identity"), known=known
    )


async def _discover(context: BackendContext) -> BackendSource:
    from gdl.backends.ssh import discovery

    return await discovery.discover(context.settings)


ENTRY = BackendEntry(_create, _discover, frozenset({"host", "identity"}))
