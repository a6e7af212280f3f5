# The guard of a rented machine: ends the machine, or what we run on it, by itself.
#
# Arguments: the guard's folder; what stands for /proc; "boot" where the machine's own start calls.
# POSIX sh, for dash, bash and busybox. Files in the folder:
#   settings  "name value" lines that gdl-tui writes, read anew at every look
#   key       what ends this one machine; never in an argument, where others could read it
#   seen      changes while gdl-tui is connected
#   state     what was counted, so that a restart of the machine does not begin at nothing
#   stop.sh   ends a job, where the machine itself is not ours to end
# Time is counted by /proc/uptime, which no correction of the clock touches.
umask 077
dir=$1 proc=${2:-/proc}
cd "$dir" || exit 1
if [ "$3" = boot ]; then
    # The machine's own start waits for nobody.
    if command -v setsid >/dev/null 2>&1
    then setsid /bin/sh "$dir/guard.sh" "$dir" "$proc" </dev/null >>"$dir/log" 2>&1 &
    else nohup /bin/sh "$dir/guard.sh" "$dir" "$proc" </dev/null >>"$dir/log" 2>&1 &
    fi
    exit 0
fi

METRICS_LOOKS=3   # looks between two questions to the server
CONNECTED=90      # seconds without a sign after which gdl-tui counts as gone
GAP=900           # longest stop of the machine in seconds that its clock is believed about

say() { printf '%s up %s: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ 2>/dev/null)" "$now" "$1"; }
number() { case $1 in ''|*[!0-9]*) return 1;; esac; [ "${#1}" -le 15 ]; }

read_settings() {
    # tick: seconds between two looks. first: seconds over the limit that gdl-tui, while connected,
    # has for ending the machine in good order.
    id='' end='' method='' url='' key_variable='' jobs='' metrics='' gauges='' counters=''
    persist='' limit=0 billed=0 idle_limit=0 unseen_limit=0 tick=5 first=20
    while read -r name value; do
        case $name in
            limit_s|billed_s|idle_s|unseen_s|tick_s|first_s) number "$value" || continue;;
        esac
        case $name in
            id) id=$value;;
            end) end=$value;;
            method) method=$value;;
            url) url=$value;;
            key_variable) key_variable=$value;;
            jobs) jobs=$value;;
            metrics) metrics=$value;;
            gauges) gauges=" $value ";;
            counters) counters=" $value ";;
            persist) persist=$value;;
            limit_s) limit=$value;;
            billed_s) billed=$value;;
            idle_s) idle_limit=$value;;
            unseen_s) unseen_limit=$value;;
            tick_s) tick=$value;;
            first_s) first=$value;;
        esac
    done < settings
}

read_state() {
    counted=0 idle=0 unseen=0 served='' was_boot='' was_now='' was_wall='' nonce='' reason=''
    survives='' name='' value=''
    { read -r name value < state; } 2>/dev/null
    # Of an earlier machine or deployment, nothing counts.
    [ "$name $value" = "id $id" ] || return 0
    while read -r name value; do
        case $name in
            counted|idle|unseen) number "$value" || continue;;
        esac
        case $name in
            counted) counted=$value;;
            idle) idle=$value;;
            unseen) unseen=$value;;
            served) served=$value;;
            boot) was_boot=$value;;
            now) was_now=$value;;
            wall) was_wall=$value;;
            nonce) nonce=$value;;
            reason) reason=$value;;
            survives) survives=$value;;
        esac
    done < state
}

write_state() {
    # A full disk loses what is written here, and not what is counted in memory.
    {
        printf 'id %s\npid %s\ncounted %s\nidle %s\nunseen %s\nserved %s\n' \
            "$id" "$$" "$counted" "$idle" "$unseen" "$served"
        printf 'boot %s\nnow %s\nwall %s\nnonce %s\n' "$boot" "$now" "$wall" "$nonce"
        printf 'reason %s\nasked %s\nanswer %s\nsurvives %s\n' \
            "$reason" "$asked" "$answer" "$survives"
    } > state.new 2>/dev/null && mv -f state.new state 2>/dev/null
}

