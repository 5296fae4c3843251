#!/usr/bin/env bash
# Says what is missing to build Rollcall, one sentence each: tests/needs.sh RUST NODE
set -u
missing=0

# Whether version $1 is at least $2.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

need() { # need NAME COMMAND WANTED WHERE
  local version
  if ! command -v "$2" > /dev/null; then
    echo "$1 $3 or newer is needed and none is installed; get it from $4." >&2
    missing=1
    return
  fi
  version=$("$2" --version | grep -oE '[0-9]+\.[0-9]+(\.[0-9]+)?' | head -n 1)
  if ! at_least "$version" "$3"; then
    echo "$1 $3 or newer is needed and $version is installed; get it from $4." >&2
    missing=1
  fi
}

need Rust rustc "$1" "https://rustup.rs"
need Node node "$2" "https://nodejs.org"
if ! command -v npm > /dev/null; then
  echo "npm is needed and not installed; it comes with Node from https://nodejs.org." >&2
  missing=1
fi
if ! command -v cc > /dev/null; then
  echo "A C compiler is needed and none is installed; on Debian: apt-get install build-essential." >&2
  missing=1
fi
exit "$missing"
