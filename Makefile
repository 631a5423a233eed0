# Only python3 (3.11 or newer) and make are needed; everything else goes into .venv.
PYTHON := .venv/bin/python
STAMP := .venv/.installed

.PHONY: install demo test slow lint wheel docs browser bench soak

install: $(STAMP)

$(STAMP): requirements.txt
	python3 -m venv .venv
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

demo: install
	$(PYTHON) -m benchmarks.demo

test: install
	$(PYTHON) -m pytest --numprocesses auto --dist worksteal

# What takes long, and mostly repeats at a larger size what the suite checks.
slow: install
	$(PYTHON) -m pytest -m slow --numprocesses auto --dist worksteal

lint: install
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/pyright

wheel: install
	rm -rf dist
	$(PYTHON) -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	$(PYTHON) -m tests.wheel dist

docs: install
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r requirements-docs.txt
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict

browser: install
	$(PYTHON) -m pytest tests/in_browser.py

bench: install
	$(PYTHON) -m benchmarks

soak: install
	$(PYTHON) -m tests.killing
