#!/usr/bin/env bash
# The way to a GPU machine and back without one: on this computer, ten small steps a part, in an empty folder.
#
#     tools/gpu_rehearse.sh DATA BARE_PYTHON [FOLDER]
#
# BARE_PYTHON: a python with what docs/gpu.md asks for and nothing else. FOLDER: where all of it lies; made anew. PYTHON:
# one with the whole package, which exports a model from what came back and makes the demo speak with it.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
data=${1:?give a prepared folder} bare=${2:?give the bare python} folder=$(realpath -m "${3:-$root/out/rehearsal}")
export PYTHON=${PYTHON:-$root/.venv/bin/python} PARTS=${PARTS:-sharp painter folds}
demo=$root/src/difftalk/demo
difftalk() { PYTHONPATH=$root/src "$PYTHON" -m difftalk "$@"; }

[ ! -e "$folder" ] || [ -f "$folder/there/gpu/train.sh" ] || { echo "$folder holds something else" >&2 && exit 1; }
rm -rf "$folder"
mkdir -p "$folder/there"
"$root/tools/gpu_carry.sh" "$data" "$folder/gpu"
cp -r "$folder/gpu" "$folder/there/"
(cd "$folder/there" && env -u PYTHONPATH PYTHON="$bare" DEVICE=cpu STEPS="${STEPS:-10}" MINUTES="${MINUTES:-60}" \
    SET="schedule.rows=64 schedule.batch=4 ${SET:-}" OUT="$folder/back" bash gpu/train.sh)
large=$(find "$folder/back" -type f -size +16384k)
count=$(find "$folder/back" -type f | wc -l)
[ -z "$large" ] && [ "$count" -le 8 ] || { echo "too much comes back: $count files; over 16 MiB: ${large:-none}" >&2 && exit 1; }

PYTHONPATH=$root/src "$PYTHON" "$root/tools/parcel.py" join "$folder/back" "$folder/runs"
given=()
for name in painter folds motion head joint sharp; do # the last of a kind wins
    case $name in joint | sharp) kind=denoiser ;; *) kind=$name ;; esac
    [ ! -f "$folder/runs/$name.safetensors" ] || given+=("--$kind" "$folder/runs/$name.safetensors")
done
difftalk export "$folder/model" "${given[@]}"
difftalk animate "$demo/portrait.jpg" "$demo/voice.wav" -o "$folder/demo.mp4" --model "$folder/model"
echo "rehearsed in $SECONDS s: $folder/demo.mp4"
