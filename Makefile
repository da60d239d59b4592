# Two commands on a fresh machine: `make run` and `make test`. `make help` lists the rest.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
export PATH := $(CURDIR)/.venv/bin:$(PATH)
CORES ?= all
# Tests of services wait half of the time; those of a file share what they bring up.
SIDE_BY_SIDE = -q -n 4 --dist loadfile --no-loadscope-reorder --durations=25

.PHONY: help setup setup-dev setup-lab setup-bench setup-services run lab report check test test-unit test-workflow test-lake test-xrootd test-condor test-slurm test-interactive bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | column -t -s "$$(printf '\t')"

setup: ## make the locked environments .venv and .venv-lake (the server of the embedded lake)
	@envs/setup workflow
	@envs/setup lake

setup-dev:
	@envs/setup dev
	@envs/setup lake

setup-lab: ## make .venv with JupyterLab in it
	@envs/setup lab
	@envs/setup lake

setup-bench:
	@envs/setup bench

run: setup ## run the three analyses on the embedded lake
	@nanolake run --cores $(CORES)

lab: setup-lab ## JupyterLab with the notebooks and the lake of config/config.yaml
	@nanolake lab

report: setup ## Snakemake's own report: results/snakemake-report.html
	snakemake --report results/snakemake-report.html

check: setup-dev ## linters, formatters, type checker
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow
	snakemake --lint
	mypy

# All at once what test-workflow, test-lake, test-xrootd, test-condor, test-slurm and test-interactive run one by one: what
# their tests share is then made once.
test: check setup-services test-unit ## all checks and tests
	pytest tests/workflow $(SIDE_BY_SIDE)
	pytest tests/services $(SIDE_BY_SIDE)

setup-services: setup-dev
	@envs/setup postgresql
	@envs/setup xrootd
	@envs/setup condor
	@envs/setup slurm
	@envs/setup hub

test-unit: setup-dev ## the package, without Snakemake
	pytest tests/unit -n auto -q

test-workflow: setup-dev ## real runs of the DAG
	pytest tests/workflow -q -k 'not test_lake and not test_xrootd and not test_condor and not test_coordinator and not test_slurm and not test_hub and not test_lab and not test_interactive and not test_notebooks'

test-lake: setup-services ## a real Rucio: the embedded lake, its client, faults, runs on it
	pytest tests/services -q -k 'lake and not xrootd'
	pytest tests/workflow/test_lake.py -q

test-xrootd: setup-services ## real XRootD: origins, caches, tokens, certificates, faults, runs on them
	pytest tests/services -q -k xrootd
	pytest tests/workflow -q -k xrootd

test-condor: setup-services ## a real HTCondor pool: jobs, credentials, faults, on one host and (as root) on three
	pytest tests/services -q -k condor
	pytest tests/workflow -q -k 'condor or coordinator'

test-slurm: setup-services ## a real Slurm cluster (as root): jobs, limits, faults, runs without a network
	pytest tests/services -q -k slurm
	pytest tests/workflow -q -k test_slurm

test-interactive: setup-services ## notebooks, Dask on all engines, labs, JupyterHub in a browser (as root, with Chromium)
	pytest tests/unit/test_lab.py tests/services/test_testbed_issuer.py -q
	pytest tests/workflow -q -k 'test_interactive or test_notebooks or test_hub or test_lab'

bench: setup-bench ## measure; writes benchmarks/results
	python benchmarks/run.py
	@envs/setup xrootd
	python benchmarks/streaming.py
	@envs/setup condor
	python benchmarks/pool.py
	@envs/setup slurm
	[ $$(id -u) -ne 0 ] || python benchmarks/cluster.py # a cluster needs root
	python benchmarks/interactive.py

clean: ## remove results, logs, synthetic inputs and the services of the test-bed; keep the environments
	[ ! -d resources/lake ] || .venv/bin/testbed down lake
	[ ! -d resources/condor ] || .venv/bin/testbed down condor
	[ ! -d resources/slurm ] || .venv/bin/testbed down slurm
	[ ! -d resources/xrootd ] || .venv/bin/testbed down xrootd
	rm -rf results logs resources .snakemake
