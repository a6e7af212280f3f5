"""What went through a machine's network, as its kernel counts it."""

from __future__ import annotations

import re

from gdl.domain.readings import Traffic

COMMAND = "cat /proc/net/dev"
_INSIDE = re.compile(r"lo$|docker|br-|veth|virbr|cni|tun|tap")
"""Interfaces whose bytes stay on the machine, or are counted at another one as well."""
_COUNTERS, _SENT = 16, 8
"""How many an interface has, and which is that of the bytes sent; that of those received is 0."""
_COUNTER = re.compile(r"[0-9]{1,20}")


def traffic_of(text: str) -> Traffic | None:
    """What /proc/net/dev tells, of the interfaces that lead elsewhere; None where that is none.
    Never raises, whatever the text is."""
    received = sent = 0
    found = False
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        numbers = rest.split()
        if len(numbers) != _COUNTERS or not all(map(_COUNTER.fullmatch, numbers)):
            continue
        if not _INSIDE.match(name.strip()):
            found = True
            received += int(numbers[0])
            sent += int(numbers[_SENT])
    return Traffic(received, sent) if found else None
