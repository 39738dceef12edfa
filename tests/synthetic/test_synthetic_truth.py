"""The exact truth of engine clips against independent computations."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from dynapoint.synthetic.clip import ClipBatch
from dynapoint.synthetic.driving import random_drive
from dynapoint.synthetic.interiors import random_corner, random_shelf
from dynapoint.synthetic.places import random_corridor, random_street
from dynapoint.synthetic.render import render_clips
from dynapoint.synthetic.rooms import random_room
from dynapoint.synthetic.scene import Scene, SceneConfig, assemble, random_scene
from dynapoint.synthetic.settings import Draw, Setting
from dynapoint.synthetic.shallow import random_desk, random_portrait

_FRAMES = 5
_HW = (60, 80)
_MAKERS = (
    random_desk, random_corridor, random_portrait, random_street, random_shelf, random_corner,
    random_drive, random_room,
)  # fmt: skip


def _scene_of(make: Callable[[Draw], Setting], seed: int) -> Scene:
    """A scene of one kind of setting."""
    rng = np.random.Generator(np.random.PCG64(seed))
    draw = Draw(
        rng=rng,
        tau=np.linspace(0.0, 1.0, _FRAMES),
        difficulty=1.0,
        aspect=_HW[1] / _HW[0],
        camera_moves=True,
        movers=True,
    )
    return assemble(rng, make(draw), difficulty=1.0)


@pytest.fixture(scope="module", params=["drawn", "each kind"])
def scenes(request: pytest.FixtureRequest) -> list[Scene]:
    if request.param == "drawn":
        config = SceneConfig(frames=_FRAMES, difficulty=1.0)
        return [random_scene(seed, config, aspect=_HW[1] / _HW[0]) for seed in range(40, 46)]
    return [_scene_of(make, seed) for seed, make in enumerate(_MAKERS)]


@pytest.fixture(scope="module")
def clip(scenes: list[Scene]) -> ClipBatch:
    return render_clips(scenes, image_hw=_HW, seed=0)


def _all_frames(clip: ClipBatch) -> torch.Tensor:
    clips, frames = clip.images.shape[:2]
    return torch.arange(frames).expand(clips, frames)


def _pixels(clip: ClipBatch, points: torch.Tensor) -> torch.Tensor:
    """(x, y, depth) in float64 of `points` (clip, time, source, h, w, 3) in each time's camera."""
    camera_from_world = torch.linalg.inv(clip.world_from_camera.double())
    rotation, shift = camera_from_world[..., :3, :3], camera_from_world[..., :3, 3]
    camera = torch.einsum("ctij,ctshwj->ctshwi", rotation, points.double())
    camera = camera + shift[:, :, None, None, None]
    pixel = torch.einsum("ctij,ctshwj->ctshwi", clip.intrinsics.double(), camera)
    return torch.cat([pixel[..., :2] / pixel[..., 2:], pixel[..., 2:]], -1)


def test_points_of_a_frame_at_its_own_time_project_to_pixel_centres(clip: ClipBatch) -> None:
    frames = _all_frames(clip)
    found = _pixels(clip, clip.points(frames, frames))
    own = torch.stack([found[:, i, i] for i in range(_FRAMES)], 1)
    y, x = torch.meshgrid(torch.arange(_HW[0]) + 0.5, torch.arange(_HW[1]) + 0.5, indexing="ij")
    valid = clip.valid(frames)
    error = torch.hypot(own[..., 0] - x, own[..., 1] - y)[valid]
    assert error.median() < 1e-4
    assert error.max() < 2e-3
    depth = clip.depth(frames)
    assert torch.allclose(own[..., 2][valid].float(), depth[valid], rtol=1e-5)


