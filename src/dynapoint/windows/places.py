"""What a long clip looked like at each place, and where it looks the same again.

Each frame looked at leaves its strongest features (SIFT of a small picture). What they look like is
quantised with words of the clip itself, and a frame becomes a vector of locally aggregated
descriptors (Jégou et al., Aggregating local descriptors into a compact image representation, CVPR
2010) of RootSIFT (Arandjelović and Zisserman, CVPR 2012), normalised word by word (Arandjelović and
Zisserman, All about VLAD, CVPR 2013). How alike two frames look is the cosine between them.
No network is needed, and no vocabulary learnt elsewhere.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from dynapoint.refinement.shared_features import features_in
from dynapoint.windows.spans import Window

_SIDE_PX, _FEATURES = 224, 128
MOST_PLACES = 2000
"""Frames that are remembered; of a longer clip every second one, then every fourth, and so on.
Descriptors of so many take 33 MB."""
_WORDS, _SAMPLE, _ROUNDS = 64, 20_000, 12
# Words say nothing of fewer descriptors than this.
_FEWEST_DESCRIPTORS = 4 * _WORDS
# Windows of which one follows another share frames, and their neighbours nearly do.
_LEAST_WINDOWS_APART = 3
_LEAST_ALIKE = 0.08
_BLOCK = 256


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Two frames of different windows that look alike.

    Attributes:
        first: Index of a frame in the clip.
        second: Index of a later one.
        first_window: Index of the window that the first frame is most central in.
        second_window: The second frame's.
        alike: Cosine between their descriptors.
    """

    first: int
    second: int
    first_window: int
    second_window: int
    alike: float


class Places:
    """Remembers how frames look while a clip streams by.

    Depends on the frames and their order alone: a run that goes on after a break has to look at
    them again, or take up `kept`.
    """

    def __init__(self, *, most: int = MOST_PLACES) -> None:
        self._most = most
        self._step = 1
        self._kept: dict[int, UInt8[np.ndarray, "feature number=128"]] = {}

    def look(self, frame: int, picture: UInt8[np.ndarray, "height width"]) -> None:
        """Remember a grey picture of a frame of the clip; frames come in increasing order."""
        if frame % self._step:
            return
        self._kept[frame] = _descriptors(picture)
        if len(self._kept) > self._most:
            self._step *= 2
            self._kept = {
                index: value for index, value in self._kept.items() if not index % self._step
            }

    @property
    def kept(self) -> Mapping[int, UInt8[np.ndarray, "feature number=128"]]:
        """Descriptors of the frames that are remembered, by their index in the clip."""
        return self._kept

    @classmethod
    def of(
        cls,
        kept: Mapping[int, UInt8[np.ndarray, "feature number=128"]],
        *,
        most: int = MOST_PLACES,
    ) -> "Places":
        """Take up what another one kept."""
        places = cls(most=most)
        places._kept = dict(kept)
        steps = np.diff(sorted(places._kept))
        places._step = int(steps.min()) if len(steps) else 1
        return places

    def candidates(self, windows: Sequence[Window]) -> tuple[Candidate, ...]:
        """Pairs of frames of the same segment that look alike, the most alike first.

        Frames count to the window in which they are most central. For each two windows that are at
        least three apart there is one pair at most. A camera that stands still finds its place in
        every window; such pairs are neither wrong nor of use.
        """
        frames = np.array(sorted(self._kept), dtype=np.int64)
        owner = np.array([owner_of(frame, windows) for frame in frames.tolist()], dtype=np.int64)
        held = owner >= 0
        frames, owner = frames[held], owner[held]
        if len(frames) < 2:
            return ()
        segment = np.array([windows[index].segment for index in owner.tolist()])
        vectors = _vectors([self._kept[frame] for frame in frames.tolist()])
        best: dict[tuple[int, int], Candidate] = {}
        for start in range(0, len(frames), _BLOCK):
            rows = slice(start, start + _BLOCK)
            alike = vectors[rows] @ vectors.T
            apart = owner[None] - owner[rows, None] >= _LEAST_WINDOWS_APART
            alike[~(apart & (segment[None] == segment[rows, None]))] = -1.0
            for found in _best_of_windows(alike, frames, owner, start):
                pair = found.first_window, found.second_window
                if pair not in best or found.alike > best[pair].alike:
                    best[pair] = found
        order = sorted(best.values(), key=lambda each: (-each.alike, each.first, each.second))
        return tuple(order)


