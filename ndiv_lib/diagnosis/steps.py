"""What to do after a diagnosis: which chapter, and which loss of the library."""

from __future__ import annotations

from collections.abc import Set

from ndiv_lib.diagnosis.checks import Power


def next_steps(
    verdict: str, alarms: Set[str], *, ignores_latent: bool, color_pixels: bool, power: Power
) -> tuple[str, ...]:
    """Steps in words, the most telling first.

    Args:
        verdict: of the diagnosis.
        alarms: names of the findings that raise one.
        ignores_latent: whether some condition has identical samples only.
        color_pixels: whether distances are between pixels of color images.
        power: what so many samples can show.
    """
    steps = []
    if ignores_latent or "diversity within a condition" in alarms:
        steps.append(
            "The generator pays too little attention to its latent. Add NormalizedDiversity, with pairs within a condition, or "
            "the cheaper mode_seeking_loss, to the generator's loss. See the chapter 'First real images'."
        )
    if "near-duplicates" in alarms:
        steps.append(
            "Look at the closest pairs of generated samples. If they are copies, the generator has collapsed onto few outputs; "
            "see the chapters 'What is mode collapse?' and 'Ring and grid' for what helps."
        )
    if verdict == "collapse" and {"recall", "coverage", "bins", "emptiest bin"} & alarms:
        steps.append(
            "Look at the groups that are missing. If they share something (a class, a color, a pose), check first that the "
            "training data held it as often as the real samples here do. Then add NormalizedDiversity to the generator's loss; "
            "see the chapter 'Covering a donut from sparse samples'."
        )
    levels = [name for name in alarms if name.startswith("diversity of")]
    if levels:
        steps.append(
            f"Variety is missing in {', '.join(sorted(name.removeprefix('diversity of ') for name in levels))}. "
            "HierarchicalDiversity steers single layers: early ones make layout, late ones texture. Less texture alone can "
            "also be blur; look at the images."
        )
    if verdict == "different":
        steps.append(
            "Generated samples differ from the real ones in a way that need not be collapse: blur, artifacts, other colors or "
            "contrast, other preprocessing. Compare the two rows of images first, and mend that; then run this again."
        )
    if verdict == "cannot be known":
        needed = f"about {power.needed:,} samples a set" if power.needed else "many more samples"
        steps.append(f"Generate more, and hold more real samples out: {needed} would show a loss of 30 %.")
    if verdict == "no sign of collapse":
        steps.append(
            "Nothing to mend that these checks can see. They do not see losses smaller than stated above, nor what the distances "
            "do not show."
        )
    if color_pixels:
        steps.append(
            "Pixels see layout, color and strokes, not what is depicted. For photographs look again with a pretrained network: "
            "features='squeezenet', or --features squeezenet."
        )
    return tuple(steps)
