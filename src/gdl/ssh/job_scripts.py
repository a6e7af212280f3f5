"""The shell programs that jobs.py runs on the machine. POSIX sh, with dash, bash and busybox.

Minimal images lack ps and more, so on Linux /proc is read with the shell's own commands; ps is
for the rest (macOS). Answers are fields that each end in \\001: no path of ours may hold that.
A dead process whose parent does not collect it (a zombie) counts as ended everywhere.
"""

from __future__ import annotations

COMMON = r"""
born=
gdl_stat() {
    # Sets born, the start time of a live process; fails when there is none of that pid.
    if [ -r /proc/self/stat ]; then
        { IFS= read -r gdl_line < "/proc/$1/stat"; } 2>/dev/null || return 1
        set -- ${gdl_line##*) }
        case $1 in Z|X|x) return 1;; esac
        shift 19
        born=$1
    else
        gdl_line=$(LC_ALL=C ps -o stat= -o lstart= -p "$1" 2>/dev/null) || return 1
        set -- $gdl_line
        case ${1:-Z} in Z*) return 1;; esac
        shift
        born=$*
    fi
}
"""

PATHS = r"""
fail() { printf '%s\n' "$1" >&2; exit 1; }
field() { printf '%s\001' "$@"; }
absolute() {
    # Sets path: $1 with ~/ for the home folder, relative to $2.
    case $1 in
        "~") path=$HOME;;
        "~/"*) path=$HOME/${1#??};;
        /*) path=$1;;
        *) path=$2/$1;;
    esac
}
alive() {
    # Whether the process that job folder $1 names still runs, and is no later one of its number.
    pid= was=
    { IFS= read -r pid < "$1/pid"; } 2>/dev/null || return 1
    { IFS= read -r was < "$1/start"; } 2>/dev/null || return 1
    gdl_stat "$pid" && [ "$born" = "$was" ]
}
log_of() {
    log=
    { IFS= read -r log < "$1/logpath"; } 2>/dev/null
    if [ -z "$log" ]; then log=$1/log; fi
}
report() {
    # How the run with pid $2 in job folder $1 stands: running, exit N, or gone.
    pid= code=
    { IFS= read -r pid < "$1/pid"; } 2>/dev/null
    if [ "$pid" != "$2" ]; then field gone; return; fi
    if [ ! -f "$1/exit" ] && alive "$1"; then field running; return; fi
    # Looked for after the process: it writes this just before it ends.
    if { IFS= read -r code < "$1/exit"; } 2>/dev/null; then field exit "$code"; else field gone; fi
}
nap() { sleep "$1" 2>/dev/null || sleep 1; }
"""

_MARKED = r"""
marked() {
    token=
    { IFS= read -r token < "$1/token"; } 2>/dev/null
    if [ -n "$token" ]; then
        for entry in $(grep -ls "GDL_JOB=$token" /proc/[0-9]*/environ 2>/dev/null); do
            entry=${entry#/proc/}
            field "${entry%/environ}"
        done
    fi
}
"""

# Says "." five times a second, and more often at first, because many jobs are short; then how the
# run with pid $2 in job folder $1 ended, and its log's size then. Nobody there to hear it: the
# write fails, and it ends.
_WATCH = r"""
watch() {
    turn=0 pause=0.05
    while state=$(report "$1" "$2"); [ "$state" = "$(field running)" ]; do
        printf . || exit 0
        nap $pause
        turn=$((turn + 1))
        if [ "$turn" -ge 20 ]; then pause=0.2; fi
    done
    log_of "$1"
    size=$(wc -c < "$log") || size=0
    printf '%s' "$state"
    field size $size
}
"""

WRAPPER = (
    r"""# Runs script.sh and keeps a record of it: pid and start before, exit after.
dir=$1 work=$2 mask=$3
umask 077
"""
    + COMMON
    + r"""
cd "$work" || exit 1
# A signal to the whole group is for the script; this shell stays to write down how it ended.
trap : HUP INT QUIT TERM
gdl_stat $$ || exit 1
printf '%s\n' "$born" > "$dir/start" || exit 1
printf '%s\n' "$$" > "$dir/pid.new" && mv -f "$dir/pid.new" "$dir/pid" || exit 1
( umask "$mask"; exec /bin/sh "$dir/script.sh" )
code=$?
printf '%s\n' "$code" > "$dir/exit.new" && mv -f "$dir/exit.new" "$dir/exit"
exit "$code"
"""
)