def owner_of(frame: int, windows: Sequence[Window]) -> int:
    """Index of the window in which a frame is most central; -1 where none holds it."""
    best, owner = -1, -1
    for index, window in enumerate(windows):
        if window.start <= frame < window.stop and frame in window.frames:
            place = window.frames.index(frame)
            inside = min(place, len(window.frames) - 1 - place)
            if inside > best:
                best, owner = inside, index
    return owner


def _descriptors(picture: UInt8[np.ndarray, "height width"]) -> UInt8[np.ndarray, "feature 128"]:
    """What stands out most in a small version of a picture."""
    import cv2  # noqa: PLC0415 - slow to import.

    scale = _SIDE_PX / max(picture.shape)
    if scale < 1.0:
        size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return features_in(picture, most=_FEATURES).descriptors[:_FEATURES].astype(np.uint8)


def _root_sift(
    descriptors: UInt8[np.ndarray, "feature number=128"],
) -> Float32[np.ndarray, "feature number=128"]:
    """Descriptors whose distances are those of Hellinger; each has length 1."""
    values = descriptors.astype(np.float32)
    return np.sqrt(values / np.maximum(values.sum(axis=1, keepdims=True), 1e-9))


def _vectors(
    kept: Sequence[UInt8[np.ndarray, "_feature number=128"]],
) -> Float32[np.ndarray, "place number"]:
    """One vector of length 1 for each place; 0 where nothing stands out."""
    from scipy.cluster.vq import kmeans2  # noqa: PLC0415 - slow to import.

    rng = np.random.default_rng(0)
    total = sum(map(len, kept))
    if total < _FEWEST_DESCRIPTORS:
        return np.zeros((len(kept), _WORDS * 128), dtype=np.float32)
    share = min(1.0, _SAMPLE / total)
    some = np.concatenate([each[rng.random(len(each)) < share] for each in kept])
    sample = _root_sift(some if len(some) >= _WORDS else np.concatenate(kept))
    with warnings.catch_warnings():
        # A word that nothing is near to stays where it is, and does no harm.
        warnings.simplefilter("ignore")
        words, _ = kmeans2(sample, _WORDS, iter=_ROUNDS, minit="points", rng=rng)
    words = words.astype(np.float32)
    return np.stack([_vector(_root_sift(each), words) for each in kept])


def _vector(
    descriptors: Float32[np.ndarray, "feature number=128"],
    words: Float32[np.ndarray, "word number=128"],
) -> Float32[np.ndarray, " word_number"]:
    """What descriptors are beside their nearest words, summed, each word's part of length 1."""
    nearest = ((words**2).sum(axis=1) - 2 * descriptors @ words.T).argmin(axis=1)
    beside = np.zeros_like(words)
    np.add.at(beside, nearest, descriptors - words[nearest])
    beside /= np.maximum(np.linalg.norm(beside, axis=1, keepdims=True), 1e-9)
    length = float(np.linalg.norm(beside))
    return (beside / max(length, 1e-9)).ravel().astype(np.float32)


def _best_of_windows(
    alike: Float32[np.ndarray, "row place"],
    frames: Int64[np.ndarray, " place"],
    owner: Int64[np.ndarray, " place"],
    start: int,
) -> Iterator[Candidate]:
    """For rows of places, the most alike place of every other window, where it is alike enough."""
    windows, first = np.unique(owner, return_index=True)
    # Owners increase with frames, so that a window's places stand together.
    most = np.maximum.reduceat(alike, first, axis=1)
    for row, column in zip(*np.nonzero(most > _LEAST_ALIKE), strict=True):
        end = first[column + 1] if column + 1 < len(first) else len(frames)
        place = int(first[column]) + int(alike[row, first[column] : end].argmax())
        yield Candidate(
            first=int(frames[start + row]),
            second=int(frames[place]),
            first_window=int(owner[start + row]),
            second_window=int(windows[column]),
            alike=float(most[row, column]),
        )
