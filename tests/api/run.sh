#!/usr/bin/env bash
# Whatever fits the OpenAPI document, and much that does not, is sent to a server of its own: nothing may be answered with a 5xx, or
# with anything that the document does not say. tests/api/run.sh BINARY [SEED]; schemathesis comes from PyPI into target/schemathesis.
# A seed sends the same each time.
set -eu -o pipefail
seed=${2:-$RANDOM}
binary=$(realpath "$1")
cd "$(dirname "$0")"
venv=../../target/schemathesis
if ! cmp -s requirements.txt "$venv/installed.txt"; then
  python3 -m venv --clear "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --requirement requirements.txt
  cp requirements.txt "$venv/installed.txt"
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export ROLLCALL__DATA__DIR="$folder" ROLLCALL__DATABASE__URL="sqlite://$folder/rollcall.db" ROLLCALL__SERVER__LISTEN=127.0.0.1:0
# It logs in more often than a person would, and from one address.
export ROLLCALL__AUTH__LOGINS_PER_ADDRESS=0
"$binary" serve > "$folder/out" 2> "$folder/log" &
server=$!
trap 'kill "$server" 2> /dev/null || true; wait "$server" || true; rm -rf "$folder"' EXIT
for _ in $(seq 600); do
  if grep -q http "$folder/out"; then break; fi
  kill -0 "$server" 2> /dev/null || break
  sleep 0.1
done
ROLLCALL_URL=$(grep -oE 'http://[^ ]+' "$folder/out" | head -n 1) || { cat "$folder/log" >&2; exit 1; }
export ROLLCALL_URL ROLLCALL_BINARY=$binary

# What ends everything for the requests after it has tests of its own: a drained node takes nobody.
PYTHONPATH=. SCHEMATHESIS_HOOKS=hooks "$venv/bin/schemathesis" run "$ROLLCALL_URL/api/v1/openapi.json" --no-color --max-examples 10 --seed "$seed" \
  --exclude-path-regex '/auth/logout|/nodes/.*/drain' --warnings off \
  --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,response_headers_conformance,ignored_auth,unsupported_method
