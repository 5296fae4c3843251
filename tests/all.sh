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

# Chromium with a Chinese font for the browser tests, curl for the README's tour.
packages() {
  if [ -x "${CHROMIUM:-/usr/bin/chromium}" ] && command -v curl > /dev/null; then return; fi
  local sudo=""
  if [ "$(id -u)" != 0 ]; then sudo="sudo"; fi
  if ! command -v apt-get > /dev/null; then
    echo "Chromium and curl are needed; install them, and set CHROMIUM to the browser's path." >&2
    return 1
  fi
  $sudo apt-get update -q && $sudo apt-get install -y -q --no-install-recommends chromium fonts-noto-cjk curl
}

in_frontend() { (cd frontend && "$@"); }

stage "formatting" cargo fmt --all --check
stage "npm packages" make --no-print-directory frontend/node_modules/.package-lock.json
stage "Debian packages" packages
stage "frontend check" in_frontend npm run --silent check
stage "frontend unit tests" in_frontend npm test --silent
stage "frontend build" make --no-print-directory page
stage "clippy" cargo clippy --locked --all --all-targets -- -D warnings
stage "Rust tests" cargo test --locked --all
stage "server build" cargo build --locked
stage "browser tests" in_frontend npm run --silent browser
printf '\n%b%-24s %5d s\n' "$summary" "in all" "$SECONDS"
