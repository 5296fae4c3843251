# Two commands matter: `make run` and `make test`. `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

RUST_NEEDED := 1.94
NODE_NEEDED := 20.19
CARGO := cargo
PAGE := frontend/dist/build.txt
PACKAGES := frontend/node_modules/.package-lock.json
PAGE_SOURCES := $(sort $(shell find frontend -name node_modules -prune -o -path frontend/dist -prune -o -type f -print))

.PHONY: help
help: ## List the targets
	@echo "make run           build what is missing and start the server"
	@echo "make test          everything that must pass, with the time of each stage"
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | grep -vE '^(run|test):' | sed -E 's/^([a-z-]+):.*## (.*)/make \1|\2/' | awk -F'|' '{printf "%-18s %s\n", $$1, $$2}'

.PHONY: run
run: needs $(PAGE) ## Build what is missing and start the server
	@$(CARGO) build --locked
	@exec target/debug/rollcall serve $(ARGS)

.PHONY: dev
dev: needs $(PACKAGES) ## The server, and Vite with reload on http://127.0.0.1:5173
	@$(CARGO) build --locked
	@trap 'kill $$(jobs -p) 2>/dev/null || true' EXIT; \
	ROLLCALL__SERVER__ALLOWED_ORIGINS=http://127.0.0.1:5173,http://localhost:5173 target/debug/rollcall serve $(ARGS) & \
	cd frontend && npm run dev

.PHONY: cluster
cluster: needs $(PAGE) ## Redis, PostgreSQL, three nodes and nginx on free ports of this machine, until Ctrl-C
	@$(CARGO) build --locked
	@exec config/deploy/cluster.sh target/debug/rollcall

.PHONY: test
test: needs ## Everything that must pass, with the time of each stage
	@tests/all.sh

.PHONY: test-api
test-api: needs $(PAGE) ## Only what schemathesis sends to every operation of the OpenAPI document
	@$(CARGO) build --locked
	@tests/api/run.sh target/debug/rollcall

.PHONY: test-long
test-long: test ## Also many more cases of the property tests, several nodes on MariaDB, a million strangers, and the fuzzer where cargo-fuzz is installed
	@PROPTEST_CASES=5000 ROLLCALL_SHUTTLE_ITERATIONS=50000 $(CARGO) test --locked --workspace
	@tests/databases.sh mysql $(CARGO) test --locked --workspace --test rollcall cluster_
	@tests/api/run.sh target/debug/rollcall
	@$(MAKE) --no-print-directory strangers
	@mkdir -p target/fuzz/found
	@if command -v cargo-fuzz > /dev/null; then \
	RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --fuzz-dir tests/fuzz --target-dir target/fuzz frames target/fuzz/found tests/fuzz/corpus/frames -- -max_total_time=300; \
	else echo "cargo-fuzz is not installed (cargo install cargo-fuzz): the frame codec was held against its corpus only"; fi

.PHONY: lint
lint: needs $(PACKAGES) ## Formatting and lints of both languages
	@$(CARGO) fmt --all --check
	@$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@cd frontend && npm run check

.PHONY: format
format: ## Format the Rust sources
	@$(CARGO) fmt --all

.PHONY: release
release: needs $(PAGE) ## The optimized, self-contained binary: target/release/rollcall
	@$(CARGO) build --locked --release
	@ls -lh target/release/rollcall

.PHONY: dist
dist: needs release ## The tarball for other machines, and what the Dockerfile needs: dist/
	@rm -rf dist
	@config/dist/pack.sh target/release/rollcall dist
	@ls -lh dist

.PHONY: bench
bench: bench-binaries ## The table of goals against the limit of the machine, into benches/results.md (8 minutes)
	@target/release/rollcall-load full target/release/rollcall target/release/rollcall-limit benches/results.md

.PHONY: bench-quick
bench-quick: bench-binaries ## The same with fewer sockets, in a minute; writes nothing
	@target/release/rollcall-load quick target/release/rollcall target/release/rollcall-limit

.PHONY: bench-cluster
bench-cluster: bench-binaries ## Ten nodes with 16,000 clients each, on a Redis and a PostgreSQL, into benches/cluster.md (8 minutes)
	@target/release/rollcall-load cluster full target/release/rollcall benches/cluster.md

.PHONY: bench-cluster-quick
bench-cluster-quick: bench-binaries ## The same with three nodes and 300 clients each, in a minute; writes nothing
	@target/release/rollcall-load cluster quick target/release/rollcall

.PHONY: truth
truth: bench-binaries ## Ten minutes of everything at once against an oracle, five of rest, into benches/truth.md (16 minutes)
	@target/release/rollcall-load truth full target/release/rollcall benches/truth.md

.PHONY: truth-quick
truth-quick: bench-binaries ## The same in a minute; writes nothing
	@target/release/rollcall-load truth quick target/release/rollcall

.PHONY: truth-cluster
truth-cluster: bench-binaries ## Three nodes: killed under churn, kicked from while Redis and the database are cut, into benches/truth-cluster.md (6 minutes)
	@target/release/rollcall-load cluster truth full target/release/rollcall benches/truth-cluster.md

.PHONY: truth-cluster-quick
truth-cluster-quick: bench-binaries ## The same in two minutes; writes nothing
	@target/release/rollcall-load cluster truth quick target/release/rollcall

.PHONY: strangers
strangers: bench-binaries ## A million strangers with names, browsers and addresses of their own: memory stays (5 minutes)
	@target/release/rollcall-load strangers 1000000 target/release/rollcall

.PHONY: bench-binaries
bench-binaries: needs $(PAGE)
	@$(CARGO) build --locked --release -p rollcall -p rollcall-load -p rollcall-limit

.PHONY: openapi
openapi: needs $(PACKAGES) ## Renew the approved documents and the page's types
	@mkdir -p target
	@$(CARGO) run --locked --quiet -- openapi > target/openapi.json && mv target/openapi.json tests/snapshots/openapi.json
	@$(CARGO) run --locked --quiet -- asyncapi > target/asyncapi.json && mv target/asyncapi.json tests/snapshots/asyncapi.json
	@cd frontend && npm run api

.PHONY: page
page: needs $(PAGE) ## Only the page, into frontend/dist

.PHONY: clean
clean: ## Remove what was built; data/ stays
	@rm -rf target dist frontend/dist frontend/node_modules test-results

.PHONY: needs
needs:
	@tests/needs.sh $(RUST_NEEDED) $(NODE_NEEDED)

# npm writes this file last; it is older than the lock when packages are missing.
$(PACKAGES): frontend/package-lock.json
	@cd frontend && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

# The id of a build of the page is a hash of what it was built from.
$(PAGE): $(PACKAGES) $(PAGE_SOURCES) tests/snapshots/openapi.json
	@cd frontend && ROLLCALL_BUILD=$$(cat $(patsubst frontend/%,%,$(PAGE_SOURCES)) | sha256sum | cut -c1-12) npm run build
	@touch $@
