"""A study of any kind becomes a case: as it is where it can be, else aligned to T1ce and masked."""

import nibabel as nib
import numpy as np
import pytest
from phantom import AFFINE, EDGE, phantom

from ProtoSegBrainLib.images.case import case_of, checked_study, on_grid_of_t1c
from ProtoSegBrainLib.images.preprocess import prepare
from ProtoSegBrainLib.images.study import Study, study_of_volumes
from ProtoSegBrainLib.images.volume import Volume, resample
from ProtoSegBrainLib.preparation import prepare as module
from ProtoSegBrainLib.preparation.prepare import AS_GIVEN, GIVEN, PreparationConfig, prepare_study

BRAIN = phantom()["t1c"] > 0
TURN = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.08, -0.05, 0.1), [4, -5, 3])
OBLIQUE = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.1, 0.2, -0.1) @ np.diag([1, -1, -1]), [-30, 30, 30])


def with_skull(array: np.ndarray) -> np.ndarray:
    """A bright shell around the brain, and noise everywhere."""
    grid = np.indices(array.shape) - (EDGE - 1) / 2
    radius = np.sqrt((grid**2).sum(axis=0))
    shell = (radius > 32.5) & (radius < 35) & (grid[2] > -20) & ~BRAIN
    noise = np.random.default_rng(3).integers(1, 30, array.shape)
    return np.where(BRAIN, array, np.where(shell, 700, noise)).astype(np.int16)


def head(*, affine: np.ndarray = AFFINE, skull: bool = True) -> dict[str, Volume]:
    return {role: Volume(with_skull(array) if skull else array, affine) for role, array in phantom().items()}


def moved(volume: Volume) -> Volume:
    """As a scanner has it after the patient moved: other voxels at the same positions."""
    inverse = np.linalg.inv(TURN)
    return Volume(resample(volume, volume.shape, inverse @ volume.affine, order=1).array, volume.affine)


def study(volumes: dict[str, Volume]) -> Study:
    return study_of_volumes(volumes, "p1")


@pytest.fixture(autouse=True)
def engine(monkeypatch):
    """In place of the network, which wants a real head: the brain as it is known."""
    monkeypatch.setattr(module, "find_brain", lambda t1c: (Volume(BRAIN.astype(np.uint8), t1c.affine), "known"))
    monkeypatch.setattr(module, "brain_mask_warnings", lambda _: [])


# -- as it is ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["auto", "none"])
def test_a_stripped_and_aligned_study_is_taken_as_it_is(how):
    case, plain = (
        prepare_study(study(head(skull=False)), PreparationConfig(prepare=how)),
        case_of(study(head(skull=False))),
    )
    np.testing.assert_array_equal(case.images, plain.images)
    np.testing.assert_array_equal(case.affine, plain.affine)
    assert case.warnings == plain.warnings
    assert case.preparation is None
    assert case.mask is None


def test_nothing_is_done_where_nothing_is_asked_for():
    case = prepare_study(study(head()), PreparationConfig(prepare="none"))
    assert case.preparation is None
    assert any("skull-stripped" in sentence for sentence in case.warnings)


# -- prepared ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("affine", [AFFINE, OBLIQUE])
def test_a_head_that_moved_is_aligned_and_masked_on_the_grid_of_t1ce(affine):
    volumes = head(affine=affine)
    volumes["t2f"] = moved(volumes["t2f"])
    case = prepare_study(study(volumes))
    np.testing.assert_array_equal(case.affine, affine)
    assert case.images.shape[1:] == volumes["t1c"].shape
    np.testing.assert_array_equal(case.mask, BRAIN)
    assert not case.images[:, ~BRAIN].any()
    assert case.preparation.looked.startswith("With skull")
    assert case.preparation.brain == "known"
    middle = affine @ [36, 36, 36, 1]
    back = case.preparation.moves["t2f"].motion @ TURN
    assert np.linalg.norm((back @ middle - middle)[:3]) < 1.5
    # What FLAIR shows lies where it did before it was moved, and nothing but its position was changed.
    true = resample(Volume(phantom()["t2f"], affine), case.images.shape[1:], case.affine, order=1).array[BRAIN]
    assert np.corrcoef(case.images[3][BRAIN], true)[0, 1] > 0.8
    np.testing.assert_array_equal(case.originals[3].array, volumes["t2f"].array)
    np.testing.assert_allclose(case.grids["t2f"].affine, affine)


