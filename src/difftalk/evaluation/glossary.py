"""What a reader of a report needs to know: protocols, systems and metrics in one line each. Words only."""

from __future__ import annotations

from typing import Final

ABOUT: Final = {
    "strict": "One still and the audio; no frame with its true mouth enters.",
    "teacher": "The true mesh, a reference at least 60 frames away, nearest in turn; no motion enters.",
    "reconstruction": "The clip's own audio, its mesh predicted, a reference at least 60 frames away.",
    "swap": "The clip dubbed with four voices of another data set.",
    "silence": "The still under digital silence, noise at -55 dBFS, and a pause inside speech.",
    "widest": "As strict, from the frame with the widest mouth.",
    "cross": "One still and the audio of another data set's clip, judged by that clip's mouth.",
    "outside": "The clip's audio from a public-domain portrait.",
    "turn": "As teacher, on frames where the head is turned by more than 20 degrees.",
    "length": "20 seconds from one still: its end against its beginning.",
    "drift": "120 seconds from one still: its end against its beginning.",
    "large": "As teacher, in 512 x 512 crops of the source, for faces that have the pixels.",
    "ablation": "The paper's ablation: the clip's own words, one condition more in every row.",
    "comparison": "The paper's comparison: the clip's own words, the model beside others.",
    "conditions": "As teacher, with one condition left out or exchanged, or more steps taken, at a time.",
}
RANKED: Final = {  # the metric by which worst and best clips are found; -1 where less is better
    **dict.fromkeys(("strict", "widest", "cross", "outside"), ("r", 1)),
    **dict.fromkeys(("teacher", "reconstruction", "turn", "conditions", "large"), ("mouth_lpips", -1)),
    **dict.fromkeys(("ablation", "comparison"), ("crop_lpips", -1)),
    "swap": ("r_donor", 1),
    "silence": ("zeros_spread", -1),
    "length": ("r_ends", 1),
    "drift": ("r_ends", 1),
}
SYSTEMS: Final = {
    "truth": "the clip itself",
    "held": "a mouth that does not move: one frame, held",
    "composite": "the warped reference, its inner mouth that of the nearest mouth in the bank",
    "painter": "the plain painter in place of first stage and denoiser",
    "linear": "the regression's motion through the same pipeline",
    "ceiling": "the first stage with the true frame's own latent",
    "other": "the first stage with another frame's latent",
    "zeros": "the first stage with no latent",
    "ours": "the model",
    "outputs": "videos made by another tool",
    "2 steps": "the denoiser in two steps",
    "4 steps": "in four",
    "8 steps": "in eight",
    "another seed": "from other noise",
    "no audio": "the denoiser hears nothing; mouth shape and composite stay",
    "no mouth shape": "neither mouth shape nor landmarks; the composite stays",
    "no reference": "without the latent of the mouth reference",
    "not progressive": "without its own last latent (DiffTalk's progressive reference)",
    "other audio": "the audio of another moment, the mesh as it is",
    "no mouth bank": "the mouth's inside from the warp's own reference, as with a still",
    "audio alone": "without landmarks and mouth shape, reference and masked frame (or own last latent)",
    "+ landmarks": "landmarks, and of the shipped kind the mouth shape, as well",
    "+ reference": "the reference as well; of the published kind still without the masked frame",
    "not smoothed": "without the attention over the audio's windows",
    "small": "the same from pictures shrunk to the usual crop's resolution",
    "shipped": "the model that comes with the package",
}


def _metric(title: str, better: str, about: str) -> dict[str, str]:
    return {"title": title, "better": better, "about": about}