def round_trip_errors_px(clip: ClipBatch) -> tuple[torch.Tensor, float]:
    """Errors in pixels of going from every frame into every other and back, and agreement.

    A visible point is projected into the frame of its time. The face that this frame's map shows
    there, met at the exact position, is taken back to the source's time and camera. Errors are
    those where both frames show the same face; the share says how often depths agree at all.
    """
    frames = torch.arange(clip.images.shape[1]).expand(clip.images.shape[:2])
    found = _pixels(clip, clip.points(frames, frames))
    seen = clip.visible(frames, frames)
    planes = clip._planes(frames)[0].view(3, 3, *seen.shape[:2], -1)
    corners = clip._pixels(frames)
    errors, agreement = [], []
    for c, t, s in np.ndindex(*seen.shape[:3]):
        y, x = seen[c, t, s].nonzero().unbind(-1)
        there = found[c, t, s][y, x]
        # In float64 a point may lie a rounding error beyond the image's edge.
        row = there[:, 1].long().clamp(0, clip.face.shape[2] - 1)
        column = there[:, 0].long().clamp(0, clip.face.shape[3] - 1)
        met = clip.face[c, t][row, column].long()
        position = torch.stack([there[:, 0], there[:, 1], torch.ones_like(there[:, 0])])
        edge = (planes[:, :, c, t, met.clamp_min(0)] * position).sum(1)
        nearness = edge.sum(0)
        agreement.append(((met >= 0) & ((nearness * there[:, 2] - 1).abs() < 1e-2)).double())
        back = (edge / nearness)[..., None] * corners[c, s][
            clip.faces[c, met.clamp_min(0)].long().T
        ]
        back = back.sum(0)
        miss = torch.hypot(back[:, 0] / back[:, 2] - x - 0.5, back[:, 1] / back[:, 2] - y - 0.5)
        errors.append(miss[met == clip.face[c, s][y, x]])
    return torch.cat(errors), float(torch.cat(agreement).mean())


def test_reprojection_into_every_other_frame_agrees_with_its_depth(clip: ClipBatch) -> None:
    errors, agreement = round_trip_errors_px(clip)
    assert len(errors) > 50_000
    assert errors.median() < 1e-4
    assert errors.max() < 5e-2
    # The rest are points seen beside a silhouette, whose pixel's centre looks past them.
    assert agreement > 0.97


def test_rigid_parts_move_rigidly(scenes: list[Scene]) -> None:
    checked = 0
    for scene in scenes:
        for instance in np.unique(scene.face_instance[~scene.face_moving]):
            used = np.unique(scene.faces[scene.face_instance == instance])
            assert np.ptp(scene.vertices[:, used], axis=0).max() == 0.0
        for instance in np.unique(scene.face_instance[scene.face_moving]):
            used = np.unique(scene.faces[scene.face_instance == instance])[:40]
            moved = scene.vertices[:, used].astype(np.float64)
            spans = np.linalg.norm(moved[:, :, None] - moved[:, None], axis=-1)
            rigid = np.abs(spans - spans[0]).max() < 1e-4 * spans.max()
            checked += rigid
            if rigid:
                offsets = moved - moved.mean(1, keepdims=True)
                left, _, right = np.linalg.svd(offsets[0].T @ offsets[-1])
                turned = offsets[0] @ (left @ right)
                if np.linalg.det(left @ right) > 0:
                    np.testing.assert_allclose(turned, offsets[-1], atol=2e-5 * spans.max())
    assert checked > 10


