"""DAVIS from miniatures of its archives."""

import numpy as np
import pytest
from PIL import Image

from dynapoint.datasets.registry import open_dataset
from dynapoint.errors import InputError
from miniatures.davis import objects_of, write_mask, write_miniature
from miniatures.engine_clip import engine_clip


def test_masks_of_2017_number_the_objects(tmp_path):
    clip = engine_clip()
    write_miniature(tmp_path, clip, sequences=2)
    sequences = open_dataset("davis", tmp_path, "2017-val")
    assert [each.name for each in sequences] == ["seq-0", "seq-1"]
    sequence = sequences[1]
    assert (sequence.frame_count, sequence.image_hw) == (6, clip.image_hw)
    for frame in range(6):
        # JPEG keeps pictures to a few levels on average.
        difference = sequence.image(frame).astype(int) - clip.images[frame]
        assert abs(difference).mean() < 6
        np.testing.assert_array_equal(sequence.instances(frame), objects_of(clip, frame))
        np.testing.assert_array_equal(sequence.moving(frame), clip.moving[frame])
    with pytest.raises(InputError, match="davis has no depth"):
        sequence.depth(0)


def test_masks_of_2016_are_one_object(tmp_path):
    clip = engine_clip()
    write_miniature(tmp_path, clip, sequences=2, year="2016")
    for split in ("2016-val", "2016-train", "all"):
        sequences = open_dataset("davis", tmp_path, split)
        assert [each.name for each in sequences] == ["seq-0", "seq-1"]
    np.testing.assert_array_equal(sequences[0].instances(3), clip.moving[3].astype(int))
    white = np.repeat(np.where(clip.moving[3], 255, 0).astype(np.uint8)[..., None], 3, axis=2)
    Image.fromarray(white).save(tmp_path / "Annotations/480p/seq-0/00003.png")
    np.testing.assert_array_equal(sequences[0].instances(3), clip.moving[3].astype(int))


def test_pixels_that_do_not_count_show_no_object(tmp_path):
    clip = engine_clip()
    write_miniature(tmp_path, clip)
    numbers = np.full(clip.image_hw, 255, np.uint8)
    numbers[:3] = 2
    write_mask(tmp_path / "Annotations/480p/seq-0/00000.png", numbers, "2017")
    (sequence,) = open_dataset("davis", tmp_path, "2017-val")
    np.testing.assert_array_equal(sequence.instances(0), np.where(numbers == 2, 2, 0))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("Annotations/480p/seq-0/00002.png", None, "00002.png: no such file"),
        ("Annotations/480p/seq-0/00002.png", b"", "00002.png: damaged"),
        ("Annotations/480p/seq-0/00002.png", b"\x89PNG cut", "00002.png: damaged"),
        ("JPEGImages/480p/seq-0/00002.jpg", b"\xff\xd8", "00002.jpg"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, said):
    write_miniature(tmp_path, engine_clip(), sequences=2)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    bad, good = open_dataset("davis", tmp_path, "2017-val")
    assert good.moving(2).any() and good.image(2).any()
    with pytest.raises(InputError, match=said) as caught:
        bad.image(2)
        bad.moving(2)
    assert "\n" not in str(caught.value)


def test_a_picture_that_was_not_downloaded_is_named(tmp_path):
    """The frames behind it would move up, and the sequence be scored without it."""
    write_miniature(tmp_path, engine_clip())
    (tmp_path / "JPEGImages/480p/seq-0/00003.jpg").unlink()
    with pytest.raises(InputError, match=r"seq-0/00003\.jpg: damaged \(no such picture, but"):
        _ = open_dataset("davis", tmp_path, "2017-val")[0].frame_count


def test_masks_of_another_size(tmp_path):
    write_miniature(tmp_path, engine_clip())
    write_mask(tmp_path / "Annotations/480p/seq-0/00001.png", np.ones((4, 4), np.uint8), "2017")
    with pytest.raises(InputError, match=r"00001.png: damaged \(it is of shape"):
        open_dataset("davis", tmp_path, "2017-val")[0].moving(1)


def test_folders_that_are_not_davis(tmp_path):
    with pytest.raises(InputError, match="JPEGImages/480p: no such folder"):
        open_dataset("davis", tmp_path)
    write_miniature(tmp_path, engine_clip())
    with pytest.raises(InputError, match=r"2016/val.txt: no such list"):
        open_dataset("davis", tmp_path, "2016-val")
    (tmp_path / "ImageSets/2017/val.txt").write_text("seq-0\nseq-9\n")
    there, missing = open_dataset("davis", tmp_path, "2017-val")
    assert there.frame_count == 6
    with pytest.raises(InputError, match="seq-9: no such folder"):
        _ = missing.frame_count
