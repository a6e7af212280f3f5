"""The rent request to Vast.ai, and what its answer means."""

from __future__ import annotations

import math
from datetime import datetime

from pydantic import ValidationError

from gdl.backends.answer import Answer, Unusable
from gdl.backends.vastai import errors, wire
from gdl.backends.vastai.search import LISTED_DISK_GB
from gdl.domain.errors import GdlError, MachineError, OfferGone, RentAmbiguous, UsageError
from gdl.domain.session import RentRequest
from gdl.domain.text import one_line
from gdl.domain.volumes import MOUNT_PATH

_SSH = "ssh_direc ssh_proxy"
"""Both ways in, in the marketplace's own spelling."""
_IMAGES = ((12.8, "12.8.1"), (12.4, "12.4.1"), (0.0, "12.1.1"))
"""Least CUDA version of the driver, and the release of NVIDIA's image for it: a container whose
CUDA is newer than the driver's does not start. With a compiler, which engines need, and on most
hosts already."""
_NEXT = "take another offer"


def image_for(cuda: float | None) -> str:
    """The image for a driver of that CUDA version where none was asked for."""
    known = cuda or 0.0
    release = next(release for least, release in _IMAGES if known >= least)
    return f"nvidia/cuda:{release}-devel-ubuntu22.04"


def check(request: RentRequest) -> None:
    """Raises UsageError for a bid on a machine on demand, and for an interruptible one without a
    bid, which would be rented on demand at another price; MachineError for too small a disk."""
    offer, bid = request.offer, request.bid
    if offer.interruptible and (bid is None or not 0 < bid < math.inf):
        raise UsageError(
            f"offer {offer.id} is interruptible, and no bid was named",
            "rent it with --interruptible, or take an offer on demand",
        )
    if bid is not None and not offer.interruptible:
        raise UsageError(
            f"offer {offer.id} is on demand: a bid would make it interruptible",
            "omit the bid, or take an interruptible offer",
        )
    if request.volume and not request.volume.isdecimal():
        raise UsageError(
            f"{one_line(request.volume, 60)} is not the id of a volume at Vast.ai",
            "`gdl-tui volumes` shows them",
        )
    most = offer.terms.most_disk_gb if offer.terms is not None else None
    if most is not None and disk_gb(request) > most:
        raise MachineError(
            f"disk too small: {disk_gb(request):.0f} GB are needed, offer {offer.id} has"
            f" {most:.0f}",
            _NEXT,
        )


def disk_gb(request: RentRequest) -> float:
    """As asked for, else as the offer's price includes it."""
    if request.disk_gb is not None:
        return float(request.disk_gb)
    terms = request.offer.terms
    return terms.disk_gb if terms is not None and terms.disk_gb > 0 else LISTED_DISK_GB


def body(request: RentRequest) -> dict[str, object]:
    """What `PUT /asks/{id}/` takes. A `price` makes a machine interruptible, so that one on demand
    has none. Without `cancel_unavail` a machine that is taken already becomes a stopped instance
    whose disk is billed."""
    made: dict[str, object] = {
        "client_id": "me",
        "image": request.image or image_for(request.offer.cuda_version),
        "disk": disk_gb(request),
        "label": request.label,
        "runtype": _SSH,
        "cancel_unavail": True,
        "onstart": _onstart(request.public_key),
    }
    if request.bid is not None:
        made["price"] = request.bid
    if request.volume:
        volume = {"volume_id": int(request.volume), "create_new": False, "mount_path": MOUNT_PATH}
        made["volume_info"] = volume
    return made


def _onstart(public_key: str) -> str:
    """What runs when the container starts. The key comes by another way, too, which may take its
    time or fail."""
    lines = ["touch ~/.no_auto_tmux"]
    if public_key:
        lines += [
            "mkdir -p ~/.ssh && chmod 700 ~/.ssh",
            f"grep -qsF '{public_key}' ~/.ssh/authorized_keys ||"
            f" echo '{public_key}' >> ~/.ssh/authorized_keys",
            "chmod 600 ~/.ssh/authorized_keys",
        ]
    return "\n".join(lines)


def contract_of(answer: Answer, offer_id: str, sent_at: datetime) -> str:
    """The id of the machine that a rent request made.

    Raises OfferGone, BackendRefused, or RentAmbiguous where a machine may exist: with its id where
    the answer names one, whatever else it says.
    """
    try:
        data = wire.RentWire.model_validate(answer.mapping())
    except (Unusable, ValidationError):
        data = wire.RentWire()
    made = None if data.new_contract is None else str(data.new_contract)
    if made is not None and answer.ok and data.success is not False:
        return made
    if made is not None:
        said = errors.words(answer) or "no reason given"
        raise RentAmbiguous(
            f"the rent request failed ({said}), and instance {made} was created anyway",
            sent_at=sent_at,
            session_id=made,
        )
    raise _without_contract(answer, data.success, offer_id, sent_at)


def _without_contract(
    answer: Answer, success: bool | None, offer_id: str, sent_at: datetime
) -> GdlError:
    if errors.offer_gone(answer) and (success is False or not answer.ok):
        return OfferGone(offer_id)
    if answer.ok and success is not False:
        what = answer.flaw() or "JSON that is not its interface's"
        return RentAmbiguous(f"the rent request was answered with {what}", sent_at=sent_at)
    if answer.status >= 500:
        said = errors.words(answer)
        return RentAmbiguous(
            one_line(f"the rent request ended in HTTP {answer.status} ({said})"), sent_at=sent_at
        )
    refused = errors.refused(answer, f"rent {offer_id}")
    if errors.about_request(answer):
        return MachineError(refused.message, _NEXT)
    return refused
