#!/usr/bin/env bash
# Starts a workspace's services and the gateway, restarts a program that ends, and stops all of them together.
#
#   boot.sh                 runs in the foreground until SIGTERM or SIGINT; it may be process 1 of a machine
#
#   SIGTERM, SIGINT         drains the gateway, then ends the services; a second signal kills the remaining processes
#   SIGHUP                  is forwarded to the gateway, which reads its secret files again
#   SIGUSR1                 starts services again that were given up
#   kill "$(cat /run/workspace/gateway.pid)"    restarts the gateway alone, at once; with -USR2 and
#                                               GATEWAY_HOT_RESTART=true without refusing a connection.
#                                               Shells run on: the keeper of terminals has them
#
# A program that ends is started again after 1, 2, 4 and 8 seconds. After five ends within 60 seconds it is given up: a service
# then stays down until SIGUSR1. Without the gateway there is no workspace, so this script ends with the gateway's exit code.
# Exit codes: 0 stopped, 69 already running, 78 wrong configuration, else the gateway's.
#
# Settings, besides those of the gateway (GATEWAY_…), of the keeper of terminals (TERMINALS_…), of the vault (VAULT_…) and of the
# link (LINK_…). Each of these programs gets its own settings alone, and no service gets any:
#   BOOT_TERMINAL, BOOT_OPENCLAW, BOOT_DASHBOARD, BOOT_STATS, BOOT_GATEWAY
#                           the command of each program, in bash syntax; an empty command leaves the service out.
#                           In BOOT_TERMINAL, "$1" is the terminal's credential
#   BOOT_TERMINALS          the command of the keeper of terminals (BOOT_GATEWAY with terminals for serve), which keeps shells
#                           while the gateway restarts; when it is empty, the gateway speaks to ttyd directly
#   BOOT_CREDENTIAL         the command that prints that credential (BOOT_GATEWAY with terminal-credential for serve)
#   BOOT_VAULT              the command of the vault (BOOT_GATEWAY with vault for serve), which is started when its key is set:
#                           VAULT_MASTER_KEY_FILE, a file that only this script's user can read, or VAULT_MASTER_KEY. The vault
#                           gets the key on a descriptor, and its log is vault.log. The gateway gets the place of the doors
#                           (GATEWAY_VAULT_SOCKETS)
#   BOOT_LINK               the command of the link to the relay (BOOT_GATEWAY with link for serve), which is started when
#                           LINK_RELAY_URL is set. It runs as the gateway's user, because it opens the gateway's socket
#                           (GATEWAY_LINK_SOCKET). Its two sockets are in the folder gateway of BOOT_RUN_DIR, and its log is link.log
#   BOOT_SERVICE_USER       the user for the services; by default the user of this script
#   BOOT_OPENCLAW_USER, BOOT_TERMINAL_USER
#                           the users for OpenClaw and for the shells, if they are agents of the vault (VAULT_AGENTS), which
#                           needs a user for each; by default BOOT_SERVICE_USER
#   BOOT_VAULT_USER         the user for the vault; by default the user of this script, from whom the key is no secret
#   BOOT_GATEWAY_USER       the user for the gateway, which keeps the right to listen on port 80
#   BOOT_RUN_DIR            the folder for process ids, one file per program (/run/workspace)
#   BOOT_LOG_DIR            the folder for the services' output, one file per program (/var/log/workspace)
#   BOOT_STOP_SECONDS       the time after which a service that does not end is killed (10)
#   BOOT_PAUSE_SECONDS      the pause before the first restart; it doubles each time (1)
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
BOOT_TERMINALS=${BOOT_TERMINALS-${BOOT_TERMINAL:+"${default_program% serve} terminals"}}
MASTER_KEY=${VAULT_MASTER_KEY-} MASTER_KEY_FILE=${VAULT_MASTER_KEY_FILE-}
unset VAULT_MASTER_KEY VAULT_MASTER_KEY_FILE
vault_key=$MASTER_KEY$MASTER_KEY_FILE
BOOT_VAULT=${BOOT_VAULT-${vault_key:+"${default_program% serve} vault"}}
unset vault_key
BOOT_LINK=${BOOT_LINK-${LINK_RELAY_URL:+"${default_program% serve} link"}}
# In the order in which they are started. The link comes last, so that a device that it lets in finds the gateway.
readonly -a PROGRAMS=(vault terminal terminals openclaw dashboard stats gateway link)
# The prefixes of our own programs' settings, which no other program gets.
readonly -a OURS=(GATEWAY_ VAULT_ TERMINALS_ LINK_ RELAY_ LIMITS_ BOOT_)
declare -A COMMAND=(
  [vault]=$BOOT_VAULT [terminal]=$BOOT_TERMINAL [terminals]=$BOOT_TERMINALS [openclaw]=$BOOT_OPENCLAW [dashboard]=$BOOT_DASHBOARD
  [stats]=$BOOT_STATS [gateway]=$BOOT_GATEWAY [link]=$BOOT_LINK
)
SERVICE_USER=${BOOT_SERVICE_USER-}
OPENCLAW_USER=${BOOT_OPENCLAW_USER-$SERVICE_USER}
TERMINAL_USER=${BOOT_TERMINAL_USER-$SERVICE_USER}
GATEWAY_USER=${BOOT_GATEWAY_USER-}
VAULT_USER=${BOOT_VAULT_USER-}
RUN_DIR=${BOOT_RUN_DIR:-/run/workspace}
LOG_DIR=${BOOT_LOG_DIR:-/var/log/workspace}
STATE_DIR=${GATEWAY_STATE_DIR:-/data/gateway}
# In a folder of its own, which belongs to the gateway's user: the folder of the process ids belongs to the user of this script.
KEEPER_SOCKET=${TERMINALS_SOCKET:-$RUN_DIR/gateway/terminals.sock}
OWNER_SOCKET=${LINK_OWNER_SOCKET:-$RUN_DIR/gateway/link-owner.sock}
# Where the owner's commands look for that socket, when nobody has told them.
readonly OWNER_NAME=$RUN_DIR/link-owner.sock
VAULT_DOORS=${VAULT_SOCKETS:-$RUN_DIR/vault}
STOP_SECONDS=${BOOT_STOP_SECONDS:-10}
PAUSE_SECONDS=${BOOT_PAUSE_SECONDS:-1}
DRAIN_SECONDS=${GATEWAY_DRAIN_SECONDS:-4}

