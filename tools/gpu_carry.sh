#!/usr/bin/env bash
# Gathers what training on a bare GPU machine needs into one folder, and says how large it is.
#
#     tools/gpu_carry.sh DATA [FOLDER]     FOLDER is gpu/ unless given, and is made anew
#
# START    which of weights/ go along to start from: "denoiser painter" unless given
# LIMIT    MB (of a million bytes) that may travel at once: 66 unless given; FOLDER/data may travel apart from the rest
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
data=${1:?give a folder that difftalk prepare or pack wrote} folder=$(realpath -m "${2:-$root/gpu}")
start=${START-denoiser painter} limit=${LIMIT:-66}

bytes() { du -sb --apparent-size "$1" | cut -f1; }
line() { printf '%8.2f MB  %s\n' "$(bytes "$1")e-6" "$2"; }

[ -f "$data/index.parquet" ] || [ -f "$data/pack.json" ] || { echo "$data is no data to train on" >&2 && exit 1; }
[ ! -e "$folder" ] || [ -f "$folder/train.sh" ] || { echo "$folder holds something else" >&2 && exit 1; }
rm -rf "$folder"
mkdir -p "$folder/src/difftalk/weights" "$folder/start"
cp -rL "$data" "$folder/data"
rm -f "$folder/data/sheet.png"
cd "$root/src"
find difftalk -name '*.py' -not -path 'difftalk/evaluation/*' -exec cp --parents -t "$folder/src" {} +
cp --parents -t "$folder/src" difftalk/weights/{geometry.safetensors,mesh_topology.json}
cd "$root"
cp --parents -t "$folder" weights/lpips_alex.fp16.safetensors
for name in $start; do cp "weights/$name.safetensors" "$folder/start/"; done
cp tools/gpu_train.sh "$folder/train.sh"
cp tools/parcel.py "$folder/"

line "$folder/src" "code and geometry"
line "$folder/weights" "LPIPS"
line "$folder/start" "weights to start from: ${start:-none}"
line "$folder/data" "data"
line "$folder" "in all, of $limit: $folder"
of_data=$(bytes "$folder/data") of_rest=$(($(bytes "$folder") - $(bytes "$folder/data")))
if [ $((of_data + of_rest)) -gt $((limit * 1000000)) ]; then
    echo "too large to travel at once: $folder/data first, then the rest"
    [ "$of_data" -le $((limit * 1000000)) ] || { echo "too large: the data; pack fewer megabytes" >&2 && exit 1; }
    [ "$of_rest" -le $((limit * 1000000)) ] || { echo "too large: the rest; START= takes less along" >&2 && exit 1; }
fi