METRICS: Final = {
    "r": _metric("Opening, r", "higher", "Correlation of the lip opening with the truth, the clip's offset repaired."),
    "r_shift0": _metric("r, shift 0", "higher", "The same without the clip's offset."),
    "spread": _metric("Spread", "one", "Standard deviation of the opening over the truth's."),
    "shift_found": _metric("Shift right", "higher", "Share of 2-second windows whose best shift is within a frame."),
    "shift": _metric("Shift", "none", "Median best shift of 2-second windows, frames beyond the clip's offset."),
    "r_width": _metric("Width, r", "higher", "Correlation of the mouth's width."),
    "r_jaw": _metric("Jaw, r", "higher", "Correlation of nose to chin."),
    "r_rounding": _metric("Rounding, r", "higher", "Correlation of how far the lips stand forward."),
    "closure_recall": _metric(
        "Closures met", "higher", "True closures (under 0.03 eye distances) met within 2 frames."
    ),
    "closure_precision": _metric("Closures true", "higher", "Made closures that the truth has within 2 frames."),
    "lip_distance": _metric("LMD", "lower", "Mean distance of lip points, eye distances (Chen et al. 2018)."),
    "sync_c": _metric("Sync confidence", "none", "The judge's LSE-C; more than the truth's is no merit."),
    "sync_d": _metric("Sync distance", "none", "The judge's LSE-D; less than the truth's is no merit."),
    "sync_offset": _metric("Sync offset", "none", "The judge's offset, frames by which the mouth leads its audio."),
    "change": _metric("Change, mouth", "none", "Mean grey-level difference of the inner mouth from the model's."),
    "change_outside": _metric("Change, skin", "none", "The same of the skin, more than 16 px from the inner mouth."),
    "texture": _metric("Mouth texture", "one", "Gradient energy of the open inner mouth over the truth's."),
    "open_area": _metric("Open area", "one", "Mean area inside the lips over the truth's."),
    "flicker_skin": _metric("Flicker, skin", "one", "Frame difference, motion taken out, over the truth's."),
    "flicker_mouth": _metric("Flicker, mouth", "one", "The same inside the mouth."),
    "fid": _metric("FID", "lower", "Fréchet distance of all clips' crops, Inception-v3; biased where frames are few."),
    "fvd": _metric("FVD", "lower", "The same of 16-frame stretches, I3D."),
    "identity": _metric("Identity", "lower", "Distance of dlib's face embeddings; the same person is under 0.6."),
    "sharpness": _metric(
        "Skin sharpness",
        "one",
        "Gradient energy of skin over the still's (large faces), the truth's, the beginning's.",
    ),
    "crop_psnr": _metric("PSNR, crop", "higher", "Of the whole crop, dB: as papers have it."),
    "crop_ssim": _metric("SSIM, crop", "higher", "Of the whole crop."),
    "crop_lpips": _metric("LPIPS, crop", "lower", "Of the whole crop."),
    "psnr": _metric("PSNR, dB", "higher", "Inside the mask."),
    "ssim": _metric("SSIM", "higher", "Inside the mask (Wang et al. 2004)."),
    "lpips": _metric("LPIPS, region", "lower", "LPIPS with AlexNet (Zhang et al. 2018) of the region."),
    "mouth_lpips": _metric("LPIPS, mouth", "lower", "LPIPS of the inner-mouth box."),
    "mouth_early": _metric("Early features", "lower", "Identity net's early features, mouth box; in no loss."),
    "mouth_psnr": _metric("PSNR, mouth", "higher", "Of the inner-mouth box, dB."),
    "r_own": _metric("r, own words", "none", "Correlation with what the clip itself said: should be that of chance."),
    "r_donor": _metric("r, voice", "higher", "Correlation with the mouth of the voice that was dubbed in."),
    "zeros_spread": _metric("Zeros, spread", "lower", "Opening's spread in digital silence over that in speech."),
    "zeros_open": _metric("Zeros, open", "lower", "Mean opening above the neutral, speech spreads."),
    "noise_spread": _metric("Noise, spread", "lower", "The same under noise at -55 dBFS."),
    "noise_open": _metric("Noise, open", "lower", "The same under noise at -55 dBFS."),
    "pause_spread": _metric("Pause, spread", "lower", "The same in a pause inside speech."),
    "pause_open": _metric("Pause, open", "lower", "The same in a pause inside speech."),
    "shimmer": _metric("Shimmer", "lower", "Frame difference in digital silence, grey levels."),
    "r_ends": _metric("r, ends", "higher", "Opening of the last 5 seconds with the first, the same audio."),
    "frames_missing": _metric("Frames missing", "lower", "Against seconds times rate."),
    "colour_drift": _metric("Colour drift", "lower", "Largest change of a channel's mean, grey levels."),
}
