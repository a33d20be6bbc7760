# make run: set up and start on SQLite. make test: set up and run every test. make torture: break it for hours.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
JOBS ?= 3

.PHONY: run test torture cluster bench release install-test format lock audit clean

run: $(VENV)/ready .env
	@$(BIN)/python . db upgrade
	@echo; echo "Post a first notification from another terminal, then look: ./pbx-connector calls list"; echo
	@$(BIN)/python . feeds show uis --curl
	@echo
	@exec $(BIN)/gunicorn -c deploy/gunicorn.conf.py wsgi:app

test: $(VENV)/ready-dev
	@sh tests/install.sh
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .
	CI=true $(BIN)/pytest -n $(JOBS) --dist worksteal --durations 10 -r s

# minutes to hours: TORTURE="--seconds 3600 --seed 7" and HOSTILE_BODIES change how long
torture: $(VENV)/ready-dev
	@sh tests/install.sh
	$(BIN)/python -m tests.torture --database mysql $(TORTURE)
	$(BIN)/python -m tests.torture --database sqlite $(TORTURE)
	HOSTILE_BODIES=$${HOSTILE_BODIES:-1000000} $(BIN)/pytest tests/schemas/test_hostile.py --timeout=0

# two connector nodes over three database nodes; CLUSTER="--events 100000"
cluster: $(VENV)/ready-dev
	@sh tests/install.sh galera-4 rsync lsof nginx-light
	$(BIN)/python -m tests.cluster $(CLUSTER)

# about an hour on a machine that does nothing else; BENCH="--quick" five minutes
bench: $(VENV)/ready-dev
	@sh bench/install.sh
	$(BIN)/python -m bench $(BENCH)

# dist/: what a server without a package index installs from (deploy/release.sh)
release: $(VENV)/ready
	@VENV=$(VENV) deploy/release.sh

# a release installed, upgraded, moved, lost and restored on a Debian that systemd has booted, as the pages say; as root
install-test: $(VENV)/ready-dev
	@command -v debootstrap systemd-nspawn >/dev/null || apt-get install -y -qq --no-install-recommends debootstrap systemd-container
	$(BIN)/python -m tests.installed $(INSTALL_TEST)

format: $(VENV)/ready-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# requirements*.in -> requirements*.txt, every package with its hashes; UPGRADE=--upgrade takes newer ones
lock: $(VENV)/tools/bin/uv
	for file in requirements requirements-dev bench/requirements; do \
	    $< pip compile $$file.in --universal --python-version 3.11 --generate-hashes --no-annotate --quiet $(UPGRADE) \
	        --no-header --output-file $$file.txt && \
	    sed -i "1i # Written by make lock from $$file.in: every package with its hashes, for Python 3.11 and newer." $$file.txt || exit 1; \
	done

# known holes in what the service runs on (asks the package index's advisory service); the licences are a test
audit: $(VENV)/tools/bin/uv
	$(VENV)/tools/bin/pip-audit --require-hashes --disable-pip -r requirements.txt

$(VENV)/tools/bin/uv:
	$(PYTHON) -m venv $(VENV)/tools
	$(VENV)/tools/bin/pip install --quiet --disable-pip-version-check uv pip-audit

# random keys on the first run; kept ever after
.env: | $(VENV)/ready
	@$(BIN)/python deploy/new_env.py > .env.new && chmod 600 .env.new && mv .env.new .env && echo "wrote .env with random keys"

$(VENV)/ready: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python3 -m venv does not work: install the package python3-venv"; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

$(VENV)/ready-dev: $(VENV)/ready requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
