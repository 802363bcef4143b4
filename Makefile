# make run    set up, make the synthetic cohort, execute the notebooks, write runs/quick/report.html and runs/quick/pages;
#             JOBS=1 executes one notebook at a time
# make test   set up, lint, check types, run every test, execute every notebook
# make oracles  install PyTorch, MONAI, MedPy and surface-distance, and compare networks and scores with theirs
# make slow   what takes minutes for one question: kills, full disks, damaged scans in mid-work (results/faults)
# make measure  execute every notebook on a quiet machine and write results/notebooks.csv (README.md shows it)
# make documents  fill the numbers of results/ into README.md, PAPER.md and docs/ (documents/)
# make exercises  write exercises/: the notebooks without their answers; what a learner has changed is kept
# make assignment  write nbgrader/: the same exercises for nbgrader, which grades them (teaching/README.md)
# make quiz   write build/quiz/quiz.gift.txt: the quiz for Moodle
# make lab    set up, write the exercises, open JupyterLab
# make gpu    on a CUDA machine that has Keras with JAX: parity, speed beside the paper's and PyTorch's, and its best
#             network at its size; MINUTES=8 (benchmarks/README.md). PYTHON=its interpreter, here not make's environment
# make gpu-rehearsal  the same once at a fraction of the size, on any CPU
# make weights  train hip-drawn again, on drawn hips alone, and pack it in build/weights (20 minutes on two cores)
# make slides  draw and build build/slides/slides.html, and slides.pdf where a Chromium is found (or CHROMIUM=its path)
# make site   the pages of a finished run in build/site, with the slides if they are built; REPOSITORY=its address adds
#             links to it, and buttons for Binder and Colab
# make check-site  follow every link of build/site, and look at each page with axe in a Chromium (or CHROMIUM=its path)
# Another profile or cohort:  make run PROFILE=hips COHORT=path/to/cohort  works in a folder of its own, whose name it says
# Windows, or no make: docs/install.md names the same commands one by one.

PYTHON   ?= python3
PROFILE  ?= quick
COHORT   ?=
RUNS     := # which folder the notebooks work in; `make run` finds it
# How many notebooks are executed at a time: two, where there is memory for both.
JOBS     ?= $(shell $(BIN)/python -c 'from femur_lib._runtime.machine import machine_bytes as m; print(1 + (m() > 6e9))')
BIN      := .venv/bin
READY    := .venv/.ready
NOTEBOOKS := $(notdir $(sort $(wildcard notebooks/[0-9]*.ipynb)))
# 04 comes first of all that wait for 00: it takes longest, and half of the others use what it trains.
EXECUTED  := $(patsubst %,$(RUNS)/notebooks/%,$(filter 04_%,$(NOTEBOOKS)) $(filter-out 04_%,$(NOTEBOOKS)))
# Make takes a name with a blank, which a user's file may have, for two. The outer wildcard drops such halves.
PAGES     := README.md PAPER.md CONTRIBUTING.md docs/*.md teaching/*.md teaching/*/*.md \
             $(addsuffix /README.md,benchmarks data femur_lib/weights results workflow)# as in site/build.py
