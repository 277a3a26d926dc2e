# What one does with this project. `make` alone lists it.

CARGO ?= cargo

# Most tests wait: for a time limit, for Redis, for a process. So two run at a time for each core.
export RUST_TEST_THREADS ?= $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN))))

.PHONY: help build test test-fallback test-upgrade test-clients test-image chaos simulate fuzz h2spec deny lint proto-baseline bench bench-quick bench-security bench-counts bench-micro sizing

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## The three binaries, optimised, in target/release
	$(CARGO) build --release --locked --bins

test: ## All Rust tests; installs Debian's redis-server where there is none (asks first)
	scripts/ensure-redis
	$(CARGO) test --workspace --locked
	scripts/simulate --stories
	scripts/simulate --test
	scripts/simulate --runs 300 --second-calls 1

test-fallback: ## The tests of the services once more, without their fast paths
	scripts/ensure-redis
	WITHOUT_FAST_PATHS=1 $(CARGO) test --locked --workspace --test it

test-upgrade: ## An earlier version's programs beside this one's, on one Redis
	scripts/ensure-redis
	scripts/test-upgrade

test-clients: ## The binaries from outside: grpcurl, Python, TypeScript, Go, plain Redis, the README
	scripts/ensure-redis
	python3 clients/run.py

# The examples as well: then nothing is compiled again that the tests have compiled.
test-image: ## The image and docker-compose.yml, really built and run, by a Docker engine of its own (root, Debian)
	$(CARGO) build --workspace --bins --examples --locked
	scripts/with-docker clients/image.py

chaos: ## Random faults for SECONDS (60), drawn from SEED (any), under clients whose whole history a checker judges
	scripts/ensure-redis
	CHAOS_SEED="$(or $(SEED),$(shell date +%s))" CHAOS_SECONDS="$(or $(SECONDS),60)" \
		$(CARGO) test --locked -p tidings-cli --test chaos random_faults -- --nocapture

simulate: ## RUNS (10000) seeded schedules from SEED (any) of our own code over a model of Redis, each judged
	scripts/simulate --seed "$(or $(SEED),$(shell date +%s))" --runs "$(or $(RUNS),10000)"

fuzz: ## Fuzzes TARGET (all when none is named) for SECONDS (60) each; installs cargo-fuzz if it is missing
	scripts/fuzz "$(TARGET)" "$(SECONDS)"

h2spec: ## HTTP/2's rules, case by case, against the optimised program; installs h2spec with Go if it is missing
	$(CARGO) build --release --locked --bin tidings
	scripts/h2spec target/release/tidings

deny: ## Licences and sources of all dependencies, and advisories where their database can be had; installs cargo-deny
	scripts/deny

lint: ## Format, Clippy, docs, the contract, the walls between crates
	$(CARGO) fmt --all --check
	scripts/check-walls
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --workspace --no-deps --document-private-items --locked
	scripts/buf lint
	scripts/buf breaking --against proto/baseline.binpb

proto-baseline: ## Takes the contract as it is for the one that must not be broken (at a release)
	scripts/buf build --exclude-source-info -o proto/baseline.binpb

bench: ## Measures beside Redis, gRPC, NATS, RabbitMQ and Node.js, for BENCHMARKS.md; installs what is missing (asks first)
	bench/setup
	$(CARGO) build --release --locked --bins
	target/release/tidings-bench

bench-quick: ## The same list, in under four minutes once it is built: rougher figures
	bench/setup
	$(CARGO) build --release --locked --bins
	target/release/tidings-bench --quick --rounds 3 --millis 500

bench-security: ## What TLS and tokens cost, beside the same services without them, for BENCHMARKS.md: four minutes once it is built
	scripts/ensure-redis
	$(CARGO) build --release --locked --bins
	target/release/tidings-bench security

bench-micro: ## Micro-benchmarks: envelopes, chunks, cursors, the publishing script
	scripts/ensure-redis
	$(CARGO) bench --locked -p tidings-bench --bench micro

bench-counts: ## Instructions a message on the hot paths, beside bench/counts.json: a slowdown shows on a noisy machine too
	scripts/ensure-redis
	@command -v valgrind >/dev/null || { echo "valgrind is needed: apt-get install valgrind" >&2; exit 1; }
	$(CARGO) build --release --locked --bins
	target/release/tidings-bench counts

sizing: ## Measures what messages cost Redis and streams cost the services, as in docs/sizing.md
	scripts/ensure-redis
	$(CARGO) build --release --locked --bins
	$(CARGO) run --release --locked -p tidings-bench --example sizing
