#!/usr/bin/env bash
# Prepare a node of `ray up`: the packages of uv.lock, a C compiler for Triton, and a model's weights.
#
#   setup-node.sh CLOUD [MODEL]      CLOUD: aws, gcp. MODEL: small, medium, ...: a node with a GPU
#
# PyTorch is built for CUDA 13.0: a node with a GPU needs NVIDIA's driver 580 or later, which its image brings.
set -euo pipefail

cloud=$1
model=${2:-}
driver=580
source=$(cd "$(dirname "$0")/.." && pwd)
home=$HOME/musicgen

if [ -n "$model" ]; then
  found=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader | head -n 1)
  if [ "${found%%.*}" -lt "$driver" ]; then
    echo "NVIDIA's driver on this node is $found, and $driver or later is needed: choose another image for the node." >&2
    exit 1
  fi
fi

# A new machine may still be installing updates of its own: wait for them.
apt() { sudo apt-get -o DPkg::Lock::Timeout=600 --yes "$@"; }
apt update
apt install --no-install-recommends gcc libc6-dev libgomp1 python3-venv

# uv, by hash; then Python and every package of the lock, by hash.
python3 -m venv "$HOME/uv"
"$HOME/uv/bin/pip" install --quiet --require-hashes --no-deps --only-binary :all: -r "$source/cluster/build-tools.txt"
(cd "$source" && UV_PROJECT_ENVIRONMENT=$home "$HOME/uv/bin/uv" sync --frozen --no-dev --extra tracing --extra c2pa --extra postgres --extra redis --extra s3 --extra "$cloud" --python 3.11)

# For every shell of this user: Ray's own, and those of `ray exec` and `ray attach`.
cat > "$HOME/.musicgen" <<END
export PATH=$home/bin:\$PATH
export RAY_AUTH_MODE=token
export RAY_USAGE_STATS_ENABLED=0
export RAY_ENABLE_UV_RUN_RUNTIME_ENV=0
export MALLOC_ARENA_MAX=2  # heaps of the C library that threads share
export RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=serve_app.deployments.proxy_guard:middleware
export RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S=5  # three failed checks replace a proxy
END
grep -q '\.musicgen' "$HOME/.bashrc" || echo '. ~/.musicgen' >> "$HOME/.bashrc"

# Before the node joins: no replica waits for a download.
if [ -n "$model" ]; then "$home/bin/musicgen" fetch "$model"; fi
