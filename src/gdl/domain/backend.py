"""What is known of a backend without asking it: its traits, and what was found of it here."""

from __future__ import annotations

from gdl.domain.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class BackendTraits:
    """What is always so on a backend.

    bills: a session costs money until its release is confirmed.
    cpu_allowed: machines without a GPU are served with the engine's CPU build.
    outlives_program: its sessions go on when this program ends.
    ends_processes: a release ends whatever runs on the machine; without it, what we started there
    has to be ended beforehand.
    gives_up_s: seconds after which it fails a session by itself that cannot be entered. It then
    does not look whether the machine is gone: whoever ends it earlier has the proof. 0: never.
    takes_key: a rent request brings the public part of a key that we made
    (`RentRequest.public_key`); otherwise the answer brings a one-time key.
    takes_image: a rent request may name the container image that the machine starts
    (`RentRequest.image`). pulls_free: its GPUs are not billed while that image is fetched.
    serves_ssh: the SSH servers of its sessions run in this program, and end with it: asking for a
    session (`Backend.session`) opens its server again, at another port.
    simulated: its machines are made up. Nothing is rented, and their figures are compared with
    other simulated ones alone.
    """

    bills: bool = True
    cpu_allowed: bool = False
    outlives_program: bool = True
    ends_processes: bool = True
    serves_ssh: bool = False
    simulated: bool = False
    gives_up_s: float = 0.0
    takes_key: bool = False
    takes_image: bool = False
    pulls_free: bool = False


@dataclass(frozen=True, slots=True)
class BackendSource:
    """Where machines could come from: a backend, whether it would work now, and what was found.
    hosts: values for its `host` option, of which some are to be chosen. also: what else was found
    that has to do with it, or ""."""

    backend: str
    usable: bool
    title: str
    detail: str
    hosts: tuple[str, ...] = ()
    also: str = ""
