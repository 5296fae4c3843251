#!/usr/bin/env bash
# Runs a command with a database server of its own: tests/databases.sh postgres|mysql COMMAND…
# The command `control` is ours: it prints the URL, and then does what it reads, line by line: stop, start, pause, resume, and where
# there is a disk of its own, fill and free.
# The command finds it by ROLLCALL_TEST_DATABASE, a URL of an administrator. The server listens on a free loopback port, keeps
# its files in a folder that is gone afterwards, and writes nothing through to the disk: the tests end before the power does.
set -eum -o pipefail # -m: each server in a process group of its own
# With ROLLCALL_TEST_DATABASE_DISK, as 8m, PostgreSQL keeps its tables on a disk of that size: a tmpfs over a folder that nobody needs,
# in a mount namespace of this script's own. Where root is only played, it ends with the mounting: no server runs as root.
disk=/mnt
if [ -n "${ROLLCALL_TEST_DATABASE_DISK:-}" ] && [ -z "${ROLLCALL_TEST_DATABASE_MOUNTED:-}" ]; then
  export ROLLCALL_TEST_DATABASE_MOUNTED=yes
  mount="mount -t tmpfs -o mode=1777,size=$ROLLCALL_TEST_DATABASE_DISK tmpfs $disk"
  if [ "$(id -u)" = 0 ]; then exec unshare --mount sh -euc "$mount; exec \"\$@\"" sh "$0" "$@"; fi
  exec unshare --map-root-user --mount sh -euc "$mount; exec unshare --user --map-user=$(id -u) \"\$@\"" sh "$0" "$@"
fi
kind=$1
shift
folder=$(mktemp -d)
server=

finish() {
  local code=$?
  # A command that failed has written there why, and nobody can read it later.
  if [ "$code" != 0 ] && [ "$code" != 130 ] && [ -z "$server" ] && [ -e "$folder/log" ]; then
    echo "The $kind server was not set up (exit code $code):" >&2
    tail -n 20 "$folder/log" >&2
  fi
  if [ -n "$server" ]; then
    signal CONT 2> /dev/null || true
    kill "-$quit" "$server" 2> /dev/null || true
    wait "$server" 2> /dev/null || true
  fi
  rm -rf "$folder"
}
trap finish EXIT
trap 'exit 130' INT TERM

# Database servers refuse to be root's. In place of the shell, so that $! is the server itself.
as_user() {
  if [ "$(id -u)" = 0 ]; then
    exec setpriv --reuid="$user" --regid="$user" --clear-groups "$@"
  else
    exec "$@"
  fi
}

# Not one that the system hands out to whoever asks for any: it must still be free when the server starts, and starts again.
free_port() {
  local port
  while :; do
    port=$((10240 + RANDOM % 20000))
    if ! (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null; then
      echo "$port"
      return
    fi
  done
}

wait_for() { # wait_for COMMAND…: until it succeeds, for at most a minute
  for _ in $(seq 600); do
    if "$@" > /dev/null 2>&1; then return; fi
    if ! kill -0 "$server" 2> /dev/null; then break; fi
    sleep 0.1
  done
  echo "The $kind server did not start:" >&2
  tail -n 20 "$folder/log" >&2
  exit 1
}

found() { # found NAME PATH…: the first that can be run
  local name=$1
  shift
  for path in "$@"; do
    if [ -x "$path" ]; then
      echo "$path"
      return
    fi
  done
  command -v "$name" || { echo "$name is needed and not installed; tests/all.sh installs it." >&2; exit 1; }
}

# With ROLLCALL_TEST_DATABASE_TLS, a folder with server.pem and server.key, the server speaks TLS. The key must be its own.
tls=()
speak_tls() {
  if [ -z "${ROLLCALL_TEST_DATABASE_TLS:-}" ]; then return; fi
  cp "$ROLLCALL_TEST_DATABASE_TLS/server.pem" "$ROLLCALL_TEST_DATABASE_TLS/server.key" "$folder"
  chmod 600 "$folder/server.key"
  if [ "$(id -u)" = 0 ]; then chown "$user" "$folder/server.pem" "$folder/server.key"; fi
  case $kind in
    postgres) tls=(-c ssl=on -c "ssl_cert_file=$folder/server.pem" -c "ssl_key_file=$folder/server.key") ;;
    mysql) tls=("--ssl-cert=$folder/server.pem" "--ssl-key=$folder/server.key") ;;
  esac
}

