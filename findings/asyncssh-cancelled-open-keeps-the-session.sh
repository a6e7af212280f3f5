#!/usr/bin/env bash
# Version: asyncssh==2.24.1 (server and client)
# Behaviour: asyncssh: who is cancelled while a session is being opened leaves it open on the connection.
#
# A task that is cancelled within create_session() (a time-out, the end of a watcher) raises CancelledError
# at once, as expected. But the request is on its way: the server opens the session, the client notes the
# channel as open, and nobody has a reference with which to close it. It stays until the connection ends.
# Where a server allows few sessions on a connection (OpenSSH's MaxSessions), none is left after as many.
#
# Seen:
#   begun and cancelled: 5, open at the server two seconds later: 5
#   begun, shielded and closed afterwards: 5, open at the server two seconds later: 0
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q asyncssh==2.24.1
cat > "$folder/show.py" <<'P'
import asyncio
import contextlib

import asyncssh

TIMES = 5
sessions = set()


class Session(asyncssh.SSHServerSession):
    def connection_made(self, chan):
        sessions.add(self)

    def shell_requested(self):
        return True

    def exec_requested(self, command):
        return True

    def connection_lost(self, exc):
        sessions.discard(self)


class Server(asyncssh.SSHServer):
    def begin_auth(self, username):
        return False

    def session_requested(self):
        return Session()


async def main():
    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.create_server(Server, "127.0.0.1", 0, server_host_keys=[key])
    for shielded in (False, True):
        async with asyncssh.connect(
            "127.0.0.1", server.get_port(), known_hosts=None, username="u", client_keys=None
        ) as conn:
            for _ in range(TIMES):
                opening = asyncio.ensure_future(conn.create_session(asyncssh.SSHClientSession, "x"))
                waiting = asyncio.ensure_future(asyncio.shield(opening)) if shielded else opening
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                waiting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await waiting
                if shielded:
                    chan, _ = await opening
                    chan.close()
            await asyncio.sleep(2)
            how = "shielded and closed afterwards" if shielded else "cancelled"
            word = "begun, " if shielded else "begun and "
            print(f"{word}{how}: {TIMES}, open at the server two seconds later: {len(sessions)}")
    server.close()


asyncio.run(main())
P
said=$("$folder/env/bin/python" "$folder/show.py")
echo "$said"
diff <(echo "$said") - <<'E2'
begun and cancelled: 5, open at the server two seconds later: 5
begun, shielded and closed afterwards: 5, open at the server two seconds later: 0
E2
echo "as described"
