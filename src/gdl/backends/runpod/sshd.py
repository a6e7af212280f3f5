"""The command that makes a bare container image one that can be entered over SSH.

RunPod starts an image as it is: few have an SSH server. The command installs one where it is
missing, lets in the one key of the variable PUBLIC_KEY, and serves until the pod ends. It is the
same for every pod and holds nothing secret.
"""

from __future__ import annotations

ENTRYPOINT = ("/bin/sh", "-c")
"""In place of the image's own, which would serve something else."""
KEY_VARIABLE = "PUBLIC_KEY"

_SCRIPT = r"""set -u
umask 022
say() { echo "gdl-tui: $*"; }
server() {
  for each in /usr/sbin/sshd /usr/local/sbin/sshd /usr/bin/sshd; do
    if [ -x "$each" ]; then echo "$each"; return 0; fi
  done
  command -v sshd
}
install() {
  if command -v apt-get >/dev/null 2>&1; then
    export DEBIAN_FRONTEND=noninteractive
    dpkg --configure -a >/dev/null 2>&1
    set -- -q -o Acquire::Retries=3 -o Acquire::http::Timeout=30 -o DPkg::Lock::Timeout=120
    apt-get "$@" update
    apt-get "$@" install -y --no-install-recommends openssh-server
  elif command -v apk >/dev/null 2>&1; then
    apk add --no-cache openssh-server
  elif command -v dnf >/dev/null 2>&1; then
    dnf install -y -q openssh-server
  elif command -v microdnf >/dev/null 2>&1; then
    microdnf install -y openssh-server
  elif command -v yum >/dev/null 2>&1; then
    yum install -y -q openssh-server
  else
    say "no package manager is known here"
    return 1
  fi
}
folder=@HOME@/.ssh
mkdir -p "$folder"
chmod go-w @HOME@
chmod 700 "$folder"
touch "$folder/authorized_keys"
if ! grep -qxF -e "$PUBLIC_KEY" "$folder/authorized_keys"; then
  printf '%s\n' "$PUBLIC_KEY" >>"$folder/authorized_keys"
fi
chmod 600 "$folder/authorized_keys"
# What the image needs to find its own programs; nothing else of the container's environment.
env | grep -E '^(PATH|LD_LIBRARY_PATH|LIBRARY_PATH|VIRTUAL_ENV|CUDA_[A-Z_]*|NVIDIA_[A-Z_]*)=' \
  >"$folder/environment"
chmod 600 "$folder/environment"
until sshd=$(server); do
  say "installing an SSH server"
  install || say "that failed"
  server >/dev/null || sleep 5
done
mkdir -p @RUN@
chmod 755 @RUN@
ssh-keygen -A
# A server that the package or the image has started already may have the port: it is asked to go.
if [ -s @RUN@.pid ]; then kill "$(cat @RUN@.pid)" 2>/dev/null; fi
while :; do
  say "serving SSH"
  "$sshd" -D -e -p 22 -o PermitRootLogin=prohibit-password -o PasswordAuthentication=no \
    -o PubkeyAuthentication=yes -o AllowTcpForwarding=yes -o PermitUserEnvironment=yes \
    -o MaxStartups=100 -o MaxSessions=100 -o "AuthorizedKeysFile=$folder/authorized_keys"
  sleep 5
done
"""


def command(*, home: str = "/root", run: str = "/run/sshd") -> list[str]:
    """What `ENTRYPOINT` is given. home: of the user who logs in. run: a folder that the server
    needs; its process id is in a file beside it."""
    return [_SCRIPT.replace("@HOME@", home).replace("@RUN@", run)]
