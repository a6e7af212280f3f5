"""Everything that may go wrong and is expected to.

    GdlError                  message: what happened; hint: what to do
    ├── UsageError            a wrong argument, setting or file of the user's (exit 2)
    │   ├── UnknownModel          the hub has no such model, or none for this token
    │   └── ModelRefused          what the repository holds cannot be served
    ├── HubAway               the model hub does not answer, or not usefully (exit 7)
    ├── NoSuitableOffer       nothing left to rent (exit 3)
    │   └── ConfirmedOfferGone    what the user confirmed cannot be had at that price
    ├── MachineError          no machine could be had, or it could not be entered (exit 4)
    │   ├── OfferGone             somebody else took it
    │   ├── SessionExists         the same consumer already has this offer
    │   ├── OfferTaken            another request of ours for this offer was faster
    │   ├── InsufficientDisk      ask again with a bigger disk
    │   ├── RentAmbiguous         no answer arrived: a machine may exist
    │   ├── SessionFailed         the session failed before it could be entered
    │   │   └── Outbid            somebody pays more for an interruptible machine
    │   ├── SessionGone           the backend does not know this session
    │   └── SshError              connecting, authenticating, forwarding or running failed
    │       ├── HostKeyChanged        the pinned host key does not match
    │       ├── SshAuthFailed         the machine does not take our key
    │       ├── ForwardRefused        the machine allows no port forwarding
    │       ├── CommandTimeout        a remote command ran over its time
    │       ├── Disconnected          the connection ended meanwhile; another one can be made
    │       └── GaveWay               a command that takes long left its session to another one
    ├── DeployError           install or start failed on the machine (exit 5)
    ├── VerificationError     it started, but does not answer properly (exit 6)
    ├── BackendError          the backend gave an answer nobody can use (exit 7)
    │   ├── BackendUnreachable    nothing answers at its address
    │   └── BackendRefused        it answered, and said no
    ├── Cancelled             the user stopped it (exit 8)
    ├── ReleaseUnconfirmed    the machine may still be billing (exit 9)
    └── SpendLimitReached     what the deployment may cost is spent (exit 10)

`kind` is the stable name that events and JSON carry.
"""

from __future__ import annotations

from datetime import datetime

from gdl.domain.remedies import Remedy


class GdlError(Exception):
    """An expected failure: one line on what happened, one on what to do."""

    kind = "error"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(GdlError):
    kind = "usage"


class UnknownModel(UsageError):
    """suggestions: ids and aliases that may have been meant, best first."""

    def __init__(self, message: str, hint: str, suggestions: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint)
        self.suggestions = suggestions


class ModelRefused(UsageError):
    pass


class RemoteCodeNotAllowed(ModelRefused):
    """The model is served only by running code from its repository, and nobody agreed to that."""


class HubAway(GdlError):
    """everywhere: whatever is asked next will fare no better, for a while."""

    kind = "hub_away"

    def __init__(self, message: str, hint: str = "", *, everywhere: bool = False) -> None:
        super().__init__(message, hint)
        self.everywhere = everywhere


class NoSuitableOffer(GdlError):
    kind = "no_suitable_offer"


class ConfirmedOfferGone(NoSuitableOffer):
    """alternative: the id of what could be rented in its place, if anything; price_per_hour: its
    price, which the user has not confirmed. provider, backend: of the offer that was confirmed, ""
    when that is not listed."""

    def __init__(
        self,
        message: str,
        hint: str,
        *,
        alternative: str | None = None,
        price_per_hour: float = 0.0,
        provider: str = "",
        backend: str = "",
    ) -> None:
        super().__init__(message, hint)
        self.alternative = alternative
        self.price_per_hour = price_per_hour
        self.provider = provider
        self.backend = backend


class MachineError(GdlError):
    kind = "machine"


class OfferGone(MachineError):
    kind = "offer_gone"

    def __init__(self, offer_id: str, message: str = "", hint: str = "") -> None:
        super().__init__(
            message or f"offer {offer_id} is no longer available",
            hint or "take the next offer; the listing was out of date",
        )
        self.offer_id = offer_id


