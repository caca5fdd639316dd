# Every command of the workbook; `make` prints them.
SWEEP ?= default
JOBS ?= 1
PAPER ?= papers/defects

# the first Python of those that serve; fastdup, in an environment of its own, needs less than 3.13
first = $(firstword $(foreach p,$(1),$(if $(shell $(p) -c 'import sys, venv; print(sys.version_info[:2] in $(2) or "")' 2>/dev/null),$(p))))
PYTHON ?= $(call first,python3.11 python3.12 python3.13 python3,((3, 11), (3, 12), (3, 13)))
FASTDUP_PYTHON ?= $(call first,$(PYTHON) python3.11 python3.12,((3, 11), (3, 12)))
BIN := .venv/bin
RELEASE := $(BIN)/dq fingerprint --split test
LOCKED := $(if $(filter Linux-x86_64,$(shell uname -sm | tr ' ' -)),-r requirements.lock,)
FASTDUP := .venv-fastdup/.installed
export PIP_DISABLE_PIP_VERSION_CHECK = 1

help:  ## print this list
	@echo 'make TARGET; settings: SWEEP=name or file.yaml, JOBS=runs at a time, PYTHON=interpreter'
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-11s %s\n", $$1, $$2}'

setup:  ## build the two environments, when missing or older than their inputs
	@$(MAKE) --no-print-directory -s -j2 .venv/.installed $(FASTDUP)

sweep: setup  ## run a grid of executed notebooks: make sweep SWEEP=cifar10
	$(BIN)/dq sweep $(SWEEP) --jobs $(JOBS)

smoke: setup  ## every run of a study once, with few images: make smoke SWEEP=study
	$(BIN)/python -m dq_workbook.app.smoke $(SWEEP)

reproduce: setup  ## does the headline of `make sweep` come again: other processor, precision, planted defects?
	OMP_NUM_THREADS=1 ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 $(BIN)/dq sweep other-processor
	$(BIN)/dq sweep reproduce

bench-audit: setup  ## measure the auditors on known near duplicates, wrong labels, planted defects and time
	$(BIN)/dq sweep bench-audit

bench-unseen: setup  ## repeated pictures, recipes under label noise, known groups: is the audit right anywhere?
	$(BIN)/dq sweep bench-unseen

bench-fingerprints: setup  ## what fingerprints of a test set know, accuse and tell; random splits of groups
	$(BIN)/dq sweep bench-fingerprints

bench-statistics: setup  ## do intervals and tests hold what they say? needs a finished `make sweep`
	$(BIN)/dq sweep bench-statistics

bench-train: setup  ## race the grid of fits against a plain Lightning loop
	$(BIN)/dq sweep bench-train

bench-scale: setup  ## memory and time from ten thousand to a million images
	$(BIN)/dq sweep bench-scale

bench-sweep: setup  ## kill processes of sweeps, and measure what sweeps cost beside the work itself
	@$(BIN)/pip install -q -e '.[engines]' || echo 'Dask and submitit could not be installed: nothing is killed on them'
	$(BIN)/dq sweep bench-sweep

lint: setup  ## ruff over notebooks, package and tests
	$(BIN)/ruff check

test: lint  ## lint, notebook lessons, pytest with the sync check
	$(BIN)/nbdev-test --file-re '^[0-9]' --n-workers 2 nbs
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

lab: setup  ## open JupyterLab with the quickstart
	$(BIN)/jupyter lab --LabApp.default_url=/lab/tree/nbs/guides/00_quickstart.ipynb

paper: setup  ## the article from the tables in docs/results: a page, and a PDF where TeX is installed
	@$(BIN)/pip install -q -e '.[paper]' || echo 'pandoc could not be installed: no page'
	$(BIN)/python -m dq_workbook.reports.paper $(PAPER)

results: setup  ## write down in docs/results what the newest runs of a sweep gave: make results SWEEP=default
	$(BIN)/python -c 'from dq_workbook.reports.collect import collect, collect_tables; print(collect("$(SWEEP)"), *collect_tables("$(SWEEP)"), sep="\n")'

