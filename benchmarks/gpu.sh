#!/bin/sh
# What a machine with a GPU is asked for, in one command from anywhere:
#     sh benchmarks/gpu.sh [DATA]
# With torch alone: benchmarks/gpu.py. With `pip install ".[dev]"` also the tests that need a GPU, and with DATA (MSD
# Task04_Hippocampus with a split.json) IMA and standard training on hippocampus_3d at three seeds, resumable.
set -e
cd "$(dirname "$0")/.."
PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONPATH
python benchmarks/gpu.py
if python -c "import pytest, hypothesis, monai, nibabel" 2> /dev/null; then
    python -m pytest -q -n0 tests/test_gpu.py tests/test_tiling.py -k "gpu or cuda or device or attacks or margins"
    if [ -n "$1" ]; then
        python benchmarks/hippocampus_3d.py "$1" --runs standard ima --seeds 0 1 2 --out work/gpu_hippocampus_3d
    else
        echo "hippocampus_3d was left out: give DATA."
    fi
else
    echo "Tests and hippocampus_3d were left out: pip install '.[dev]' first."
fi
