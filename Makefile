# The two commands that matter: `make run` and `make test`. Each makes .venv first, which is quick from the second time on.
# ARGS goes to avo:  make run ARGS="gqa_cpu --minutes 10"

VENV := .venv
BIN  := $(VENV)/bin
MADE := $(VENV)/.made
# The first Python that is new enough, unless PYTHON names one.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
BENCH_MINUTES ?= 5

.PHONY: help run test lint format bench soak clean tools
.DEFAULT_GOAL := help

help:
	@echo "make run      evolve a kernel on this machine and watch it (without a terminal: three minutes of progress lines)"
	@echo "make test     lint, types and every test"
	@echo "make lint     ruff and mypy alone;  make format  lets ruff lay the code out"
	@echo "make bench    evolve for BENCH_MINUTES=$(BENCH_MINUTES), then measure the best version beside the baseline"
	@echo "make soak     the tests that take minutes"

# Without a terminal it ends within three minutes: a submission that is judged at the limit may take a tenth more.
run: $(MADE)
	@if [ -t 0 ] && [ -t 1 ]; then exec $(BIN)/avo run $(ARGS); else exec $(BIN)/avo run --headless --minutes 2.6 $(ARGS); fi

# Four at a time: most tests wait for a process, a terminal or a clock. JOBS=0 runs them one by one.
JOBS ?= 4
# The order of the files is tests/conftest.py's: the longest first.
# What failed is run once more, alone: most tests are real processes against real clocks, and a busy machine is not a fault.
# Both results are printed, the second counts. Lint works while tests wait; what it says comes last, and its failure is ours.
test: $(MADE)
	@said=$$(mktemp); trap 'rm -f $$said' EXIT; \
	$(MAKE) --no-print-directory lint >$$said 2>&1 & lint=$$!; \
	$(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS); code=$$?; \
	if [ $$code = 1 ] && [ $(JOBS) != 0 ]; then \
	    echo "make: the tests that failed run again, one by one"; \
	    $(BIN)/python -m pytest -q -n 0 --last-failed --last-failed-no-failures none --maxfail 3 $(ARGS); code=$$?; \
	fi; \
	wait $$lint; linted=$$?; cat $$said; \
	if [ $$linted != 0 ]; then echo "make: lint failed; the tests are another matter (their status: $$code)" >&2; exit $$linted; fi; \
	exit $$code

lint: $(MADE)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check -q || { echo "make: 'make format' lays these files out"; exit 1; }
	@$(BIN)/mypy

format: $(MADE)
	@$(BIN)/ruff check -q --fix
	@$(BIN)/ruff format -q

bench: $(MADE)
	@BIN=$(BIN) MINUTES=$(BENCH_MINUTES) sh tests/bench/bench.sh

soak: $(MADE)
	@$(BIN)/python -m pytest -q -m soak --timeout=3600 $(ARGS)

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache

tools:
	@[ -n "$(PYTHON)" ] || { echo "make: Python 3.11 or newer is missing; install it (Debian and Ubuntu: apt install python3)" >&2; exit 1; }
	@"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || { echo "make: the venv module of $(PYTHON) is missing; install it (Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@command -v git >/dev/null || { echo "make: git is missing; install it (Debian and Ubuntu: apt install git)" >&2; exit 1; }
	@command -v $${CXX:-c++} >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null || { echo "make: a C++ compiler is missing; install one (Debian and Ubuntu: apt install g++)" >&2; exit 1; }

# pip compiles on one core what all of them do sooner; a package's template that does not compile is no fault.
$(MADE): pyproject.toml constraints.txt | tools
	@echo "making $(VENV) with $(PYTHON); the first time takes a few minutes"
	@"$(PYTHON)" -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev]'
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	@touch $(MADE)