def test_visibility_agrees_with_ray_casting_by_brute_force(clip: ClipBatch) -> None:
    frames = _all_frames(clip)
    points = clip.points(frames, frames).double()
    visible = clip.visible(frames, frames)
    generator = np.random.default_rng(5)
    agree = total = 0
    for _ in range(300):
        c, t, s, row, column = (int(generator.integers(n)) for n in (*visible.shape[:3], *_HW))
        if clip.face[c, s, row, column] < 0:
            assert not visible[c, t, s, row, column]
            continue
        point = points[c, t, s, row, column]
        eye = clip.world_from_camera[c, t, :3, 3].double()
        camera = clip.world_from_camera[c, t, :3, :3].double().T @ (point - eye)
        pixel = clip.intrinsics[c, t].double() @ camera
        xy = pixel[:2] / pixel[2]
        inside = pixel[2] > 0 and 0 <= xy[0] < _HW[1] and 0 <= xy[1] < _HW[0]
        corners = clip.vertices[c, t][clip.faces[c].long()].double()
        nearest = _nearest_hit(eye, point - eye, corners)
        agree += bool(inside and nearest > 0.99) == bool(visible[c, t, s, row, column])
        total += 1
    # Pixels that see past a silhouette differ: truth is tested at pixel centres.
    assert agree / total > 0.97


def _nearest_hit(origin: torch.Tensor, ray: torch.Tensor, corners: torch.Tensor) -> float:
    """Distance along `ray` (in its lengths) to the nearest of all triangles, in float64."""
    a = corners[:, 0]
    edge1, edge2 = corners[:, 1] - a, corners[:, 2] - a
    normal = torch.linalg.cross(ray.expand_as(edge2), edge2)
    determinant = (edge1 * normal).sum(1)
    determinant = torch.where(determinant == 0, torch.nan, determinant)
    offset = origin - a
    u = (offset * normal).sum(1) / determinant
    across = torch.linalg.cross(offset, edge1)
    v = (across * ray).sum(1) / determinant
    distance = (across * edge2).sum(1) / determinant
    hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (distance > 0)
    return float(torch.where(hit, distance, torch.inf).min())


def test_background_has_no_face_and_no_points() -> None:
    config = SceneConfig(frames=2, difficulty=1.0)
    for seed in range(100):
        scene = random_scene(seed, config, aspect=1.0)
        clip = render_clips([scene], image_hw=(32, 32), seed=0)
        sky = clip.face < 0
        if sky.float().mean() > 0.2:
            break
    frames = torch.tensor([[0, 1]])
    points = clip.points(frames, frames)
    for target in range(2):
        assert torch.equal(points[:, target].isnan().all(-1), sky)
    assert bool(clip.depth(frames).isnan().eq(sky).all())
    assert not clip.visible(frames, frames).logical_and(sky[:, None]).any()
    assert not clip.moving(frames).logical_and(sky).any()


def test_independent_ray_caster_sees_the_same_depth_and_faces(
    scenes: list[Scene], clip: ClipBatch
) -> None:
    trimesh = pytest.importorskip("trimesh")
    pytest.importorskip("embreex")
    from trimesh.ray.ray_pyembree import RayMeshIntersector

    frames = _all_frames(clip)
    depth = clip.depth(frames)
    same_face = total = 0
    for c, scene in enumerate(scenes[:3]):
        t = 2
        mesh = trimesh.Trimesh(scene.vertices[t], scene.faces, process=False)
        pose = clip.world_from_camera[c, t].double().numpy()
        y, x = np.meshgrid(np.arange(_HW[0]) + 0.5, np.arange(_HW[1]) + 0.5, indexing="ij")
        homogeneous = np.stack([x, y, np.ones_like(x)], -1).reshape(-1, 3)
        rays = homogeneous @ np.linalg.inv(clip.intrinsics[c, t].double().numpy()).T
        hit = RayMeshIntersector(mesh).intersects_first(
            np.tile(pose[:3, 3], (len(rays), 1)), rays @ pose[:3, :3].T
        )
        own = clip.face[c, t].numpy().ravel()
        corners = scene.vertices[t].astype(np.float64)[scene.faces[hit]]
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        world_rays = rays @ pose[:3, :3].T
        distance = ((corners[:, 0] - pose[:3, 3]) * normal).sum(1) / (world_rays * normal).sum(1)
        both = (hit >= 0) & (own >= 0)
        same = both & (hit == own)
        same_face += int(same.sum() + ((hit < 0) & (own < 0)).sum())
        total += len(own)
        found = depth[c, t].numpy().ravel()
        np.testing.assert_allclose(found[same], distance[same], rtol=1e-4)
    # The rest lie on edges between faces, where either answer is right.
    assert same_face / total > 0.997


