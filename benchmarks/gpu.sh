#!/bin/sh
# Training and sampling at full size on one GPU; see benchmarks/gpu.py. Arguments are passed on:
#
#     benchmarks/gpu.sh [--peak FLOPS] [--small]
#
# Compiling takes most of the time: on a machine of 16 cores with an H100, 127 s for the training step in bfloat16, and
# over 3 minutes in float32. Compilations are kept, so that a second run begins where the first was broken off.
#
# PYTHON is the interpreter, by default that of .venv. CUDA_VISIBLE_DEVICES says which GPU, by default the first.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES:-0}
JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/pfgm_jax/jax}
export CUDA_VISIBLE_DEVICES JAX_COMPILATION_CACHE_DIR PYTHONUNBUFFERED=1
if command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=name,driver_version,clocks.max.sm --format=csv,noheader --id="$CUDA_VISIBLE_DEVICES"
fi
start=$(date +%s)
for dtype in float32 bfloat16; do
    "$PYTHON" -m benchmarks.gpu --dtype "$dtype" "$@"
done
echo "$(($(date +%s) - start)) s in all"