SHOWN     := $(wildcard $(wildcard $(PAGES) site/* site/_static/* build/slides/*))
LIBRARY   := $(shell find femur_lib profiles -type f ! -path '*/__pycache__/*' ! -name '.*' ! -name '*.md' ! -path '* *')
AS_ROOT   = $(if $(filter 0,$(shell id -u)),--allow-root)  # in a container, which has no other user
export PYTHONUNBUFFERED := 1
# The kernel is this environment's, whatever kernels named python3 a user has.
export JUPYTER_PATH := $(CURDIR)/.venv/share/jupyter$(if $(JUPYTER_PATH),:$(JUPYTER_PATH))

export REPOSITORY ?=

quoted = '$(subst ','\'',$(1))'# for the shell: a name may have blanks and apostrophes

.PHONY: setup run executed test unit measure slow oracles backends gpu gpu-rehearsal weights documents exercises lab slides site check-site lock clean
.DELETE_ON_ERROR:
.SECONDARY:

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(BIN)/python -m compileall -qq -j 0 -x '/tests?/' .venv/lib || true  # as pip does, on all cores
	touch $@

# A missing cohort or profile stops here. What the notebooks depend on is compared by its contents.
run: $(READY)
	@folder="$$($(BIN)/python workflow/runs_folder.py $(call quoted,$(PROFILE)) $(call quoted,$(COHORT)))" \
	  && $(MAKE) --no-print-directory -j$(JOBS) executed RUNS="$$folder"

executed: $(RUNS)/report.html $(RUNS)/pages/index.html
	@echo
	@echo "The report to look at:      $(RUNS)/report.html"
	@echo "The course as pages:        $(RUNS)/pages/index.html"

$(RUNS)/report.html: $(EXECUTED)
	$(BIN)/femur report $(RUNS) --out $@

$(RUNS)/notebooks/%.ipynb: notebooks/%.ipynb $(LIBRARY) $(READY) $(RUNS)/made-of.json
	@mkdir -p $(@D)
	@echo "== $* ($(words $(NOTEBOOKS)) notebooks in all)"
	@$(BIN)/papermill --no-log-output --no-progress-bar --cwd $(@D) -f $(RUNS)/parameters.yaml $< $(@D)/.$*.running.ipynb
	@mv $(@D)/.$*.running.ipynb $@ && echo "   $*: executed"

# The first one makes the cohort. One that uses what another trains starts after it, because it would only wait.
executed_as = $(filter $(RUNS)/notebooks/$(1)_%,$(EXECUTED))
$(filter-out $(call executed_as,00),$(EXECUTED)): | $(call executed_as,00)
$(call executed_as,05): | $(call executed_as,02) $(call executed_as,04)
$(call executed_as,06): | $(call executed_as,05)
$(call executed_as,07) $(call executed_as,08) $(call executed_as,10): | $(call executed_as,04)
$(call executed_as,09): | $(call executed_as,02)

# Executed notebooks are shown, and not executed again.
$(RUNS)/pages/index.html: $(EXECUTED) $(SHOWN)
	$(BIN)/python site/build.py $(RUNS) $(@D)

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest

unit: $(READY)
	$(BIN)/pytest -m "not notebook"

measure: $(READY)
	MEASURE_NOTEBOOKS=1 $(BIN)/pytest -m notebook

slow: $(READY)
	$(BIN)/pytest -m slow -s

# Networks and scores once more by others' code, to compare with. Not part of the lock: on Linux, PyPI's own build of
# PyTorch brings CUDA (several GB). Where a smaller build is at hand, install that instead: the tests take any.
oracles: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 jax==0.10.2 monai==1.6.1 \
	  medpy==0.5.2 surface-distance==0.1
	$(BIN)/pytest tests/test_unet_parity.py tests/test_backends.py tests/metrics/test_oracles.py

# Keras on JAX and on PyTorch, where TensorFlow is not installed; all other versions are the lock's.
backends:
	$(PYTHON) -m venv --clear build/backends
	sed -E '/^ *--hash/d; s/ *\\$$//' requirements.lock > build/constraints.txt
	build/backends/bin/python -m pip install --quiet --disable-pip-version-check --constraint build/constraints.txt \
	  --editable . torch==2.13.0 jax==0.10.2 hypothesis psutil pytest
	KERAS_BACKEND=jax build/backends/bin/pytest -m backends tests/test_*.py
	KERAS_BACKEND=torch build/backends/bin/pytest -m backends tests/test_*.py

gpu:
	PYTHON="$(PYTHON)" bash benchmarks/gpu.sh --minutes $(or $(MINUTES),8)

gpu-rehearsal:
	PYTHON="$(PYTHON)" bash benchmarks/gpu.sh --rehearse --minutes $(or $(MINUTES),10)

weights: $(READY)
	$(BIN)/femur train drawn build/hip-drawn --network 3d-f8-l4-a2-gn --profile drawn
	$(BIN)/python -c 'from femur_lib.lab.drawn import pack; print("weights:", pack("build/hip-drawn", "build/weights/hip-drawn"))'

documents: $(READY)
	$(BIN)/python documents/render.py

exercises: $(READY)
	$(BIN)/python teaching/build_exercises.py

.PHONY: assignment quiz
assignment: $(READY)
	$(BIN)/python teaching/build_exercises.py --nbgrader

quiz: $(READY)
	$(BIN)/python teaching/build_quiz.py

# The folder that holds exercises/ is this one, unless nothing can be written here (docs/install.md, "A shared course").
lab: exercises
	root="$$($(BIN)/python -c 'from femur_lib.config import own_folder; print(own_folder("exercises").parent)')" \
	  && $(BIN)/jupyter lab --ServerApp.root_dir="$$root" --LabApp.default_url=/lab/tree/exercises $(AS_ROOT)

slides: $(READY)
	$(BIN)/python teaching/build_slides.py $(if $(CHROMIUM),--chromium "$(CHROMIUM)")

site: $(READY)
	folder="$$($(BIN)/python workflow/runs_folder.py $(call quoted,$(PROFILE)) $(call quoted,$(COHORT)))" \
	  && $(BIN)/python site/build.py "$$folder" build/site

# What drives the browser is not part of the lock: it is large, and only this needs it.
check-site: site
	$(BIN)/python -m pip install --quiet --disable-pip-version-check playwright==1.65.2 axe-playwright-python==0.1.8
	$(BIN)/pytest tests/documents/test_site.py

# For maintainers, after changing pyproject.toml. Needs uv. The lock is pip's own format, with hashes and without the
# address of any package index, so it installs from whichever index a machine is set up to use.
lock:
	uv pip compile pyproject.toml --universal --python-version 3.11 --extra cpu --extra notebooks --extra dicom --extra formats --extra onnx --extra search --extra site --extra study --extra teaching \
	  --group dev --generate-hashes --no-annotate --no-header --no-emit-index-url --output-file requirements.lock

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache
	@echo "runs/ is left as it is: trainings are expensive. Remove it yourself if you mean to."
