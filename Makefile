# Everything here works in a fresh clone: .venv is made from requirements.lock when needed.
# Recipes are one exec'd command, so that Ctrl-C and SIGTERM reach the program itself.

IN_VENV = @exec sh devstack/bootstrap.sh
PYTHON_BIN = .venv/bin/python

.PHONY: help run venv console screenshots gateway test test-long conformance fuzz check audit demo drill cluster-drill bench bench-quick secrets tree lock clean
.DEFAULT_GOAL := help

help:  ## list what make can do
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run:  ## start everything on this machine until Ctrl-C (GATEWAY_HOST, GATEWAY_PORT, FLOWER=0)
	$(IN_VENV) $(PYTHON_BIN) -m devstack

venv:  ## make .venv from requirements.lock, with the command penstock
	$(IN_VENV) true

console:  ## build the console that gateways serve at /, if its sources have changed
	$(IN_VENV) $(PYTHON_BIN) -m devstack.console

screenshots:  ## take the pictures of docs/console.md again, in about 12 minutes
	$(IN_VENV) $(PYTHON_BIN) -m tests.browsing.screenshots

gateway:  ## start the gateway alone, in front of servers that exist (AMQP_URL, REDIS_URL, TOPOLOGY_FILE)
	$(IN_VENV) $(PYTHON_BIN) -m gateway

test:  ## every tier against real servers of its own: unit, contract, integration, e2e, faults
	$(IN_VENV) sh -c '$(PYTHON_BIN) -m devstack.install && unset PYTHONDONTWRITEBYTECODE && exec $(PYTHON_BIN) -m pytest \
		-n 4 --no-loadscope-reorder -p tests.again --again 10 \
		$(wildcard tests/faults tests/e2e tests/fuzz tests/integration tests/conformance tests/contract tests/unit tests/test_*.py)'

test-long:  ## what takes hours: full sizes, each fuzzer an hour, drills of 10 and 30 minutes
	$(IN_VENV) sh -c '$(PYTHON_BIN) -m devstack.install && $(PYTHON_BIN) -m pytest -m long tests \
		&& HYPOTHESIS_PROFILE=searching $(PYTHON_BIN) -m pytest tests/unit tests/contract \
		&& FUZZ_SECONDS=$${FUZZ_SECONDS:-3600} $(PYTHON_BIN) -m pytest -s tests/fuzz \
		&& $(PYTHON_BIN) -m devstack.cluster.drill --minutes 10 \
		&& exec $(PYTHON_BIN) -m devstack.drill --minutes 30'

conformance:  ## messages and workers of Celery 5.4, 5.5, 5.6 and 5.7 beside ours, kind by kind
	$(IN_VENV) sh -c '$(PYTHON_BIN) -m devstack.install && exec $(PYTHON_BIN) -m pytest \
		-m "long or not long" tests/conformance'

fuzz:  ## the fuzzers alone, an hour each (FUZZ_SECONDS=600, FUZZ_SEED=7)
	$(IN_VENV) sh -c '$(PYTHON_BIN) -m devstack.install && FUZZ_SECONDS=$${FUZZ_SECONDS:-3600} \
		exec $(PYTHON_BIN) -m pytest -s tests/fuzz'

check:  ## format, lint, strict types, unit and contract tests, in a minute
	$(IN_VENV) sh devstack/check.sh

audit:  ## ask PyPI's advisories about every pin of requirements.lock
	$(IN_VENV) sh devstack/audit.sh

demo:  ## ingest 28,000 airports through the gateway and count them in MongoDB
	$(IN_VENV) $(PYTHON_BIN) -m devstack.demo

drill:  ## break everything under load and account for every receipt (DRILL="--minutes 30 --seed 7")
	$(IN_VENV) $(PYTHON_BIN) -m devstack.drill $(DRILL)

cluster-drill:  ## the same with clusters, whose nodes are lost one by one (CLUSTER_DRILL="--minutes 0")
	$(IN_VENV) $(PYTHON_BIN) -m devstack.cluster.drill $(CLUSTER_DRILL)

bench-quick:  ## compare submits and workers with what people use today, in about 6 minutes
	$(IN_VENV) sh -c '$(PYTHON_BIN) -m devstack.install && $(PYTHON_BIN) -m bench.install && exec $(PYTHON_BIN) -m bench quick'

bench:  ## measure everything side by side and write bench/results (about two hours)
	$(IN_VENV) sh -c '$(PYTHON_BIN) -m devstack.install && $(PYTHON_BIN) -m bench.install && $(PYTHON_BIN) -m bench full \
		&& exec $(PYTHON_BIN) -m bench.measured'

secrets:  ## write .env with fresh passwords, signing keys and an API key, for docker compose
	@exec sh devstack/secrets.sh

tree:  ## write docs/tree.md again
	$(IN_VENV) $(PYTHON_BIN) -m devstack.tree

lock:  ## resolve pyproject.toml into requirements.lock again, with hashes
	$(IN_VENV) sh devstack/lock.sh

clean:  ## remove .venv, caches, and the data and logs of `make run`
	@exec sh devstack/clean.sh
