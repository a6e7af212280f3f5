"""Key files of the user's, and the host keys that machines are held to.

asyncssh is imported where it is used: that takes longer than most commands, which need no key.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gdl.domain.errors import HostKeyChanged, UsageError
from gdl.domain.secret import Secret

if TYPE_CHECKING:
    import asyncssh

_HOST_KEY_ALGORITHMS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)


def load_key(file: Path) -> asyncssh.SSHKey:
    """The private key in a file. Raises UsageError when it cannot be used."""
    import asyncssh

    file = file.expanduser()
    try:
        return asyncssh.read_private_key(str(file))
    except OSError as error:
        raise UsageError(
            f"cannot read the key file {file}: {error.strerror or error}",
            "check the path and its permissions",
        ) from None
    except asyncssh.KeyEncryptionError:
        hint = "name a key without one, or name none and let the SSH agent offer it"
        raise UsageError(f"the key file {file} is protected by a passphrase", hint) from None
    except (asyncssh.KeyImportError, ValueError) as error:
        if "passphrase" in str(error).lower():
            hint = "name a key without one, or name none and let the SSH agent offer it"
            raise UsageError(f"the key file {file} is protected by a passphrase", hint) from None
        raise UsageError(
            f"{file} is not a private key that can be read", "an OpenSSH or PEM key is expected"
        ) from None


def new_key(comment: str) -> Secret:
    """An Ed25519 private key in OpenSSH's form, without a passphrase."""
    import asyncssh

    key = asyncssh.generate_private_key("ssh-ed25519", comment=comment)
    return Secret(key.export_private_key("openssh").decode())


def public_part(file: Path) -> str:
    """The line for `authorized_keys` of the private key in a file. Raises UsageError when it
    cannot be used."""
    return load_key(file).export_public_key("openssh").decode().strip()


def host_key_algorithms(known: Sequence[asyncssh.SSHKey]) -> list[str]:
    """Plain keys only, no certificates: a key is what is pinned. The kinds that are known go first;
    the others stay, so that a changed key of another kind is seen as one and not as a riddle."""
    own = [name.decode() for key in known for name in key.sig_algorithms]
    own = list(dict.fromkeys(name for name in own if name in _HOST_KEY_ALGORITHMS))
    return own + [name for name in _HOST_KEY_ALGORITHMS if name not in own]


def read_pin(file: Path) -> asyncssh.SSHKey | None:
    """The pinned key; None before the first use. Raises UsageError for an unreadable file."""
    import asyncssh

    try:
        return asyncssh.read_public_key(str(file))
    except FileNotFoundError:
        return None
    except (OSError, asyncssh.KeyImportError, ValueError) as error:
        detail = getattr(error, "strerror", None) or "not a public key"
        raise UsageError(
            f"cannot read the pinned host key {file}: {detail}",
            "without it the machine cannot be verified; correct the file",
        ) from None


def write_pin(file: Path, key: asyncssh.SSHKey, label: str) -> None:
    """Put the key in place, whole or not at all; if somebody was faster, theirs must be ours."""
    temporary = ""
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Made with mode 0600.
        number, temporary = tempfile.mkstemp(prefix=".pin-", dir=file.parent)
        with os.fdopen(number, "wb") as stream:
            stream.write(key.export_public_key("openssh"))
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(temporary, file)
        except FileExistsError:
            other = read_pin(file)
            if other is not None and other.public_data != key.public_data:
                raise host_key_changed(label, key) from None
        except OSError:
            # A file system without hard links.
            Path(temporary).replace(file)
    except OSError as error:
        raise UsageError(
            f"cannot keep the host key in {file}: {error.strerror or error}",
            "check that the folder can be written and the disk is not full",
        ) from None
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def host_key_not_known(label: str, offered: asyncssh.SSHKey | None) -> HostKeyChanged:
    """It is another one than the user's own known_hosts names."""
    shown = f" (it is {offered.get_fingerprint()})" if offered is not None else ""
    return HostKeyChanged(
        f"the host key of {label} is not the one in your known_hosts{shown}",
        "somebody may be intercepting the connection; if you know that the key changed, "
        "`ssh-keygen -R HOST` forgets it",
    )


def host_key_changed(label: str, offered: asyncssh.SSHKey | None) -> HostKeyChanged:
    shown = f" (now {offered.get_fingerprint()})" if offered is not None else ""
    return HostKeyChanged(
        f"the host key of {label} has changed since the first connection{shown}",
        "somebody may be intercepting the connection, or the address now belongs to another "
        "machine: do not use it",
    )