read_clock() {
    now='' boot='' line=''
    { read -r line boot < "$proc/uptime"; } 2>/dev/null
    now=${line%%.*}
    boot=
    { read -r boot < "$proc/sys/kernel/random/boot_id"; } 2>/dev/null
    wall=$(date +%s 2>/dev/null)
    number "$wall" || wall=
    # Where there is no /proc, the clock has to do, and steps of it that cannot be are not believed.
    if ! number "$now"; then now=$wall boot=clock; fi
}

count() {
    # Sets step: seconds since the last look, over restarts of this program and of the machine.
    step=0
    if number "$was_now" && number "$now"; then
        if [ "$boot" = "$was_boot" ] && [ "$now" -ge "$was_now" ]; then
            step=$((now - was_now))
            if [ "$boot" = clock ] && [ "$step" -gt 60 ]; then step=$tick; fi
        elif [ "$boot" = clock ]; then
            step=$tick
        else
            # Another boot. How long the machine stood still, its clock alone may tell.
            step=60
            if [ "$now" -le "$GAP" ]; then step=$now; fi
            if number "$was_wall" && number "$wall"; then
                gap=$((wall - was_wall))
                if [ "$gap" -ge "$step" ] && [ "$gap" -le "$GAP" ]; then step=$gap; fi
            fi
            say "the machine was started again: $step s are counted for that"
        fi
    fi
    was_now=$now was_boot=$boot was_wall=$wall
    counted=$((counted + step)) idle=$((idle + step)) unseen=$((unseen + step))
    # What gdl-tui counted by its own clock is never less than what it was.
    if [ "$billed" -gt "$counted" ]; then counted=$billed; fi
}

look_seen() {
    sign=
    { read -r sign < seen; } 2>/dev/null
    if [ "$sign" != "$nonce" ]; then nonce=$sign unseen=0; fi
}

fetch() {
    # The server's own figures, on loopback.
    if command -v curl >/dev/null 2>&1; then curl -q -s -m 15 --noproxy '*' "$metrics"
    elif command -v wget >/dev/null 2>&1; then wget -q -T 15 -O - "$metrics"
    else python3 -c 'import sys, urllib.request as r
o = r.build_opener(r.ProxyHandler({}))
sys.stdout.write(o.open(sys.argv[1], timeout=15).read(4000000).decode("utf-8", "replace"))' "$metrics"
    fi 2>/dev/null
}

look_idle() {
    # Requests that run, or counters that moved, are somebody's work.
    if [ "$idle_limit" -eq 0 ] || [ -z "$metrics" ]; then idle=0; return; fi
    turn=$((turn + 1))
    if [ "$turn" -lt "$METRICS_LOOKS" ] && [ "$idle" -lt "$idle_limit" ]; then return; fi
    turn=0
    found='' busy=''
    rows=$(fetch | while read -r line; do
        name=${line%%[\{ ]*} value=${line##* }
        case $gauges in *" $name "*) printf '%s\n' "g $value";; esac
        case $counters in *" $name "*) printf '%s\n' "c $value";; esac
    done)
    while read -r kind value; do
        case $kind in
            g) case $value in 0|0.0|0e*|-*) ;; *) busy=1;; esac; found="$found.";;
            c) found="$found$value,";;
        esac
    done <<ROWS
$rows
ROWS
    if [ -z "$found" ]; then
        # No answer: a server that is yet to come, while somebody sees to that, is not idle.
        if [ -z "$served" ] && [ "$unseen" -lt "$CONNECTED" ]; then idle=0; fi
        return
    fi
    if [ -z "$served" ]; then served=1 idle=0; fi
    if [ -n "$busy" ] || { [ -n "$figures" ] && [ "$figures" != "$found" ]; }; then idle=0; fi
    figures=$found
}