# Arguments: work folder, job name, log ("" for the default), mark, whether to stay and watch it (""
# for no), files...
# Input: wrapper, script, environment and the files' texts, a line with the mark after each.
START = (
    COMMON
    + PATHS
    + _WATCH
    + r"""
mask=$(umask)
umask 077
absolute "$1" "$PWD"; work=$path
name=$2 want=$3 mark=$4 stay=$5
shift 5
dir=$work/jobs/$name
mkdir -p "$dir" && chmod 700 "$dir" || fail "cannot make the folder of the job"
started() {
    # Waits for the wrapper to say that it runs.
    turn=0
    while [ ! -f "$dir/pid" ]; do
        turn=$((turn + 1))
        if [ "$turn" -gt 250 ]; then
            tail -n 3 "$log" >&2
            fail "the job did not start"
        fi
        nap 0.02
    done
    IFS= read -r pid < "$dir/pid"
    field started "$dir" "$log" "$pid"
    settings=
    if [ -n "$stay" ]; then watch "$dir" "$pid"; fi
    exit 0
}
token=
{ IFS= read -r token < "$dir/token"; } 2>/dev/null
if [ "$token" = "$mark" ]; then
    # Asked a second time, because the answer to the first was lost.
    log_of "$dir"
    started
fi
if alive "$dir"; then field busy "$pid"; exit 0; fi
section() {
    gap=
    while LC_ALL=C IFS= read -r line; do
        if [ "$line" = "$mark" ]; then return 0; fi
        printf '%s%s' "$gap" "$line" || return 1
        gap='
'
    done
    return 1
}
put() { section > "$1.new-$mark" && mv -f "$1.new-$mark" "$1" || fail "cannot write $1"; }
put "$dir/run.sh"
put "$dir/script.sh"
chmod 700 "$dir/script.sh"
# The secrets stay in this shell's memory and in the job's environment; no file holds them.
settings=$(section && printf x) || fail "the settings did not arrive"
settings=${settings%x}
for file in "$@"; do
    absolute "$file" "$work"
    case $path in */*) mkdir -p "${path%/*}" || fail "cannot make the folder of $path";; esac
    put "$path"
done
rm -f "$dir/exit" "$dir/exit.new" "$dir/pid" "$dir/start"
rm -f "$dir/logpath"
log=$dir/log
if [ -n "$want" ]; then
    absolute "$want" "$work"
    log=$path
    printf '%s\n' "$log" > "$dir/logpath" || fail "cannot write to $dir"
fi
mkdir -p "${log%/*}"
if [ -f "$log" ] || [ -L "$log" ]; then rm -f "$log"; fi
# Made afresh and never through a link that somebody left in a shared folder.
( set -C; : > "$log" ) || fail "cannot write the log $log"
GDL_JOB=$mark; export GDL_JOB
printf '%s\n' "$mark" > "$dir/token"
if command -v setsid >/dev/null 2>&1; then how=setsid
elif command -v perl >/dev/null 2>&1; then how=perl
elif command -v python3 >/dev/null 2>&1; then how=python
else
    # Its group is ours, which is ended with this command.
    how=nohup stay=
fi
(
    eval "$settings"
    set -- /bin/sh "$dir/run.sh" "$dir" "$work" "$mask"
    case $how in
        setsid) exec setsid "$@";;
        perl) exec perl -e 'use POSIX (); POSIX::setsid(); exec { $ARGV[0] } @ARGV' -- "$@";;
        python) exec python3 -c 'import os, sys
os.setsid()
os.execv(sys.argv[1], sys.argv[1:])' "$@";;
        *) exec nohup "$@";;
    esac
) < /dev/null >> "$log" 2>&1 &
started
"""
)

# Arguments: work folder, job name. The last run of a job, how it stands, and, if it has ended, the
# processes that carry its mark in their environment.
LOOK = (
    COMMON
    + PATHS
    + _MARKED
    + r"""
absolute "$1" "$PWD"
dir=$path/jobs/$2
pid=
if { IFS= read -r pid < "$dir/pid"; } 2>/dev/null; then
    log_of "$dir"
    field job "$dir" "$log" "$pid"
    state=$(report "$dir" "$pid")
    printf '%s' "$state"
    if [ "$state" != "$(field running)" ]; then marked "$dir"; fi
    field end
else
    field none
fi
"""
)

# Arguments: work folder.
RUNNING = (
    COMMON
    + PATHS
    + r"""
absolute "$1" "$PWD"
for dir in "$path"/jobs/*; do
    if alive "$dir"; then
        log_of "$dir"
        field job "$dir" "$log" "$pid"
    fi
done
field end
"""
)

# Arguments: job folder, pid.
STATUS = COMMON + PATHS + 'report "$1" "$2"\n'

# Arguments: job folder, pid.
SENTINEL = COMMON + PATHS + _WATCH + 'watch "$1" "$2"\n'

# Arguments: job folder. The processes that carry the job's mark in their environment.
MARKED = (
    PATHS
    + _MARKED
    + """
marked "$1"
field end
"""
)
