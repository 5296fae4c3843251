#!/usr/bin/env bash
# What touches the database, as the command of tests/databases.sh. tests/all.sh has built it all: the same packages are named here, or
# cargo would choose other features of what they depend on, and build everything anew.
set -eu -o pipefail
cd "$(dirname "$0")/.."

# Delivery, presence and sessions: against three nodes, to which callers go in turn. Not `drain`, which is about the one node that is
# emptied; `cluster_drain` has the others.
nodes=(diffs:: handshake:: hotgo:: issuers:: keys:: kick:: login:: online:: presence:: push:: revoke:: rooms:: sockets:: upstream::)

run() { cargo test --locked --workspace "$@"; }

run --lib -- app:: jobs:: services:: store:: http::gate::
ROLLCALL_TEST_NODES=3 run --test rollcall -- "${nodes[@]}" --skip cluster_
# The rest against one. Several nodes share a PostgreSQL in the stage before; `make test-long` has them on MariaDB.
run --test rollcall -- --skip databases:: --skip architecture --skip cluster_ "${nodes[@]/#/--skip=}"
