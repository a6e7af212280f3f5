"""The routers' releases, and what each is told whoever starts it."""

from __future__ import annotations

RELEASES = {"vllm-router": "0.1.17", "smg": "1.13.0"}
"""By the names of `gdl.domain.fleet_spec.ROUTERS`: the packages of the Python index."""
HEALTH_EVERY_S = 2
"""Between two looks of the router at a replica."""
LONGEST_REQUEST_S = 24 * 3600
"""Both programs send a request that ran over its time to another replica, which makes a second
answer of it: none runs over its time."""
CHECKS = (
    *("--health-check-interval-secs", str(HEALTH_EVERY_S)),
    *("--health-check-timeout-secs", str(HEALTH_EVERY_S)),
    *("--health-failure-threshold", "1", "--health-success-threshold", "1"),
    *("--request-timeout-secs", str(LONGEST_REQUEST_S)),
)
