"""One way to install a Python package."""

from __future__ import annotations

import re

from gdl.domain.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Way:
    """One way to install: a requirement, the PyTorch variant to ask uv for ("": whatever the
    package index has), and further package indexes."""

    requirement: str
    backend: str = ""
    indexes: tuple[str, ...] = ()

    @property
    def build(self) -> str:
        """What is built the same has the same: "x+cu129", wherever its wheel comes from."""
        variant = re.search(r"\+(cu\d+)", self.requirement)
        if variant:
            name = re.match(r"[\w.-]+", self.requirement)
            return f"{name[0] if name else ''}+{variant[1]}"
        return f"{self.requirement} {self.backend}".rstrip()

    @property
    def words(self) -> str:
        """Short: "x==0.19.1 with PyTorch for cu129", a wheel by its file's name."""
        what = self.requirement.rpartition("/")[2] if "://" in self.requirement else ""
        build = f" with PyTorch for {self.backend}" if self.backend else ""
        return f"{what or self.requirement}{build}{' from its own index' * bool(self.indexes)}"
