# `make help` lists what there is to do. A Debian 12 with python3 and make is enough to start from.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?= -n 2
SOAK_ARGS ?=
EVALUATION_ARGS ?=
SIM_ARGS ?= --seeds 20 --nodes 5 --clients 12

# The programs that the tests drive and judge by, each with Debian's package.
TEST_TOOLS := dhclient=isc-dhcp-client udhcpc=udhcpc dhcpcd=dhcpcd-base ip=iproute2 nft=nftables \
	tshark=tshark setpriv=util-linux chromium=chromium promtool=prometheus prometheus=prometheus systemd-analyze=systemd sqlite3=sqlite3 \
	perfdhcp=kea-admin curl=curl openssl=openssl dnsmasq=dnsmasq-base ping=iputils-ping script=bsdutils man=man-db \
	systemd-nspawn=systemd-container zsh=zsh fish=fish mandoc=mandoc
DEB_TOOLS := dpkg-buildpackage=dpkg-dev dh=debhelper fakeroot=fakeroot
# The servers that the benchmark compares with; whichever is missing it does without.
BENCH_PEERS := kea-dhcp4=kea-dhcp4-server dhcpd=isc-dhcp-server dnsmasq=dnsmasq-base
BENCH_ARGS ?=
SOURCES := $(shell find src/ddhcp -name '*.py')

.PHONY: evaluation flood fuzz kill-test performance
.PHONY: help venv venv-dev demo test check format lint types docs site sim scenarios bench soak lock wheel pages deb clean
.PHONY: compiled test-compiled
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */  make \1\t/' | expand -t 18

venv: $(VENV)/runtime.stamp ## build .venv with ddhcp in it, from the lock file

venv-dev: $(VENV)/dev.stamp ## the same with the tools for development

$(VENV)/runtime.stamp: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "ddhcp needs Python 3.11 or later; name one with make PYTHON=..." >&2; exit 1; }
	@PYTHON=$(PYTHON) tools/need venv=python3-venv
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev.stamp: requirements-dev.lock $(VENV)/runtime.stamp
	@echo "Installing the development tools into $(VENV)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

# What an installation from the wheel would fetch, so that the tests need no network.
build/wheels.stamp: requirements.lock $(VENV)/dev.stamp
	@$(BIN)/pip download --quiet --disable-pip-version-check --require-hashes -r requirements.lock \
		--dest build/wheels
	@touch $@

compiled: build/compiled.stamp ## build the package with its core compiled by mypyc, in build/compiled

# Twice: what is built first counts which ways the packets of a short benchmark take, the second is laid out by that.
# The profile lies beside the object file, where the second looks for it.
compile = rm -rf build/lib* build/bdist* build/compiled && DDHCP_COMPILE=$(1) $(BIN)/pip install --quiet \
	--disable-pip-version-check --no-deps --no-build-isolation --target build/compiled .

build/compiled.stamp: setup.py pyproject.toml bench/train.py $(SOURCES) $(VENV)/dev.stamp
	@tools/need cc=gcc ip=iproute2
	@echo "Compiling into build/compiled, twice, which takes some minutes"
	@rm -rf build/temp*
	@$(call compile,instrumented)
	@echo "Running what was built, to learn which ways packets take"
	@$(BIN)/python -m bench.train
	@echo "Compiling again with what was learned"
	@$(call compile,profiled)
	@$(BIN)/python -m compileall -q build/compiled
	@touch $@

demo: venv ## watch a client keep its address while it moves through a mesh of three realms
	@tools/need-client
	@$(BIN)/network-test demo

test: venv-dev deb build/wheels.stamp ## run all tests, real DHCP clients included (as root: in network namespaces)
	@tools/need $(TEST_TOOLS)
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

test-compiled: compiled ## run the tests of the core, the daemon and the simulator with the compiled package
	@# The outbox is tested by a class of the tests that derives from it, as no interpreted class may from a compiled one;
	@# the compiled one is what the performer's and the simulator's tests go through.
	@$(BIN)/python -m pytest -o pythonpath=build/compiled $(PYTEST_ARGS) --ignore tests/core/test_outbox.py \
		tests/core tests/dhcp tests/swarm tests/daemon tests/sim tests/scenarios