def test_the_network_sees_nothing_outside_the_mask():
    network_input = prepare(prepare_study(study(head(affine=OBLIQUE))))
    outside = resample(Volume(BRAIN.astype(np.uint8), OBLIQUE), network_input.brain.shape, network_input.affine, 0)
    assert (network_input.brain & (outside.array == 0)).mean() < 0.01
    assert network_input.brain.sum() == pytest.approx(BRAIN.sum(), rel=0.02)


def test_a_stripped_study_that_is_not_aligned_keeps_the_brain_of_t1ce():
    volumes = head(skull=False)
    volumes["t2w"] = moved(volumes["t2w"])
    case = prepare_study(study(volumes))
    assert case.preparation.brain == AS_GIVEN
    assert case.preparation.looked == "Skull-stripped, not aligned"
    np.testing.assert_array_equal(case.mask, BRAIN)
    assert not any("not lie where" in sentence for sentence in case.warnings)


def test_what_is_stripped_is_laid_on_the_brain_of_a_head():
    volumes = head() | {"t2f": moved(head(skull=False)["t2f"])}
    case = prepare_study(study(volumes))
    assert case.preparation.looked.startswith("T1, T1ce, T2 with skull")
    middle = AFFINE @ [36, 36, 36, 1]
    back = case.preparation.moves["t2f"].motion @ TURN
    assert np.linalg.norm((back @ middle - middle)[:3]) < 2


def test_a_persons_mask_is_taken():
    mask = np.zeros(BRAIN.shape, np.uint8)
    mask[20:50, 20:50, 20:50] = 3
    case = prepare_study(study(head()), mask=Volume(mask, AFFINE))
    np.testing.assert_array_equal(case.mask, mask > 0)
    assert case.preparation.brain == GIVEN
    assert case.preparation.brain_ml == pytest.approx(27.0)


def test_all_finds_the_brain_of_a_stripped_study_too():
    case = prepare_study(study(head(skull=False)), PreparationConfig(prepare="all"))
    assert case.preparation.brain == "known"
    assert set(case.preparation.moves) == {"t1n", "t2w", "t2f"}


# -- doubt and bad input -------------------------------------------------------------------------------------------


def test_what_cannot_be_trusted_is_said_and_is_an_error_where_that_is_asked_for(monkeypatch):
    monkeypatch.setattr(module, "brain_mask_warnings", lambda _: ["The brain is odd."])
    assert "The brain is odd." in prepare_study(study(head())).warnings
    with pytest.raises(ValueError, match=r"p1.*cannot be trusted.*The brain is odd\."):
        prepare_study(study(head()), PreparationConfig(strict=True))


def test_images_that_do_not_overlap_are_refused():
    volumes = head()
    elsewhere = AFFINE.copy()
    elsewhere[:3, 3] += 500
    with pytest.raises(ValueError, match="different spaces"):
        prepare_study(study(volumes | {"t2w": Volume(volumes["t2w"].array, elsewhere)}))


def test_settings_that_do_not_go_together_are_refused(tmp_path):
    with pytest.raises(ValueError, match="auto, none, all"):
        PreparationConfig(prepare="perhaps")
    with pytest.raises(ValueError, match="brain mask"):
        PreparationConfig(prepare="none", brain_mask=tmp_path / "mask.nii.gz")


def test_progress_comes_to_what_is_being_done():
    heard = []
    prepare_study(study(head()), None, lambda fraction, message: heard.append((fraction, message)))
    fractions = [fraction for fraction, _ in heard]
    assert fractions == sorted(fractions)
    assert any("FLAIR" in message for _, message in heard)


def test_what_was_prepared_before_is_prepared_again_as_it_was():
    given = head()
    given["t2f"] = moved(given["t2f"])
    first = prepare_study(study(given), PreparationConfig(prepare="all"))
    again = on_grid_of_t1c(checked_study(study(given)), first.preparation.moves, first.mask)
    np.testing.assert_array_equal(again.images, first.images)
    np.testing.assert_array_equal(again.mask, first.mask)
    np.testing.assert_allclose(again.originals[3].affine, first.originals[3].affine)
    with pytest.raises(ValueError, match="on the grid of T1ce"):
        on_grid_of_t1c(checked_study(study(given)), first.preparation.moves, first.mask[1:])
