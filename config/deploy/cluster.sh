#!/usr/bin/env bash
# Redis, PostgreSQL, three nodes and nginx on free ports of this machine, until Ctrl-C: config/deploy/cluster.sh BINARY
# What it writes is in a folder that is gone afterwards. It ends what it started, and nothing else.
set -eum -o pipefail # -m: each program in a process group of its own, so that Ctrl-C reaches this script alone
binary=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
nodes=(n1 n2 n3)
folder=$(mktemp -d)
servers=() members=() front=() # what runs, to be stopped in the other order

finish() {
  local code=$?
  trap '' INT TERM
  if [ "$code" != 0 ] && [ "$code" -lt 128 ]; then tail -n 20 "$folder"/*.log >&2 || true; fi
  echo "Stopping…"
  stop "${front[@]}"
  # They say goodbye to their clients, and need the database for that.
  stop "${members[@]}"
  stop "${servers[@]}"
  rm -rf "$folder"
}

# SIGINT: what Ctrl-C would send, and PostgreSQL's way to stop without waiting for its clients.
stop() {
  kill -INT "$@" 2> /dev/null || true
  wait "$@" 2> /dev/null || true
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

program() { # program NAME PATH…: the first that can be run
  local name=$1 path
  shift
  for path in "$@"; do
    if [ -x "$path" ]; then
      echo "$path"
      return
    fi
  done
  command -v "$name" || {
    echo "$name is needed and not installed; on Debian: apt-get install redis-server postgresql nginx-light" >&2
    return 1
  }
}

# Not one that the system hands out to whoever asks for any: it must still be free when somebody listens there.
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

start() { # start LIST NAME COMMAND…: in the background; it ends when this script does, however that ends
  local -n list=$1
  local name=$2
  shift 2
  setpriv --pdeathsig TERM "$@" > "$folder/$name.log" 2>&1 < /dev/null &
  list+=("$!")
}

until_it() { # until_it WHAT COMMAND…: for at most a minute, as long as everything runs
  local what=$1 one
  shift
  for _ in $(seq 600); do
    if "$@" > /dev/null 2>&1; then return; fi
    for one in "${servers[@]}" "${members[@]}" "${front[@]}"; do
      kill -0 "$one" 2> /dev/null || { echo "It ended before $what." >&2; return 1; }
    done
    sleep 0.1
  done
  echo "A minute was not enough until $what." >&2
  return 1
}

# Database servers refuse to be root's.
user=()
chmod 711 "$folder"
mkdir "$folder/postgres"
if [ "$(id -u)" = 0 ]; then
  chown postgres "$folder/postgres"
  user=("--reuid=postgres" "--regid=postgres" "--clear-groups")
fi

redis=$(program redis-server)
postgres=$(dirname "$(program initdb /usr/lib/postgresql/*/bin/initdb)")
nginx=$(program nginx /usr/sbin/nginx)
read -r redis_port postgres_port front_port <<< "$(free_port) $(free_port) $(free_port)"

echo "Starting Redis and PostgreSQL…"
start servers redis "$redis" --bind 127.0.0.1 --port "$redis_port" --save "" --appendonly no --dir "$folder"
setpriv "${user[@]}" "$postgres/initdb" -D "$folder/postgres/data" -U postgres --auth=trust --no-sync > "$folder/initdb.log" 2>&1
start servers postgres "${user[@]}" "$postgres/postgres" -D "$folder/postgres/data" -p "$postgres_port" -k "" -c listen_addresses=127.0.0.1 \
  -c fsync=off -c max_connections=200
until_it "PostgreSQL answered" "$postgres/pg_isready" -h 127.0.0.1 -p "$postgres_port"

echo "Starting the nodes…"
# Of the first administrator, whichever node makes the account; and what the keys in the database are encrypted with.
(umask 077 && head -c 15 /dev/urandom | base64 > "$folder/admin-password.txt" && head -c 48 /dev/urandom | base64 > "$folder/master-key")
export ROLLCALL_ADMIN_PASSWORD_FILE="$folder/admin-password.txt"
export ROLLCALL__AUTH__MASTER_KEY_FILE="$folder/master-key"
export ROLLCALL__CLUSTER__REDIS_URL="redis://127.0.0.1:$redis_port"
export ROLLCALL__DATABASE__URL="postgres://postgres@127.0.0.1:$postgres_port/postgres"
export ROLLCALL__DATABASE__AUTO_MIGRATE=true
export ROLLCALL__SERVER__PUBLIC_URL="http://127.0.0.1:$front_port/"
export ROLLCALL__SERVER__TRUSTED_PROXIES=127.0.0.1/32
upstream="" addresses=()
for node in "${nodes[@]}"; do
  port=$(free_port)
  addresses+=("127.0.0.1:$port")
  upstream+="    server 127.0.0.1:$port max_fails=2 fail_timeout=5s;\n"
  start members "$node" env "ROLLCALL__CLUSTER__NODE=$node" "ROLLCALL__SERVER__LISTEN=127.0.0.1:$port" "ROLLCALL__DATA__DIR=$folder/$node" \
    "$binary" serve
done
for address in "${addresses[@]}"; do
  until_it "the node at $address was ready" curl -fs "http://$address/health/ready"
done

# The example with our ports in place of names, and without a certificate.
site=$(sed -e "/server n[23]:/d" -e "s|.*server n1:.*|${upstream%\\n}|" -e "s|listen 443 ssl;|listen 127.0.0.1:$front_port;|" -e '/ssl_/d' \
  "$here/nginx.conf")
cat > "$folder/nginx.conf" << END
$(if [ "$(id -u)" = 0 ]; then echo "user root;"; fi)
daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
pid $folder/nginx.pid;
error_log stderr;
events { worker_connections 8192; }
http {
  access_log off;
  client_body_temp_path $folder/body;
  proxy_temp_path $folder/proxy;
  fastcgi_temp_path $folder/fastcgi;
  uwsgi_temp_path $folder/uwsgi;
  scgi_temp_path $folder/scgi;
$site
}
END
"$nginx" -t -q -p "$folder" -e stderr -c "$folder/nginx.conf"
start front nginx "$nginx" -p "$folder" -e stderr -c "$folder/nginx.conf"
until_it "nginx answered" curl -fs "http://127.0.0.1:$front_port/health/live"

echo
for i in "${!nodes[@]}"; do echo "  ${nodes[i]}         http://${addresses[i]}/"; done
echo "  Redis      redis://127.0.0.1:$redis_port"
echo "  PostgreSQL $ROLLCALL__DATABASE__URL"
echo "  log        $folder/n1.log, …"
echo "  password   $folder/admin-password.txt"
echo
echo "Three nodes behind nginx are at http://127.0.0.1:$front_port/ — log in as admin; press Ctrl-C to stop them all"
# Until a signal comes. One of them that ends by itself is worth to be seen, and no reason to stop the others.
wait
