# Everything that is done with this repository. `make` builds; README.md says what to type
# first. Go finds its toolchain and modules by itself.

GO      ?= go
BUILD   := build
VERSION := $(shell git describe --always --dirty --tags 2>/dev/null || echo devel)
LDFLAGS := -s -w -X postroad/internal/server.version=$(VERSION)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.7.0
FUZZTIME ?= 30s
PREFIX  ?= /usr/local
BENCH   ?= /tmp/mailbench

.PHONY: bench-go bench-peers all build man install run test unit check format vet staticcheck arch race interop crash fuzz jmap-seeds bench bare clean

all: build

# One static binary, without cgo.
build:
	@mkdir -p $(BUILD)
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BUILD)/postroad ./cmd/postroad

# The manual pages, from the program's own help and the configuration's comments.
man: build
	@mkdir -p docs/man
	$(BUILD)/postroad man 1 > docs/man/postroad.1
	$(BUILD)/postroad man 5 > docs/man/postroad.toml.5

# The program, its manual and completion for shells, below DESTDIR and PREFIX.
install: build
	install -D -m 755 $(BUILD)/postroad $(DESTDIR)$(PREFIX)/bin/postroad
	install -D -m 644 docs/man/postroad.1 $(DESTDIR)$(PREFIX)/share/man/man1/postroad.1
	install -D -m 644 docs/man/postroad.toml.5 $(DESTDIR)$(PREFIX)/share/man/man5/postroad.toml.5
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	$(BUILD)/postroad completion bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/postroad
	$(BUILD)/postroad completion zsh > $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_postroad
	$(BUILD)/postroad completion fish > $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/postroad.fish

# The whole system on loopback, with accounts, and what to type into a mail program.
run: build
	$(BUILD)/postroad demo

# Units with the fuzz seeds, floors, and one scenario with each real mail program.
test: peers build
	CGO_ENABLED=0 POSTROAD_BINARY=$(CURDIR)/$(BUILD)/postroad $(GO) test ./...

unit:
	$(GO) test ./address/... ./dns/... ./imap/... ./managesieve/... ./message/... ./pop3/... ./report/... ./sasl/... ./smtp/... ./internal/... ./cmd/...

# The mail programs that the tests talk to, installed as root the first time.
.PHONY: peers
peers:
	test/peers.sh

# What a change must pass before it lands.
check: format vet staticcheck arch race

format:
	@files=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$files" ]; then echo "gofmt: $$files"; exit 1; fi

vet:
	$(GO) vet ./...
	$(GO) vet -tags interop,crash ./test/...

staticcheck:
	$(GO) run $(STATICCHECK) ./...

arch:
	$(GO) test ./internal/arch

race:
	$(GO) test -race -short $$($(GO) list ./... | grep -v '/test/')

# Every scenario with every real mail program.
interop: peers build
	POSTROAD_BINARY=$(CURDIR)/$(BUILD)/postroad $(GO) test -tags interop -count 1 -p 1 -timeout 60m ./test/interop/...

# kill -9, full disks and power cuts under load.
crash: build
	POSTROAD_BINARY=$(CURDIR)/$(BUILD)/postroad CRASH_CYCLES=$${CRASH_CYCLES:-50} $(GO) test -tags crash -count 1 -timeout 120m -v ./test/crash/...

# A thousand random sequences of changes through IMAP, LMTP and JMAP at once, with clients of
# JMAP that follow (twenty of them are in `make test`).
jmap-seeds:
	POSTROAD_TOGETHER_SEEDS=$${POSTROAD_TOGETHER_SEEDS:-1000} $(GO) test -run '^TestTogether$$' -count 1 -timeout 60m ./internal/server

# Each fuzz target for FUZZTIME. Go makes each new input smaller for up to a minute, and counts
# no executions meanwhile: two seconds of that leave the time to looking for others.
fuzz:
	@set -e; for f in $$(git grep -l 'func Fuzz' -- '*_test.go'); do \
	  for t in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' $$f); do \
	    echo "== $$(dirname $$f) $$t"; $(GO) test -run '^$$' -fuzz "^$$t\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 2s ./$$(dirname $$f); \
	  done; done

# Go benchmarks, and postroad beside the peers.
bench: bench-go bench-peers

bench-go:
	$(GO) test -run '^$$' -bench . -benchmem ./...

# Postroad beside Postfix, Dovecot and Cyrus in one run, as root; about an hour. It ends with
# the tables in bench/RESULTS.md (bench/README.md).
bench-peers: build
	bench/peers.sh
	BENCH=$(BENCH) POSTROAD=$(CURDIR)/$(BUILD)/postroad GO=$(GO) bench/side.sh

# A bare Debian 12: clone, make run with one mail through it, make test.
bare:
	test/bare.sh

clean:
	rm -rf $(BUILD)