docs: setup  ## README.md and docs/*.md from the tables in docs/results
	$(BIN)/python -c 'from dq_workbook.reports.pages import write_pages; print(*write_pages(), sep="\n")'

docs-site: setup  ## README, guides and executed lessons as a site with a search, in site/
	$(BIN)/pip install -q -e '.[site]'
	rm -rf .site site && mkdir .site && cp README.md .site/index.md && cp -r CONTRIBUTING.md CHANGELOG.md LOG.md LICENSE CITATION.cff docs nbs .site
	rm -rf .site/docs/templates && $(BIN)/mkdocs build -q && rm -rf .site
	@echo 'read it with: $(BIN)/python -m http.server -d site'

fingerprints: setup  ## fingerprints of three public test sets, which come with the package; needs DQ_DATA_DIR
	$(RELEASE) cifar10 --out dq_workbook/fingerprints/cifar10-test.jsonl.gz \
	  --about 'all 10,000 test images of CIFAR-10, in their order, re-encoded as JPEG 75 before they were hashed'
	$(RELEASE) mnist --out dq_workbook/fingerprints/mnist-test.jsonl.gz \
	  --about 'all 10,000 test images of MNIST, in their order, from lossless PNG files'
	$(RELEASE) fashion_mnist --out dq_workbook/fingerprints/fashion_mnist-test.jsonl.gz \
	  --about 'all 10,000 test images of Fashion-MNIST, in their order, from lossless PNG files'

export: setup  ## clean the notebooks and write the package from them
	$(BIN)/nbdev-clean && $(BIN)/nbdev-export

fastdup:  ## get the newest fastdup (a wheel stops working some weeks after its release)
	rm -f $(FASTDUP) && $(MAKE) $(FASTDUP)

lock: .venv/.installed  ## write requirements.lock from the environment
	@head -1 requirements.lock > .lock.part && $(BIN)/pip freeze --exclude-editable >> .lock.part && mv .lock.part requirements.lock

clean:  ## remove the environments (runs and data stay)
	rm -rf .venv .venv-fastdup

.venv/.installed: pyproject.toml requirements.lock
	@test -n '$(PYTHON)' || { echo 'dq_workbook needs Python 3.11, 3.12 or 3.13: install one, or say make PYTHON=/path/to/python3.11'; exit 1; }
	@echo 'some minutes: about 7 GB of packages go to .venv and .venv-fastdup'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install -q --no-compile $(LOCKED) -e '.[dev]'
	@$(BIN)/python -m compileall -q -j2 .venv/lib >/dev/null 2>&1 || true # on both cores; some files are of other Pythons
	@$(BIN)/pip install -q -e '.[guard]' >/dev/null 2>&1 || echo 'pdqhash could not be built (it needs a C++ compiler); one test, which compares hashes with it, is skipped'
	@$(BIN)/jupyter labextension disable '@jupyterlab/apputils-extension:announcements' >/dev/null 2>&1 || { echo 'JupyterLab could not be told to ask nobody for news and updates'; exit 1; }
	@if git rev-parse --git-dir >/dev/null 2>&1; then git config --local include.path ../.gitconfig; fi
	@touch $@

# fastdup needs older versions than the rest; without it the open auditor takes over and every report says so
$(FASTDUP): requirements-fastdup.txt
	@{ test -x .venv-fastdup/bin/python || $(or $(FASTDUP_PYTHON),false) -m venv .venv-fastdup; } \
	  && .venv-fastdup/bin/pip install -q --upgrade -r requirements-fastdup.txt && touch $@ \
	  || echo 'fastdup could not be installed (it needs Python 3.11 or 3.12); the open auditor, the default, does without it, and `make fastdup` tries again'

.PHONY: help setup sweep smoke reproduce bench-audit bench-unseen bench-fingerprints bench-statistics bench-train bench-scale bench-sweep lint test lab paper results docs docs-site fingerprints export fastdup lock clean
