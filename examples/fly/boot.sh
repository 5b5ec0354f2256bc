#!/usr/bin/env bash
# Starts the services of a workspace and the gateway in front of them, watches each by its process id, and stops all.
#
#   boot.sh                 runs in the foreground until SIGTERM or SIGINT, as process 1 of a machine too
#
#   SIGTERM, SIGINT         the gateway drains first, then the services end; a second one kills what is left
#   SIGHUP                  is passed to the gateway, which reads its secret files again
#   SIGUSR1                 what was given up is tried again
#   kill "$(cat /run/workspace/gateway.pid)"    restarts the gateway alone, at once; with -USR2 and
#                                               GATEWAY_HOT_RESTART=true without refusing a connection
#
# What ends is started again after 1, 2, 4 and 8 seconds. Five ends within 60 seconds and it is given up: a service stays
# away until SIGUSR1, and without the gateway there is no workspace, so this script ends with the gateway's exit code.
# Exit codes: 0 stopped, 69 already running, 78 wrong configuration, else the gateway's.
#
# Settings, besides the gateway's own (GATEWAY_…, which no service gets to see):
#   BOOT_TERMINAL, BOOT_OPENCLAW, BOOT_DASHBOARD, BOOT_STATS, BOOT_GATEWAY
#                           how each is run: one program with its arguments, as bash reads them; empty leaves a service
#                           out. "$1" is the terminal's credential, for BOOT_TERMINAL alone
#   BOOT_CREDENTIAL         what prints that credential (BOOT_GATEWAY with terminal-credential in the place of serve)
#   BOOT_SERVICE_USER       the user that the services run as; this script's own when not set
#   BOOT_GATEWAY_USER       the user that the gateway runs as; it keeps the right to listen on port 80
#   BOOT_RUN_DIR            process ids, one file each (/run/workspace)
#   BOOT_LOG_DIR            what the services write, one file each (/var/log/workspace)
#   BOOT_STOP_SECONDS       until a service that does not end is killed (10)
#   BOOT_PAUSE_SECONDS      the first pause before what has ended is started again; it doubles each time (1)
set -uo pipefail
umask 077

# shellcheck disable=SC2016 # expanded when the terminal is started
BOOT_TERMINAL=${BOOT_TERMINAL-'ttyd -i 127.0.0.1 -p 8080 --base-path /terminal --writable --ping-interval 300 --credential "$1" bash -l'}
BOOT_OPENCLAW=${BOOT_OPENCLAW-'openclaw gateway run'}
BOOT_DASHBOARD=${BOOT_DASHBOARD-'node /app/dashboard/node_modules/next/dist/bin/next start /app/dashboard -H 127.0.0.1 -p 3001'}
BOOT_STATS=${BOOT_STATS-'node /app/stats/server.js'}
BOOT_GATEWAY=${BOOT_GATEWAY-'workspace-gateway serve'}
default_program=${BOOT_GATEWAY:-workspace-gateway}
BOOT_CREDENTIAL=${BOOT_CREDENTIAL-"${default_program% serve} terminal-credential"}
declare -A COMMAND=(
  [terminal]=$BOOT_TERMINAL [openclaw]=$BOOT_OPENCLAW [dashboard]=$BOOT_DASHBOARD [stats]=$BOOT_STATS
  [gateway]=$BOOT_GATEWAY
)
SERVICE_USER=${BOOT_SERVICE_USER-}
GATEWAY_USER=${BOOT_GATEWAY_USER-}
RUN_DIR=${BOOT_RUN_DIR:-/run/workspace}
LOG_DIR=${BOOT_LOG_DIR:-/var/log/workspace}
STATE_DIR=${GATEWAY_STATE_DIR:-/data/gateway}
STOP_SECONDS=${BOOT_STOP_SECONDS:-10}
PAUSE_SECONDS=${BOOT_PAUSE_SECONDS:-1}
DRAIN_SECONDS=${GATEWAY_DRAIN_SECONDS:-4}

readonly CRASHES_AT_MOST=5 CRASH_WINDOW=60 LOG_KIB=1024 LOG_BYTES_KEPT=65536 NODE_MAJOR=24

declare -A PID=() DUE=() ENDS=()
declare -a STAT=() SERVICE_PREFIX=() GATEWAY_PREFIX=()
credential=
signals=0
retry=
exit_code=0

