# Everything the project does to itself. Flags live here and nowhere else; CI and
# people run the same targets.

SHELL       := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GO        ?= go
FUZZTIME  ?= 60s
BENCH     ?= .
COUNT     ?= 1
RUNS      ?= 1
SOAK      ?= 20m
LINTER    := v2.15.0
GOLANGCI  := $(shell command -v golangci-lint || echo bin/golangci-lint)
REPORT     = $(GO) run ./test/report
# Packages that start goroutines: those are worth the race detector's time.
CONCURRENT = $(wildcard $(addprefix internal/,agent agentapi gateway control edge fetch filehash hoststate ledger node publish session store swarm transport nat portmap cli))
# -tags and -trimpath of the one static binary.
BUILD      = CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w'
# What make bench runs, and with which flags beside -runs.
BENCHES   := flash neverslower mixed validate edges spike versions edge manners nat paths get disk video
flash      = -case all -what all
PLATFORMS := linux/amd64 linux/arm64 darwin/arm64 windows/amd64 freebsd/amd64

.PHONY: help build test race fuzz micro bench soak lint fmt demo demo-video cross vectors deps clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/tandem, one static binary
	$(BUILD) -o bin/tandem ./cmd/tandem

test: deps ## every test; ends with the counts of passed, failed and skipped
	@{ $(GO) test -json -timeout 12m $$($(GO) list ./... | grep -v '/test/') || true; \
	   $(GO) test -json -timeout 25m -count=1 -p 1 ./test/... || true; } | $(REPORT)

race: ## the race detector on the packages that start goroutines
	@{ $(GO) test -json -race -short -timeout 15m $(addprefix ./,$(addsuffix /...,$(CONCURRENT))) || true; } | $(REPORT)

fuzz: ## every fuzz target for FUZZTIME (60s)
	@grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u | while read -r d; do \
	  for f in $$(grep -ho '^func Fuzz[A-Za-z0-9_]*' $$d/*_test.go | cut -c6-); do \
	    echo "$$d $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$d; done; done

micro: ## Go benchmarks matching BENCH, COUNT times
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) ./...

bench: build ## the figures of bench/results, RUNS times each; as root, 75 minutes a run
	@began=$$SECONDS; failed=; \
	$(foreach b,$(BENCHES),echo "== $(b), after $$(( (SECONDS - began) / 60 )) min"; \
	  $(GO) run ./bench/$(b) -binary $(CURDIR)/bin/tandem -runs $(RUNS) $($(b)) || failed="$$failed $(b)";) \
	for b in $(BENCHES); do echo; cat bench/results/$$b.md || true; done; \
	echo; echo "$$(( (SECONDS - began + 59) / 60 )) minutes, failed:$${failed:- none}"; [[ -z $$failed ]]

soak: build ## clients that come and go for SOAK (20m), as root; no file may fail, nothing may grow
	$(GO) run ./bench/soak -binary $(CURDIR)/bin/tandem -for $(SOAK)

lint: $(filter bin/%,$(GOLANGCI)) ## golangci-lint with .golangci.yml
	$(GOLANGCI) run ./...

fmt: $(filter bin/%,$(GOLANGCI)) ## gofumpt and goimports
	$(GOLANGCI) fmt ./...

bin/golangci-lint:
	GOBIN=$(CURDIR)/bin $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINTER)

demo: build ## a real file to a dozen clients on this machine; FILE=path adds one of yours
	@$(GO) run ./bench/demo -tandem bin/tandem $(if $(FILE),-file '$(FILE)')

demo-video: build ## a stream to a dozen players on hosts of their own, with and without peers; as root, 5 minutes
	@$(GO) run ./bench/video -binary $(CURDIR)/bin/tandem -save=false -report bin/demo-video.html

cross: ## the binary for every platform
	@for p in $(PLATFORMS); do o=bin/tandem-$${p//\//-}; [[ $$p == windows/* ]] && o=$$o.exe; \
	  echo "$$o"; GOOS=$${p%/*} GOARCH=$${p#*/} $(BUILD) -o "$$o" ./cmd/tandem; done

vectors: ## write testdata/vectors anew
	$(GO) test ./internal/manifest ./internal/chunkmap ./internal/track ./internal/grant ./internal/wire -run Vectors -args -update

deps: ## install the programs that tests drive (Debian, as root); elsewhere those tests are skipped
	@.ci/deps

clean: ## remove what was built
	rm -rf bin
