#!/usr/bin/env bash
# Trains the nets one after the other within a number of minutes, on a machine with a GPU and little else.
#
#     OUT=back MINUTES=9 bash gpu/train.sh     in the folder that tools/gpu_carry.sh made
#
# Needs no network. What is worth keeping lies in OUT, never more than a minute old. A part that fails is reported, and
# the next one runs. docs/gpu.md has the rest.
#
# PARTS     what to train, in this order: first-stage, denoiser, joint, sharp, painter, folds, motion, head, each NAME or
#           NAME:SHARE
# SET_joint, SET_first_stage ...   settings of a part: "schedule.batch=64 optimiser.lr=3e-4"; SET: of every part that draws
# DEVICE    cuda or cpu
# STEPS     at most so many of each part: for a rehearsal
# DATA, WORK, PYTHON   other data; where runs lie; which python
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
minutes=${MINUTES:-9} device=${DEVICE:-cuda} python=${PYTHON:-python3}
out=${OUT:-$here/back} work=${WORK:-$here/runs} data=${DATA:-$here/data}
read -ra parts <<<"${PARTS:-sharp painter folds}"
declare -A usual=([first-stage]=3 [denoiser]=3 [joint]=4 [sharp]=3 [painter]=3 [folds]=1 [motion]=1 [head]=1)
closing=20  # s at a part's end in which it validates, saves and is copied
ends=$(awk "BEGIN { print int($minutes * 60) - 10 }")
failed=() trainer=
export PYTHONPATH=$here/src PYTHONUNBUFFERED=1
trap 'stop_all' EXIT

# Whatever a trainer has left running: the processes that make rows, where it was killed.
stop_all() { [ -z "$trainer" ] || kill -KILL -- "-$trainer" 2>/dev/null || true; }

# Whether a part draws pictures: those have rows on the card, and train as long as there is time.
draws() { case $1 in motion | head) return 1 ;; esac }

share_of() { case $1 in *:*) echo "${1#*:}" ;; *) echo "${usual[$1]:-0}" ;; esac; }

# The first of these runs and weights that is there.
first_of() {
    local path
    for path in "$@"; do
        if [ -f "$path/checkpoint.pt" ] || [ -f "$path" ]; then echo "$path" && return; fi
    done
}

# A part's kind, and what it starts from, one argument a line.
arguments() {
    local stage from=
    stage=$(first_of "$work/first-stage")
    case $1 in
        joint) from=$(first_of "$work/denoiser" "$here/start/denoiser.safetensors") ;;
        sharp) from=$(first_of "$work/joint" "$work/denoiser" "$here/start/denoiser.safetensors") stage= ;;
        denoiser) ;;
        *) from=$(first_of "$here/start/$1.safetensors") stage= ;;
    esac
    case $1 in
        joint | sharp) printf '%s\n' denoiser --recipe "$1" ;;
        *) printf '%s\n' "$1" ;;
    esac
    [ -z "$from" ] || printf '%s\n' --from "$from"
    [ -z "$stage" ] || printf '%s\n' --set "first_stage=$stage"
    printf '%s\n' --set schedule.checkpoint_minutes=0.8
    ! draws "$1" || printf '%s\n' --set schedule.steps=1000000 # time alone decides
}

# The settings of a part from SET and SET_part.
settings() {
    local own=SET_${1//-/_} setting
    draws "$1" || local SET=
    for setting in ${SET:-} ${!own:-}; do printf '%s\n' --set "$setting"; done
}

keep() { "$python" "$here/parcel.py" send "$work" "$out" "$1" || echo "$1 could not be copied to $out"; }

busy() { [ "$device" = cpu ] || nvidia-smi --query-gpu=utilization.gpu,memory.used --format=csv,noheader || true; }

# Trains a part for so many seconds, in the background, and copies what it has every minute.
train() {
    local part=$1 seconds=$2 code=0 copied=$SECONDS given
    mapfile -t given < <(arguments "$part" && settings "$part")
    given+=(--device "$device" --minutes "$(awk "BEGIN { print ($seconds - $closing) / 60 }")" ${STEPS:+--steps "$STEPS"})
    echo "== $part: $seconds s: ${given[*]}"
    setsid timeout --foreground --signal=TERM --kill-after=10 "$((seconds - 8))" \
        "$python" -m difftalk.training "${given[0]}" "$data" -o "$work/$part" "${given[@]:1}" >"$work/$part.log" 2>&1 &
    trainer=$!
    while kill -0 "$trainer" 2>/dev/null; do
        sleep 1
        [ $((SECONDS - copied)) -lt 60 ] || { keep "$part" && busy && copied=$SECONDS; }
    done
    wait "$trainer" || code=$?
    stop_all
    trainer=
    tail -n "$((code ? 20 : 1))" "$work/$part.log"
    keep "$part"
    case $code in
        0) ;;
        124) echo "== $part did not end by itself in time, and was asked to" ;;
        *) failed+=("$part") && echo "== $part failed with code $code; the next part runs" ;;
    esac
}

mkdir -p "$out" "$work"
[ "$device" = cpu ] || nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader || true
"$python" - "$device" <<'END'
import os, sys, cv2, numpy, torch
print(f"Python {sys.version.split()[0]}, torch {torch.__version__}, numpy {numpy.__version__}, cv2 {cv2.__version__},", end=" ")
print(f"{os.cpu_count()} cores, {torch.get_num_threads()} threads")
if sys.argv[1] != "cpu" and not torch.cuda.is_available():
    sys.exit("torch sees no GPU; DEVICE=cpu trains without")
END
total=0
for entry in "${parts[@]}"; do total=$((total + $(share_of "$entry"))); done
for entry in "${parts[@]}"; do
    share=$(share_of "$entry")
    seconds=$((total ? (ends - SECONDS) * share / total : 0))
    total=$((total - share))
    if [ "$seconds" -gt $((2 * closing)) ]; then
        train "${entry%%:*}" "$seconds"
    else
        failed+=("${entry%%:*}") && echo "== ${entry%%:*}: $seconds s are too short; left out"
    fi
done
"$python" "$here/parcel.py" table "$work"
echo "$SECONDS s; in $out:" && ls -l "$out"
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}" && exit 1; }
