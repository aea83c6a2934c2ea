# Imprint. `make demo` and `make test` are all that a fresh Debian 12 needs, as root.

SHELL := /bin/sh
export PATH := $(HOME)/.cargo/bin:$(PATH):/usr/sbin:/sbin

# What is built with, what the playground is made of, and what it runs.
PACKAGES := \
	binutils build-essential ca-certificates cpio libseccomp-dev lz4 pkg-config xz-utils zstd \
	busybox-static containerd containernetworking-plugins erofs-utils iproute2 iptables kmod \
	qemu-system-x86 qemu-utils runc skopeo umoci

PLAYGROUND := target/release/imprint-playground

# Flags of `make bench`, as --quick or --samples 100.
BENCH_FLAGS :=

.PHONY: help demo bench check test up down build guest guest-kernel lint fmt scripts shellcheck clippy deny unit e2e test-containerd test-nested packages deny-tool clean

help:
	@echo 'make demo    run one container in booted and in restored VMs, and compare'
	@echo 'make bench   measure what SPECIFICATION.md promises; fails where a promise is broken'
	@echo 'make check   format, clippy and unit tests of what changed: before a push'
	@echo 'make test    everything that CI checks'
	@echo 'make test-nested  the tests that need KVM, vhost-vsock and cgroup v2, in a machine that has them'
	@echo 'make up      leave a private containerd with Imprint running: eval "$$(make -s up)"'
	@echo 'make down    remove it'
	@echo 'make guest-kernel  a guest with a small kernel of its own, built from source'
	@echo 'make build   the binaries; make guest: the guest; make lint, make unit, make e2e: parts of test'
	@echo 'make test-containerd  the end-to-end tests with containerd 1.7 and 2.1 too'

demo: packages build guest
	@$(PLAYGROUND) demo

bench: packages build guest
	@$(PLAYGROUND) bench $(BENCH_FLAGS)

# Only what the playground prints may reach standard output: a shell evaluates it.
up:
	@$(MAKE) --no-print-directory packages build guest >&2
	@$(PLAYGROUND) up

down:
	@if [ -x $(PLAYGROUND) ]; then $(PLAYGROUND) down; else cargo run --quiet --locked -p playground -- down; fi

# What changed since the commit BASE, or since the upstream branch.
check:
	@tests/check.sh $(BASE)

test: packages shellcheck deny-tool
	@tests/run.sh

build: packages
	@cargo build --release --locked -p shim -p cli -p playground --bins >&2

guest: packages
	@guest/build.sh build/guest >&2

# Takes minutes. Only needed for a smaller kernel than Debian's.
guest-kernel: packages
	@tests/install-packages.sh bc bison flex libelf-dev >&2
	@guest/kernel.sh build/guest-kernel >&2

lint: fmt scripts clippy deny

fmt:
	cargo fmt --all --check

scripts: packages shellcheck
	tests/scripts.sh

clippy: packages
	cargo clippy --workspace --all-targets --locked -- -D warnings

deny: deny-tool
	cargo deny --all-features check bans licenses sources

unit: packages
	cargo test --workspace --locked

e2e: packages build guest
	IMPRINT_E2E=1 cargo test --locked -p e2e-tests --test e2e --test cri

# All end-to-end tests, with each containerd that another Debian suite has.
test-containerd: packages build guest
	@for release in 1.7 2.1; do \
		IMPRINT_CONTAINERD=$$release IMPRINT_E2E=1 cargo test --locked --no-fail-fast -p e2e-tests --test e2e --test cri || exit 1; \
	done

test-nested: packages build guest
	@tests/nested/all.sh

packages:
	@tests/install-packages.sh $(PACKAGES) >&2

shellcheck:
	@tests/install-packages.sh shellcheck >&2

deny-tool:
	@cargo deny --version >/dev/null 2>&1 || cargo install --quiet --locked --debug --config profile.dev.debug=false cargo-deny@0.20.2 >&2

clean:
	cargo clean
	rm -rf build
