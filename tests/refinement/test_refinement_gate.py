"""What the gate believes of a refinement, and findings as they are stored and said."""

from dataclasses import replace

import pytest

from dynapoint.refinement.findings import Findings
from dynapoint.refinement.gate import Verdict, judge

GOOD = Findings(
    start="flow",
    explained=0.9,
    explained_before=0.4,
    explained_plainly=0.8,
    coverage=0.5,
    turn_sigma_deg=0.05,
    lens_sigma=0.1,
)


@pytest.mark.parametrize(
    ("changes", "believed"),
    [
        ({}, True),
        ({"turn_sigma_deg": 0.25}, False),
        ({"turn_sigma_deg": 0.25, "explained_before": 0.1}, True),
        ({"turn_sigma_deg": 0.4, "explained_before": 0.1}, True),
        ({"turn_sigma_deg": 0.4, "explained_before": 0.1, "explained_plainly": 0.45}, False),
        ({"turn_sigma_deg": 0.7, "explained_before": 0.1}, False),
        ({"explained_plainly": 0.3, "lens_sigma": 0.22}, False),
        ({"explained_plainly": 0.3, "explained": 0.96}, True),
        ({"explained_plainly": 0.3, "explained": 0.96, "coverage": 0.2, "lens_sigma": 0.22}, False),
        (
            {
                "explained_plainly": 0.3,
                "explained": 0.96,
                "turn_sigma_deg": 0.15,
                "lens_sigma": 0.22,
            },
            False,
        ),
        ({"explained": 0.45}, False),
        ({"coverage": 0.02}, False),
        ({"start": "still", "turn_sigma_deg": 180.0, "explained_plainly": 0.0}, True),
        ({"start": "still", "explained": 0.3}, False),
        ({"start": "turning"}, True),
        ({"start": "turning", "turn_sigma_deg": 0.25}, False),
    ],
)
def test_the_gate(changes, believed):
    verdict = judge(replace(GOOD, **changes))
    assert verdict.poses == believed
    if changes.get("start") == "still":
        assert not verdict.lens and not verdict.depth
    else:
        depth = believed and changes.get("start") != "turning"
        assert verdict == Verdict(poses=believed, lens=believed, depth=depth)


@pytest.mark.parametrize(("sigma", "taken"), [(0.0, False), (0.1, True), (0.22, False)])
def test_the_lens_is_judged_apart(sigma, taken):
    verdict = judge(replace(GOOD, lens_sigma=sigma, explained=0.96))
    assert verdict == Verdict(poses=True, lens=taken, depth=True)


def test_cameras_under_an_unknown_lens_need_nearly_all_matches():
    doubtful = replace(GOOD, lens_sigma=0.22, explained=0.94, turn_sigma_deg=0.15)
    assert not judge(doubtful).poses
    # Unless the network's explain next to nothing, or two fifths of what others do with its depths,
    little = replace(doubtful, explained_before=0.16)
    assert judge(replace(little, explained_plainly=0.41)).poses
    assert not judge(replace(little, explained_plainly=0.39)).poses
    # or little where others hold with its depths.
    more = replace(doubtful, explained_before=0.22)
    assert judge(replace(more, explained_plainly=0.52)).poses
    assert not judge(replace(more, explained_plainly=0.49)).poses
    assert not judge(replace(more, explained_plainly=0.52, turn_sigma_deg=0.25)).poses
    assert judge(replace(doubtful, explained_before=0.12, explained_plainly=0.45)).poses


EXACT = replace(
    GOOD, turn_sigma_deg=0.7, noise_px=0.2, explained_before=0.85, explained_plainly=0.8
)
GAINED = replace(EXACT, lens_sigma=0.22, turn_sigma_deg=0.29, explained=0.61, explained_before=0.3)


@pytest.mark.parametrize(
    ("found", "changes", "believed"),
    [
        (EXACT, {}, True),
        (EXACT, {"lens_sigma": 0.0}, True),
        (EXACT, {"noise_px": 0.22}, False),
        (EXACT, {"lens_sigma": 0.21}, False),
        (EXACT, {"explained": 0.87}, False),
        (EXACT, {"coverage": 0.09}, False),
        (GAINED, {"explained_plainly": 0.51}, True),
        (GAINED, {"explained_plainly": 0.49}, False),
        (GAINED, {"explained_plainly": 0.51, "explained": 0.59}, False),
        (GAINED, {"explained_plainly": 0.51, "coverage": 0.09}, False),
        (GAINED, {"explained_plainly": 0.51, "noise_px": 0.3}, False),
        (GAINED, {"explained_plainly": 0.61, "noise_px": 0.4, "explained": 0.86}, True),
        (GAINED, {"explained_plainly": 0.61, "noise_px": 0.42, "explained": 0.86}, False),
        (GAINED, {"explained_plainly": 0.61, "noise_px": 0.4, "explained": 0.84}, False),
    ],
)
def test_cameras_that_exact_matches_hold_to_next_to_nothing_are_taken(found, changes, believed):
    assert judge(replace(found, **changes)).poses == believed


def test_findings_survive_being_plain_and_refuse_what_is_not():
    found = replace(GOOD, poses=True, seconds={"flow": 1.25})
    plain = found.to_plain()
    assert Findings.from_plain(plain) == found and plain["seconds"] == {"flow": 1.25}
    assert found.changed == ("poses",) and "90 %" in found.lines()[0]
    for broken in ({}, plain | {"more": 1}, plain | {"poses": 1}, plain | {"explained": "all"}):
        with pytest.raises((KeyError, TypeError, ValueError)):
            Findings.from_plain(broken)
    assert "too uncertain" in replace(GOOD, poses=False).lines()[0]


def test_known_poses_are_not_said_to_be_refined():
    known = replace(GOOD, poses=True, known_poses=True, depth=True)
    assert known.changed == ("depth",)
    assert known.lines()[0].startswith("refined depth by the given cameras: they explain 90 %")
    assert Findings.from_plain(known.to_plain()) == known
    # Without them scenes say what they said before there were any.
    assert "known_poses" not in GOOD.to_plain()
    old = {name: value for name, value in GOOD.to_plain().items() if name != "noise_px"}
    assert Findings.from_plain(old) == replace(GOOD, noise_px=1.0)
    assert not Findings.from_plain(GOOD.to_plain()).known_poses
    thin = replace(known, depth=False)
    assert thin.changed == () and thin.lines()[0].startswith("cameras are the given ones and depth")
    none = Findings(known_poses=True)
    assert none.lines() == ["cameras are the given ones: no matches to refine depth by"]