warn() {
    # Once for each stretch without a request.
    if [ "$idle_limit" -eq 0 ]; then return; fi
    left=$((idle_limit - idle))
    if [ "$left" -gt 0 ] && [ "$left" -le 300 ] && [ $((idle * 5)) -ge $((idle_limit * 4)) ]; then
        if [ -z "$warned" ]; then say "no request for $idle s: the end comes in $left s"; fi
        warned=1
    else
        warned=
    fi
}

decide() {
    # Sets reason: why the end is due, or nothing.
    was=$reason reason=
    most=$limit
    if [ "$unseen" -lt "$CONNECTED" ]; then most=$((limit + first)); fi
    if [ "$limit" -gt 0 ] && [ "$counted" -ge "$most" ]; then reason=spend
    elif [ "$idle_limit" -gt 0 ] && [ "$idle" -ge "$idle_limit" ]; then reason=idle
    elif [ "$unseen_limit" -gt 0 ] && [ "$unseen" -ge "$unseen_limit" ]; then reason=unseen
    fi
    if [ "$reason" != "$was" ]; then
        wait=0 pause=$tick
        if [ -n "$reason" ]
        then say "the end is due ($reason): counted $counted s, idle $idle s, unseen $unseen s"
        else say "the end is not due any more"
        fi
    fi
}

read_key() {
    # Sets key: from its file, or what the machine itself was given for this.
    key=
    { read -r key < key; } 2>/dev/null
    if [ -z "$key" ] && [ -n "$key_variable" ]; then
        key=$(while read -r line; do
            case $line in "$key_variable="*) printf '%s' "${line#*=}"; break;; esac
        done <<VARIABLES
$(tr '\000' '\n' < "$proc/1/environ" 2>/dev/null; export -p | while read -r line; do
    line=${line#export } line=${line#declare -x }
    case $line in "$key_variable="*) value=${line#*=} quote="'"
        value=${value#[\"$quote]}; printf '%s=%s\n' "$key_variable" "${value%[\"$quote]}";;
    esac
done)
VARIABLES
)
    fi
    case $key in *[!A-Za-z0-9._~+/=:-]*) key=;; esac
    [ -n "$key" ]
}

ask() {
    # Sends the request that ends this machine; answer: its HTTP status, or nothing.
    answer=
    if ! read_key; then say "there is no key that ends this machine"; return; fi
    if command -v curl >/dev/null 2>&1; then
        answer=$(printf 'header = "Authorization: Bearer %s"\n' "$key" |
            curl -q -s -S -K - --connect-timeout 10 -m 20 -o /dev/null -w '%{http_code}' \
                -X "$method" "$url")
        case $? in
            0) ;;
            5|6|7|28|52|55|56) answer=; return;;  # the network: another program would not help
            *) answer=;;
        esac
    fi
    if [ -z "$answer" ] && command -v wget >/dev/null 2>&1; then
        printf 'header = Authorization: Bearer %s\n' "$key" > wgetrc
        answer=$(WGETRC=$dir/wgetrc wget -S -O /dev/null -T 20 -t 1 --max-redirect=0 \
            --method="$method" "$url" 2>&1 | while read -r protocol code line; do
                case $protocol in HTTP/*) printf '%s' "$code"; break;; esac
            done)
        rm -f wgetrc
    fi
    if [ -z "$answer" ]; then
        for python in python3 python; do
            command -v "$python" >/dev/null 2>&1 || continue
            # The dates of certificates are not looked at: the machine's clock may be wrong.
            answer=$(printf '%s\n' "$key" | "$python" -c 'import ssl, sys
import urllib.error as e, urllib.request as r
class Stay(r.HTTPRedirectHandler):
    def redirect_request(self, *a): return None
c = ssl.create_default_context()
c.verify_flags |= 0x200000
h = {"Authorization": "Bearer " + sys.stdin.readline().strip()}
q = r.Request(sys.argv[1], method=sys.argv[2], headers=h)
try: print(r.build_opener(r.HTTPSHandler(context=c), Stay).open(q, timeout=20).status)
except e.HTTPError as x: print(x.code)' "$url" "$method")
            break
        done
    fi
    case $answer in [1-5][0-9][0-9]) ;; *) answer=;; esac
}

stop_jobs() {
    # All that we run on this machine, but for the guard itself.
    left=
    for job in "$jobs"/*; do
        case $job in */guard|*/"*") continue;; esac
        pid=
        { read -r pid < "$job/pid"; } 2>/dev/null
        number "$pid" || continue
        /bin/sh "$dir/stop.sh" "$job" "$pid" 100 > stopped 2>&1 || left=1
        line=
        { read -r line < stopped; } 2>/dev/null
        case $line in stuck*) left=1;; esac
    done
    rm -f stopped
    [ -z "$left" ]
}

