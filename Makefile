# The commands of a checkout: `make run` shows the product, `make test` and `make check` hold it.
PYTHON ?= python3
BIN := .venv/bin
export UV_COMPILE_BYTECODE := 1
export UV_LINK_MODE := copy
# Behind a company proxy the certificates are in the system's store, which pip reads too.
export UV_SYSTEM_CERTS := 1

.PHONY: run test check bench lock clean

run: .venv/installed
	$(BIN)/galena up --samples $(if $(ONCE),--once)

test: .venv/installed
	$(BIN)/pytest

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/installed
	$(BIN)/python -m benchmarks

lock:
	$(BIN)/uv pip compile pyproject.toml --extra dev --generate-hashes --universal \
		--python-version 3.11 --no-emit-index-url --upgrade -q -o requirements.lock

# The stamp is newer than the lock exactly when the environment was made from it.
.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else \
		"Galena needs Python 3.11 to 3.13; name one with: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check "$$(grep -oE '^uv==[0-9.]+' requirements.lock)"
	$(BIN)/uv pip sync -q --require-hashes requirements.lock
	$(BIN)/uv pip install -q --no-deps --no-build-isolation -e .
	touch $@

clean:
	rm -rf .venv .galena
