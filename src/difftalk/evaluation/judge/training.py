"""How the judge learns: each stretch of a mouth must find its own sound among 31 shifts and other clips' sounds.

    judge = train_judge(Path("runs/data"), Path("runs/judge"), minutes=40, seed=7, threads=1)

The loss is InfoNCE (van den Oord et al. 2018) on the very distances that the judge reports, averaged over spans of
windows. Nothing in a run is chosen by validation: the last average of the weights is the judge.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from difftalk.data.sample import load_samples
from difftalk.engine.openvino import runnable
from difftalk.errors import DataError
from difftalk.evaluation.judge.data import SyncBatch, SyncClip, SyncSource, sync_clips
from difftalk.evaluation.judge.judge import Judge, distances, window_offsets
from difftalk.evaluation.judge.net import JudgeNet, JudgeSizes
from difftalk.evaluation.metrics.curves import REACH
from difftalk.face.mouth import Geometry
from difftalk.model import SHIPPED
from difftalk.speech.motion import MOTION_RATE
from difftalk.training.checkpoint import code_version
from difftalk.training.loop import learning_rate
from difftalk.training.recipes import Optimiser

SEED: Final = 7  # no other net's
SPANS: Final = (1, 10, 30)  # windows over which distances are averaged
SPAN_WEIGHTS: Final = (0.5, 1.0, 1.0)
OTHERS_SPAN: Final = 1  # index in SPANS whose contest other clips' sounds enter
SOFT: Final = (0.2, 0.6, 0.2)  # the truth's share at shifts -1, 0, 1: known offsets are whole frames
LOG_EVERY: Final = 20  # steps
LOOK_EVERY: Final = 500  # steps, at held-out people
LOOK_HOP: Final = 5  # frames
NEVER: Final = 10**9


@dataclass(frozen=True)
class JudgeRecipe:
    """batch: stretches a step. traits: weight of the mouth shape that both towers must tell beside."""

    sizes: JudgeSizes = field(default_factory=JudgeSizes)
    optimiser: Optimiser = field(
        default_factory=lambda: Optimiser(lr=1.5e-3, weight_decay=0.05, warm_up=100, ema=0.998)
    )
    batch: int = 10
    traits: float = 0.3


class Sharpness(nn.Module):
    """How strongly a distance speaks, learnt for each span."""

    def __init__(self) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.log(torch.tensor([5.0, 12.0, 20.0])))


def train_judge(
    data: Path,
    out: Path,
    *,
    minutes: float,
    seed: int = SEED,
    threads: int = 1,
    recipe: JudgeRecipe | None = None,
    hold_out: Sequence[str] = (),
) -> Judge:
    """Trains on the `train` people of prepared data but `hold_out`; writes OUT/judge.safetensors, OUT/metrics.jsonl.

    Held-out people, otherwise the `val` people, are looked at on the way; they decide nothing.
    """
    recipe = recipe or JudgeRecipe()
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    geometry, cache = Geometry.load(SHIPPED), out / "clips"
    clips = sync_clips(load_samples(data, split="train"), geometry, cache)
    looked_at = [clip for clip in clips if clip.person in hold_out]
    if not hold_out:
        with contextlib.suppress(DataError):  # a folder of one's own may have no `val`
            looked_at = sync_clips(load_samples(data, split="val"), geometry, cache)
    source = SyncSource([c for c in clips if c.person not in hold_out], batch_size=recipe.batch, seed=seed)
    net, steps, seconds = fit(source, recipe, minutes=minutes, log=out / "metrics.jsonl", looked_at=looked_at)
    people, heard = len({clip.person for clip in source.clips}), sum(map(len, source.clips)) / MOTION_RATE / 60
    header = {
        "data": f"{people} people, {len(source.clips)} clips, {heard:.1f} minutes; split train",
        "training": f"{steps} steps, {seconds / 60:.1f} minutes, {threads} threads, seed {seed}; the last average",
        "code": code_version(),
    }
    judge = Judge(net.eval().requires_grad_(False), header)
    judge.save(out / "judge.safetensors")
    return judge


def fit(
    source: SyncSource,
    recipe: JudgeRecipe,
    *,
    minutes: float = math.inf,
    steps: int = NEVER,
    log: Path | None = None,
    looked_at: Sequence[SyncClip] = (),
) -> tuple[JudgeNet, int, float]:
    """The average of the weights after `minutes` or `steps`, whichever comes first; steps and seconds spent."""
    net, sharpness = JudgeNet(recipe.sizes), Sharpness()
    average = deepcopy(net).eval().requires_grad_(False)
    trained = [*net.parameters(), *sharpness.parameters()]
    optimiser = torch.optim.AdamW(
        trained, recipe.optimiser.lr, (0.9, recipe.optimiser.beta2), weight_decay=recipe.optimiser.weight_decay
    )
    began, step, seconds = time.monotonic(), 0, 0.0
    while step < steps and seconds < 60 * minutes:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(recipe.optimiser, step, steps, seconds / 60 / max(minutes, 1e-6))
        net.train()
        parts = sync_loss(net, sharpness, source.batch(step))
        total = parts["shift"] + recipe.traits * parts["traits"]
        optimiser.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trained, recipe.optimiser.clip)
        optimiser.step()
        step, seconds = step + 1, time.monotonic() - began
        _follow(average, net, min(recipe.optimiser.ema, (1 + step) / (10 + step)))
        if log is not None and step % LOG_EVERY == 0:
            row: dict[str, float] = {"step": step, "seconds": round(seconds, 1)}
            row |= {name: round(float(value.detach()), 4) for name, value in parts.items()}
            if looked_at and step % LOOK_EVERY == 0:
                row["found"] = round(found_share(average, looked_at), 4)
            with log.open("a") as file:
                file.write(json.dumps(row) + "\n")
    return average, step, seconds


def found_share(net: JudgeNet, clips: Sequence[SyncClip]) -> float:
    """Share of 2-second stretches, a fifth of a second apart, whose shift is found within a frame."""
    judge, hits = Judge(net, {}), list[NDArray[np.bool_]]()
    for clip in clips:
        seen, sound = judge.see_views(clip.views), judge.hear_mel(clip.mel.astype(np.float32))
        hits.append(np.abs(window_offsets(distances(seen, sound, padded=False), LOOK_HOP) - clip.offset) <= 1)
    return float(np.concatenate(hits).mean())


def _follow(average: nn.Module, net: nn.Module, keep: float) -> None:
    with torch.no_grad():
        for ours, theirs in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
            if ours.is_floating_point():
                ours.lerp_(theirs, 1 - keep)
            else:
                ours.copy_(theirs)


def sync_loss(net: JudgeNet, sharpness: Sharpness, batch: SyncBatch) -> dict[str, Tensor]:
    """shift: the contest, to be minimised. traits: error of mouth shapes. hit: share of right shifts, by span."""
    with torch.autocast("cpu", torch.bfloat16, enabled=runnable("bf16") == "bf16"):
        video, audio, seen, guessed = net(batch.mouths, batch.mel)
    count = video.shape[1]
    near = audio.unfold(1, 2 * REACH + 1, 1)[:, :count]  # (b, n, d, 31)
    own = _distance(torch.einsum("bnd,bnds->bns", video, near))
    there = batch.there.unfold(1, 2 * REACH + 1, 1)[:, :count]
    middle = audio[:, REACH : REACH + count]
    others = _distance(torch.einsum("bnd,cnd->bnc", video, middle))
    same = torch.eye(len(video), dtype=torch.bool)[:, None]
    others_there = batch.there[:, REACH : REACH + count].T[None] & ~same
    losses, hits = [], []
    for index, (span, weight) in enumerate(zip(SPANS, SPAN_WEIGHTS, strict=True)):
        logits = _logits(own, there, span, sharpness.log[index].exp())
        target = torch.zeros(2 * REACH + 1)
        target[REACH - 1 : REACH + 2] = torch.tensor(SOFT)
        if index == OTHERS_SPAN:
            logits = torch.cat(
                [logits, _logits(others, others_there.expand_as(others), span, sharpness.log[index].exp())], -1
            )
            target = F.pad(target, (0, len(video)))
        usable = torch.isfinite(logits[..., REACH - 1 : REACH + 2]).all(-1)
        chosen = logits[usable]
        if not len(chosen):
            continue
        scores = F.log_softmax(chosen, -1)
        losses.append(weight * -(scores.masked_fill(target == 0, 0.0) * target).sum(-1).mean())
        hits.append((chosen[:, : 2 * REACH + 1].argmax(-1) - REACH).abs().le(1).float().mean())
    middles = guessed[:, REACH : REACH + count]
    traits = F.smooth_l1_loss(seen, batch.shapes) + 0.5 * F.smooth_l1_loss(middles, batch.shapes)
    names = {f"hit{span}": hit for span, hit in zip(SPANS, hits, strict=False)}
    return {"shift": torch.stack(losses).sum(), "traits": traits, **names}


def _distance(cosine: Tensor) -> Tensor:
    return (2 - 2 * cosine).clamp_min(1e-4).sqrt()


def _logits(distance: Tensor, there: Tensor, span: int, sharpness: Tensor) -> Tensor:
    """(b, n, k) -> (b, n - span + 1, k): mean distances of spans, negative; -inf where a part of it is missing."""
    span = min(span, distance.shape[1])
    mean = distance.unfold(1, span, 1).mean(-1)
    whole = there.unfold(1, span, 1).all(-1)
    return (-sharpness * mean).masked_fill(~whole, -math.inf)
