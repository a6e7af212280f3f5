"""The shell program that ends a job, down to what has left its process group. As in job_scripts."""

from __future__ import annotations

from gdl.ssh.job_scripts import COMMON, PATHS

# Arguments: job folder, pid ("" for that of its last run), tenths of a second between TERM and
# KILL, and whether to remove the folder then ("" for no).
STOP = (
    COMMON
    + PATHS
    + r"""
absolute "$1" "$PWD"
dir=$path leader=$2 grace=$3 remove=${4-}
token= was= pid=
over() { if [ -n "$remove" ]; then rm -rf "$dir"; fi; }
{ IFS= read -r token < "$dir/token"; } 2>/dev/null
{ IFS= read -r was < "$dir/start"; } 2>/dev/null
{ IFS= read -r pid < "$dir/pid"; } 2>/dev/null
if [ -z "$leader" ]; then leader=$pid; fi
if [ -z "$pid" ] || [ "$pid" != "$leader" ]; then field gone; over; exit 0; fi
table() {
    # Live processes: pid, parent, group, session.
    if [ -r /proc/self/stat ]; then
        for entry in /proc/[0-9]*; do
            { IFS= read -r gdl_line < "$entry/stat"; } 2>/dev/null || continue
            set -- ${gdl_line##*) }
            case $1 in Z|X|x) continue;; esac
            printf '%s\n' "${entry#/proc/} $2 $3 $4"
        done
    else
        ps -A -o pid= -o ppid= -o pgid= -o stat= | while read -r p parent group state; do
            case $state in Z*) ;; *) printf '%s\n' "$p $parent $group $group";; esac
        done
    fi
}
members() {
    # Sets found, all that belongs to the job, and outside, what of it left the group.
    # The number of the leader may belong to a stranger by now; then only our token counts.
    stranger=
    if gdl_stat "$leader" && [ "$born" != "$was" ]; then stranger=1; fi
    rows=$(table)
    found=" " outside= group_lives=
    if [ -n "$token" ] && [ -r /proc/self/environ ]; then
        for entry in $(grep -ls "GDL_JOB=$token" /proc/[0-9]*/environ 2>/dev/null); do
            entry=${entry#/proc/}
            marked=" $marked ${entry%/environ} "
        done
    fi
    more=1
    while [ -n "$more" ]; do
        more=
        while read -r p parent group session; do
            case $p in ""|$$) continue;; esac
            case $found in *" $p "*) continue;; esac
            ours=
            if [ -z "$stranger" ]; then
                if [ "$p" = "$leader" ] || [ "$group" = "$leader" ] || [ "$session" = "$leader" ]
                then ours=1; fi
            fi
            case $found in *" $parent "*) ours=1;; esac
            case $marked in *" $p "*) ours=1;; esac
            if [ -n "$ours" ]; then
                found="$found$p "
                more=1
                if [ "$group" = "$leader" ]; then group_lives=1; else outside="$outside $p"; fi
            fi
        done <<ROWS
$rows
ROWS
    done
    marked=
    [ "$found" != " " ]
}
marked=
send() {
    if [ -n "$group_lives" ]; then kill "-$1" "-$leader" 2>/dev/null; fi
    for p in $outside; do kill "-$1" "$p" 2>/dev/null; done
}
await_end() {
    # Up to $1 turns of a tenth of a second; fails when something is left.
    turn=0
    while members; do
        if [ "$turn" -ge "$1" ]; then return 1; fi
        turn=$((turn + 1))
        sleep 0.1 2>/dev/null || { sleep 1; turn=$((turn + 9)); }
    done
}
if members; then
    send TERM
    if ! await_end "$grace"; then
        send KILL
        turns=50
        # What is born between the look and the blow is found at the next look.
        while ! await_end 5; do
            send KILL
            turns=$((turns - 5))
            if [ "$turns" -le 0 ]; then field stuck "$found"; exit 0; fi
        done
    fi
fi
report "$dir" "$leader"
over
"""
)
