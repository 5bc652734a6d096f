# shellcheck shell=bash
# The world of ./demo: databases, agents, a line that drops, and how they end. Sourced, not run.
#
#   make_world              a temporary directory, and a trap that ends every process and removes it
#   start_database NAME     a private database, running until the end; its URL is in url_of[NAME]
#   start_agent NAME        the shop's agent; its address is in address_of[NAME], the same after a restart
#   stop_agent NAME         ends it in an orderly way
#   start_console           the web console; its address is in console_url
#   start_line NAME ...     a line to the shop that drops; further arguments go to the proxy
#   load NAME               runs the script on standard input in the database of NAME
#   ask NAME SQL            first value of a query
#
# Programs are found in $bin; ports are picked by the system; what a program says goes to $world/NAME.log.

declare -A url_of address_of pid_of

# Process ids of everything that was started, in order.
started=()

make_world() {
    world=$(mktemp -d "${TMPDIR:-/tmp}/sync-demo.XXXXXX")
    # root runs PostgreSQL as another user, who has to get there
    chmod 755 "$world"
    trap end_world EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    # settings of this machine stay out of it
    local name
    for name in $(compgen -e); do
        case $name in SHOP_AGENT_* | OFFICE_CLIENT_* | PG*) [ "$name" = PG_BINDIR ] || unset "$name" ;; esac
    done
    : >"$world/empty.toml"
    export SHOP_AGENT_CONFIG=$world/empty.toml OFFICE_CLIENT_CONFIG=$world/empty.toml
}

end_world() {
    local code=$? index pid
    trap - EXIT
    trap '' INT TERM HUP
    # agents before the databases they use: the other way round from how they were started
    for ((index = ${#started[@]} - 1; index >= 0; index--)); do
        pid=${started[index]}
        kill -TERM "$pid" 2>/dev/null || continue
        wait "$pid" 2>/dev/null || true
    done
    if [ "$code" != 0 ] && [ "$code" != 130 ] && [ "$code" != 143 ]; then
        say "what the programs said last:"
        local log
        for log in "$world"/*.log; do
            [ -s "$log" ] && say "--- $(basename "$log")" && tail -n 15 "$log" >&2
        done
    fi
    rm -rf "$world"
    exit "$code"
}

# wait_for FILE PATTERN PID: the first match of the pattern in what a program says; fails when the program ends.
wait_for() {
    local found
    until found=$(grep -o -m 1 -e "$2" "$1" 2>/dev/null); do
        if ! kill -0 "$3" 2>/dev/null; then
            say "error: $(basename "$1" .log) did not start: $(tail -n 3 "$1" 2>/dev/null)"
            exit 1
        fi
        sleep 0.05
    done
    printf '%s\n' "$found"
}

start_database() {
    local log=$world/$1-database.log
    "$bin/database" keep "$world/$1" </dev/null >"$log" 2>&1 &
    started+=($!)
    url_of[$1]=$(wait_for "$log" 'postgresql://.*' $!)
}

start_agent() {
    local log=$world/$1-agent.log
    : >"$log"
    "$bin/shop-agent" run --branch "$1" --database "embedded:$world/$1" --state-dir "$world/$1-state" \
        --policy "$world/policy.toml" --schema "$world/schema.sql" \
        --listen "${address_of[$1]:-127.0.0.1:0}" --no-auth </dev/null >>"$log" 2>&1 &
    pid_of[$1]=$!
    started+=($!)
    address_of[$1]=$(wait_for "$log" 'listening on http://.*' $! | sed 's,.*http://,,')
}

stop_agent() {
    kill -TERM "${pid_of[$1]}"
    wait "${pid_of[$1]}"
}

# On its usual port where that is free, otherwise on any.
start_console() {
    local log=$world/console.log listen=127.0.0.1:8900
    if (: <>/dev/tcp/127.0.0.1/8900) 2>/dev/null; then listen=127.0.0.1:0; fi
    "$bin/office-client" console --listen "$listen" </dev/null >"$log" 2>&1 &
    started+=($!)
    console_url=$(wait_for "$log" 'http://.*' $!)
}

start_line() {
    local name=$1 log=$world/$1-line.log
    shift
    "$bin/proxy" --target "${address_of[$name]}" "$@" </dev/null >"$log" 2>&1 &
    started+=($!)
    line_address=$(wait_for "$log" 'http://.*' $!)
}

load() { "$bin/database" load "${url_of[$1]}"; }

ask() { "$bin/database" query "${url_of[$1]}" "$2" | head -n 1; }
