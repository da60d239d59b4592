# Two commands on a fresh machine: `make run` and `make test`. `make help` lists the rest.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
export PATH := $(CURDIR)/.venv/bin:$(PATH)
CORES ?= all

.PHONY: help setup setup-dev setup-bench run report check test test-unit test-workflow bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | column -t -s "$$(printf '\t')"

setup: ## make the locked environment .venv
	@envs/setup workflow

setup-dev:
	@envs/setup dev

setup-bench:
	@envs/setup bench

run: setup ## run the three analyses on the embedded inputs
	@nanolake run --cores $(CORES)

report: setup ## Snakemake's own report: results/snakemake-report.html
	snakemake --report results/snakemake-report.html

check: setup-dev ## linters, formatters, type checker
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow
	snakemake --lint
	mypy

test: check test-unit test-workflow ## all checks and tests

test-unit: setup-dev ## the package, without Snakemake
	pytest tests/unit -n auto -q

test-workflow: setup-dev ## real runs of the DAG
	pytest tests/workflow -q

bench: setup-bench ## measure; writes benchmarks/results
	python benchmarks/run.py

clean: ## remove results, logs and synthetic inputs; keep the environment
	rm -rf results logs resources .snakemake
