"""Brings one file of a release's source archive: `python source_file.py PROJECT VERSION SHA256
MEMBER TARGET`, on the machine.

The archive comes from where uv is told to find packages (UV_DEFAULT_INDEX, UV_INDEX,
UV_FIND_LINKS, UV_NO_INDEX, UV_INSECURE_HOST, as pipconf.py exports what pip's configuration says),
else from the index that the installer's own help calls its default. It counts only with the given
SHA-256. MEMBER is a path within the archive's one folder; nothing else is unpacked. TARGET appears
whole or not at all.
Exit status 3: the archive could not be had, or is not the one that it should be. Addresses may
hold credentials, so only the names of hosts are printed. Needs nothing beside the standard library.
"""

import base64
import hashlib
import json
import netrc
import os
import re
import shutil
import ssl
import subprocess
import sys
import tarfile
import tempfile
import time
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit
from urllib.request import (
    HTTPRedirectHandler,
    HTTPSHandler,
    Request,
    build_opener,
    url2pathname,
)

MISSING = 3
INSTALLERS = (
    ("./uv/bin/uv", "pip", "install", "--help"),
    (sys.executable, "-m", "pip", "install", "--help"),
    ("python3", "-m", "pip", "install", "--help"),
)
DEFAULT_INDEX = re.compile(r"\(\s*(?:by\s+)?default:?\s+<?(https?://[^\s<>()]+)>?\s*\)")
PAGE_BYTES = 32 << 20
ARCHIVE_BYTES = 256 << 20
MEMBER_BYTES = 1 << 20
SILENT_S = 30
WHOLE_S = 240
PIECE = 1 << 16
ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"


class Links(HTMLParser):
    """The addresses that a page of an index or of links names."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        address = dict(attrs).get("href")
        if tag == "a" and address:
            self.found.append(address)


class Redirects(HTTPRedirectHandler):
    """Credentials are for the host that they were given for."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        made = super().redirect_request(req, fp, code, msg, headers, newurl)
        if made is not None and urlsplit(newurl).netloc != urlsplit(req.full_url).netloc:
            made.remove_header("Authorization")
        return made


def authorization(parts):
    """What the address or ~/.netrc says to be who we are, or ""."""
    name, word = parts.username, parts.password
    if name is None:
        try:
            known = netrc.netrc().authenticators(parts.hostname or "")
        except (OSError, netrc.NetrcParseError):
            known = None
        if not known:
            return ""
        name, word = known[0], known[2]
    pair = unquote(name) + ":" + unquote(word or "")
    return "Basic " + base64.b64encode(pair.encode()).decode()


class Web:
    """Reads addresses. ends: when it has to be over, by time.monotonic()."""

    def __init__(self, ends):
        self.trusted = set(os.environ.get("UV_INSECURE_HOST", "").split())
        self.ends = ends

    def open(self, address):
        """(the address without credentials and after redirects, its content type, a reader)."""
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https", "file"):
            raise ValueError("not an address that can be read")
        context = ssl.create_default_context()
        if {parts.hostname, parts.netloc.rpartition("@")[2]} & self.trusted:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))
        request = Request(bare, headers={"Accept": ACCEPT, "User-Agent": "gdl-tui"})
        who = authorization(parts) if parts.scheme != "file" else ""
        if who:
            request.add_header("Authorization", who)
        opener = build_opener(HTTPSHandler(context=context), Redirects())
        answer = opener.open(request, timeout=SILENT_S)
        return answer.geturl(), answer.headers.get_content_type(), answer

    def pieces(self, answer, most):
        """Its bytes. Raises ValueError for too many, or when all the time is gone."""
        size = 0
        while True:
            piece = answer.read(PIECE)
            if not piece:
                return
            size += len(piece)
            if size > most:
                raise ValueError(f"more than {most} bytes")
            if time.monotonic() > self.ends:
                raise ValueError("it took too long")
            yield piece

    def links(self, address):
        """The addresses on a page, as an index or a page of links writes them."""
        base, kind, answer = self.open(address)
        with answer:
            body = b"".join(self.pieces(answer, PAGE_BYTES))
        if kind.endswith("+json"):
            told = json.loads(body)
            files = told.get("files") if isinstance(told, dict) else None
            entries = files if isinstance(files, list) else []
            named = [str(entry.get("url", "")) for entry in entries if isinstance(entry, dict)]
        else:
            page = Links()
            page.feed(body.decode("utf-8", "replace"))
            named = page.found
        return [urljoin(base, link) for link in named]


