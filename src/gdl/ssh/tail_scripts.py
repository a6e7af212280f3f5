"""The shell program that sends a growing file as it grows. POSIX sh, with dash, bash and busybox.

It holds the file open, so that what is written there is read even after it was renamed or deleted.
GNU tail learns of news from the kernel, at once; where it is missing, the file is looked at ten
times a second.
"""

from __future__ import annotations

# Arguments: path, byte offset to go on from, how many bytes before it to send again, the inode of
# the file that they were read from or "", a word nobody can guess, "poll" to do without GNU tail.
#
# Output: a line "INODE FIRST WHAT", then the bytes of one file from offset FIRST on. WHAT: "same";
# "truncated", it was shorter than the offset; "new", there was none for a while; "next", the file
# read before was read out; "lost", that file is not to be found. A truncation is told among the
# bytes, where it happened, by a line that begins with the control character RS and the word.
#
# Errors: "right": the bytes are those of that file, which is known a moment after the first came.
# "end SIZE last|more": the file is read out at that size, and the program waits for the end of its
# input; more: another file has its name by now. "gone": nothing has its name.
#
# Input: a line asks for "end". Its end, which a lost connection brings about, ends the program.
FOLLOW = r"""
path=$1 offset=$2 again=$3 inode=$4 how=$6
mark=$(printf '\036%s/tail' "$5")
fd=/proc/self/fd/3
if [ ! -d /proc/self/fd ]; then fd=/dev/fd/3; fi
asked= tail= said= ear= seen=0
trap 'asked=1' USR1
trap 'exit 0' HUP INT TERM
trap 'kill $tail $ear 2>/dev/null' EXIT
exec 4<&0
{ while IFS= read -r line; do kill -s USR1 $$ || break; done; kill -s TERM $$; } \
    <&4 >/dev/null 2>&1 &
ear=$!
fail() { printf '%s\n' "$1" >&2; exit 1; }
short=
nap() {
    # In the background, as a signal ends a wait at once, and a command only after it.
    if [ -z "$short" ]; then
        if sleep 0.0 2>/dev/null; then short=0.1 long=0.5; else short=1 long=1; fi
    fi
    if [ "$1" = short ]; then sleep $short & else sleep $long & fi
    wait $!
}
look() {
    # Sets node and size of a file; fails when there is none.
    set -f
    set -- $(LC_ALL=C ls -Lnid "$1" 2>/dev/null)
    set +f
    node=$1 size=$6
    [ -n "$size" ]
}
replaced() { [ -e "$path" ] && [ ! "$path" -ef "$fd" ]; }
place() {
    # Where to begin in the file that is known.
    if [ -n "$absent" ]; then start=0 what=new
    elif [ "$size" -lt "$offset" ]; then start=0 what=truncated
    else start=$offset what=same
    fi
}
choose() {
    # Sets file, start and what; fails when there is nothing to read.
    file=$path
    if look "$path"; then
        if [ -z "$inode" ] || [ "$node" = "$inode" ]; then place; return 0; fi
        there=1
    else
        there=
        if [ -z "$inode" ]; then return 1; fi
    fi
    # The name is another file's: a log that is rotated keeps the beginning of its name.
    for file in "$path"?*; do
        if [ -f "$file" ] && look "$file" && [ "$node" = "$inode" ]; then
            if [ -z "$there" ] || [ "$size" -gt "$offset" ]; then place; return 0; fi
            old=$file file=$path start=0 what=next
            # More than one may have come after it: the oldest of these.
            for other in "$path"?*; do
                case $other in *.gz|*.xz|*.bz2|*.zst) continue;; esac
                if [ -f "$other" ] && [ "$other" -nt "$old" ] && [ "$other" -ot "$file" ]; then
                    file=$other
                fi
            done
            return 0
        fi
    done
    file=$path start=0 what=lost
    [ -n "$there" ]
}
say_end() {
    look "$fd" || size=$seen
    if replaced; then word=more; else word=last; fi
    if [ "$said" != "$size $word" ]; then printf 'end %s %s\n' "$size" "$word" >&2; fi
    said="$size $word"
}
reads() {
    for each in /proc/"$tail"/fd/*; do
        if [ "$each" -ef "$fd" ]; then return 0; fi
    done
    return 1
}
absent=
while :; do
    until choose; do
        if [ -n "$asked" ]; then printf 'end 0 last\n' >&2; asked=; fi
        absent=1
        nap short
    done
    if [ -d "$file" ]; then fail "it is a folder"; fi
    if [ -e "$file" ] && [ ! -r "$file" ]; then fail "permission denied"; fi
    if { command exec 3< "$file"; } 2>/dev/null && look "$fd"; then
        # What is open counts; the name may have gone to another file meanwhile.
        case $what in next|lost) break;; esac
        if [ -z "$inode" ] || [ "$node" = "$inode" ]; then place; break; fi
    fi
done
if [ "$what" = same ]; then start=$((start - again)); fi
printf '%s %s %s\n' "$node" "$start" "$what"
gnu=
case $how$(tail --version 2>/dev/null) in
    poll*) ;;
    *"GNU coreutils"*) if [ -d /proc/self/fd ] && command -v bash >/dev/null 2>&1; then gnu=1; fi;;
esac
if [ -n "$gnu" ]; then
    # All that tail says itself comes under the name that it is given, in English. It has to open
    # the file by a name that is no link: else it looks now and then, and does not listen.
    real=$(readlink -f "$file" 2>/dev/null) || real=$file
    LC_ALL=C bash --norc --noprofile -c 'exec -a "$0" tail "$@"' \
        "$mark" -s 0.1 -c "+$((start + 1))" -f -- "$real" 2>&1 < /dev/null 3<&- &
    tail=$!
    # That name may have gone to another file meanwhile.
    tries=0
    until reads; do
        tries=$((tries + 1))
        kill -0 "$tail" 2>/dev/null || exit 3
        if [ "$tries" -gt 3000 ]; then nap short; fi
        if [ "$tries" -gt 3020 ]; then exit 4; fi
    done
    printf 'right\n' >&2
else
    printf 'right\n' >&2
    tail -c "+$((start + 1))" <&3
fi
quiet=0 turns=0 gone= turn=0
check() {
    if [ -z "$gnu" ] || replaced; then look "$fd" || size=$seen; fi
    if [ -z "$gnu" ] && [ "$size" -lt "$seen" ]; then
        printf '%s: file truncated\n' "$mark"
        if [ -d /proc/self/fd ]; then exec 3< "$fd"; else exec 3< "$path"; fi
    fi
    if replaced; then
        # Who writes to it may go on for a while, until told of the new one.
        if [ "$size" = "$seen" ]; then quiet=$((quiet + 1)); else quiet=0; fi
        turns=$((turns + 1))
        if [ "$quiet" -ge 2 ] || [ "$turns" -ge 20 ]; then say_end; fi
    elif [ ! -e "$path" ]; then
        if [ -z "$gone" ]; then printf 'gone\n' >&2; gone=1; fi
    fi
    seen=$size
}
seen=$size
while :; do
    if [ -n "$gnu" ]; then
        kill -0 "$tail" 2>/dev/null || exit 3
        check
        nap long
    else
        cat <&3 || exit 3
        if [ "$turn" = 0 ]; then check; fi
        turn=$(((turn + 1) % 5))
        nap short
    fi
    if [ -n "$asked" ]; then asked= said=; say_end; fi
done
"""
