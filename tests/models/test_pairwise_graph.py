"""Which pairs of frames are asked for."""

import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dynapoint.errors import ConfigError
from dynapoint.models.pairwise.graph import PairGraphConfig, frame_pairs


def offsets(frames: int, config: PairGraphConfig) -> list[int]:
    return sorted({abs(a - b) for a, b in frame_pairs(frames, config)})


def test_pairs_of_short_clips():
    assert frame_pairs(1, PairGraphConfig()) == [(0, 0)]
    assert frame_pairs(2, PairGraphConfig()) == [(0, 1), (1, 0)]
    for kind in ("complete", "window", "logarithmic"):
        assert frame_pairs(3, PairGraphConfig(kind=kind)) == [
            (0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1),
        ]  # fmt: skip
    assert len(frame_pairs(5, PairGraphConfig())) == 20


def test_the_window_is_that_of_monst3r():
    window = PairGraphConfig()
    assert offsets(10, window) == [1, 3, 5, 7, 9]
    assert offsets(30, window) == [1, 3, 5, 7, 9]
    # The window is reduced to ⌈(n - 1) / 2⌉ offsets.
    assert offsets(6, window) == [1, 3, 5]
    assert offsets(7, window) == [1, 3, 5]
    assert offsets(8, window) == [1, 3, 5, 7]
    assert frame_pairs(6, window) == [
        (0, 1), (1, 0), (0, 3), (3, 0), (0, 5), (5, 0), (1, 2), (2, 1), (1, 4), (4, 1),
        (2, 3), (3, 2), (2, 5), (5, 2), (3, 4), (4, 3), (4, 5), (5, 4),
    ]  # fmt: skip
    assert len(frame_pairs(24, window)) == 2 * (23 + 21 + 19 + 17 + 15)
    assert offsets(30, PairGraphConfig(window=3, stride=1)) == [1, 2, 3]
    assert offsets(30, PairGraphConfig(window=3, stride=4)) == [1, 5, 9]


def test_the_other_graphs():
    logarithmic = PairGraphConfig(kind="logarithmic")
    assert offsets(6, logarithmic) == [1, 2, 4]
    assert offsets(8, logarithmic) == [1, 2, 4]
    assert offsets(9, logarithmic) == [1, 2, 4, 8]
    assert len(frame_pairs(9, logarithmic)) == 2 * (8 + 7 + 5 + 1)
    assert len(frame_pairs(9, PairGraphConfig(kind="complete"))) == 9 * 8


@pytest.mark.parametrize("kind", ["complete", "window", "logarithmic"])
@pytest.mark.parametrize(("window", "stride"), [(1, 1), (1, 7), (5, 2), (9, 3)])
def test_graphs_connect_all_frames_in_both_directions_without_repeats(kind, window, stride):
    config = PairGraphConfig(kind=kind, window=window, stride=stride, complete_up_to=0)
    for frames in range(2, 40):
        pairs = frame_pairs(frames, config)
        assert len(set(pairs)) == len(pairs)
        assert {(b, a) for a, b in pairs} == set(pairs)
        assert all(a != b and 0 <= min(a, b) and max(a, b) < frames for a, b in pairs)
        graph = coo_array(([1] * len(pairs), tuple(zip(*pairs, strict=True))), (frames, frames))
        assert connected_components(graph)[0] == 1


def test_what_makes_no_graph_is_refused():
    with pytest.raises(ConfigError, match="at least 1"):
        PairGraphConfig(window=0)
    with pytest.raises(ConfigError, match="at least 1"):
        PairGraphConfig(stride=0)
    with pytest.raises(ConfigError, match="0 frames"):
        frame_pairs(0, PairGraphConfig())
