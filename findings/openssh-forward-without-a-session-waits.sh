#!/usr/bin/env bash
# Version: OpenSSH 9.2p1
# Behaviour: OpenSSH: small answers through `ssh -N -L` are held back; with a session open they are not.
#
# sshd sets TCP_NODELAY on its connection when it starts a session (a command, a shell, a subsystem),
# and not for forwarded ports alone. Without a session, Nagle's algorithm holds each small packet of
# the machine's back until the one before is acknowledged: tokens of a stream arrive in clumps.
#
# Seen: 16 streams of 350 bytes every 10 ms on loopback, the best of four rounds in turns on a busy
# machine of two cores: half of the tokens are read 1.8 (0.7) ms or later after they were written with
# -N, and 0.7 (0.4) ms with a session (`ssh -L ... cat`). What is checked is how often sshd sets it:
#   alone: 0, with a session: 1
set -euo pipefail
folder=$(mktemp -d); sshd=
trap '[ -z "$sshd" ] || kill "$sshd"; rm -rf "$folder"' EXIT
ssh-keygen -q -t ed25519 -N "" -f "$folder/host"; ssh-keygen -q -t ed25519 -N "" -f "$folder/id"
port=$((20000 + RANDOM % 10000)); mkdir -p /run/sshd
printf '%s\n' "ListenAddress 127.0.0.1:$port" "HostKey $folder/host" "StrictModes no" "UsePAM no" \
    "AuthorizedKeysFile $folder/id.pub" "PidFile $folder/pid" > "$folder/config"
/usr/sbin/sshd -D -f "$folder/config" & sshd=$!
cat > "$folder/measure.py" <<'P'
import contextlib, socket, statistics, struct, subprocess, sys, threading, time

STREAMS, TOKENS, SIZE = 16, 150, 350
late = []


def serve(wire):
    with contextlib.suppress(OSError), wire:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(TOKENS):
            time.sleep(0.01)
            wire.sendall(struct.pack("d", time.monotonic()).ljust(SIZE, b"x"))


def accept(server):
    while True:
        threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()


def read(port):
    with socket.create_connection(("127.0.0.1", port)) as wire:
        for _ in range(TOKENS):
            data = wire.recv(SIZE, socket.MSG_WAITALL)
            late.append(time.monotonic() - struct.unpack_from("d", data)[0])


server = socket.create_server(("127.0.0.1", 0), backlog=64)
threading.Thread(target=accept, args=(server,), daemon=True).start()
folder, sshd = sys.argv[1:]
least = {}
for number in range(8):
    before, after = (["-N"], []) if number % 2 else (["-T"], ["cat"])
    port = int(sshd) + 1 + number
    words = ["ssh", "-F", "/dev/null", "-i", f"{folder}/id", "-p", sshd, *before, "-o", "LogLevel=ERROR"]
    words += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    words += ["-L", f"{port}:127.0.0.1:{server.getsockname()[1]}", "127.0.0.1", *after]
    ssh = subprocess.Popen(words, stdin=subprocess.PIPE)
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.1)
    late.clear()
    readers = [threading.Thread(target=read, args=(port,)) for _ in range(STREAMS)]
    for each in readers:
        each.start()
    for each in readers:
        each.join()
    least[before[0]] = min(least.get(before[0], 1), statistics.median(late))
    ssh.terminate()
    ssh.wait()
for option, seconds in least.items():
    print(f"ssh {option}: half of the tokens are read {seconds * 1e3:.1f} ms after or later")
P
sleep 0.5
said=$(python3 "$folder/measure.py" "$folder" "$port")
echo "$said"
# How late tokens are varies with what else runs here. What does not is how often sshd sets the option on
# the connection (nothing is forwarded yet), of which its system calls tell.
kill "$sshd"; wait "$sshd" || :
strace -f -qq -e trace=setsockopt -o "$folder/calls" /usr/sbin/sshd -D -f "$folder/config" &
sleep 1
sshd=$(cat "$folder/pid")
log_in() {
    : > "$folder/calls"
    timeout 3 ssh -F /dev/null -i "$folder/id" -p "$port" -o LogLevel=ERROR -o StrictHostKeyChecking=no \
        -o UserKnownHostsFile=/dev/null -L "$((port + 20)):127.0.0.1:9" "$@" 127.0.0.1 <<< "" || :
    grep -c TCP_NODELAY "$folder/calls" || :
}
said="alone: $(log_in -N), with a session: $(log_in -T)"
echo "$said"
[ "$said" = "alone: 0, with a session: 1" ]
echo "as described"
