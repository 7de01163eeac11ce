"""How the judge learns: each stretch of a mouth must find its own sound among 31 shifts and other clips' sounds.

    judge = train_judge(Path("runs/data"), Path("runs/judge"), minutes=40, seed=7, threads=1)

The loss is InfoNCE (van den Oord et al. 2018) on the very distances that the judge reports, averaged over spans of
windows. Nothing in a run is chosen by validation: the last average of the weights is the judge.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from difftalk.data.sample import load_samples
from difftalk.errors import DataError
from difftalk.evaluation.judge.data import HeldOut, SyncBatch, SyncClip, SyncSource, sync_clips
from difftalk.evaluation.judge.judge import Judge, distances, window_offsets
from difftalk.evaluation.judge.net import JudgeNet, JudgeSizes
from difftalk.evaluation.metrics.curves import REACH
from difftalk.face.mouth import Geometry
from difftalk.model import SHIPPED
from difftalk.speech.motion import MOTION_RATE
from difftalk.training.batches import Batch
from difftalk.training.checkpoint import Checkpoint
from difftalk.training.kinds.kind import Kind
from difftalk.training.loop import train
from difftalk.training.picture_loss import Loss
from difftalk.training.recipes import Optimiser, Schedule
from difftalk.training.validation import Validation

SEED: Final = 7  # no other net's
SPANS: Final = (1, 10, 30)  # windows over which distances are averaged
SPAN_WEIGHTS: Final = (0.5, 1.0, 1.0)
OTHERS_SPAN: Final = 1  # index in SPANS whose contest other clips' sounds enter
SOFT: Final = (0.2, 0.6, 0.2)  # the truth's share at shifts -1, 0, 1: known offsets are whole frames
LOOK_HOP: Final = 5  # frames
NEVER: Final = 10**9


@dataclass(frozen=True)
class JudgeRecipe:
    """schedule: its steps never end, the minutes do. traits: weight of the mouth shape that both towers tell beside."""

    name: str = "judge"
    sizes: JudgeSizes = field(default_factory=JudgeSizes)
    optimiser: Optimiser = Optimiser(lr=1.5e-3, weight_decay=0.05, warm_up=100, ema=0.998)
    schedule: Schedule = Schedule(steps=NEVER, batch=10, seed=SEED, validate_every=500)
    traits: float = 0.3


class Sharpness(nn.Module):
    """How strongly a distance speaks, learnt for each span."""

    def __init__(self) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.log(torch.tensor([5.0, 12.0, 20.0])))


class Learning(nn.Module):
    """The judge and what serves its training alone."""

    def __init__(self, sizes: JudgeSizes) -> None:
        super().__init__()
        self.judge, self.sharpness = JudgeNet(sizes), Sharpness()


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
    """Trains on the `train` people of prepared data but `hold_out`; writes OUT/judge.safetensors.

    Held-out people, otherwise the `val` people, are looked at on the way; they decide nothing. OUT is a
    run like any other, and goes on where it was stopped.
    """
    recipe = recipe or JudgeRecipe()
    recipe = replace(recipe, schedule=replace(recipe.schedule, seed=seed))
    geometry, cache = Geometry.load(SHIPPED), out / "clips"
    clips = sync_clips(load_samples(data, split="train"), geometry, cache)
    looked_at = [clip for clip in clips if clip.person in hold_out]
    if not hold_out:
        with contextlib.suppress(DataError):  # a folder of one's own may have no `val`
            looked_at = sync_clips(load_samples(data, split="val"), geometry, cache)
    learnt_from = [clip for clip in clips if clip.person not in hold_out]
    source = SyncSource(learnt_from, batch_size=recipe.schedule.batch, seed=seed, looked_at=looked_at)
    done = train(JUDGE, source, recipe, out, minutes=minutes, threads=threads)
    people, heard = len({clip.person for clip in source.clips}), sum(map(len, source.clips)) / MOTION_RATE / 60
    spent = f"{done.step} steps, {done.seconds / 60:.1f} minutes, {threads} threads, seed {seed}"
    header = {
        "data": f"{people} people, {len(source.clips)} clips, {heard:.1f} minutes; split train",
        "training": f"{spent}; the last average",
        "code": done.code,
    }
    judge = judge_of(done, header)
    judge.save(out / "judge.safetensors")
    return judge


def judge_of(done: Checkpoint, header: dict[str, str]) -> Judge:
    """The judge that a run made. header: what is said of it."""
    return Judge(JUDGE.filled(done, Path(JUDGE.name)).judge.requires_grad_(False), header)


def found_share(net: JudgeNet, clips: Sequence[SyncClip]) -> float:
    """Share of 2-second stretches, a fifth of a second apart, whose shift is found within a frame."""
    judge, hits = Judge(net, {}), list[NDArray[np.bool_]]()
    for clip in clips:
        seen, sound = judge.see_views(clip.views), judge.hear_mel(clip.mel.astype(np.float32))
        hits.append(np.abs(window_offsets(distances(seen, sound, padded=False), LOOK_HOP) - clip.offset) <= 1)
    return float(np.concatenate(hits).mean())


@torch.no_grad()
def _follow(average: nn.Module, net: nn.Module, keep: float) -> None:
    """Running statistics are averaged as well: those of a moment belong to that moment's weights."""
    for ours, theirs in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
        if ours.is_floating_point():
            ours.lerp_(theirs, 1 - keep)
        else:
            ours.copy_(theirs)


def sync_loss(net: JudgeNet, sharpness: Sharpness, batch: SyncBatch) -> dict[str, Tensor]:
    """shift: the contest, to be minimised. traits: error of mouth shapes. hit: share of right shifts, by span."""
    said = _Said(*net(batch.mouths, batch.mel))
    with torch.autocast(said.video.device.type, enabled=False):  # distances in f32, whatever the towers compute in
        return _contest(sharpness, batch, said)


@dataclass(frozen=True)
class _Said:
    """What the judge says of a batch: embeddings of mouths and sounds, and the mouth shapes read from both."""

    video: Tensor
    audio: Tensor
    seen: Tensor
    guessed: Tensor


def _contest(sharpness: Sharpness, batch: SyncBatch, said: _Said) -> dict[str, Tensor]:
    video, audio = said.video, said.audio
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
    middles = said.guessed[:, REACH : REACH + count]
    traits = F.smooth_l1_loss(said.seen, batch.shapes) + 0.5 * F.smooth_l1_loss(middles, batch.shapes)
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


def _loss(net: Learning, batch: Batch, recipe: JudgeRecipe, tools: None, random: torch.Generator) -> Loss:
    assert isinstance(batch, SyncBatch)
    parts = sync_loss(net.judge, net.sharpness, batch)
    return Loss(parts["shift"] + recipe.traits * parts["traits"], parts)


def _validation(net: Learning, batch: Batch, tools: None) -> Validation:
    assert isinstance(batch, HeldOut)
    return Validation({"found": found_share(net.judge, batch.clips)})


JUDGE: Final[Kind[JudgeRecipe, Learning, Batch, None]] = Kind(
    name="judge",
    recipe=JudgeRecipe,
    recipes={"default": JudgeRecipe()},
    batch=SyncBatch,
    build=lambda recipe: Learning(recipe.sizes),
    tools=lambda recipe, device: None,
    loss=_loss,
    validation=_validation,
    follow=_follow,
)
