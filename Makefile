# README's two commands: `make demo` and `make test`. Both set up all they need in .venv.
PYTHON ?= python3
BIN := .venv/bin
QUICK := not slow and not gpu and not kill and not wheel and not browser

.PHONY: demo test test-oldest test-slow test-gpu test-kill test-browser test-wheel lint types docs check clean

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: .venv/ready
	$(BIN)/dynapoint reconstruct src/dynapoint/assets/demo.mp4 -o demo.4d --overwrite
	$(BIN)/dynapoint export demo.4d --to html -o demo.html --overwrite
	$(BIN)/dynapoint export demo.4d --to sheet -o demo.png --overwrite
	@echo "open demo.html in a browser; look at demo.png; the scene is demo.4d"

# Two processes of one thread each: most tests are too small to share out.
test: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 -m '$(QUICK)'

# The quick tests with the oldest versions that are allowed. Several GB: old torch brings CUDA along.
test-oldest:
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/pip install --quiet --disable-pip-version-check -r constraints-oldest.txt -e '.[train,hub,exr,usd]'
	OMP_NUM_THREADS=1 .venv-oldest/bin/pytest -q -n 2 -m '$(QUICK)'

test-slow: .venv/ready
	$(BIN)/pytest -q -m slow

test-gpu: .venv/ready
	$(BIN)/pytest -q -m gpu

test-kill: .venv/ready
	$(BIN)/pytest -q -m kill

test-browser: .venv/ready
	$(BIN)/pytest -q -m browser

test-wheel: .venv/ready
	$(BIN)/pytest -q -m wheel

lint: .venv/ready
	$(BIN)/ruff check src tests scripts benchmarks examples
	$(BIN)/ruff format --check src tests scripts benchmarks examples
	sh js/check.sh

types: .venv/ready
	$(BIN)/mypy

# The site lies in site/ afterwards; open site/index.html. A broken link fails.
.venv/docs-ready: .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

docs: .venv/docs-ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

check: lint types test

clean:
	rm -rf .venv .venv-oldest site js/node_modules demo.4d demo.html demo.png
