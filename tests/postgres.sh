#!/bin/sh
# Starts a PostgreSQL server for tests and prints its URL.
#
#   tests/postgres.sh [PID]
#
# The server lives in a temporary directory, listens on loopback only, and is stopped and removed once the process PID
# (by default the caller) is gone. Under nextest, where this is a setup script, the URL also reaches every test as
# NIGHTLATCH_TEST_POSTGRES.
#
# Its data are not flushed to disk, which no test relies on: tests kill programs of ours, not the server. Benches set
# NIGHTLATCH_POSTGRES_FLUSH=on.
set -eu

watched=${1:-$PPID}
flush=${NIGHTLATCH_POSTGRES_FLUSH:-off}

bin=
for candidate in /usr/lib/postgresql/*/bin; do
    if [ -x "$candidate/initdb" ]; then bin=$candidate; fi
done
if [ -z "$bin" ]; then
    echo "no PostgreSQL in /usr/lib/postgresql: install Debian's package postgresql" >&2
    exit 1
fi

directory=$(mktemp -d "${TMPDIR:-/tmp}/nightlatch-postgres.XXXXXX")
# The server refuses to run as root.
as=
if [ "$(id -u)" = 0 ]; then
    id postgres >/dev/null 2>&1 || useradd --system --shell /usr/sbin/nologin postgres
    chown postgres "$directory"
    as="setpriv --reuid=postgres --regid=postgres --clear-groups"
fi
cd "$directory"

# A linguistic default order, so that a column that must sort by bytes shows when it does not say so.
$as "$bin/initdb" --pgdata data --username nightlatch --auth trust --encoding UTF8 --no-sync \
    --locale-provider icu --icu-locale en-US --locale C >initdb.log 2>&1 || { cat initdb.log >&2; exit 1; }

attempt=0
while :; do
    port=$((20000 + $(od -An -N2 -tu2 /dev/urandom) % 12000))
    options="-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=$flush -c full_page_writes=$flush"
    options="$options -c max_connections=500 -c shared_buffers=128MB"
    if $as "$bin/pg_ctl" start --pgdata data --wait --silent --log "$directory/data/server.log" --options "$options" \
        >/dev/null 2>&1 </dev/null; then
        break
    fi
    attempt=$((attempt + 1))
    if [ "$attempt" = 5 ]; then
        cat data/server.log >&2
        exit 1
    fi
done

# In its own session, so that an interrupt meant for the tests does not reach it before its work is done.
setsid sh -c '
    while kill -0 "$1" 2>/dev/null; do sleep 1; done
    cd /
    $2 "$3/pg_ctl" stop --pgdata "$4/data" --mode immediate --silent
    rm -rf "$4"
' watch "$watched" "$as" "$bin" "$directory" >/dev/null 2>&1 </dev/null &

url="postgres://nightlatch@127.0.0.1:$port/postgres"
if [ -n "${NEXTEST_ENV:-}" ]; then
    echo "NIGHTLATCH_TEST_POSTGRES=$url" >>"$NEXTEST_ENV"
fi
echo "$url"
