# The commands of the house. `make help` lists them. The tests against real parts use the binary of `make demo`: one build
# for both, fast enough for video.
.DEFAULT_GOAL := help
.PHONY: help demo test test-rust test-real test-video test-kube lint bench bench-ways bench-video bench-onvif bench-kube image image-root install-test-tools kube-tools

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
VENV_PYTHON := $(TARGET_DIR)/venv/bin/python
IMAGE ?= onvif-uplink:dev

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## build and start camera, sidecar and gateway in one process; ARGS="--front 127.0.0.1:8800"
	@cargo build --locked --profile demo --no-default-features --bin onvif-uplink
	@exec $(TARGET_DIR)/demo/onvif-uplink demo $(ARGS)

test: test-rust test-real ## everything: unit, integration and architecture tests, then the tests against real parts

test-rust: ## only what cargo runs
	cargo test --locked

test-real: ## only the tests against parts that we did not write (CI=true: a missing part is an error)
	cargo build --locked --profile demo --no-default-features --bin onvif-uplink
	$(or $(wildcard $(VENV_PYTHON)),python3) tests/real/run.py $(ARGS)

test-video: ## 25 frames/s through the uplink without a lost one, for SECONDS=1800 (half an hour)
	cargo build --locked --profile demo --no-default-features --bin onvif-uplink
	VIDEO_SECONDS=$(or $(SECONDS),1800) $(or $(wildcard $(VENV_PYTHON)),python3) tests/real/run.py LongVideo

# The image of the tests holds the binary that ONVIF_UPLINK names; the Kubernetes client is in the default features only.
test-kube: ## the tests on a real one-node Kubernetes (needs root and `make kube-tools`)
	$(if $(ONVIF_UPLINK),,cargo build --locked --profile demo --bin onvif-uplink)
	$(or $(wildcard $(VENV_PYTHON)),python3) tests/kube/run.py $(ARGS)

lint: ## formatting, clippy for both feature sets, licences and sources of the dependencies
	cargo fmt --all -- --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --all-targets --no-default-features -- -D warnings
	tests/deny.sh

.PHONY: test-charts
test-charts: ## charts and manifests without a cluster (Helm and its checkers by `make kube-tools`)
	$(if $(ONVIF_UPLINK),,cargo build --locked --profile demo --bin onvif-uplink)
	$(or $(wildcard $(VENV_PYTHON)),python3) tests/charts/run.py $(ARGS)

bench: ## compare with plain nginx TLS and stunnel on this machine (minutes)
	cargo build --locked --profile bench --bin onvif-uplink
	python3 benches/bench.py --binary $(TARGET_DIR)/release/onvif-uplink $(ARGS)

bench-ways: ## how uplinks come up and come back: time to Online, a fleet of 10 000, a thin link (a quarter of an hour)
	cargo build --locked --profile bench --bin onvif-uplink
	python3 benches/ways.py --binary $(TARGET_DIR)/release/onvif-uplink $(ARGS)

bench-video: ## what an uplink does to video, beside the same cameras without it (minutes); ARGS=--quick
	cargo build --locked --profile bench --bin onvif-uplink
	python3 benches/video.py --binary $(TARGET_DIR)/release/onvif-uplink $(ARGS)

bench-kube: ## edit to effect in a pod, load at the API server, start to Online (needs what test-kube needs); ARGS="--edits 20"
	$(if $(ONVIF_UPLINK),,cargo build --locked --profile bench --bin onvif-uplink)
	ONVIF_UPLINK=$(or $(ONVIF_UPLINK),$(TARGET_DIR)/release/onvif-uplink) \
	  $(or $(wildcard $(VENV_PYTHON)),python3) tests/kube/run.py --shell $(or $(wildcard $(VENV_PYTHON)),python3) benches/kube.py $(ARGS)

bench-onvif: ## what user levels, the device's credentials and rewriting cost, beside the same uplink without them (minutes)
	cargo build --locked --profile bench --bin onvif-uplink
	python3 benches/onvif.py --binary $(TARGET_DIR)/release/onvif-uplink $(ARGS)

image: ## build the container image (needs docker with buildx); IMAGE=name:tag
	docker buildx build --load --build-arg REVISION="$$(git rev-parse HEAD)" -t $(IMAGE) .

image-root: ## prove the image's contents without an engine: the static binary in an empty root
	tests/image.sh

install-test-tools: ## install what the tests use (Debian packages, a Python environment under target/)
	tests/install-tools.sh

kube-tools: ## build Helm, its checkers and the parts of a Kubernetes node from pinned Go modules (12 minutes the first time)
	tests/build-tools.sh