def host(address):
    return urlsplit(address).hostname or "this machine"


def folder_of(place):
    """The folder that a place is, or None."""
    parts = urlsplit(place)
    path = Path(url2pathname(parts.path) if parts.scheme == "file" else place).expanduser()
    return path if parts.scheme in ("", "file") and path.is_dir() else None


def in_place(web, place, name):
    """Addresses of the archive in a folder or on a page."""
    folder = folder_of(place)
    if folder is not None:
        if (folder / name).is_file():
            return [(folder / name).resolve().as_uri()]
        if not (folder / "index.html").is_file():
            return []
        place = (folder / "index.html").resolve().as_uri()
    return [
        link for link in web.links(place) if unquote(urlsplit(link).path).rpartition("/")[2] == name
    ]


def with_credentials(link, index):
    """What an index says of its own host is read as it was itself."""
    one, other = urlsplit(link), urlsplit(index)
    if "@" in other.netloc and one.netloc == other.netloc.rpartition("@")[2]:
        return urlunsplit(one._replace(netloc=other.netloc))
    return link


def default_index():
    """What uv or pip would ask unless told otherwise, as its help says; None where neither is."""
    for command in INSTALLERS:
        try:
            done = subprocess.run(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=SILENT_S,
                env=dict(os.environ, COLUMNS="400"),
            )
        except (OSError, subprocess.SubprocessError):
            continue
        said = DEFAULT_INDEX.search(done.stdout.decode("utf-8", "replace"))
        if said:
            return said.group(1)
    return None


def places(project):
    """Every place, those of the user's own first."""
    links = [place for place in os.environ.get("UV_FIND_LINKS", "").split(",") if place]
    indexes = os.environ.get("UV_INDEX", "").split()
    if os.environ.get("UV_NO_INDEX", "").lower() in ("1", "true", "yes", "on"):
        indexes = []
    else:
        indexes += filter(None, [os.environ.get("UV_DEFAULT_INDEX") or default_index()])
    return links + [index.rstrip("/") + "/" + project + "/" for index in indexes]


def fetch(web, address, sha256, into):
    """The archive at an address, if it is the right one. Raises ValueError."""
    known = hashlib.sha256()
    _, _, answer = web.open(address)
    with answer, into.open("wb") as file:
        for piece in web.pieces(answer, ARCHIVE_BYTES):
            known.update(piece)
            file.write(piece)
    if known.hexdigest() != sha256:
        raise ValueError("its SHA-256 does not match")


def member_of(archive, path):
    """The bytes of one plain file in it. Raises ValueError."""
    with tarfile.open(str(archive), "r:gz") as tar:
        for member in tar:
            if member.name == path:
                if not member.isfile() or member.size > MEMBER_BYTES:
                    raise ValueError("the file in it is not a small plain one")
                return tar.extractfile(member).read()
    raise ValueError("it has no such file")


def bring(project, version, sha256, member, work):
    """The file's bytes, or None; says where it looked in vain."""
    web = Web(time.monotonic() + WHOLE_S)
    folder = project + "-" + version
    name = folder + ".tar.gz"
    for place in places(project):
        try:
            for address in in_place(web, place, name):
                fetch(web, with_credentials(address, place), sha256, work / name)
                found = member_of(work / name, folder + "/" + member)
                print("[gdl] " + name + " is from " + host(address) + ", its SHA-256 is right")
                return found
            print("[gdl] no " + name + " at " + host(place))
        except (OSError, ValueError, tarfile.TarError) as error:
            # An error's own words may hold the address.
            words = str(error) if type(error) is ValueError else type(error).__name__
            print("[gdl] no " + name + " from " + host(place) + ": " + words)
    return None


def main(project, version, sha256, member, target):
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*", member) or ".." in member:
        raise SystemExit("not a file of an archive: " + ascii(member))
    goal = Path(target)
    goal.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="source-", dir=str(goal.parent)))
    try:
        found = bring(project, version, sha256, member, work)
        if found is None:
            return MISSING
        new = work / "new"
        new.write_bytes(found)
        new.chmod(0o644)
        new.replace(goal)
        return 0
    finally:
        shutil.rmtree(str(work), ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
