#!/usr/bin/env bash
# Gathers what training on a bare GPU machine needs into one folder, and says how large it is.
#
#     tools/gpu_carry.sh DATA [FOLDER]     FOLDER is gpu/ unless given, and is made anew
#
# START    what goes along to start from, each NAME of weights/, or NAME=RUN or NAME=FILE.safetensors: what there is in
#          weights/ of "denoiser painter folds head" unless given
# LIMIT    MB (of a million bytes) that may travel at once: 66 unless given; FOLDER/data may travel apart from the rest
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
data=${1:?give a folder that difftalk prepare or pack wrote} folder=$(realpath -m "${2:-$root/gpu}")
limit=${LIMIT:-66} from_here=$PWD

in_weights() { for name in denoiser painter folds head; do [ ! -f "$root/weights/$name.safetensors" ] || echo $name; done; }
start=${START-$(in_weights)}

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
for one in $start; do
    case $one in *=*) from=$(cd "$from_here" && realpath "${one#*=}") ;; *) from=weights/$one.safetensors ;; esac
    [ ! -d "$from" ] || from=$from/weights.safetensors
    cp "$from" "$folder/start/${one%%=*}.safetensors"
done
cp tools/gpu_train.sh "$folder/train.sh"
cp tools/parcel.py "$folder/"

line "$folder/src" "code and geometry"
line "$folder/weights" "LPIPS"
line "$folder/start" "weights to start from: $(echo ${start:-none})"
line "$folder/data" "data"
line "$folder" "in all, of $limit: $folder"
of_data=$(bytes "$folder/data") of_rest=$(($(bytes "$folder") - $(bytes "$folder/data")))
if [ $((of_data + of_rest)) -gt $((limit * 1000000)) ]; then
    echo "too large to travel at once: $folder/data first, then the rest"
    [ "$of_data" -le $((limit * 1000000)) ] || { echo "too large: the data; pack fewer megabytes" >&2 && exit 1; }
    [ "$of_rest" -le $((limit * 1000000)) ] || { echo "too large: the rest; START= takes less along" >&2 && exit 1; }
fi
