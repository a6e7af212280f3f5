"""One request, what came of it and when."""

from __future__ import annotations

from httptools import HttpParserError, HttpResponseParser

from gdl.endpoint.protocol import Fault


class Exchange:
    """One request and the raw body of its answer. Times are `time.perf_counter`'s, in seconds.

    due: when it was to be sent, in a load that follows a timetable; None otherwise. times: of each
    read that brought something; counts: how many `pieces` of the body there were after each. reads:
    what was read, where the framing was left for later; pieces and counts come of `unframe` then.
    status: the HTTP status, 0 while there is none. closed: the connection ended before the answer
    did. fault: what went wrong on the way; None does not say that the answer is a good one.
    """

    __slots__ = (
        "closed", "counts", "due", "ended", "fault", "pieces", "reads", "retried", "sent", "status",
        "tag", "times",
    )  # fmt: skip

    def __init__(self, tag: int = 0, due: float | None = None) -> None:
        self.tag = tag
        self.due = due
        self.sent = 0.0
        self.ended = 0.0
        self.times: list[float] = []
        self.counts: list[int] = []
        self.pieces: list[bytes] = []
        self.reads: list[bytes] = []
        self.status = 0
        self.closed = False
        self.retried = False
        self.fault: Fault | None = None

    @property
    def held(self) -> int:
        """How many reads or pieces are kept of it."""
        return len(self.reads) or len(self.pieces)

    def drop(self) -> None:
        """Forget what was read."""
        self.pieces.clear()
        self.reads.clear()

    def unframe(self) -> None:
        """Take the framing apart, where that was left for later."""
        reads, self.reads = self.reads, []
        if not reads:
            return
        body = _Body()
        parser = HttpResponseParser(body)
        self.pieces, self.counts = body.pieces, []
        try:
            for data in reads:
                parser.feed_data(data)
                self.counts.append(len(body.pieces))
        except HttpParserError as error:
            self.counts += [len(body.pieces)] * (len(reads) - len(self.counts))
            self.fault = self.fault or Fault("protocol", f"not HTTP: {error}")


class _Body:
    """Collects the pieces of one body."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.on_body = self.pieces.append
