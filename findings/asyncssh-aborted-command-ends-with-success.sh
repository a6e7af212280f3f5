#!/usr/bin/env bash
# Version: asyncssh==2.24.1 with OpenSSH 9.2p1 (client, server)
# Behaviour: asyncssh: a command whose channel was aborted may end with exit status 0, and no error.
#
# chan.abort() closes a session at once, and one would take the command for cut off: no status, or an
# error. But the channel is only closed when the server has closed it, too. OpenSSH does so when the
# command has ended, which it does at its next write, and tells its status first. A loop that prints
# until it cannot, and takes that for its end, ends with 0, as if it had come to its own end (one that
# minds SIGPIPE, with that signal). Only who aborted it can tell the two apart. A command that does not
# write keeps its session for as long as it runs.
#
# Seen:
#   aborted while it printed: exit status 0, error None, session free after less than 2 s
#   aborted while it slept for 3 s: exit status 0, error None, session free after more than 2 s
set -euo pipefail
folder=$(mktemp -d); sshd=
trap '[ -z "$sshd" ] || kill "$sshd"; rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q asyncssh==2.24.1
ssh-keygen -q -t ed25519 -N "" -f "$folder/host"; ssh-keygen -q -t ed25519 -N "" -f "$folder/id"
port=$((20000 + RANDOM % 10000)); mkdir -p /run/sshd
printf '%s\n' "ListenAddress 127.0.0.1:$port" "HostKey $folder/host" "StrictModes no" "UsePAM no" \
    "AuthorizedKeysFile $folder/id.pub" "PidFile $folder/pid" "MaxSessions 1" > "$folder/config"
/usr/sbin/sshd -D -e -f "$folder/config" 2>/dev/null & sshd=$!
cat > "$folder/show.py" <<'P'
import asyncio
import getpass
import sys
import time

import asyncssh

folder, port = sys.argv[1:]
LOOP = "trap '' PIPE; while echo look; do sleep 0.1; done 2>/dev/null; exit 0"


class Session(asyncssh.SSHClientSession):
    def __init__(self):
        self.heard = asyncio.Event()
        self.ended = asyncio.get_running_loop().create_future()

    def data_received(self, data, datatype):
        self.heard.set()

    def connection_lost(self, error):
        self.ended.set_result(error)


async def opened(conn, factory, command):
    """Once the machine, which allows one session, opens another one."""
    while True:
        try:
            return await conn.create_session(factory, command)
        except asyncssh.ChannelOpenError:
            await asyncio.sleep(0.05)


async def connected():
    for _ in range(100):
        try:
            return await asyncssh.connect(
                "127.0.0.1", int(port), username=getpass.getuser(), known_hosts=None,
                client_keys=[f"{folder}/id"],
            )
        except OSError:
            await asyncio.sleep(0.1)
    raise SystemExit("sshd does not listen")


async def main():
    async with await connected() as conn:
        for what, command in (("printed", LOOP), ("slept for 3 s", "echo; sleep 3; exit 0")):
            chan, session = await opened(conn, Session, command)
            await session.heard.wait()
            began = time.monotonic()
            chan.abort()
            error = await session.ended
            next_one, _ = await opened(conn, asyncssh.SSHClientSession, "true")
            await next_one.wait_closed()
            took = "less" if time.monotonic() - began < 2 else "more"
            print(
                f"aborted while it {what}: exit status {chan.get_returncode()}, error {error},"
                f" session free after {took} than 2 s"
            )


asyncio.run(main())
P
seen=$("$folder/env/bin/python" "$folder/show.py" "$folder" "$port")
echo "$seen"
[ "$seen" = "aborted while it printed: exit status 0, error None, session free after less than 2 s
aborted while it slept for 3 s: exit status 0, error None, session free after more than 2 s" ]
