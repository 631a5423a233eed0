#!/bin/sh
# Training and sampling at full size on one GPU, in under 8 minutes; see benchmarks/gpu.py. Arguments are passed on:
#
#     benchmarks/gpu.sh [--peak FLOPS] [--small]
#
# PYTHON is the interpreter, by default that of .venv. CUDA_VISIBLE_DEVICES says which GPU, by default the first.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES:-0}
export CUDA_VISIBLE_DEVICES
if command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=name,driver_version,clocks.max.sm --format=csv,noheader --id="$CUDA_VISIBLE_DEVICES"
fi
start=$(date +%s)
for dtype in float32 bfloat16; do
    "$PYTHON" -m benchmarks.gpu --dtype "$dtype" "$@"
done
echo "$(($(date +%s) - start)) s in all"
