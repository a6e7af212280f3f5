"""What a user decides while a deployment waits."""

from __future__ import annotations

from enum import StrEnum


class AfterServing(StrEnum):
    """What ends a deployment that holds its endpoint open."""

    RELEASE = "release"
    """The machine is released."""
    KEEP = "keep"
    """Our part of it ends; the machine goes on serving and billing."""


class AfterFailure(StrEnum):
    """What follows an attempt that has failed, or that a remedy could save. Journaled by value."""

    RETRY = "retry"
    """The same offer again."""
    NEXT = "next"
    """The next offer, without the failed one."""
    EXCLUDE = "exclude"
    """The next offer, without the failed one's provider."""
    CHANGE = "change"
    """The attempt once more as its user has changed it: on its own machine while that is rented,
    with what is installed and fetched there; else on the same offer."""
    FIX = "fix"
    """The remedy on the attempt's own machine. All choices but these two release it first."""


Decision = AfterServing | AfterFailure
