# Everything here sets itself up: a virtual environment in .venv from pinned requirements.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test test-nodes test-torch test-core lint bench bench-models bench-grid clean

help:  ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(VENV)/pyvenv.cfg:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is needed (the ROS wheels are built for Python 3.11); name another with PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

# A stamp a stage: made again when its requirements change, so a second run starts at once.
$(VENV)/.runtime: requirements/runtime.txt setup.py | $(VENV)/pyvenv.cfg
	@echo "Installing what the nodes need into $(VENV) (about a minute, once) ..."
	@$(PIP) -r requirements/runtime.txt
	@$(PIP) --no-build-isolation --no-deps --editable .
	@touch $@

$(VENV)/.test: requirements/test.txt requirements/train.txt $(VENV)/.runtime
	@echo "Installing what the tests need into $(VENV) (torch among it: 5.5 GB, a few minutes, once) ..."
	@$(PIP) -r requirements/test.txt -r requirements/train.txt
	@touch $@

demo: $(VENV)/.runtime  ## camera in, mask and grid out: VIDEO=path or BAG=path for your own
	@$(BIN)/seg-perception demo --output out/demo $(if $(VIDEO),--video "$(VIDEO)") $(if $(BAG),--bag "$(BAG)") $(DEMO_ARGS)

# Three processes, two at a time: no user's process ever loads ROS, torch and every engine, and
# tests of nodes mostly wait. With ARGS one may have nothing to run (pytest's exit code 5).
NODE_TESTS := test/nodes test/ros test/e2e test/launch
TORCH_TESTS := test/zoo test/training test/evaluation
CORE_TESTS := $(addprefix --ignore=,$(NODE_TESTS) $(TORCH_TESTS)) test
# One thread each: more of them only take turns on few cores.
PYTEST = env OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest $(ARGS)
NODE_PYTEST = timeout --signal=KILL 1500 $(PYTEST) $(NODE_TESTS)
RESULT = [ "$$code" = 0 ] || { [ "$$code" = 5 ] && [ -n '$(ARGS)' ]; }

test: $(VENV)/.test lint  ## lint, types and every test: ARGS="-k name" to choose
	@$(MAKE) --no-print-directory --jobs=2 --keep-going --output-sync=target test-nodes test-torch test-core

# Once more only when the process itself died or hung (code >= 124), never for a failed test: Fast
# DDS 3.2 now and then dead-locks where hundreds of participants come and go in one process.
test-nodes: $(VENV)/.test
	@code=0; $(NODE_PYTEST) || code=$$?; \
	if [ "$$code" -ge 124 ]; then \
	  echo "The test process died or hung in the middleware (exit code $$code): once more."; \
	  code=0; $(NODE_PYTEST) || code=$$?; \
	fi; \
	$(RESULT)

test-torch: $(VENV)/.test
	@code=0; $(PYTEST) $(TORCH_TESTS) || code=$$?; $(RESULT)

test-core: $(VENV)/.test
	@code=0; $(PYTEST) $(CORE_TESTS) || code=$$?; $(RESULT)

lint: $(VENV)/.test  ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: $(VENV)/.runtime  ## latency of the real chain against its parts and a baseline -> out/bench.json
	@$(BIN)/python -m benchmark.chain --output out/bench.json $(BENCH_ARGS)

bench-grid: $(VENV)/.runtime  ## drivable grids of simulated streets against exact truth -> out/grid.json
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmark.grid --output out/grid.json $(BENCH_ARGS)

bench-models: $(VENV)/.runtime  ## every embedded model on every provider here -> out/bench_models.json
	@$(BIN)/python -m benchmark.models --output out/bench_models.json $(BENCH_ARGS)

clean:  ## remove what the targets made
	rm -rf $(VENV) build install log out
