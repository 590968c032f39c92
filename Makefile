# Everything is built into .venv; nothing outside of this folder is touched.
PYTHON ?= python3
BIN := .venv/bin
CORE := $(wildcard core/*.pyx core/*.pxd core/*.pxi core/*.h)

.PHONY: all demo run test test-peers lint bench bench-peers dist clean

all: .venv/product

# The product with what it needs to run.
.venv/product: pyproject.toml setup.py $(CORE)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or newer is needed: make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
	    { echo "Python's venv module is needed: on Debian and Ubuntu apt-get install python3-venv python3-dev"; exit 1; }
	@echo "building into .venv (a minute or two the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

# What an extra of pyproject.toml names, without the product: installing that again would compile the core again.
extra = $(BIN)/python -c 'import tomllib; \
    print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["$(1)"], sep="\n")' | \
    $(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement /dev/stdin

.venv/test: .venv/product
	@$(call extra,test)
	@touch $@

.venv/lint: .venv/test
	@$(call extra,lint)
	@touch $@

# The daemon on an empty store against a simulated network, all on this machine. ARGS="--exit" ends by itself.
demo: .venv/product
	@$(BIN)/python -m scanner demo $(ARGS)

# The daemon with config/proxywarden.toml; its data in .data unless the environment says otherwise.
run: .venv/product
	@PROXYWARDEN_DATA_DIR=$${PROXYWARDEN_DATA_DIR:-$(CURDIR)/.data} \
	    $(BIN)/python -m scanner --config config/proxywarden.toml run $(ARGS)

test: .venv/test
	@$(BIN)/python -m pytest $(ARGS)

# Against real servers, unpacked under .peers/ from Debian's packages and PyPI; one that is absent is a failure.
# PEERS_TABLE=docs/peers.md keeps the table of what was found.
test-peers: .venv/test
	@PYTHON=$(PYTHON) tests/peers/install.sh
	@PEERS_REQUIRED=1 PEERS_TABLE=$(PEERS_TABLE) $(BIN)/python -m pytest tests/peers tests/web \
	    tests/core/test_sweep_network.py $(ARGS)

lint: .venv/lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/cython-lint $(filter-out %.h,$(CORE)) benchmarks/*.pyx

# One question a file; each says what it measured against and on what. Some minutes in all.
BENCHMARKS := cidr sweep store canary pipeline relay publish proofs scale week web removal
bench: .venv/test
	@for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python -m benchmarks.$$name || exit 1; done

# The matcher against the peers that PyPI has, in a venv of their own.
bench-peers: .venv/test
	@test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	@.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[test]' \
	    pytricia py-radix ipset_c
	@.venv-bench/bin/python -m benchmarks.cidr

# Wheel for this Python, and the source distribution.
dist: .venv/test
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check build
	@$(BIN)/python -m build --outdir dist .

clean:
	rm -rf .venv .venv-bench .peers build dist *.egg-info core/*.so core/*.c
