# Every target works from any directory: make -C path/to/deltabox test
run := npm run --silent
# Looked for when it is used: setup may just have installed it.
clang_format = $(or $(shell command -v clang-format-14),clang-format)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' Makefile

.PHONY: setup
setup: .make/npm-ci ## check this machine, install what is missing, npm ci
	@scripts/setup.sh build

.PHONY: build
build: .make/setup-build .make/npm-ci ## the engine and the packages
	$(MAKE) -C native
	$(run) build

.PHONY: test
test: .make/setup-test build ## native tests, unit tests, end-to-end tests
	$(MAKE) -C native test
	$(run) test

.PHONY: check
check: .make/setup-check build ## format, lint, types, unused code, sanitizers, analyzer
	$(run) lint
	find native -path native/build -prune -o -name '*.[ch]' -print0 | xargs -0 -r $(clang_format) --dry-run -Werror
	$(run) typecheck
	$(run) unused
	$(MAKE) -C native asan-test
	$(MAKE) -C native analyze

.PHONY: demo
demo: .make/setup-demo build ## a search for a bug, under a minute: the tree as it grows, and the same without checkpoints
	@node --import tsx examples/demo/main.ts

.PHONY: tour
tour: build ## a guided tour of the command line
	./examples/tour.sh

.PHONY: bench
bench: .make/setup-bench build ## what it costs here, beside what others cost: a report, half an hour (`deltabox bench --quick`: two minutes)
	-scripts/fetch-criu.sh
	-scripts/fetch-runsc.sh
	./bin/deltabox bench --check

.PHONY: format
format: .make/setup-check .make/npm-ci ## rewrite sources in the house format
	$(run) format
	find native -path native/build -prune -o -name '*.[ch]' -print0 | xargs -0 -r $(clang_format) -i

.PHONY: asan
asan: .make/setup-build ## the engine under address and undefined-behaviour sanitizers
	$(MAKE) -C native asan

.PHONY: clean
clean: ## remove everything that is built
	$(MAKE) -C native clean
	rm -rf packages/*/dist .make

.make/setup-%: scripts/setup.sh
	@scripts/setup.sh $*
	@mkdir -p .make && touch $@

# A stamp outlives a removed node_modules; npm's own record of what it installed does not.
installed := node_modules/.package-lock.json
.make/npm-ci: package-lock.json package.json $(wildcard packages/*/package.json) $(if $(wildcard $(installed)),,FORCE) | .make/setup-build
	npm ci --loglevel=error
	@mkdir -p .make && touch $@

.PHONY: FORCE
FORCE:
