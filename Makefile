# `make dev` and `make test` are each enough on a fresh Debian or Ubuntu with a Rust toolchain.

.PHONY: help dev local-speech test bench torture torture-short schemathesis clients api-guide lint deny doc check sqlx sqlx-check

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

dev: ## everything in one process, stand-ins for what has no settings: make dev ARGS="--port 0"
	@$(if $(SPEECH),$(speech_check))
	@scripts/ensure-postgres.sh >/dev/null
	$(if $(SPEECH),$(speech_settings)) cargo run --quiet -- dev $(ARGS)

# whisper-1 is the name under which times are asked for. The key is none: without it, one of .env would be sent.
speech_settings = TRANSCRIPTION_BASE_URL=http://127.0.0.1:8790/v1 \
	TRANSCRIPTION_MODEL=whisper-1 TRANSCRIPTION_API_KEY=none
speech_check = $(if $(filter local,$(SPEECH)),python3 scripts/local-speech/server.py --check,\
	echo "SPEECH is local or not set, not $(SPEECH)." >&2; exit 2)

local-speech: ## a real Whisper on this machine, for make dev SPEECH=local: make local-speech ARGS="--model tiny.en"
	@scripts/local-speech.sh $(ARGS)

test: ## all tests, on a PostgreSQL of their own (or on the one of DATABASE_URL)
	@scripts/ensure-postgres.sh >/dev/null
	@scripts/ensure-tools.sh --check
	cargo test -- --test-threads=$$(($$(nproc) + 1))

bench: ## how fast the queue and the webhook are: make bench ONLY=webhook (ONLY=api: the API at a million calls)
	@scripts/ensure-postgres.sh >/dev/null
	cargo bench --bench queue -- $(if $(ONLY),--only $(ONLY)) $(if $(CALLS),--calls $(CALLS)) $(if $(WORLD),--world $(WORLD))

torture_options = $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only $(ONLY))

# Unoptimized, sums over sound would take most of both cores, in the stand-ins as in the workers, and the figures would tell
# of that. Dependencies are compiled like this anyway (Cargo.toml).
torture torture-short: export CARGO_PROFILE_DEV_OPT_LEVEL = 1

torture: ## the promises under real faults, in 25 minutes: make torture SEED=7 ONLY=T1,T3
	@scripts/ensure-postgres.sh >/dev/null
	cargo bench --bench torture --profile dev -- $(torture_options)

torture-short: ## the same in 5 minutes, as in CI
	@scripts/ensure-postgres.sh >/dev/null
	cargo bench --bench torture --profile dev -- --short $(torture_options)

schemathesis: ## property-based tests of the API by its own document: make schemathesis ARGS="--seed 7"
	@scripts/schemathesis.sh $(ARGS)

clients: ## clients generated from docs/openapi.json, each tried: make clients ONLY=python
	@scripts/clients.sh $(ONLY)

api-guide: ## the commands of docs/api.md, as they stand
	@scripts/api-guide.sh

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
