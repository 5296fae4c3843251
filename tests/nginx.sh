#!/usr/bin/env bash
# nginx with config/nginx.conf in front of a server, until it is told to stop:
#   tests/nginx.sh LISTEN UPSTREAM stripped|whole|root [FOLDER]
# LISTEN and UPSTREAM are HOST:PORT. FOLDER has server.pem and server.key; without it, nginx speaks plain http. What is silent
# for five seconds is closed, so that a test need not wait for a minute. The port may be held meanwhile by who shares it.
set -eu -o pipefail
listen=$1 upstream=$2 how=$3 certificate=${4:-}
nginx=$(command -v nginx || echo /usr/sbin/nginx)
if [ ! -x "$nginx" ]; then
  echo "nginx is needed and not installed; tests/all.sh installs it." >&2
  exit 1
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
site=$(sed -e "s|server 127.0.0.1:8080;|server $upstream;|" -e 's|75s|5s|' "$(dirname "$0")/../config/nginx.conf")
case $how in
  stripped) ;;
  whole) site=${site//proxy_pass http:\/\/rollcall\/;/proxy_pass http:\/\/rollcall;} ;;
  root) site=${site//location \/rollcall\//location \/} ;;
esac
if [ -n "$certificate" ]; then
  site=$(sed -e "s|listen 443 ssl;|listen $listen ssl reuseport;|" -e "s|/etc/ssl/private/ops.example.com|$certificate/server|" <<< "$site")
else
  site=$(sed -e "s|listen 443 ssl;|listen $listen reuseport;|" -e '/ssl_/d' <<< "$site")
fi
user=""
if [ "$(id -u)" = 0 ]; then user="user root;"; fi
cat > "$folder/nginx.conf" << END
$user
daemon off;
master_process off;
pid $folder/pid;
error_log stderr;
events { worker_connections 512; }
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
"$nginx" -p "$folder" -e stderr -c "$folder/nginx.conf" &
server=$!
trap 'kill "$server" 2> /dev/null || true; wait "$server" || true; rm -rf "$folder"' EXIT
trap 'exit 0' INT TERM
# Whoever started it holds the other end, and lets go at the latest when it ends.
cat > /dev/null