check: lint types site test sim ## format, lint, strict types, documents, tests, a short simulation

scenarios: venv-dev ## write down anew what the scripts in tests/scenarios lead to (then look at the difference)
	@$(BIN)/python -m pytest -q tests/scenarios --rewrite-scenarios

format: venv-dev ## format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lint: venv-dev ## check format and style
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

types: venv-dev ## check types
	@$(BIN)/mypy

docs: venv-dev ## bring the documents up to date that are made from the code
	@$(BIN)/python tools/documents.py

evaluation: venv-dev ## measure simulated swarms, write docs/evaluation.md (EVALUATION_ARGS="--sizes 10 --seeds 1" for less)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-evaluation.lock
	@$(BIN)/python -m ddhcp.sim.evaluate $(EVALUATION_ARGS)

sim: venv-dev ## simulate small swarms for a while (SIM_ARGS="--seeds 1000 --jobs 4" for more)
	@$(BIN)/ddhcp-sim $(SIM_ARGS)

bench: compiled ## measure this server and its peers side by side (as root)
	@tools/need ip=iproute2
	@tools/need $(BENCH_PEERS) || echo "Measuring without what is missing."
	@$(BIN)/python -m bench $(BENCH_ARGS)

performance: venv-dev ## write what the latest `make bench` measured into docs/performance.md
	@$(BIN)/python -m bench.document

KILLS ?= 1000
kill-test: venv-dev ## kill the daemon under load, KILLS=1000 times; is every acknowledged lease still there?
	@$(BIN)/python -m bench.kills --kills $(KILLS)

FUZZ_ARGS ?=
fuzz: venv-dev ## fuzz every reader of bytes from outside, guided by coverage (FUZZ_ARGS="--minutes 30 session")
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-fuzz.lock
	@$(BIN)/python tests/fuzz/guided.py $(FUZZ_ARGS)

PACKETS ?= 1000000
flood: venv-dev ## a million malformed packets (PACKETS=20000 for fewer) on both links of a daemon that logs everything (as root)
	@$(BIN)/python -m bench.flood --debug --packets $(PACKETS)

soak: venv-dev ## an hour of a mesh at work (SOAK_ARGS="--minutes 5" for a short one)
	@tools/need $(TEST_TOOLS)
	@$(BIN)/python -m ddhcp.testbed.soak $(SOAK_ARGS)

$(VENV)/docs.stamp: requirements-docs.lock $(VENV)/dev.stamp
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-docs.lock
	@touch $@

site: $(VENV)/docs.stamp ## build the documents as a site, in site/
	@mkdir -p build
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict >build/site.log 2>&1 || { cat build/site.log >&2; exit 1; }

wheel: venv-dev ## build the Python package, dist/ddhcp-*.whl
	@rm -f dist/*.whl
	@$(BIN)/uv build --quiet --wheel --no-build-isolation --out-dir dist .
	@ls dist/*.whl

pages: venv-dev ## write the man pages and shell completions to build/pages
	@$(BIN)/python packaging/pages.py build/pages

deb: wheel pages ## build the Debian package, dist/ddhcp_*_all.deb
	@tools/need $(DEB_TOOLS)
	@packaging/deb dist/ddhcp-*.whl build/pages dist

lock: venv-dev ## bring the lock files up to date with pyproject.toml
	@printf 'setuptools\nwheel\n' | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --no-annotate --extra http pyproject.toml - -o requirements.lock
	@printf 'setuptools\nwheel\n' | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --no-annotate --extra dev pyproject.toml - -o requirements-dev.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --no-annotate --extra docs pyproject.toml -o requirements-docs.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --no-annotate --extra evaluation pyproject.toml -o requirements-evaluation.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --no-annotate --extra fuzz pyproject.toml -o requirements-fuzz.lock

clean: ## remove everything that was built
	rm -rf $(VENV) build dist site src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
