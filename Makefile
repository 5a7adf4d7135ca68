# setup   .venv with everything, GPU or CPU stack by what the machine has
# demo    from nothing to report.html: generated corpus, four stages, report
# test    all tests, with the real Ray, Qwen3-VL, verl and vLLM
# check   lint, format, types, import contracts
# bench   the benchmarks; results go to benchmarks/results/
.PHONY: help setup demo test check bench bench-rewards bench-attacks bench-corpus bench-sft bench-plan bench-resume bench-stream clean
.DEFAULT_GOAL := help

PYTHON ?= >=3.11,<3.13
STACK ?= $(shell if ls /dev/nvidia[0-9]* >/dev/null 2>&1; then echo gpu; elif [ -e /dev/kfd ]; then echo rocm; else echo cpu; fi)
BIN := .venv/bin

help:
	@sed -n 's/^# //p' $(MAKEFILE_LIST)

setup: .venv/medmo-$(STACK)

.venv/medmo-$(STACK): pyproject.toml constraints.txt constraints-cpu.txt deploy/setup.sh
	@bash deploy/setup.sh "$(STACK)" "$(PYTHON)"
	@touch $@

demo: setup
	$(BIN)/python jobs/pipeline.py recipes/rehearsal/pipeline.yaml

test: setup
	$(BIN)/python -m pytest -n 2 -m "not integration"
	$(BIN)/python -m pytest --durations=10 -m integration

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

bench: bench-rewards bench-attacks bench-corpus bench-stream bench-sft bench-plan bench-resume

bench-rewards: setup
	$(BIN)/python benchmarks/bench_rewards.py
	$(BIN)/python benchmarks/bench_rewards_verl.py
	$(BIN)/python benchmarks/bench_reward_pool.py

bench-attacks: setup
	$(BIN)/python benchmarks/bench_attacks.py

bench-corpus: setup
	$(BIN)/python benchmarks/bench_corpus.py

bench-sft: setup
	$(BIN)/python benchmarks/bench_sft.py

bench-plan: setup
	$(BIN)/python benchmarks/bench_plan.py
	$(BIN)/python benchmarks/bench_preflight.py

bench-resume: setup
	$(BIN)/python benchmarks/drill_resume.py
	$(BIN)/python benchmarks/bench_checkpoint.py

bench-stream: setup
	uv pip install --quiet --no-deps --target .venv/peers --python $(BIN)/python --requirement benchmarks/stream_peers.txt
	$(BIN)/python benchmarks/bench_stream.py

clean:
	rm -rf .venv .mypy_cache .ruff_cache .hypothesis build *.egg-info
