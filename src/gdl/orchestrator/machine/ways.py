"""The ways to one machine: its address, and what else leads there, such as a proxy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gdl.domain.errors import HostKeyChanged, SshAuthFailed, SshCut, SshError
from gdl.domain.rental import Rental
from gdl.domain.session import Session, SshAddress
from gdl.settings import Settings

if TYPE_CHECKING:
    from gdl.ssh.connection import Target
    from gdl.ssh.reconnecting import Link

_OWN_MACHINES = "ssh"
"""The backend of machines that the user has."""
_CUT_S = 15.0
_ONE_OF_SEVERAL_S = 8.0
"""How long one of several ways is waited for: the next may lead there at once."""


def target_for(rental: Rental, settings: Settings) -> Target:
    """How to reach the machine of a rental."""
    # Its library takes longer to import than most commands take in all.
    from gdl.ssh.connection import Target

    return Target(
        address=SshAddress(rental.host, rental.port, rental.user),
        identity_file=Path(rental.key_file) if rental.key_file else None,
        host_key_file=Path(rental.host_key_file),
        agent_auth=rental.agent_auth,
        connect_timeout_s=settings.timeouts.connect,
        keepalive_s=settings.timeouts.keepalive,
        config_alias=rental.alias or None,
        tunnel=settings.tunnel,
        # A rented machine's address has been others' before, with other keys.
        known_hosts=rental.backend == _OWN_MACHINES,
    )


def own_machine_s(error: SshError) -> float:
    """How long a machine of the user's own is tried after that: it does not boot, but may have too
    many connections at a time."""
    return _CUT_S if isinstance(error, SshCut) else 0.0


def ways_to(session: Session, rental: Rental) -> list[SshAddress]:
    """The addresses of a running session's machine, first the one that it was entered by last."""
    assert session.ssh is not None
    known = list(dict.fromkeys((session.ssh, *session.ssh_alternatives)))
    last = SshAddress(rental.host, rental.port, rental.user)
    return sorted(known, key=lambda way: way != last)


async def first_link(
    rental: Rental,
    session: Session,
    settings: Settings,
    *,
    on_state: Callable[[str], None] | None = None,
) -> tuple[Link, Rental]:
    """A connection by the first way that leads there, and the rental with that address. The host
    key is the same by all of them. Raises SshError: of the way that came furthest."""
    from gdl.ssh.reconnecting import Link

    ways = ways_to(session, rental)
    failed: SshError | None = None
    for way in ways:
        there = replace(rental, host=way.host, port=way.port, user=way.user)
        target = target_for(there, settings)
        if len(ways) > 1:
            longest_s = min(target.connect_timeout_s, _ONE_OF_SEVERAL_S)
            target = replace(target, connect_timeout_s=longest_s)
        link = Link(target, on_state=on_state, give_up_s=settings.timeouts.away)
        try:
            await link.connect()
            return link, there
        except HostKeyChanged:
            await link.aclose()
            raise
        except SshError as error:
            await link.aclose()
            if failed is None or isinstance(error, SshAuthFailed):
                failed = error
        except BaseException:
            await link.aclose()
            raise
    assert failed is not None
    raise failed
