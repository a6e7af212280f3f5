"""The command that makes a bare container image one that can be entered over SSH.

RunPod starts an image as it is: few have an SSH server. The command installs one where it is
missing, lets in the one key of the variable PUBLIC_KEY, and serves until the pod ends. A pod that
nobody enters within an hour of its start ends itself, with the key that RunPod gave to it: whoever
rented it is gone, and has not left a guard there. The command is the same for every pod and holds
nothing secret.
"""

from __future__ import annotations

ENTRYPOINT = ("/bin/sh", "-c")
"""In place of the image's own, which would serve something else."""
KEY_VARIABLE = "PUBLIC_KEY"
END_VARIABLE = "GDL_PODS"
"""The address under which pods are deleted, without the pod's id."""
UNENTERED_S = 3600
"""Longer than any machine is waited for."""

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
    apt-get "$@" install -y --no-install-recommends openssh-server curl ca-certificates
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
end() {
  export GDL_END="$GDL_PODS/$RUNPOD_POD_ID"
  if command -v curl >/dev/null 2>&1; then
    printf 'header = "Authorization: Bearer %s"\n' "$RUNPOD_API_KEY" |
      curl -sS -m 60 -o /dev/null -X DELETE -K - "$GDL_END"
  else
    python3 -c 'import os, urllib.request as http
key = {"Authorization": "Bearer " + os.environ["RUNPOD_API_KEY"]}
http.urlopen(http.Request(os.environ["GDL_END"], method="DELETE", headers=key), timeout=60)'
  fi
}
unentered() {
  sleep @UNENTERED@
  while [ ! -e "$folder/entered" ]; do
    say "nobody has entered: ending the pod"
    end
    sleep 60
  done
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
# The SSH server runs this whenever somebody has entered.
echo "touch $folder/entered" >"$folder/rc"
rm -f "$folder/entered"
unentered &
# What asks to be started with the machine adds itself here.
touch @HOME@/onstart.sh
HOME=@HOME@ sh @HOME@/onstart.sh &
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
    -o PermitUserRC=yes -o MaxStartups=100 -o MaxSessions=100 \
    -o "AuthorizedKeysFile=$folder/authorized_keys"
  sleep 5
done
"""


def command(
    *, home: str = "/root", run: str = "/run/sshd", unentered_s: float = UNENTERED_S
) -> list[str]:
    """What `ENTRYPOINT` is given. home: of the user who logs in. run: a folder that the server
    needs; its process id is in a file beside it. unentered_s: seconds until a pod ends itself that
    nobody enters."""
    places = {"@HOME@": home, "@RUN@": run, "@UNENTERED@": f"{unentered_s:g}"}
    script = _SCRIPT
    for name, value in places.items():
        script = script.replace(name, value)
    return [script]
