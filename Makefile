# What there is to do here; `make` alone lists it. The work itself is in scripts/, which can be read on its own.
.PHONY: help run stop clean test soak history check simulate fuzz endurance bench bench-journal bench-scale bench-apply setup images image
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## set up this machine, build, start the server and the example mesh, and leave it running
	@scripts/run.sh

stop: ## end the server, remove its containers and network; data is kept
	@scripts/stop.sh

clean: ## make stop, and remove the data and the agents' volumes
	@scripts/stop.sh clean

test: ## every check and every test, with real containers and a real Redis
	@scripts/test.sh

soak: ## the tests under load for as long as it takes: 20 rollouts, 20 takeovers, 3,000 cycles of agents that come and go (about an hour)
	@scripts/images.sh
	@ROLLOUTS=$${ROLLOUTS:-20} SCALES=$${SCALES:-10} CYCLES=$${CYCLES:-1500} TAKEOVERS=$${TAKEOVERS:-20} \
	  cargo test --locked --test e2e -- --nocapture --test-threads 1 under_load:: recycling:: handover::

history: ## kept requests while server, agents and Redis are killed for SECONDS=600; SEED=… repeats a run
	@scripts/test-image.sh
	@env SECONDS=$(or $(SECONDS),600) cargo test --locked --test e2e -- --nocapture chaos::

check: ## the quick part of it: formatting, lints, unit tests
	@scripts/lint.sh
	@cargo test --locked --lib --quiet

simulate: ## the reconciler under faults: one at every moment, then SEEDS=100000 random runs
	@scripts/simulate.sh

fuzz: ## paths, requests, answers and manifests that nobody thought of, SECONDS_EACH=60 for each
	@scripts/fuzz.sh

endurance: ## a stream of STREAM_SECONDS=600 events, one a second, and bodies of BODY_MIB=2048, with what memory they take (11 minutes)
	@STREAM_SECONDS=$${STREAM_SECONDS:-600} BODY_MIB=$${BODY_MIB:-2048} cargo test --locked --release --test endurance -- --nocapture

bench: ## the proxy beside nginx and HAProxy: ROUNDS=5 of SECONDS_EACH=2 in each cell (a quarter of an hour); QUICK=1 for a look
	@scripts/setup.sh bench
	@cargo bench --locked --profile dist --bench proxy

bench-journal: ## what keeping requests costs, on a Redis that writes each to disk: ROUNDS=5 of SECONDS_EACH=2 in each cell; QUICK=1 for a look
	@scripts/setup.sh run
	@cargo bench --locked --profile dist --bench journal

bench-scale: ## what the reconciler costs with 50, 500 and 5,000 agents
	@cargo bench --locked --bench scale

bench-apply: ## apply of AGENTS=100 agents on real Docker, beside the engine's bare API
	@scripts/images.sh
	@cargo bench --locked --bench apply

setup: ## install what is missing (Docker, redis-server) and start Docker
	@scripts/setup.sh run

images: ## the example agents' image
	@scripts/images.sh

image: ## the server's own image, agentainer:latest
	@scripts/server-image.sh
