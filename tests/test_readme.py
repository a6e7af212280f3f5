"""What the README shows is there."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).parent.parent


def test_every_link_and_picture_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", (ROOT / "README.md").read_text())
    inside = [unquote(link) for link in links if "://" not in link]
    assert len(inside) > 5
    assert [link for link in inside if not (ROOT / link).exists()] == []
