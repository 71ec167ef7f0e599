#!/usr/bin/env bash
# Checks on a machine with a CUDA device: versions, the tests marked gpu, the benchmark, a short real CIFAR-10 run, and the
# robustness, audit, corruptions and calibration of a short supervised one.
#
#   scripts/gpu_check.sh DATA [OUT]
#
#   DATA     CIFAR-10: a folder with the archive, a tree or a zip with {train,test}/CLASS/image
#   OUT      folder for the log, the benchmark and the run (default runs/gpu-check)
#   PYTHON   interpreter that has the dependencies (default .venv/bin/python, else python3)
#   RECIPE, CHANNELS, BATCH, IMAGES, EPOCHS   the run (default: network of Habibi, OIST 2025; 5,120 images, 2 epochs)
#
# The package is imported from this checkout and need not be installed. Exit code: 0 only if every part passed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
[ $# -ge 1 ] || { sed -n '5,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }
DATA=$1
OUT=${2:-runs/gpu-check}
if [ -z "${PYTHON:-}" ]; then
    if [ -x .venv/bin/python ]; then PYTHON=.venv/bin/python; else PYTHON=python3; fi
fi
RECIPE=${RECIPE:-cifar10-akorn-xphinet-400}
CHANNELS=${CHANNELS:-128}
BATCH=${BATCH:-512}
IMAGES=${IMAGES:-5120}
EPOCHS=${EPOCHS:-2}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
mkdir -p "$OUT"
exec > >(tee "$OUT/gpu-check.log") 2>&1

failed=()
part() { # part NAME COMMAND...: run the command, print its duration, record a failure
    local name=$1 start=$SECONDS
    shift
    echo "== $name"
    if "$@"; then echo "== $name: passed, $((SECONDS - start)) s"; else
        echo "== $name: FAILED with exit code $?, $((SECONDS - start)) s"
        failed+=("$name")
    fi
}

versions() {
    "$PYTHON" - <<'PY'
import importlib.metadata as metadata
import platform
import sys

missing = []
print("python", platform.python_version())
for name in ("torch", "torchvision", "pytorch-lightning", "lightly", "timm", "kornia", "pyautoattack", "scikit-learn",
             "omegaconf", "pydantic", "safetensors", "jaxtyping", "beartype", "pytest", "rich", "matplotlib"):
    try:
        print(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        missing.append(name)
if missing:
    sys.exit(f"missing here: {', '.join(missing)}")
import torch

if not torch.cuda.is_available():
    sys.exit("torch sees no CUDA device")
properties = torch.cuda.get_device_properties(0)
print(f"device {properties.name}, {properties.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}")
PY
}

run() {
    local run="$OUT/$RECIPE"
    "$PYTHON" -m sslkuramoto.cli train "$RECIPE" --run "$run" "data.root=$DATA" "data.limit=$IMAGES" \
        "encoder.channels=$CHANNELS" "batch_size=$BATCH" "epochs=$EPOCHS" engine.device=cuda measure.log_every=1 \
        measure.checkpoint_every=1 "$@" &&
        "$PYTHON" -m sslkuramoto.cli evaluate "$run" knn data.limit=2000 data.limit_test=500 --device cuda &&
        tail -n 1 "$run/metrics.csv"
}

evaluation() { # of a network that is hardly trained: only that it runs, and for how long, is of interest
    local run="$OUT/judged"
    "$PYTHON" -m sslkuramoto.cli train cifar10-akorn-supervised --run "$run" "data.root=$DATA" "data.limit=$IMAGES" \
        encoder.channels=64 batch_size=256 "epochs=$EPOCHS" engine.device=cuda &&
        "$PYTHON" -m sslkuramoto.cli evaluate "$run" robustness-linf --dry-run --device cuda &&
        "$PYTHON" -m sslkuramoto.cli evaluate "$run" robustness-quick audit-quick images=16 chunk=16 --device cuda &&
        "$PYTHON" -m sslkuramoto.cli evaluate "$run" corruptions calibration data.limit_test=500 --device cuda
}

part versions versions
if [ ${#failed[@]} -eq 0 ]; then
    part "tests on the device" "$PYTHON" -m pytest -m gpu -p no:cacheprovider --durations=5
    part "benchmark" "$PYTHON" scripts/benchmark.py step memory attention --device cuda --json "$OUT/benchmark.json"
    part "$RECIPE, $CHANNELS channels, $IMAGES images" run
    part "robustness, audit, corruptions and calibration of a network trained on $IMAGES images" evaluation
fi
echo "== total $SECONDS s"
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