class SessionExists(MachineError):
    kind = "session_exists"

    def __init__(self, session_id: str, message: str) -> None:
        super().__init__(message, "attach to it or destroy it, then try again")
        self.session_id = session_id


class OfferTaken(MachineError):
    kind = "offer_taken"

    def __init__(self, offer_id: str) -> None:
        super().__init__(f"another of our requests got offer {offer_id}", "take the next offer")


class InsufficientDisk(MachineError):
    kind = "insufficient_disk"

    def __init__(self, message: str, requested_gb: int, recommended_gb: int) -> None:
        super().__init__(message, f"request a disk of {recommended_gb} GB")
        self.requested_gb = requested_gb
        self.recommended_gb = recommended_gb


class RentAmbiguous(MachineError):
    """The rent request went out, and no usable answer came back. session_id: what the answer
    named all the same."""

    kind = "rent_ambiguous"

    def __init__(
        self, message: str, *, sent_at: datetime | None = None, session_id: str | None = None
    ) -> None:
        super().__init__(message, "the session list is asked whether a machine exists")
        self.sent_at = sent_at
        self.session_id = session_id


class SessionFailed(MachineError):
    kind = "session_failed"


class Outbid(SessionFailed):
    kind = "outbid"


class SessionGone(MachineError):
    kind = "session_gone"


class SshError(MachineError):
    kind = "ssh"


class SshCut(SshError):
    """The connection was cut while it was made: the next may stand."""


class HostKeyChanged(SshError):
    kind = "host_key_changed"


class SshAuthFailed(SshError):
    kind = "ssh_auth"


class ForwardRefused(SshError):
    kind = "forward_refused"


class CommandTimeout(SshError):
    kind = "command_timeout"


class Disconnected(SshError):
    """The connection ended under what was done over it, or there was none any more."""


class GaveWay(SshError):
    """A command that takes long left its session to another one, and is to be begun again."""


class DeployError(GdlError):
    """`remedy`: what would help, when that is known."""

    kind = "deploy"

    def __init__(self, message: str, hint: str = "", *, remedy: Remedy | None = None) -> None:
        super().__init__(message, hint)
        self.remedy = remedy


class VerificationError(GdlError):
    kind = "verification"


class KeyRefused(VerificationError):
    """What answers does not take the key that our server was started with."""


class BackendError(GdlError):
    kind = "backend"


class BackendUnreachable(BackendError):
    kind = "backend_unreachable"


class BackendRefused(BackendError):
    """The backend answered with an error of its own.

    status: the HTTP status, if it was one; retry_after: seconds it asked us to wait. own_words: it
    said why, in its own form; without that, the answer may be another's.
    """

    kind = "backend_refused"

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        status: int | None = None,
        retry_after: float | None = None,
        own_words: bool = True,
    ) -> None:
        super().__init__(message, hint)
        self.own_words = own_words
        self.status = status
        self.retry_after = retry_after


class Cancelled(GdlError):
    kind = "cancelled"


class ReleaseUnconfirmed(GdlError):
    kind = "release_unconfirmed"


class SpendLimitReached(GdlError):
    kind = "spend_limit"


class GuardEnded(SpendLimitReached):
    """The guard on the machine has ended it, as it was told to."""

    kind = "guard_ended"


def of_kind(kind: str, message: str, hint: str) -> GdlError:
    """The error that an event tells of, as far as it can be told."""
    plain = (
        UsageError,
        NoSuitableOffer,
        MachineError,
        SessionFailed,
        Outbid,
        SessionGone,
        SshError,
        HostKeyChanged,
        SshAuthFailed,
        ForwardRefused,
        CommandTimeout,
        DeployError,
        VerificationError,
        BackendError,
        BackendUnreachable,
        BackendRefused,
        Cancelled,
        ReleaseUnconfirmed,
        SpendLimitReached,
        GuardEnded,
    )
    for each in plain:
        if each.kind == kind:
            return each(message, hint)
    error = MachineError(message, hint)
    error.kind = kind
    return error
