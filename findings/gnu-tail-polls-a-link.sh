#!/usr/bin/env bash
# Version: tail (GNU coreutils) 9.1
# Behaviour: tail -f of GNU coreutils learns of news from the kernel (inotify), at once; but a file that is
# named by a symbolic link is looked at once a second (-s) in place of that, and nothing says so. The names of
# open files below /proc/self/fd and /dev/fd are symbolic links as well, as are logs such as latest.log.
#
# Seen: the plain name is watched, the two links are not; a line that comes 0.3 s after the start is late:
#   name: inotify
#   link: none
#   open: none
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
echo one > "$folder/log"
ln -s log "$folder/link"
exec 3< "$folder/log"
look() {
    # Whether a tail of $2 has an inotify object among its open files.
    tail -f "$2" > /dev/null &
    pid=$!
    sleep 0.3
    found=none
    for fd in /proc/$pid/fd/*; do
        case $(readlink "$fd") in anon_inode:*inotify*) found=inotify;; esac
    done
    kill "$pid"
    echo "$1: $found"
}
said=$(look name "$folder/log"; look link "$folder/link"; look open /proc/self/fd/3)
echo "$said"
diff <(echo "$said") - <<'S'
name: inotify
link: none
open: none
S
echo "as described"
