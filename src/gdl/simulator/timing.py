"""How long things take on a simulated market."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

_VERIFIED_S, _SPARE_S = 3.0, 1.5


class Part(BaseModel):
    """Unknown names are errors; nothing changes once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Timing(Part):
    """Seconds at speed 1. The market runs about forty times as fast as a real one."""

    create: float = 0.7
    """The marketplace takes a rent request."""
    address: float = 0.4
    """Until the address of the machine is known."""
    boot: float = 2.5
    """From rented to verified over SSH."""
    verification: float = 6.0
    """Until the service gives up on SSH; 10 minutes on the real one."""
    failed: float = 4.0
    """A failed session that had a machine turns stopped; a minute on the real one."""
    spreads: float = 0.3
    """A marketplace brings a key to the machine: 10 to 15 seconds on a real one."""
    destroy: float = 0.6
    destroy_tries: float = 7.0
    """All tries to destroy a machine whose marketplace refuses: 275 seconds on the real one."""
    check: float = 1.5
    """Between two checks for sessions that are stuck; a minute on the real one."""
    stuck: float = 15.0
    """Age from which a session may not be stopping; 10 minutes on the real one."""
    sweep: float = 0.0
    """After which machines are ended that the service has forgotten: 5 minutes on a real one, 7.5
    here; 0: never, as on one that shares its account with others."""
    cache: float = 3.0
    """Age at which a list of offers is fetched anew."""
    memory: float = 90.0
    """How long failures of an offer count, and how long three of them hide it."""
    hang: float = 30.0
    """A request that gets no answer is cut after that."""
    venv: float = 0.5
    package: float = 0.45
    """Download of one of about eight big packages."""
    imports: float = 2.0
    """Python imports vLLM."""
    weights: float = 3.0
    """Download and reading of the model."""
    compile: float = 1.2
    graphs: float = 1.2
    shutdown: float = 3.0
    """A server whose engine was killed ends by itself."""

    def verified_within(self, speed: float) -> float:
        """Real seconds that the service says it waits for SSH. However quick the market, real
        machines need some."""
        return max(self.verification / speed, _VERIFIED_S) if self.verification else 0.0

    def given_up_after(self, speed: float) -> float:
        """Real seconds until the service gives up on SSH. Clients end a machine a tenth earlier:
        a minute on the real market, so that a quick one leaves them some real time."""
        said = self.verified_within(speed)
        return max(said, _VERIFIED_S + _SPARE_S) if said else 0.0
