"""Names used everywhere: modalities, classes, regions, and how each public data set codes its labels.

Standard library only, so that a user interface can import it without torch.
"""

from __future__ import annotations

from collections.abc import Sequence

MODALITIES = ("t1n", "t1c", "t2w", "t2f")
"""The four inputs, always in this order."""

MODALITY_NAMES = {"t1n": "T1", "t1c": "T1ce", "t2w": "T2", "t2f": "FLAIR"}
"""The same for people."""

SHORT_NAMES = {"t1n": "t1", "t1c": "t1ce", "t2w": "t2", "t2f": "flair"}
"""The same in flags and names of files, as BraTS 2021 has them."""

WORDS = {
    # Sequences. A T1 has contrast where a contrast word belongs to it.
    "t1": "t1 t1w t1wi et1w st1w wt1w unit1",
    "t1n": "t1n t1pre t1nativ t1native",
    "t1c": "t1c t1ce t1wc t1wce ct1 cet1",
    "t2": "t2 t2w t2wi et2w st2w",
    "flair": "flair fla t2f t2flair darkfluid dafl tirm",
    # Where nothing else is said; "fl" is CaPTk's FLAIR, "r" what SPM puts before what it resliced.
    "kind of t1": "mprage spgr fspgr irspgr irfspgr efgre3d bravo tfl vibe lava thrive",
    "perhaps t1": "rt1 rt1w",
    "perhaps t1c": "rt1c rt1ce rt1gd",
    "perhaps t2": "rt2 rt2w",
    "perhaps flair": "fl rfl",
    # Contrast agent, in some languages; names of agents.
    "contrast": (
        "ce gd gad gado gadolinium gadolinio gadovist gadobutrol dotarem clariscan magnevist omniscan prohance "
        "multihance gddtpa gdtpa dtpa post contrast contrasted postcontrast postgd postgad postgado postkm enhanced cm "
        "km kontrast kontrastmittel mitkm nachkm kmgabe contraste contrasto mdc inj injecte injectee injected "
        "injection postinj postinjection postcontraste poscontraste postcontrasto kontrascie kontrastem kontrastu "
        "контраст контрастом контраста 增强 造影"
    ),
    "c": "c",
    "not": "pre no non not without wo before ohne vor kein sans avant sin sem antes senza prima zonder voor bez без",
    "between": "iv i v any the de di del d med medio mezzo produit agent",
    "treatment": (
        "op operative operativ surgery surgical resection rt radiation radiotherapy chemo therapy treatment tx"
    ),
    # What is neither one of the four images nor a label: anywhere, or behind the sequence, or with T2.
    "other": (
        "mask masks brainmask defacemask roi rois dseg aseg aparc wmparc gtv ctv ptv prob probs probability "
        "probabilities probseg sim unc uncertainty entropy pred predicted prediction predictions "
        "adc dwi dti diffusion trace tracew eddy bval bvec tensor b0 b500 b1000 swi swan asl cbf cbv rcbv rcbf mtt ttp "
        "tmax ktrans dsc dce perf perfusion pwi bold fmri func fmap mrs spectroscopy mra mrv tof angio venogram "
        "localizer localiser localizador lokalizer localisateur scout survey topogram t2star t2starw t2s t2sw t1map "
        "t2map t2starmap t1rho r2star r2s qsm inplanet2 ivim dki mtr cest apt aptw subtraction subtracted ciss fiesta "
        "stir mip minip warp xfm histogram"
    ),
    "other behind": (
        "fa md ad rd ct pet phase pha map maps sub loc ratio diff inv inv1 inv2 pd pdw atlas template overlay csf"
    ),
    "star": "star gre ffe fl2d flash hemo haemo hemosiderin medic merge",
    # Label maps.
    "label": (
        "seg segm segmentation segmentations label labels glistrboost tumorseg tumourseg tumormask tumourmask "
        "annotation groundtruth"
    ),
    "perhaps label": "ot gt truth tumor tumour",
    "tumour": "tumor tumour lesion glioma glioblastoma gbm brats",
    "no tumour": "brain parenchyma tissue ventricle ventricles skull vessel vessels synthseg samseg gm wm csf",
    "manual": "manual manually manuallycorrected corr expert final refined brats",
    "automatic": "auto automated automatic approx approximate",
    # How an image was made.
    "stripped": "stripped skullstripped skullstrip noskull ss bet hdbet brain brainextracted masked",
    "unstripped": "unstripped nonstripped withskull head",
    "atlas": "sri sri24 mni mni152 mni152nlin2009casym reg registered coreg coregistered aligned",
    "raw": "raw orig original rai native nativ",
    "corrected": (
        "bias biascorrected biascorr corrected n4 n4itk norm normalized normalised zscore denoised smoothed filtered"
    ),
    "3d": "3d iso isotropic space spc cube vista mp2rage tfe mpr",
    "axial": "ax axi axial tra trans transversal transverse",
    "other plane": "sag sagittal cor coronal kor koronar",
    # Where an image was brought to: what follows is not what it is.
    "to": "to onto in on auf zu",
    # What names no patient.
    "nothing": (
        "2d tse fse se ir frfse blade propeller prop fs fatsat weighted gewichtet nach mit after mr mri mrt irm rm "
        "scan scans image images img vol volume series sequence kopf schaedel wip vsd nifti nii anat preproc desc "
        "resampled res anonymized anonymised mrhr with avec con com met 平扫"
    ),
}
"""Words of names of files and series, in lower case and without accents, by what they say (``images.naming``)."""

