#!/usr/bin/env bash
# Let idle cores train: go on with a recipe's newest state, or begin it, behind all other work.
#
#     scripts/train_idle.sh RECIPE FOLDER [options of `dynapoint train`]
#
# FOLDER holds training.pt (weights, their average, optimisers), weights.safetensors, log.jsonl, the
# output and the process's number (`kill -STOP $(cat FOLDER/pid)` while something is timed, -CONT
# after). It runs a copy of this checkout's code, which later edits do not touch.
set -euo pipefail
recipe=$1 folder=$(realpath -m "$2")
shift 2
cd "$(dirname "$0")/.."
python=$PWD/.venv/bin/python
[ -x "$python" ] || python=${PYTHON:-python3}
if [ -f "$folder/pid" ] && kill -0 "$(cat "$folder/pid")" 2>/dev/null; then
    echo "a run goes on in $folder already (process $(cat "$folder/pid"))" >&2
    exit 1
fi
mkdir -p "$folder"
rm -rf "$folder/code"
mkdir "$folder/code"
cp -r src scripts "$folder/code/"
resume=()
[ -f "$folder/training.pt" ] && resume=(--resume)
cd "$folder/code"
export PYTHONPATH=$PWD/src
# Threads of OpenMP that wait for each other beside other work cost ten times what they bring.
export OMP_NUM_THREADS=1
# glibc would hand memory back to the system at each step and fault it in again.
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_TOP_PAD_=67108864
setsid nohup nice -n 19 "$python" scripts/gpu/train.py "$recipe" --output "$folder" \
    "${resume[@]}" "$@" >>"$folder/out.log" 2>&1 </dev/null &
pid=$!
echo "$pid" >"$folder/pid"
# Where sessions are scheduled as groups, the group has to yield, not the process alone.
sleep 1
echo 19 >"/proc/$pid/autogroup" 2>/dev/null || true
echo "training $recipe in $folder as process $pid"
