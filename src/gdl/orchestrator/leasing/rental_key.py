"""Where the key of a rental lies, and what it says of a session that a request has made."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path

from gdl.domain.phase import Billing
from gdl.domain.rental import Joined, Rental
from gdl.domain.session import Session
from gdl.keyring.key_files import write_key
from gdl.keyring.ssh_keys import new_key, public_part


def label_of(intent_id: str) -> str:
    """What names the requests of one intent at a marketplace, and whatever they make."""
    return f"gdl-{intent_id}"


def key_path(keys_dir: Path, rental: Rental) -> Path:
    """The one-time key that the answer to a request brings, or that we made before the request. It
    is written before the journal learns of the session."""
    return keys_dir / f"{rental.intent_id}.pem"


def host_key_path(keys_dir: Path, rental: Rental) -> Path:
    return key_path(keys_dir, rental).with_suffix(".hostkey")


def rank_key_path(keys_dir: Path, rental: Rental, number: int) -> Path:
    """The pinned host key of a machine that serves together with a rental's."""
    return keys_dir / f"{rental.intent_id}-rank{number}.hostkey"


def known_hosts_path(pin: Path) -> Path:
    """A pinned host key again, where OpenSSH can read it for a shell."""
    return pin.with_name(f"{pin.name}.known_hosts")


async def our_key(keys_dir: Path, rental: Rental) -> tuple[Path, str]:
    """The key of a request, made and on disk before anything is asked for; its file and its public
    part. Raises GdlError when the disk does not take it."""
    return await asyncio.to_thread(_our_key, key_path(keys_dir, rental), rental.label)


def _our_key(path: Path, label: str) -> tuple[Path, str]:
    if not path.is_file():
        write_key(path, new_key(label))
    return path, public_part(path)


async def forget_key(keys_dir: Path, rental: Rental) -> None:
    """Of a request that made nothing."""
    with contextlib.suppress(OSError):
        await asyncio.to_thread(key_path(keys_dir, rental).unlink, missing_ok=True)


async def answered_by(rental: Rental, session: Session, keys_dir: Path) -> Rental:
    """A request whose answer the journal lacks, with the session that it has made: with its key
    when that is here, without any when it is lost."""
    key = key_path(keys_dir, rental)
    there = await asyncio.to_thread(key.is_file)
    return replace(
        rental,
        session_id=session.id,
        billing=Billing.ACTIVE,
        price=session.price_per_hour or rental.price,
        key_file=str(key) if there else "",
        host_key_file=str(host_key_path(keys_dir, rental)) if there else "",
    )


def forget_files(keys_dir: Path, rental: Rental) -> None:
    """Remove the key files of a rental whose machine is gone, as far as they are ours."""
    machines: tuple[Rental | Joined, ...] = (rental, *rental.joined)
    keys = [Path(name) for name in (rental.api_key_file, *(m.key_file for m in machines)) if name]
    pins = [Path(each.host_key_file) for each in machines if each.host_key_file]
    for path in (*keys, *pins, *map(known_hosts_path, pins)):
        if path.parent == keys_dir and path.name.startswith(rental.intent_id):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
