"""Where the key of a rental lies, and what it says of a session that a request has made."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from gdl.domain.phase import Billing
from gdl.domain.rental import Rental
from gdl.domain.session import Session


def key_path(keys_dir: Path, rental: Rental) -> Path:
    """The one-time key that the answer to a request brings. It is written before the journal learns
    of the session."""
    return keys_dir / f"{rental.intent_id}.pem"


def host_key_path(keys_dir: Path, rental: Rental) -> Path:
    return key_path(keys_dir, rental).with_suffix(".hostkey")


async def answered_by(rental: Rental, session: Session, keys_dir: Path) -> Rental:
    """A request whose answer the journal lacks, with the session that it has made: with its key
    when that had come, without any when it is lost."""
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
