# make run    the site and the hub on http://localhost:8000
# make test   every check and every test
# Both do all their set-up, once; what they need of the system is in .ci/system.
#
# Settings pass through: make run PORT=8001, or REDIS_URL=redis://localhost make run.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2

help:
	@sed -n 's/^# \{0,1\}//p; /^$$/q' Makefile

.PHONY: help
