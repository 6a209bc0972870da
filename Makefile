# saekit's commands; `make` alone lists them. GNU make 3.81 (macOS) and later.
#   PYTHON=/path/to/python3.12   the interpreter that makes .venv
#   TORCH_INDEX=URL              take torch from this index (https://download.pytorch.org/whl/cpu: small, without CUDA)
#   ARGS="-k lock"               more arguments for make test, test-all, curriculum and bench
#   SIZE=192                     the width of the model that make micro trains
#   UPGRADE=--upgrade            let make lock take newer versions

PYTHON ?=
TORCH_INDEX ?=
ARGS ?=
UPGRADE ?=
SIZE ?= 128
RUN := .venv/bin/python

# Nothing outside .venv may change what is imported.
unexport PYTHONPATH PYTHONHOME

.DEFAULT_GOAL := help
.PHONY: help environment demo lab test test-all curriculum bench micro dictionaries card lock lint wheel clean

help: ## list these targets
	@echo "saekit: first make demo, then make test"
	@awk -F ' *##? *' '/^[a-z-]+:.*## /{sub(/:.*/, "", $$1); printf "  make %-12s %s\n", $$1, $$2}' Makefile

environment: ## make .venv from the lock, or bring it up to date
	@for python in "$(PYTHON)" python3 python3.13 python3.12 python3.11; do \
	  [ -n "$$python" ] || continue; \
	  if "$$python" -I -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; then \
	    set -- --torch-index "$(TORCH_INDEX)"; \
	    [ "$$python" != "$(PYTHON)" ] || set -- "$$@" --this-python; \
	    exec "$$python" -I environment.py "$$@"; \
	  fi; \
	  [ "$$python" != "$(PYTHON)" ] || \
	    echo "PYTHON=$$python is not a working Python 3.11, 3.12 or 3.13: looking for another one." >&2; \
	done; \
	echo "error: no working Python 3.11, 3.12 or 3.13 was found; install one (https://www.python.org/downloads) or name one that is there: make demo PYTHON=/path/to/python3.12." >&2; \
	exit 1

demo: environment ## the first notebook on the embedded model, executed, with a summary
	@$(RUN) notebooks/run.py demo

lab: environment ## the same notebook live in JupyterLab
	@$(RUN) notebooks/run.py lab

# Side by side, each worker with one thread; then, alone, what asserts seconds. pytest says 5 where it found no test, as
# one of the two does for most ARGS, and 2 to 4 where it did not get to its end.
define tests
$(RUN) -m pytest -n logical --maxprocesses 8 --dist loadfile -m "not timing$(1)" $(ARGS); beside=$$?; \
[ $$beside -le 1 ] || [ $$beside -eq 5 ] || exit $$beside; \
$(RUN) -m pytest -m "timing$(1)" $(ARGS); alone=$$?; \
[ $$beside -ne 5 ] || exit $$alone; \
[ $$beside -ne 0 ] || [ $$alone -eq 5 ] || exit $$alone; \
exit $$beside
endef

test: environment ## the tests, in minutes
	@$(call tests, and not slow)

test-all: environment ## every test that can run here, as CI runs them
	@$(call tests)

curriculum: environment ## every notebook, executed, with seconds for each
	@$(RUN) notebooks/run.py curriculum $(ARGS)

bench: environment ## the CPU path beside other libraries (in environments of their own, build/peers) and its ceilings
	@$(RUN) kernels/benchmarks/cpu.py $(ARGS)

micro: environment ## train the embedded model again
	@$(RUN) -m saekit.making.pretrain --width $(SIZE)

dictionaries: environment ## train the shipped dictionaries again
	@$(RUN) -m saekit.making.shipped

card: environment ## write the embedded model's card again
	@$(RUN) -m saekit.making.card

# The comment lines on top of the lock stay; torch's own wheel pins the nvidia-* and cuda-* packages.
lock: environment ## write requirements.lock again
	@cp requirements.lock .venv/lock.txt
	@.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --all-extras --no-header \
	  --annotation-style line $(UPGRADE) pyproject.toml --output-file .venv/lock.txt
	@{ sed '/^[^#]/,$$d' requirements.lock && grep -v -E '^(nvidia|cuda)-' .venv/lock.txt; } > .venv/lock.new
	@mv .venv/lock.new requirements.lock && rm .venv/lock.txt
	@echo "requirements.lock: $$(grep -c '^[^#]' requirements.lock) packages"

lint: environment ## ruff, mypy, and prettier where npm is
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy
	@cd widgets; if ! command -v npm >/dev/null 2>&1; then echo "widgets/src was not checked: npm is not installed."; \
	elif ! [ -d node_modules/prettier ] && ! npm ci --silent; then echo "widgets/src was not checked: npm ci failed."; \
	else npm run --silent format:check; fi

wheel: environment ## dist/: the wheel and the source archive
	@$(RUN) -m build --no-isolation --outdir dist

clean: ## remove .venv, dist, build and caches (never runs/ or stores/)
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find saekit kernels widgets tests notebooks -name __pycache__ -type d -prune -exec rm -rf {} +
