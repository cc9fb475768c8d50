# `make dev` and `make test` are each enough on a fresh Debian or Ubuntu with a Rust toolchain.

.PHONY: help dev test lint deny doc check sqlx sqlx-check

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

dev: ## everything in one process, stand-ins for what has no settings: make dev ARGS="--port 0"
	@scripts/ensure-postgres.sh >/dev/null
	cargo run --quiet -- dev $(ARGS)

test: ## all tests, on a PostgreSQL of their own (or on the one of DATABASE_URL)
	@scripts/ensure-postgres.sh >/dev/null
	cargo test

lint: deny ## formatting, clippy, licences and banned crates
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

deny:
	@if cargo deny --version >/dev/null 2>&1; then cargo deny --log-level error check bans licenses sources; \
	else echo "note: deny.toml is not checked, because cargo-deny is not installed (cargo install cargo-deny)"; fi

doc: ## the documentation of the code, without warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items

check: lint sqlx-check test doc ## all that has to be green before a change goes in

sqlx: ## .sqlx anew, after a change of a query or a migration
	@scripts/sqlx.sh write

sqlx-check: ## whether .sqlx is what the queries and migrations say
	@scripts/sqlx.sh check