end_it() {
    # Until it is done: the network may be cut, the service away.
    if [ "$wait" -gt 0 ]; then wait=$((wait - step)); return; fi
    asked=$((asked + 1))
    if [ "$end" = stop ]; then
        if stop_jobs; then
            answer=stopped
            write_state
            say "what ran here was ended ($reason)"
            exit 0
        fi
        answer=
    else
        ask
    fi
    case $answer in
        2??|404|410) wait=30;;
        *) wait=$pause; if [ "$pause" -lt 20 ]; then pause=$((pause * 2)); fi;;
    esac
    say "asked for the end ($reason, time $asked): ${answer:-no answer}"
}

survive() {
    # Sets survives: what starts the guard again with the machine. Only on a machine that goes whole
    # with its end, so that nothing is left behind anywhere.
    start="/bin/sh '$dir/guard.sh' '$dir' /proc boot"
    [ "$persist" = 1 ] || return
    if [ -f "$HOME/onstart.sh" ] && [ -w "$HOME/onstart.sh" ]; then
        # Before what is there, which may never end.
        grep -qF "$dir/guard.sh" "$HOME/onstart.sh" || {
            { read -r line; case $line in '#!'*) printf '%s\n%s\n' "$line" "$start";;
                *) printf '%s\n%s\n' "$start" "$line";; esac; cat
            } < "$HOME/onstart.sh" > onstart.new && cat onstart.new > "$HOME/onstart.sh"
            rm -f onstart.new
        }
        survives=onstart
        return
    fi
    [ "$HOME" = /root ] && [ "$(id -u)" = 0 ] || return
    if [ -d /run/systemd/system ]; then
        printf '[Service]\nType=forking\nExecStart=%s\n[Install]\nWantedBy=multi-user.target\n' \
            "$start" > /etc/systemd/system/gdl-guard.service &&
            systemctl enable gdl-guard.service >/dev/null 2>&1 && survives=systemd
    elif [ -d /etc/cron.d ] && grep -qs cron "$proc"/[0-9]*/comm; then
        printf '@reboot root %s\n' "$start" > /etc/cron.d/gdl-guard && survives=cron
    fi
}

now='' figures='' warned='' asked=0 answer='' wait=0 turn=$METRICS_LOOKS
read_settings
read_state
pause=$tick
survive
# The newest guard is the one: an earlier one sees that, and ends.
owner=$$.$(date +%s 2>/dev/null)
printf '%s\n' "$owner" > owner
while :; do
    holder=
    { read -r holder < owner; } 2>/dev/null
    if [ -n "$holder" ] && [ "$holder" != "$owner" ]; then exit 0; fi
    if [ ! -f settings ]; then exit 0; fi
    read_settings
    read_clock
    count
    look_seen
    look_idle
    warn
    decide
    if [ -n "$reason" ]; then
        # Whoever sees what it brings about is to know why.
        write_state
        end_it
    fi
    write_state
    nap=$tick
    if [ "$limit" -gt 0 ] && [ "$counted" -lt "$limit" ]; then
        left=$((limit - counted))
        if [ "$left" -lt "$nap" ]; then nap=$left; fi
    fi
    sleep "$nap"
done
