#!/usr/bin/env bash
# Everything that must pass, in the order in which it fails soonest; prints the time of each stage.
set -eu -o pipefail
cd "$(dirname "$0")/.."
summary=""

stage() { # stage NAME COMMAND…
  local name=$1 started=$SECONDS
  shift
  printf '\n== %s\n' "$name"
  if ! "$@"; then
    printf '%b' "$summary"
    printf '%-24s FAILED after %d s\n' "$name" $((SECONDS - started)) >&2
    exit 1
  fi
  summary+=$(printf '%-24s %5d s' "$name" $((SECONDS - started)))"\n"
}

# Chromium with a Chinese font for the browser tests, curl for the README's tour, nginx and Caddy to stand in front, the databases, Redis,
# and Python for schemathesis.
packages() {
  local packages=() sudo=""
  lacks() { # lacks PACKAGES PATH…: none of the paths is a program
    local names=$1
    shift
    for path in "$@"; do
      if [ -x "$path" ]; then return; fi
    done
    read -r -a names <<< "$names"
    packages+=("${names[@]}")
  }
  lacks "chromium fonts-noto-cjk" "${CHROMIUM:-/usr/bin/chromium}"
  lacks curl /usr/bin/curl "$(command -v curl)"
  lacks nginx-light /usr/sbin/nginx
  lacks caddy /usr/bin/caddy
  lacks postgresql /usr/lib/postgresql/*/bin/initdb
  lacks mariadb-server /usr/sbin/mariadbd
  lacks redis-server /usr/bin/redis-server "$(command -v redis-server)"
  if ! python3 -c "import ensurepip, venv" 2> /dev/null; then packages+=(python3 python3-venv); fi
  if [ "${#packages[@]}" = 0 ]; then return; fi
  if [ "$(id -u)" != 0 ]; then sudo="sudo"; fi
  if ! command -v apt-get > /dev/null; then
    echo "Needed and not installed: ${packages[*]}. Set CHROMIUM to the browser's path where that is another." >&2
    return 1
  fi
  $sudo apt-get update -q && DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -q --no-install-recommends "${packages[@]}"
}

in_frontend() { (cd frontend && "$@"); }

stage "formatting" cargo fmt --all --check
stage "npm packages" make --no-print-directory frontend/node_modules/.package-lock.json
stage "Debian packages" packages
stage "frontend check" in_frontend npm run --silent check
stage "frontend unit tests" in_frontend npm test --silent
stage "frontend build" make --no-print-directory page
stage "clippy" cargo clippy --locked --workspace --all-targets -- -D warnings
stage "Rust tests" cargo test --locked --workspace
stage "tests on PostgreSQL" tests/databases.sh postgres tests/on_database.sh
stage "tests on MariaDB" tests/databases.sh mysql tests/on_database.sh
# Of the server that the Rust tests have built.
stage "API tests" tests/api/run.sh target/debug/rollcall 1
stage "browser tests" in_frontend npm run --silent browser
printf '\n%b%-24s %5d s\n' "$summary" "in all" "$SECONDS"