CLASSES = ("background", "NCR", "ED", "ET")
"""A class index in the library is a position here: necrotic/non-enhancing core, oedema, enhancing tumour."""

REGIONS = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}
"""Whole tumour, tumour core and enhancing tumour as sets of class indices."""

REGION_NAMES = {"WT": "Whole tumour", "TC": "Tumour core", "ET": "Enhancing tumour"}
"""The same for people."""

CLASS_COLOURS = ((0, 0, 0), (214, 69, 65), (80, 172, 96), (64, 116, 222))
"""Red, green, blue (0 to 255) per class."""

LABEL_CONVENTIONS: dict[str, dict[int, int]] = {
    "brats2020": {0: 0, 1: 1, 2: 2, 4: 3},
    "brats2023": {0: 0, 1: 1, 2: 2, 3: 3},
    "brats2024": {0: 0, 1: 1, 2: 2, 3: 3, 4: 0},
    "msd": {0: 0, 1: 2, 2: 1, 3: 3},
    "nnunet": {0: 0, 1: 2, 2: 1, 3: 3},
    "peds": {0: 0, 1: 3, 2: 1, 3: 1, 4: 2},
}
"""Value in a file -> class index; where two values are one class, the first is written.

BraTS 2017 to 2021; BraTS 2023; BraTS 2024 after treatment, whose 4 is the resection cavity, no tumour; Medical
Segmentation Decathlon Task01 (its dataset.json: 1 oedema, 2 non-enhancing tumour, 3 enhancing tumour); nnU-Net's tasks
of BraTS, which have the same order; BraTS-PEDs: 1 enhancing, 2 non-enhancing tumour, 3 cystic component, 4 oedema.
"""

MSD_CHANNELS = ("t2f", "t1n", "t1c", "t2w")
"""Order of the channels in the 4-D files of the Medical Segmentation Decathlon Task01 (its dataset.json)."""

NNUNET_CHANNELS = ("t1n", "t1c", "t2w", "t2f")
"""Order of the files ``_0000`` to ``_0003`` in nnU-Net's tasks of BraTS (43, 82, 137)."""


def listed(names: Sequence[str]) -> str:
    """In a sentence: "T1, T2 and FLAIR"; "" of none."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


def some_of(names: Sequence[str], most: int = 9) -> str:
    """The same of files that a folder holds: "a.nii, b.nii and 7 more"."""
    if not names:
        return "no file"
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