def test_every_clip_may_ask_for_its_own_frames_and_times(clip: ClipBatch) -> None:
    everything = clip.truth(_all_frames(clip), _all_frames(clip))
    generator = torch.Generator().manual_seed(0)
    clips = len(clip.images)
    frames = torch.randint(0, _FRAMES, (clips, 2), generator=generator)
    times = torch.randint(0, _FRAMES, (clips, 3), generator=generator)
    chosen = clip.truth(frames, times)
    for c, t, s in np.ndindex(clips, 3, 2):
        expected = everything.points[c, times[c, t], frames[c, s]]
        assert torch.equal(chosen.points[c, t, s].nan_to_num(9e9), expected.nan_to_num(9e9))
        seen = everything.visible[c, times[c, t], frames[c, s]]
        assert torch.equal(chosen.visible[c, t, s], seen)
        assert torch.equal(chosen.moving[c, s], everything.moving[c, frames[c, s]])
    assert torch.equal(clip.points(frames, times).isnan(), chosen.points.isnan())


def test_still_points_of_a_still_scene_stay_where_they_are(clip: ClipBatch) -> None:
    frames = _all_frames(clip)
    truth = clip.truth(frames, frames)
    shift = (truth.points - truth.points[:, :1]).abs().amax((1, 5))
    still = truth.valid & ~truth.moving
    assert shift[still].max() == 0.0
    assert shift[truth.moving].max() > 0.05


def test_a_view_of_the_sky_alone_is_rendered(scenes: list[Scene]) -> None:
    scene = scenes[0]
    # Half a turn about the viewing axis and a look upwards leave nothing but sky.
    up = scene.look.ground[:3]
    forward = up / np.linalg.norm(up)
    right = np.cross([0.0, 0.0, 1.0], forward)
    right /= np.linalg.norm(right)
    pose = np.tile(np.eye(4, dtype=np.float32), (_FRAMES, 1, 1))
    pose[:, :3, 0], pose[:, :3, 1], pose[:, :3, 2] = right, np.cross(forward, right), forward
    pose[:, :3, 3] = 500.0 * up
    empty = render_clips([replace(scene, world_from_camera=pose)], image_hw=(20, 24), seed=0)
    assert bool((empty.face == -1).all())
    assert empty.images.float().flatten(0, 3).std(0).max() < 60
    frames = torch.tensor([[0, 1]])
    assert bool(empty.points(frames, frames).isnan().all())


def test_colours_are_antialiased() -> None:
    config = SceneConfig(frames=1, difficulty=0.0)
    scenes = [random_scene(seed, config, aspect=1.25) for seed in range(20)]
    scenes = [scene for scene in scenes if scene.look.noise == 0][:6]
    # Light is compared, about undoing the display's curve: that is what a lens mixes.
    small = (render_clips(scenes, image_hw=(64, 80), seed=0).images[:, 0] / 255.0) ** 2.2
    fine = render_clips(scenes, image_hw=(320, 400), seed=0)
    large = (fine.images[:, 0] / 255.0) ** 2.2
    mean = large.view(-1, 64, 5, 80, 5, 3).mean((2, 4))
    centre = large[:, 2::5, 2::5]
    body = fine.instance(torch.zeros(len(scenes), 1, dtype=torch.int64)).view(-1, 64, 5, 80, 5)
    mixed = body.amax((2, 4)) != body.amin((2, 4))
    assert 0.02 < mixed.float().mean() < 0.5
    error = (small - mean).abs()[mixed].mean()
    aliased = (centre - mean).abs()[mixed].mean()
    # Shadows are softened and textures fade by their size in the image, so they never agree fully.
    assert error < 0.8 * aliased
