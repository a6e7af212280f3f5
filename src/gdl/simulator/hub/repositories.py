"""Repositories of the simulated hub."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from gdl.domain.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class HubFile:
    """head: the file's beginning; the rest, up to `size` bytes, is zeros. large: kept beside the
    repository (LFS), and given by another host."""

    head: bytes = b""
    size: int = 0
    large: bool = False

    @property
    def length(self) -> int:
        return max(self.size, len(self.head))

    def part(self, start: int, end: int) -> bytes:
        """The bytes from start to before end."""
        return self.head[start:end].ljust(min(end, self.length) - start, b"\0")

    @property
    def sha256(self) -> str:
        """Stands for the real one of a file of zeros that is never made."""
        return hashlib.sha256(self.head + str(self.length).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Repository:
    """info: further fields of /api/models/ID, by the names that the hub gives them. gated: "auto",
    "manual" or "". moved_to: its new id, for one that was renamed. disabled: by the hub's owner."""

    id: str
    files: Mapping[str, HubFile] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)
    gated: str = ""
    private: bool = False
    disabled: bool = False
    moved_to: str = ""

    @property
    def revision(self) -> str:
        """A commit: another one as soon as a file is another one."""
        told = [(path, each.sha256) for path, each in sorted(self.files.items())]
        return hashlib.sha1(json.dumps([self.id, told]).encode()).hexdigest()  # noqa: S324

    def described(self, *, sizes: bool) -> dict[str, Any]:
        """What /api/models/ID answers; sizes: with `blobs=true`."""
        config = self._config()
        return {
            "_id": self.revision[:24],
            "id": self.id,
            "modelId": self.id,
            "author": self.id.partition("/")[0],
            "sha": self.revision,
            "lastModified": "2026-10-05T08:00:00.000Z",
            "createdAt": "2026-09-01T08:00:00.000Z",
            "private": self.private,
            "gated": self.gated or False,
            "disabled": self.disabled,
            "downloads": 1000,
            "likes": 10,
            "tags": [],
            "config": {k: config[k] for k in ("architectures", "model_type") if k in config},
            "siblings": [self._sibling(path, sizes=sizes) for path in sorted(self.files)],
            **self.info,
        }

    def _config(self) -> dict[str, Any]:
        try:
            config = json.loads(self.files["config.json"].head)
        except (KeyError, ValueError, RecursionError):
            return {}
        return config if isinstance(config, dict) else {}

    def _sibling(self, path: str, *, sizes: bool) -> dict[str, Any]:
        if not sizes:
            return {"rfilename": path}
        each = self.files[path]
        told: dict[str, Any] = {"rfilename": path, "size": each.length, "blobId": each.sha256[:40]}
        if each.large:
            told["lfs"] = {"sha256": each.sha256, "size": each.length, "pointerSize": 135}
        return told


def text(content: str) -> HubFile:
    """A small file."""
    return HubFile(content.encode())


def table(content: object) -> HubFile:
    """A small JSON file."""
    return text(json.dumps(content))


def weights(size: int) -> HubFile:
    """A file of that many bytes, kept beside the repository."""
    return HubFile(size=size, large=True)


def gguf(metadata: Mapping[str, str | int], size: int) -> HubFile:
    """A GGUF file with those settings in its header."""
    head = b"GGUF" + _whole(3, 4) + _whole(0, 8) + _whole(len(metadata), 8)
    for key, value in metadata.items():
        head += _whole(len(key.encode()), 8) + key.encode()
        if isinstance(value, str):
            head += _whole(8, 4) + _whole(len(value.encode()), 8) + value.encode()
        else:
            head += _whole(4, 4) + _whole(value, 4)
    return HubFile(head, size, large=True)


def _whole(value: int, size: int) -> bytes:
    return value.to_bytes(size, "little")