# One JSON line, like the gateway's own.
say() {
  local level=$1 text=${2//\\/\\\\}
  text=${text//\"/\\\"}
  TZ=UTC printf '{"level":"%s","time":"%(%Y-%m-%dT%H:%M:%SZ)T","name":"boot","msg":"%s"}\n' \
    "$level" -1 "${text//[[:cntrl:]]/ }"
}

# The Node that runs the gateway: the first on the PATH that is new enough, or else one clear line. The services keep the
# PATH as it is.
find_node() {
  local program line node version seen=
  local -a words=() nodes=()
  eval "words=($BOOT_GATEWAY)" 2>/dev/null || return 0
  program=${words[0]-}
  if [[ $program == node || $program == */node ]]; then
    readarray -t nodes < <(type -ap "$program")
  elif line=$(head -n 1 "$(type -P "$program")" 2>/dev/null | tr -d '\0') && [[ $line == '#!'*env*node* ]]; then
    readarray -t nodes < <(type -ap node)
    program=node
  else
    return 0
  fi
  for node in "${nodes[@]}"; do
    version=$("${GATEWAY_PREFIX[@]:1}" "$node" --version 2>/dev/null) || version='cannot be run'
    seen+="${seen:+, }$node ($version)"
    [[ $version =~ ^v([0-9]+)\. ]] && ((BASH_REMATCH[1] >= NODE_MAJOR)) || continue
    if [[ $node != "${nodes[0]}" ]]; then
      say info "the gateway runs with $node ($version): earlier ones on the PATH are too old"
      GATEWAY_PREFIX+=(env "PATH=${node%/*}:$PATH")
    fi
    return 0
  done
  say error "the gateway needs Node $NODE_MAJOR or newer; there is ${seen:-no $program}. Put the right one on the PATH of boot.sh, or name it: BOOT_GATEWAY='/path/to/node $(type -P workspace-gateway || echo /path/to/workspace-gateway) serve'"
  return 78
}

# The user and password of the terminal: made on the first boot, refused when others could have read it.
ensure_credential() {
  local line level=info status found=$RUN_DIR/credential words=$RUN_DIR/credential.words
  mkdir -p "$STATE_DIR" && chmod 700 "$STATE_DIR" || return 78
  [[ -z $GATEWAY_USER ]] || chown -R "$GATEWAY_USER:" "$STATE_DIR" || return 78
  [[ -n ${COMMAND[terminal]} ]] || return 0
  rm -f "$found" "$words"
  "${GATEWAY_PREFIX[@]:1}" bash -c "exec $BOOT_CREDENTIAL" credential >"$found" 2>"$words" 8>&- 9>&-
  status=$?
  read_line "$found"
  credential=$REPLY
  ((status == 0)) || level=error
  # What the program says of itself is the log's, which has names for that.
  while IFS= read -r line; do say "$level" "${line#workspace-gateway: }"; done <"$words"
  rm -f "$found" "$words"
  ((status == 0)) || say error "no credential for the terminal: \"$BOOT_CREDENTIAL\" ended with $status"
  return "$status"
}

# The fields of /proc/PID/stat behind the program's name, which may hold anything: state first, start time twentieth.
read_stat() {
  local line
  { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 1
  read -ra STAT <<<"${line##*) }"
}

# Whether a process still does something; one that has ended may stay until its parent asks.
is_alive() { read_stat "$1" && [[ ${STAT[0]} != Z ]]; }

# The first line of a file, in REPLY; nothing when there is none.
read_line() { REPLY= && { read -r REPLY <"$1"; } 2>/dev/null; }

# What an earlier boot that was killed has left running: it holds the ports.
end_leftovers() {
  local name pid file
  local -a left=()
  for name in "${!COMMAND[@]}"; do
    file=$RUN_DIR/$name.pid
    read_line "$file" || continue
    pid=$REPLY
    # The number alone may be another program's by now.
    if read_line "$file.start" && read_stat "$pid" && [[ ${STAT[19]} == "$REPLY" ]]; then
      say warn "$name of an earlier boot still runs as process $pid; ending it"
      left+=("$pid")
    fi
    rm -f "$file" "$file.start" "$RUN_DIR/$name.failed"
  done
  ((${#left[@]} == 0)) || end_processes 5 "${left[@]}"
}

# Asks processes to end, and kills the groups of those that are left after some seconds, or at a second signal.
end_processes() {
  local deadline=$((EPOCHSECONDS + $1)) pid
  shift
  for pid; do kill -TERM "$pid" 2>/dev/null; done
  for pid; do
    while is_alive "$pid" && ((EPOCHSECONDS <= deadline && signals < 2)); do pause 0.1; done
    kill -KILL -- "-$pid" 2>/dev/null
  done
}

# Keeps the end of the logs that have grown.
trim_logs() {
  find "$LOG_DIR" -maxdepth 1 -name '*.log' -size "+${LOG_KIB}k" -exec bash -c '
    tail -c "$1" "$2" >"$2.tail" && cat "$2.tail" >"$2"
    rm -f "$2.tail"' trim "$LOG_BYTES_KEPT" {} \;
}

# What a service said last, in REPLY. ttyd writes its credential into its log.
read_last_words() {
  tail -n 50 "$LOG_DIR/$1.log" 2>/dev/null | grep -aiv credential | grep -a '[^[:space:]]' | tail -n 1 >"$RUN_DIR/last-words"
  read_line "$RUN_DIR/last-words" || REPLY='(nothing)'
  rm -f "$RUN_DIR/last-words"
}

# The words before a command that make it another user's, with its own process group and, but for the gateway's, without
# the gateway's environment.
build_prefixes() {
  local variable
  SERVICE_PREFIX=(setsid) GATEWAY_PREFIX=(setsid)
  if [[ -n $SERVICE_USER ]]; then
    SERVICE_PREFIX+=(setpriv --reuid "$SERVICE_USER" --regid "$(id -g "$SERVICE_USER")" --init-groups)
  fi
  SERVICE_PREFIX+=(env)
  for variable in $(compgen -e GATEWAY_) $(compgen -e BOOT_); do SERVICE_PREFIX+=(-u "$variable"); done
  if [[ -n $SERVICE_USER ]]; then
    SERVICE_PREFIX+=("HOME=$(getent passwd "$SERVICE_USER" | cut -d: -f6)" "USER=$SERVICE_USER")
  fi
  if [[ -n $GATEWAY_USER ]]; then
    GATEWAY_PREFIX+=(setpriv --reuid "$GATEWAY_USER" --regid "$(id -g "$GATEWAY_USER")" --init-groups)
    GATEWAY_PREFIX+=(--inh-caps +net_bind_service --ambient-caps +net_bind_service)
  fi
}

start() {
  local name=$1 log=$LOG_DIR/$1.log argument=
  unset "DUE[$name]"
  if [[ $name == terminal ]]; then
    # Read again for each start: it may have been replaced.
    [[ -n $credential ]] || ensure_credential || { give_up terminal 78 'it has no credential'; return; }
    argument=$credential credential=
  fi
  # exec all the way down: the number that is watched is the program's own.
  if [[ $name == gateway ]]; then
    : >"$log" # what it writes to stderr is why it cannot start; its log goes to standard output
    "${GATEWAY_PREFIX[@]}" bash -c "exec ${COMMAND[$name]}" "$name" 2>>"$log" 8>&- 9>&- &
  else
    "${SERVICE_PREFIX[@]}" bash -c "exec ${COMMAND[$name]}" "$name" "$argument" >>"$log" 2>&1 8>&- 9>&- &
  fi
  PID[$name]=$!
  echo "${PID[$name]}" >"$RUN_DIR/$name.pid.new" && mv "$RUN_DIR/$name.pid.new" "$RUN_DIR/$name.pid"
  read_stat "${PID[$name]}" && echo "${STAT[19]}" >"$RUN_DIR/$name.pid.start"
  say info "$name started as process ${PID[$name]}"
}

# A service has ended by itself: again after a pause, or given up.
ended() {
  local name=$1 status=$2 one pause recent=0 kept=
  unset "PID[$name]"
  rm -f "$RUN_DIR/$name.pid" "$RUN_DIR/$name.pid.start"
  if [[ $name == gateway && $status == 0 ]]; then
    # It ends well only when somebody asked it to: this is how it is restarted alone.
    say info 'gateway was stopped; starting it again'
    DUE[$name]=0
    return
  fi
  for one in ${ENDS[$name]-} $EPOCHSECONDS; do
    if ((one > EPOCHSECONDS - CRASH_WINDOW)); then kept+=" $one" && ((recent++)); fi
  done
  ENDS[$name]=$kept
  [[ $name != gateway ]] || cat "$LOG_DIR/gateway.log" >&2
  if [[ $name == gateway && $status == 78 ]]; then
    give_up "$name" "$status" 'a wrong configuration does not get better by trying again'
  elif ((recent >= CRASHES_AT_MOST)); then
    give_up "$name" "$status" "$recent ends within $CRASH_WINDOW s"
  else
    pause=$((PAUSE_SECONDS << (recent - 1)))
    DUE[$name]=$((EPOCHSECONDS + pause))
    read_last_words "$name"
    say warn "$name ended with $status, again in $pause s; it said: $REPLY"
  fi
}

give_up() {
  local name=$1 status=$2 why=$3
  read_last_words "$name"
  say error "$name ended with $status and is given up ($why); it said: $REPLY"
  if [[ $name == gateway ]]; then
    exit_code=$((status == 0 ? 1 : status))
    signals=1
  else
    echo "ended with $status: $REPLY" >"$RUN_DIR/$name.failed"
  fi
}

# Waits for so many seconds, or until a signal comes. Nothing is ever written to descriptor 8. There is no "sleep" and no
# "wait -n" here: bash 5.2 now and then loses a SIGTERM that comes around a "wait" after a "wait -n".
pause() { read -rt "$1" -u 8; }

# Looks for processes that have ended; "wait" with its number knows how.
notice_ends() {
  local name
  for name in "${!PID[@]}"; do
    is_alive "${PID[$name]}" && continue
    wait "${PID[$name]}" 2>/dev/null
    ended "$name" $?
  done
}

stop_all() {
  local name
  if [[ -n ${PID[gateway]-} ]]; then
    say info "stopping: the gateway first, which lets requests finish for $DRAIN_SECONDS s"
    end_processes $((DRAIN_SECONDS + 2)) "${PID[gateway]}"
    wait "${PID[gateway]}" 2>/dev/null
    say info "gateway ended with $?"
    unset 'PID[gateway]'
  fi
  end_processes "$STOP_SECONDS" "${PID[@]}"
  for name in "${!COMMAND[@]}"; do rm -f "$RUN_DIR/$name.pid" "$RUN_DIR/$name.pid.start" "$RUN_DIR/$name.failed"; done
  rm -f "$RUN_DIR/boot.pid"
  say info 'stopped'
}

main() {
  local name minute=0
  mkdir -p "$RUN_DIR" "$LOG_DIR" || exit 78
  exec 9>"$RUN_DIR/boot.lock"
  if ! flock -n 9; then
    say error "already running as process $(cat "$RUN_DIR/boot.pid" 2>/dev/null)"
    exit 69
  fi
  rm -f "$RUN_DIR/pause" && mkfifo "$RUN_DIR/pause" && exec 8<>"$RUN_DIR/pause" || exit 78
  rm "$RUN_DIR/pause"
  echo $$ >"$RUN_DIR/boot.pid"
  build_prefixes
  find_node || exit 78
  ensure_credential || exit 78
  # From here on nothing is expanded from a $(command): bash 5.2 loses a signal that comes while it reads one.
  trap 'signals=$((signals + 1))' TERM INT
  trap '[[ -z ${PID[gateway]-} ]] || kill -HUP "${PID[gateway]}"' HUP
  trap 'retry=1' USR1
  end_leftovers
  for name in "${!COMMAND[@]}"; do [[ -z ${COMMAND[$name]} ]] || DUE[$name]=0; done
  while ((signals == 0)); do
    if [[ -n $retry ]]; then
      retry=
      for name in "${!COMMAND[@]}"; do
        [[ ! -e $RUN_DIR/$name.failed ]] || { rm -f "$RUN_DIR/$name.failed"; ENDS[$name]='' DUE[$name]=0; }
      done
    fi
    for name in "${!DUE[@]}"; do ((DUE[$name] > EPOCHSECONDS)) || start "$name"; done
    if ((EPOCHSECONDS / 60 != minute)); then
      minute=$((EPOCHSECONDS / 60))
      trim_logs
    fi
    ((signals > 0)) || { pause 0.2; notice_ends; }
  done
  stop_all
  exit "$exit_code"
}

main