readonly CRASHES_AT_MOST=5 CRASH_WINDOW=60 KILLED_WITHIN=5 LOG_KIB=1024 LOG_BYTES_KEPT=65536 NODE_MAJOR=24

declare -A PID=() DUE=() ENDS=()
declare -a STAT=() SERVICE_PREFIX=() OPENCLAW_PREFIX=() TERMINAL_PREFIX=() GATEWAY_PREFIX=() KEEPER_PREFIX=() VAULT_PREFIX=() LINK_PREFIX=()
credential=
signals=0
retry=
exit_code=0

# Writes a log line as JSON, in the gateway's format.
say() {
  local level=$1 text=${2//\\/\\\\}
  text=${text//\"/\\\"}
  TZ=UTC printf '{"level":"%s","time":"%(%Y-%m-%dT%H:%M:%SZ)T","name":"boot","msg":"%s"}\n' \
    "$level" -1 "${text//[[:cntrl:]]/ }"
}

# Finds the Node for the gateway: the first one on the PATH that is new enough. Without one it logs an error. The services' PATH
# is not changed.
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
      KEEPER_PREFIX+=("PATH=${node%/*}:$PATH")
      VAULT_PREFIX+=("PATH=${node%/*}:$PATH")
      LINK_PREFIX+=("PATH=${node%/*}:$PATH")
    fi
    return 0
  done
  say error "the gateway needs Node $NODE_MAJOR or newer; there is ${seen:-no $program}. Put the right one on the PATH of boot.sh, or name it: BOOT_GATEWAY='/path/to/node $(type -P workspace-gateway || echo /path/to/workspace-gateway) serve'"
  return 78
}

# Gets the terminal's user and password. They are created on the first boot, and refused when other users can read the file.
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
  # Remove the program's name from its messages, because a log line has a field for the name.
  while IFS= read -r line; do say "$level" "${line#workspace-gateway: }"; done <"$words"
  rm -f "$found" "$words"
  ((status == 0)) || say error "no credential for the terminal: \"$BOOT_CREDENTIAL\" ended with $status"
  return "$status"
}

