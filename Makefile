# README's two commands: `make demo` and `make test`. Both set up all they need in .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow test-gpu lint types check clean

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: .venv/ready
	$(BIN)/dynapoint reconstruct src/dynapoint/assets/demo.mp4 -o demo.4d --overwrite
	@echo "look at demo.4d/contact_sheet.png"

test: .venv/ready
	$(BIN)/pytest -q

test-slow: .venv/ready
	$(BIN)/pytest -q -m slow

test-gpu: .venv/ready
	$(BIN)/pytest -q -m gpu

lint: .venv/ready
	$(BIN)/ruff check src tests scripts benchmarks
	$(BIN)/ruff format --check src tests scripts benchmarks

types: .venv/ready
	$(BIN)/mypy

check: lint types test

clean:
	rm -rf .venv demo.4d
