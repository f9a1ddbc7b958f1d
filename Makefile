# Everything a developer does, as targets; `make` prints the lines that start with ##.

PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
ARGS ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Debian keeps mosquitto in sbin, which is not on a user's path.
export PATH := $(PATH):/usr/sbin:/sbin
MAKEFLAGS += --no-print-directory
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL: # two targets must not run pip in one .venv at a time
.DEFAULT_GOAL := help
.PHONY: help demo dev test check check-c asan trace faults fuzz bench wheel sdist clean peers FORCE

CORE_C := $(wildcard _native/core/*.c)
CORE_H := $(wildcard _native/core/*.h)
NATIVE := setup.py $(CORE_C) $(CORE_H) $(wildcard _native/*.pyx _native/*.pxd)
STUBBED := $(patsubst _native/%.pyi,agent._native.%,$(wildcard _native/*.pyi))

## help     these lines
help:
	@sed -n 's/^## //p' $(firstword $(MAKEFILE_LIST))

## demo     a simulated RS-485 bus, the agent, a broker and a receiver on this machine; ARGS="--duration 10 --json"
demo: $(VENV)/.demo $(VENV)/.native
	@$(BIN)/fieldtap demo $(ARGS)

## dev      .venv with fieldtap editable and every tool the targets below use
dev: $(VENV)/.dev $(VENV)/.native

## test     every check and every test; installs the peers that tests talk to (mosquitto ...) when it may
test: peers check
	@$(BIN)/pytest $(ARGS)

## check    ruff, mypy, stubs against the compiled modules, import contracts, warnings of the C core
check: dev check-c
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/python -P -m mypy.stubtest $(STUBBED) --allowlist tests/repo/stubtest.allow \
	    --ignore-unused-allowlist --ignore-disjoint-bases
	@$(BIN)/lint-imports --no-logo

## check-c  the C core under gcc, and clang where there is one, with every warning an error
check-c: $(foreach cc,gcc clang,$(if $(shell command -v $(cc)),$(CORE_C:_native/core/%.c=build/check-c/$(cc)/%.o)))

## asan     the tests of the compiled parts under AddressSanitizer and UndefinedBehaviorSanitizer
# (--capture=sys: a finding ends the process, and with it what pytest had captured of file descriptor 2;
# left out: tests of brokers that others wrote, which do not all start with a sanitizer in their process)
asan: build/tree-asan
	@cd $< && env LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
	    ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc PYTHONPATH=$(CURDIR)/$< \
	    $(BIN)/pytest --capture=sys tests/native tests/process tests/batch tests/store tests/acquire tests/simulate \
	    --ignore tests/simulate/test_broker.py --ignore tests/simulate/test_receiver.py $(ARGS)

## trace    line and branch coverage, the lines of every .pyx included
# (left out: the builds, and a test of what a child imports, where coverage imports as much itself)
trace: build/tree-trace
	@cd $< && env COVERAGE_CORE=ctrace PYTHONPATH=$(CURDIR)/$< $(BIN)/coverage run -m pytest --ignore tests/repo \
	    --deselect tests/cli/test_version.py::test_nothing_heavy_is_imported $(ARGS)
	@cd $< && $(BIN)/coverage combine -q && $(BIN)/coverage report

## faults   what power cuts, kill -9, dead links and damaged bytes do to the agent; a million polls of each faulty line
faults: peers dev
	@FIELDTAP_FAULTS=all $(BIN)/pytest tests/store tests/uplink tests/e2e tests/native/test_fault_matrix.py $(ARGS)

## fuzz     what a bus or a link meets, as libFuzzer makes it up, until ARGS="-max_total_time=60" is over; needs clang
fuzz:
	@mkdir -p build/fuzz/corpus
	@clang -std=gnu11 -O2 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -DFT_LIBFUZZER -I_native \
	    tests/native/c/fuzz_core.c $(CORE_C) -lm -o build/fuzz/fuzz_core
	@cd build/fuzz && ./fuzz_core -max_len=4096 -len_control=0 -max_total_time=600 $(ARGS) corpus

## bench    the README's numbers, peers side by side, as tables; ARGS="--quick", or their names
bench: peers dev
	@$(BIN)/python -m benchmarks $(ARGS)

## wheel    dist/: an sdist, and from it the wheel that serves every CPython from 3.11 on
wheel: dev
	@$(BIN)/python -m build --outdir dist

## sdist    dist/: the sources alone
sdist: dev
	@$(BIN)/python -m build --sdist --outdir dist

## clean    remove all that these targets made, .venv included
clean:
	rm -rf $(VENV) build dist *.egg-info .coverage .*_cache .hypothesis agent/_native agent/firmware_profiles
	rm -f _native/*.so $(patsubst %.pyx,%.c,$(wildcard _native/*.pyx))
	find . -name __pycache__ -prune -exec rm -rf {} +

peers:
	@.ci/install-peers

# --- .venv, in steps with a stamp each, so that nothing is done twice; talk goes to stderr, stdout is the demo's ---

$(VENV)/.made: .ci/check-host
	@.ci/check-host $(PYTHON)
	@echo "make: creating $(VENV)" >&2
	@$(PYTHON) -m venv $(VENV) >&2
	@touch $@

# The build's own requirements, as pyproject.toml has them: extensions are rebuilt in place, without an isolated build.
$(VENV)/.tools: $(VENV)/.made pyproject.toml
	@echo "make: installing what the build needs into $(VENV)" >&2
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
	    > $(VENV)/build-requires.txt
	@$(BIN)/pip install -q -r $(VENV)/build-requires.txt >&2
	@touch $@

# An editable install compiles everything too, so it counts as a build of the extensions.
$(VENV)/.demo: $(VENV)/.tools
	@echo "make: compiling fieldtap and installing it into $(VENV), half a minute or so" >&2
	@$(BIN)/pip install -q --no-build-isolation -e '.[demo]' >&2
	@touch $(VENV)/.native $@

$(VENV)/.dev: $(VENV)/.tools
	@echo "make: compiling fieldtap and installing it and the tools of tests into $(VENV), a minute or so" >&2
	@$(BIN)/pip install -q --no-build-isolation -e '.[dev]' >&2
	@touch $(VENV)/.native $(VENV)/.demo $@

# make looked at this stamp before the install above touched it, so the recipe looks again.
$(VENV)/.native: $(NATIVE) | $(VENV)/.demo
	@[ -e $@ ] && [ -z "$$(find $(NATIVE) -newer $@)" ] || { echo "make: compiling what changed" >&2; \
	    $(BIN)/python setup.py -q build_ext --inplace >&2; }
	@touch $@

# --- The C core alone: one object per unit and compiler, never linked ---

WARN := -Wall -Wextra -Wconversion -Wsign-compare -Wshadow -Wundef -Wpedantic -Werror
# Optimised, because some warnings need the flow analysis; =strict is gcc's spelling of what clang always does.
WARN_gcc := -Wcast-align=strict
WARN_clang := -Wcast-align

define check_c
build/check-c/$(1)/%.o: _native/core/%.c $(CORE_H) Makefile
	@mkdir -p $$(@D)
	@$(1) -std=gnu11 -O2 $(WARN) $(WARN_$(1)) -I_native -c $$< -o $$@
endef
$(foreach cc,gcc clang,$(eval $(call check_c,$(cc))))

# --- Another flavour is built in a copy of the sources, so that the release build here stays as it is ---

build/tree-%: dev FORCE
	@mkdir -p $@ && cd $@ && rm -rf agent tests benchmarks docs
	@tar -c --exclude-vcs --exclude='./build' --exclude='./dist' --exclude='./.*' --exclude='*.so' --exclude='*.egg-info' \
	    --exclude='__pycache__' --exclude='./agent/_native' --exclude='./agent/firmware_profiles' \
	    $(patsubst %.pyx,--exclude='./%.c',$(wildcard _native/*.pyx)) . | tar -x -C $@
	@cd $@ && FIELDTAP_BUILD=$* $(BIN)/python setup.py -q build_ext --inplace