# Reads the fields of /proc/PID/stat after the program's name, which may contain any character. The state is the first of them,
# the start time the twentieth.
read_stat() {
  local line
  { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 1
  read -ra STAT <<<"${line##*) }"
}

# Whether a process runs. An ended process can remain as a zombie until its parent waits for it.
is_alive() { read_stat "$1" && [[ ${STAT[0]} != Z ]]; }

# Reads the first line of a file into REPLY, which is empty when there is no line.
read_line() { REPLY= && { read -r REPLY <"$1"; } 2>/dev/null; }

# Ends programs of an earlier boot that was killed, because they still use the ports.
end_leftovers() {
  local name pid file
  local -a left=()
  for name in "${PROGRAMS[@]}"; do
    file=$RUN_DIR/$name.pid
    read_line "$file" || continue
    pid=$REPLY
    # Compare the start time too, because another program may have the process id by now.
    if read_line "$file.start" && read_stat "$pid" && [[ ${STAT[19]} == "$REPLY" ]]; then
      say warn "$name of an earlier boot still runs as process $pid; ending it"
      left+=("$pid")
    fi
    rm -f "$file" "$file.start" "$RUN_DIR/$name.failed"
  done
  ((${#left[@]} == 0)) || end_processes 5 "${left[@]}"
}

# Sends SIGTERM to processes, and after some seconds, or at a second signal, kills their process groups.
end_processes() {
  local deadline=$((EPOCHSECONDS + $1)) pid
  shift
  for pid; do kill -TERM "$pid" 2>/dev/null; done
  for pid; do
    while is_alive "$pid" && ((EPOCHSECONDS <= deadline && signals < 2)); do pause 0.1; done
    kill -KILL -- "-$pid" 2>/dev/null
  done
  # A killed program has its ports until the kernel has ended it, which takes a moment on a busy machine.
  deadline=$((EPOCHSECONDS + KILLED_WITHIN))
  for pid; do
    while is_alive "$pid" && ((EPOCHSECONDS <= deadline)); do pause 0.05; done
  done
}

# Truncates logs that are too long to their last part.
trim_logs() {
  find "$LOG_DIR" -maxdepth 1 -name '*.log' -size "+${LOG_KIB}k" -exec bash -c '
    tail -c "$1" "$2" >"$2.tail" && cat "$2.tail" >"$2"
    rm -f "$2.tail"' trim "$LOG_BYTES_KEPT" {} \;
}

# Reads a service's last log line into REPLY, without lines about the credential, which ttyd writes into its log.
read_last_words() {
  tail -n 50 "$LOG_DIR/$1.log" 2>/dev/null | grep -aiv credential | grep -a '[^[:space:]]' | tail -n 1 >"$RUN_DIR/last-words"
  read_line "$RUN_DIR/last-words" || REPLY='(nothing)'
  rm -f "$RUN_DIR/last-words"
}

# Makes the folder of a socket that only the gateway's user may open: who can open it gets past the gateway. A folder that is there
# already, and is not this script's, stays as it is.
make_socket_folder() {
  local folder=${1%/*}
  [[ ! -d $folder || $folder == "$RUN_DIR/gateway" ]] || return 0
  mkdir -p "$folder" || return 78
  [[ -z $GATEWAY_USER ]] || { chmod 711 "$RUN_DIR" && chown "$GATEWAY_USER:" "$folder"; } || return 78
}

# Puts the keeper of terminals between the gateway and ttyd, or takes it out.
connect_terminals() {
  if [[ -z ${COMMAND[terminals]} ]]; then
    [[ ${GATEWAY_TERMINAL_URL-} != "unix:$KEEPER_SOCKET" ]] ||
      export GATEWAY_TERMINAL_URL=${TERMINALS_TTYD_URL:-http://127.0.0.1:8080}
    return 0
  fi
  # Who has named ttyd's address to the gateway alone means it for the keeper.
  if [[ ${GATEWAY_TERMINAL_URL:-unix:$KEEPER_SOCKET} != "unix:$KEEPER_SOCKET" && -z ${TERMINALS_TTYD_URL-} ]]; then
    export TERMINALS_TTYD_URL=$GATEWAY_TERMINAL_URL
  fi
  export TERMINALS_SOCKET=$KEEPER_SOCKET GATEWAY_TERMINAL_URL=unix:$KEEPER_SOCKET
  make_socket_folder "$KEEPER_SOCKET"
}

# Tells the gateway and the link where they meet, and makes the folders that only their user may enter.
connect_link() {
  [[ -n ${COMMAND[link]} ]] || return 0
  [[ -n ${LINK_OWNER_SOCKET-} ]] || ln -sfn "$OWNER_SOCKET" "$OWNER_NAME" || return 78
  export LINK_OWNER_SOCKET=$OWNER_SOCKET GATEWAY_LINK_OWNER_SOCKET=${GATEWAY_LINK_OWNER_SOCKET:-$OWNER_SOCKET}
  # With another target the gateway hears nothing of devices.
  if [[ -z ${LINK_TARGET-} ]]; then
    export GATEWAY_LINK_SOCKET=${GATEWAY_LINK_SOCKET:-$RUN_DIR/gateway/link.sock}
    make_socket_folder "$GATEWAY_LINK_SOCKET" || return 78
  fi
  make_socket_folder "$OWNER_SOCKET" || return 78
  # HUBCODE_HOME is the folder of a program that does what agents say. Where users are kept apart, the daemon's key is elsewhere.
  if [[ -n $GATEWAY_USER || -z ${HUBCODE_HOME-} ]]; then
    export LINK_STATE_DIR=${LINK_STATE_DIR:-$STATE_DIR/link}
  fi
  [[ -n $GATEWAY_USER ]] || return 0
  # The gateway's own folder, in which it is unless you say otherwise, belongs to the gateway's user already.
  mkdir -p "$LINK_STATE_DIR" && chown -R "$GATEWAY_USER:" "$LINK_STATE_DIR" && chmod 700 "$LINK_STATE_DIR" || return 78
}

# Refuses a user of an agent who is in the group of a door that is not the agent's own. Each argument is a door, its group, and the
# uid of its agent. Agents that share a uid are one anyway, of which the vault itself warns.
keep_apart() {
  local door name group uid other other_group other_uid groups
  for door; do
    read -r name group uid <<<"$door"
    [[ $uid != - && $uid != 0 ]] || continue # root can open every door
    groups=$(id -G "$(getent passwd "$uid" | cut -d: -f1)") || return 78
    for door; do
      read -r other other_group other_uid <<<"$door"
      [[ $other_uid != "$uid" && " $groups " == *" $other_group "* ]] || continue
      say error "VAULT_AGENTS: the user of $name ($uid) is in the group $other_group, which opens the door of $other; give each of them a group of its own"
      return 78
    done
  done
}

# Makes the folders of the vault: those of its doors, of which each agent can enter its own alone, and those of its files.
prepare_vault() {
  local agent uid group folder user=$VAULT_USER
  local -a agents=() doors=()
  [[ -n ${COMMAND[vault]} ]] || return 0
  # The gateway finds the owner's door there, for its page and its API.
  export VAULT_SOCKETS=$VAULT_DOORS GATEWAY_VAULT_SOCKETS=${GATEWAY_VAULT_SOCKETS:-$VAULT_DOORS}
  # When everything runs as one user, the vault makes the folders itself, and nothing keeps the agents apart.
  [[ -n $VAULT_USER$GATEWAY_USER$OPENCLAW_USER$TERMINAL_USER ]] || return 0
  [[ -n $user ]] || user=$(id -un) || return 78
  for folder in "${VAULT_STATE_DIR:-/data/vault}" "$(dirname "${VAULT_FILE:-/data/vault/.vault.enc}")"; do
    mkdir -p "$folder" && chown -R "$user:" "$folder" && chmod 700 "$folder" || return 78
  done
  mkdir -p "$VAULT_DOORS" && chmod 711 "$RUN_DIR" "$VAULT_DOORS" || return 78
  # The vault writes there which agent has which uid, so that each finds its door.
  chown "$user:" "$VAULT_DOORS" || return 78
  group=$(id -g "${GATEWAY_USER:-$(id -un)}") || return 78
  doors=("owner $group -")
  IFS=, read -ra agents <<<"${VAULT_AGENTS-}"
  for agent in "${agents[@]}"; do
    agent=${agent//[[:space:]]/} uid=${agent#*:}
    # The vault itself says what is wrong with its list of agents.
    [[ $agent =~ ^[a-z0-9-]+:[0-9]+$ ]] || continue
    if ! group=$(getent passwd "$uid" | cut -d: -f4) || [[ -z $group ]]; then
      say error "VAULT_AGENTS names the uid $uid for ${agent%:*}, and there is no such user"
      return 78
    fi
    doors+=("${agent%:*} $group $uid")
  done
  keep_apart "${doors[@]}" || return 78
  for agent in "${doors[@]}"; do
    read -r folder group uid <<<"$agent"
    folder=$VAULT_DOORS/$folder
    # chown takes the set-group-ID bit away, so the mode comes last.
    mkdir -p "$folder" && chown "$user:$group" "$folder" && chmod 2750 "$folder" || return 78
  done
}

# Removes the settings of our other programs from a command's environment. $1 is the prefix of its own, or empty.
without_others() {
  local prefix variable
  REMOVED=()
  for prefix in "${OURS[@]}"; do
    [[ $prefix != "$1" ]] || continue
    for variable in $(compgen -e "$prefix"); do REMOVED+=(-u "$variable"); done
  done
}

# Builds the prefix of a service in the array $1, for the user $2.
build_service_prefix() {
  local -n prefix=$1
  local user=$2
  prefix=(setsid)
  [[ -z $user ]] || prefix+=(setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups)
  without_others ''
  prefix+=(env "${REMOVED[@]}")
  [[ -z $user ]] || prefix+=("HOME=$(getent passwd "$user" | cut -d: -f6)" "USER=$user")
}

# Builds the prefixes of commands: they start a process group, change the user, and remove variables that are not the program's.
build_prefixes() {
  local variable
  local -a REMOVED=()
  build_service_prefix SERVICE_PREFIX "$SERVICE_USER"
  build_service_prefix OPENCLAW_PREFIX "$OPENCLAW_USER"
  build_service_prefix TERMINAL_PREFIX "$TERMINAL_USER"
  GATEWAY_PREFIX=(setsid) KEEPER_PREFIX=(setsid) VAULT_PREFIX=(setsid) LINK_PREFIX=(setsid)
  if [[ -n $GATEWAY_USER ]]; then
    GATEWAY_PREFIX+=(setpriv --reuid "$GATEWAY_USER" --regid "$(id -g "$GATEWAY_USER")" --init-groups)
    KEEPER_PREFIX=("${GATEWAY_PREFIX[@]}") LINK_PREFIX=("${GATEWAY_PREFIX[@]}")
    GATEWAY_PREFIX+=(--inh-caps +net_bind_service --ambient-caps +net_bind_service)
  fi
  without_others GATEWAY_
  GATEWAY_PREFIX+=(env "${REMOVED[@]}")
  without_others TERMINALS_
  KEEPER_PREFIX+=(env "${REMOVED[@]}")
  if [[ -n $VAULT_USER ]]; then
    VAULT_PREFIX+=(setpriv --reuid "$VAULT_USER" --regid "$(id -g "$VAULT_USER")" --init-groups)
  fi
  # The vault inherits a fixed list. A variable that changes how Node trusts certificates is not on it.
  VAULT_PREFIX+=(env -i "PATH=$PATH" "HOME=/" "TZ=${TZ-}" VAULT_MASTER_KEY_FD=3)
  for variable in $(compgen -e VAULT_); do VAULT_PREFIX+=("$variable=${!variable}"); done
  # So does the link, which speaks with strangers, and needs of the gateway's settings those by which it finds it and names it.
  LINK_PREFIX+=(env -i "PATH=$PATH" "HOME=/" "TZ=${TZ-}")
  for variable in $(compgen -e LINK_) GATEWAY_WORKSPACE GATEWAY_DOMAIN GATEWAY_LINK_SOCKET HUBCODE_HOME NODE_EXTRA_CA_CERTS; do
    [[ -z ${!variable+set} ]] || LINK_PREFIX+=("$variable=${!variable}")
  done
}

# Reads the vault's key into REPLY, from its file for each start, because a change of the key may have replaced it.
read_master_key() {
  if [[ -n $MASTER_KEY && -n $MASTER_KEY_FILE ]]; then
    say error 'VAULT_MASTER_KEY and VAULT_MASTER_KEY_FILE are both set; keep one'
    return 78
  fi
  REPLY=$MASTER_KEY
  [[ -z $MASTER_KEY_FILE ]] || read_line "$MASTER_KEY_FILE"
  [[ -n $REPLY ]]
}

start() {
  local name=$1 log=$LOG_DIR/$1.log argument=
  unset "DUE[$name]"
  if [[ $name == terminal ]]; then
    # Read the credential again for each start, because it may have been replaced.
    [[ -n $credential ]] || ensure_credential || { give_up terminal 78 'it has no credential'; return; }
    argument=$credential credential=
  fi
  # Every step uses exec, so that the process id is the program's own.
  if [[ $name == vault ]]; then
    read_master_key || { give_up vault 78 'it has no key; set VAULT_MASTER_KEY_FILE to a file that this user can read'; return; }
    "${VAULT_PREFIX[@]}" bash -c "exec ${COMMAND[$name]}" "$name" 3<<<"$REPLY" >>"$log" 2>&1 8>&- 9>&- &
    REPLY=
  elif [[ $name == gateway ]]; then
    : >"$log" # this file gets stderr, which says why the gateway cannot start; its log goes to standard output
    "${GATEWAY_PREFIX[@]}" bash -c "exec ${COMMAND[$name]}" "$name" 2>>"$log" 8>&- 9>&- &
  elif [[ $name == terminals ]]; then
    "${KEEPER_PREFIX[@]}" bash -c "exec ${COMMAND[$name]}" "$name" >>"$log" 2>&1 8>&- 9>&- &
  elif [[ $name == link ]]; then
    "${LINK_PREFIX[@]}" bash -c "exec ${COMMAND[$name]}" "$name" >>"$log" 2>&1 8>&- 9>&- &
  else
    local -n prefix=SERVICE_PREFIX
    case $name in
      openclaw) local -n prefix=OPENCLAW_PREFIX ;;
      terminal) local -n prefix=TERMINAL_PREFIX ;;
    esac
    "${prefix[@]}" bash -c "exec ${COMMAND[$name]}" "$name" "$argument" >>"$log" 2>&1 8>&- 9>&- &
  fi
  PID[$name]=$!
  echo "${PID[$name]}" >"$RUN_DIR/$name.pid.new" && mv "$RUN_DIR/$name.pid.new" "$RUN_DIR/$name.pid"
  read_stat "${PID[$name]}" && echo "${STAT[19]}" >"$RUN_DIR/$name.pid.start"
  say info "$name started as process ${PID[$name]}"
}

# Handles a program that ended by itself: it is started again after a pause, or given up.
ended() {
  local name=$1 status=$2 one pause recent=0 kept=
  unset "PID[$name]"
  rm -f "$RUN_DIR/$name.pid" "$RUN_DIR/$name.pid.start"
  if [[ $name == @(gateway|terminals|vault|link) && $status == 0 ]]; then
    # These exit with 0 only after a signal. This is how an operator restarts one of them alone.
    say info "$name was stopped; starting it again"
    DUE[$name]=0
    return
  fi
  for one in ${ENDS[$name]-} $EPOCHSECONDS; do
    if ((one > EPOCHSECONDS - CRASH_WINDOW)); then kept+=" $one" && ((recent++)); fi
  done
  ENDS[$name]=$kept
  [[ $name != gateway ]] || cat "$LOG_DIR/gateway.log" >&2
  if [[ $name == @(gateway|terminals|vault|link) && $status == 78 ]]; then
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

# Waits for a number of seconds, or until a signal arrives. It reads from descriptor 8, to which nothing is ever written, instead
# of using "sleep" or "wait -n": bash 5.2 sometimes loses a SIGTERM that arrives around a "wait" after a "wait -n".
pause() { read -rt "$1" -u 8; }

# Finds processes that have ended. "wait" with the process id returns the exit code.
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
  [[ -z ${COMMAND[terminals]} ]] || rm -f "$KEEPER_SOCKET"
  [[ -z ${COMMAND[link]} ]] || rm -f "$OWNER_SOCKET" "$OWNER_NAME" "${GATEWAY_LINK_SOCKET-}"
  rmdir "$RUN_DIR/gateway" 2>/dev/null
  [[ -z ${COMMAND[vault]} ]] || rmdir "$VAULT_DOORS"/*/ "$VAULT_DOORS" 2>/dev/null
  for name in "${PROGRAMS[@]}"; do rm -f "$RUN_DIR/$name.pid" "$RUN_DIR/$name.pid.start" "$RUN_DIR/$name.failed"; done
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
  connect_terminals || exit 78
  connect_link || exit 78
  prepare_vault || exit 78
  build_prefixes
  find_node || exit 78
  ensure_credential || exit 78
  # From here on no $(command) is used, because bash 5.2 loses a signal that arrives while it reads the output of one.
  trap 'signals=$((signals + 1))' TERM INT
  trap '[[ -z ${PID[gateway]-} ]] || kill -HUP "${PID[gateway]}"' HUP
  trap 'retry=1' USR1
  end_leftovers
  for name in "${PROGRAMS[@]}"; do [[ -z ${COMMAND[$name]} ]] || DUE[$name]=0; done
  while ((signals == 0)); do
    if [[ -n $retry ]]; then
      retry=
      for name in "${PROGRAMS[@]}"; do
        [[ ! -e $RUN_DIR/$name.failed ]] || { rm -f "$RUN_DIR/$name.failed"; ENDS[$name]='' DUE[$name]=0; }
      done
    fi
    for name in "${PROGRAMS[@]}"; do
      [[ -z ${DUE[$name]-} ]] || ((DUE[$name] > EPOCHSECONDS)) || start "$name"
    done
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