# PostgreSQL's backends leave the group of the one that started them. One may end while we ask who there is.
signal() { kill "-$1" "$server" $(cat "/proc/$server/task/"*/children) 2> /dev/null || kill -0 "$server"; }

control() {
  echo "$ROLLCALL_TEST_DATABASE"
  while read -r order; do
    case $order in
      stop)
        kill "-$quit" "$server"
        wait "$server" || true
        # Its number may be somebody else's by the end.
        server=
        ;;
      start) start ;;
      pause) signal STOP ;;
      resume) signal CONT ;;
      fill) cat /dev/zero > "$disk/filler" 2> /dev/null || true ;;
      free) rm "$disk/filler" ;;
    esac
    echo "$order"
  done
}

port=$(free_port)
# PostgreSQL waits for its clients at SIGTERM, and not at SIGINT.
quit=TERM
case $kind in
  postgres)
    user=postgres
    bin=$(dirname "$(found initdb /usr/lib/postgresql/*/bin/initdb)")
    if [ "$(id -u)" = 0 ]; then chown "$user" "$folder"; fi
    (as_user "$bin/initdb" -D "$folder/data" -U postgres --auth=trust --no-sync) > "$folder/log" 2>&1
    speak_tls
    quit=INT
    start() {
      as_user "$bin/postgres" -D "$folder/data" -p "$port" -k "$folder" -c listen_addresses=127.0.0.1 -c fsync=off \
        -c synchronous_commit=off -c full_page_writes=off -c max_connections=400 "${tls[@]}" >> "$folder/log" 2>&1 < /dev/null &
      server=$!
      wait_for "$bin/pg_isready" -h 127.0.0.1 -p "$port"
    }
    start
    if [ -n "${ROLLCALL_TEST_DATABASE_DISK:-}" ]; then
      (as_user mkdir "$disk/tables")
      "$bin/psql" -q -h 127.0.0.1 -p "$port" -U postgres -c "CREATE TABLESPACE small LOCATION '$disk/tables'" \
        -c "ALTER ROLE postgres SET default_tablespace = small"
    fi
    export ROLLCALL_TEST_DATABASE="postgres://postgres@127.0.0.1:$port/postgres"
    ;;
  mysql)
    user=mysql
    # Without native AIO, of which the whole machine has only so much (fs.aio-max-nr).
    mariadbd=$(found mariadbd /usr/sbin/mariadbd)
    if [ "$(id -u)" = 0 ]; then chown "$user" "$folder"; fi
    (as_user mariadb-install-db --no-defaults --datadir="$folder/data" --auth-root-authentication-method=normal \
      --skip-test-db --innodb-use-native-aio=0) > "$folder/log" 2>&1
    speak_tls
    start() {
      as_user "$mariadbd" --no-defaults --datadir="$folder/data" --port="$port" --bind-address=127.0.0.1 \
        --socket="$folder/socket" --pid-file="$folder/pid" --innodb-use-native-aio=0 --innodb-flush-log-at-trx-commit=0 --innodb-doublewrite=0 \
        --skip-log-bin --max-connections=400 "${tls[@]}" >> "$folder/log" 2>&1 < /dev/null &
      server=$!
      wait_for mariadb-admin --no-defaults -u root -h 127.0.0.1 -P "$port" ping
    }
    start
    export ROLLCALL_TEST_DATABASE="mysql://root@127.0.0.1:$port/mysql"
    ;;
  *)
    echo "tests/databases.sh postgres|mysql COMMAND…" >&2
    exit 2
    ;;
esac
"$@"
