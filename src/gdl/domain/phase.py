"""The phases of an attempt, and whether money is spent."""

from __future__ import annotations

from enum import StrEnum


class Phase(StrEnum):
    PLANNED = "PLANNED"
    RENTING = "RENTING"
    CONNECTING = "CONNECTING"
    PREFLIGHT = "PREFLIGHT"
    INSTALLING = "INSTALLING"
    STARTING = "STARTING"
    LOADING = "LOADING"
    VERIFYING = "VERIFYING"
    SERVING = "SERVING"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class Billing(StrEnum):
    """none: nothing was asked for. requested: the rent request may have gone out.
    active: the machine costs money. released: the backend confirmed that it is gone.
    unknown: it may still cost money, and nobody could confirm otherwise."""

    NONE = "none"
    REQUESTED = "requested"
    ACTIVE = "active"
    RELEASED = "released"
    UNKNOWN = "unknown"
