# hopgate: everything a person or a CI machine runs. Needs Rust, Python 3 and make; what else is needed is installed
# into HOPGATE_CACHE, pinned by version and hash, and nothing is written outside it and target/. The tests also need curl,
# openssl, nginx, Java and Maven (for a Keycloak) and Go 1.26 (for an OPA, a Kubernetes API server, Helm, Kustomize and
# h2spec), the long ones containerd with runc and plugins of CNI, and buildah; on Debian, as root, all but Go are
# installed with apt-get where they are missing.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

export HOPGATE_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/hopgate
ARGS ?=
# The load generator, and the bare server that hopgate is compared with.
BENCH ?= cargo bench --locked --bench check --

.PHONY: help demo test test-all bench lint image build clean-cache need-cargo

help: ## list the targets
	@echo "usage: make TARGET [ARGS='...']"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "Tools are kept in $(HOPGATE_CACHE) (set HOPGATE_CACHE to move it)."

demo: need-cargo ## three services, a gate at every hop, real Envoys: walk the tour (ARGS=--keep leaves it running)
	@HOPGATE_ENVOY=$$(tests/tools/envoy.sh); export HOPGATE_ENVOY
	echo "==> building hopgate (minutes the first time, then seconds)" >&2
	cargo build --locked --profile quick --bin hopgate
	echo "==> hopgate demo $(ARGS)" >&2
	exec target/quick/hopgate demo $(ARGS)

test: need-cargo ## every test that fits in minutes, with a real Envoy, nginx, Keycloak and Node
	@tests/tools/test.sh $(ARGS)

test-all: need-cargo ## the same and the long ones, with a real Directus and a cluster of one node
	@HOPGATE_LONG=1 tests/tools/test.sh $(ARGS)

bench: need-cargo ## CPU per Check as a ratio to a bare server that always answers OK, time per decision, certificates per core, a thousand sidecars
	@echo "==> building the optimised binary and the benches (several minutes the first time), then measuring" >&2
	$(BENCH) $(ARGS)
	cargo bench --locked --bench decide
	cargo bench --locked --bench ca
	HOPGATE_KUBE=$$(tests/tools/kube.sh); export HOPGATE_KUBE
	cargo bench --locked --bench discovery

lint: need-cargo ## format, clippy and documentation, every warning an error
	@cargo fmt --version >/dev/null && cargo clippy --version >/dev/null || { \
	  echo "error: rustfmt and clippy are needed; they are components of the Rust toolchain" >&2; exit 1; }
	echo "==> format" >&2
	cargo fmt --check
	echo "==> clippy" >&2
	cargo clippy --locked --profile quick --all-targets -- -D warnings
	echo "==> documentation" >&2
	RUSTDOCFLAGS=-Dwarnings cargo doc --locked --profile quick --no-deps --document-private-items

image: need-cargo ## a container image of the static binary, as an OCI archive in the cache
	@tests/tools/image.sh

build: need-cargo ## the release binary, target/release/hopgate
	@echo "==> building the release binary (several minutes the first time)" >&2
	cargo build --locked --release --bin hopgate

clean-cache: ## remove the tools that the other targets installed
	@if [ ! -e "$(HOPGATE_CACHE)" ]; then echo "==> there is no $(HOPGATE_CACHE)" >&2; exit 0; fi
	if [ ! -e "$(HOPGATE_CACHE)/.hopgate-cache" ]; then
	  echo "error: $(HOPGATE_CACHE) was not made by this Makefile; left alone" >&2; exit 1
	fi
	echo "==> removing $(HOPGATE_CACHE)" >&2
	rm -rf -- "$(HOPGATE_CACHE)"

need-cargo:
	@command -v cargo >/dev/null || { \
	  echo "error: cargo is missing; hopgate needs Rust $$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml) or newer" >&2; exit 1; }

# Each recipe is one script: a variable set in a line is there in the next.
.ONESHELL:
