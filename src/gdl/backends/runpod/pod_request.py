"""What RunPod is asked for when a pod is rented. It refuses every field that it does not know."""

from __future__ import annotations

import math
import uuid

from gdl.backends.runpod import sshd
from gdl.backends.runpod.catalogue import LISTED_DISK_GB, Kind
from gdl.backends.runpod.wire import CONSUMER_VARIABLE
from gdl.domain.session import RentRequest
from gdl.domain.volumes import MOUNT_PATH

IMAGE = "runpod/pytorch:1.0.2-cu1281-torch280-ubuntu2404"
"""RunPod's own, which its hosts keep ready: Python, a compiler for CUDA and an SSH server."""
IMAGE_CUDA = 12.8
"""It does not start where the driver knows less."""
_SSH_PORT = "22/tcp"


def body(request: RentRequest, kind: Kind, place: str, pods: str) -> dict[str, object]:
    """The JSON of `POST /v2/pods`. place: the data centre that it must be in, "" for any. pods: the
    address of that request."""
    terms = request.offer.terms
    listed_gb = terms.disk_gb if terms is not None else 0.0
    least = request.min_cuda
    if not request.image:
        least = max(least or 0.0, IMAGE_CUDA)
    gpu: dict[str, object] = {"id": kind.gpu_id, "count": kind.count}
    if least is not None:
        gpu["minCudaVersion"] = f"{least:.1f}"
    asked: dict[str, object] = {
        "name": request.label or f"gdl-{uuid.uuid4().hex}",
        "image": request.image or IMAGE,
        "entrypoint": list(sshd.ENTRYPOINT),
        "cmd": sshd.command(),
        "disk": math.ceil(request.disk_gb or listed_gb or LISTED_DISK_GB),
        "ports": [_SSH_PORT],
        "env": {
            sshd.KEY_VARIABLE: request.public_key.strip(),
            CONSUMER_VARIABLE: request.consumer_id,
            sshd.END_VARIABLE: pods,
        },
        "cloud": kind.cloud,
        "gpu": gpu,
    }
    if request.volume:
        asked["mounts"] = {"network": [{"volumeId": request.volume, "path": MOUNT_PATH}]}
    if place:
        asked["dataCenterIds"] = [place]
    return asked
