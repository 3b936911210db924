# One word a task; `make help` lists them. Nothing needs to be installed but
# Go, make and git, and for test-race a C compiler: what else a target uses it
# fetches itself, into .cache/ or Go's own cache.

SHELL       := /bin/sh
.DEFAULT_GOAL := help

VERSION     := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS     := -s -w -X vhost-user-nvgre/cmd/internal/version.stamped=$(VERSION)

# Linters are pinned: a new version is a change to look at.
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOFUMPT     := mvdan.cc/gofumpt@v0.12.0
GOLANGCI    := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

# Everything but what boots guests.
UNIT        = $$(go list ./... | grep -v '^vhost-user-nvgre/guest-tests')

TOOLPATH    = PATH='$(CURDIR)/.cache/tools':"$$PATH"

FUZZTIME    ?= 10s

.PHONY: help build demo demo-compare bench tools test test-unit test-race test-guest fuzz lint golangci cover conformance clean

help: ## list the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build the programs into bin/
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/vhost-user-nvgre ./cmd/nvgrectl ./cmd/nvgre-guest

demo: ## two guests exchange traffic through the daemon, on both front ends
	@go run ./guest-tests/cmd/demo

demo-compare: ## the same two guests over the daemon, over taps on a bridge, over testpmd
	@go run ./guest-tests/cmd/compare

bench: ## packet rates of one shard against one core of testpmd; BENCH='--help' for options
	@go run ./guest-tests/cmd/bench $(BENCH)

test: lint test-unit test-race test-guest ## run all checks and tests

test-unit: tools ## run the unit tests and the seeds of the fuzz targets
	$(TOOLPATH) go test -timeout 10m $(UNIT)

test-race: tools ## the same under the race detector
	$(TOOLPATH) CGO_ENABLED=1 go test -race -timeout 20m $(UNIT)

test-guest: ## boot guests and test the daemon from outside (fetches QEMU and a kernel)
	go test -count 1 -p 1 -timeout 90m ./guest-tests/...

# Programs that unit tests check results with.
tools:
	@mkdir -p .cache/tools
	@go build -o .cache/tools/lab ./guest-tests/cmd/lab
	@printf '#!/bin/sh\nexec "%s/lab" run tshark "$$@"\n' '$(CURDIR)/.cache/tools' > .cache/tools/tshark
	@chmod +x .cache/tools/tshark
	.cache/tools/lab prepare tshark

fuzz: ## run every fuzz target for FUZZTIME (10s)
	scripts/fuzz.sh $(FUZZTIME)

lint: ## go vet, staticcheck and gofumpt
	go vet ./...
	go run $(STATICCHECK) ./...
	@out=$$(git ls-files -z -co --exclude-standard '*.go' | xargs -0 go run $(GOFUMPT) -l) && \
		if [ -n "$$out" ]; then echo "not formatted, run gofumpt -w on:"; echo "$$out"; exit 1; fi

golangci: ## more linters, .golangci.yml has the list
	go run $(GOLANGCI) run ./...

cover: ## line coverage by unit tests of all but the programs, at least 85 %
	scripts/cover.sh 85

conformance: ## write docs/conformance.md from the tests' comments
	go run ./scripts/conformance

clean: ## remove bin/; what was fetched into .cache/ stays
	rm -rf bin
