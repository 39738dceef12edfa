"""Virtual KITTI 2 in small: bodies of the clip are vehicles, posed by what fits their motion."""

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

# The set's world is not the camera of its first frame; its y axis points down.
WORLD_FROM_CLIP = np.array(
    [[0.8, 0.0, 0.6, 50.0], [0.0, 1.0, 0.0, -106.0], [-0.6, 0.0, 0.8, 80.0], [0.0, 0.0, 0.0, 1.0]]
)
SCENES = ("Scene01", "Scene02", "Scene06", "Scene18", "Scene20")
POSE_HEAD = (
    "frame cameraID trackID alpha width height length world_space_X world_space_Y world_space_Z "
    "rotation_world_space_y rotation_world_space_x rotation_world_space_z camera_space_X "
    "camera_space_Y camera_space_Z rotation_camera_space_y rotation_camera_space_x "
    "rotation_camera_space_z"
)
BBOX_HEAD = (
    "frame cameraID trackID left right top bottom number_pixels truncation_ratio occupancy_ratio "
    "isMoving"
)
EXTRINSIC_HEAD = "frame cameraID r1,1 r1,2 r1,3 t1 r2,1 r2,2 r2,3 t2 r3,1 r3,2 r3,3 t3 0 0 0 1"
# No vehicle has this number.
UNUSED = 1


def write_miniature(root, clip, *, sequences=1):
    for scene in SCENES[:sequences]:
        for variation in ("clone", "fog"):
            _write_sequence(root / scene / variation, clip)


def vehicles(clip):
    """Bodies of the clip by trackID: all that move, and one that stands."""
    moving = set(np.unique(clip.instance[clip.moving]).tolist())
    standing = sorted(set(np.unique(clip.instance).tolist()) - moving - {-1})
    bodies = [*sorted(moving, reverse=True), standing[-1]]
    numbers = [number for number in range(len(bodies) + 1) if number != UNUSED]
    return dict(zip(numbers, bodies, strict=True))


def world_from_vehicle(clip, body):
    """Poses that move the body's points best, by a frame in which it is large."""
    sizes = (clip.instance == body).sum(axis=(1, 2))
    seen = clip.instance[sizes.argmax()] == body
    points = clip.points[:, sizes.argmax()][:, seen] @ WORLD_FROM_CLIP[:3, :3].T
    points += WORLD_FROM_CLIP[:3, 3]
    first = points[sizes.argmax()]
    poses = []
    for now in points:
        turn, _ = Rotation.align_vectors(now - now.mean(axis=0), first - first.mean(axis=0))
        pose = np.eye(4)
        pose[:3, :3] = turn.as_matrix() @ Rotation.from_euler("y", 0.7).as_matrix()
        pose[:3, 3] = now.mean(axis=0)
        poses.append(pose)
    return np.array(poses)


def _write_sequence(folder, clip):
    for part in ("rgb", "depth", "instanceSegmentation"):
        (folder / "frames" / part / "Camera_0").mkdir(parents=True)
    tracks = vehicles(clip)
    palette = [(37 * k) % 256 for k in range(768)]
    for i in range(clip.frame_count):
        rgb = folder / "frames/rgb/Camera_0" / f"rgb_{i:05d}.jpg"
        Image.fromarray(clip.images[i]).save(rgb, quality=98, subsampling=0)
        z = clip.depth[i]
        z = np.where(np.isnan(z), 65535, np.round(100 * np.nan_to_num(z))).astype(np.uint16)
        Image.fromarray(z).save(folder / "frames/depth/Camera_0" / f"depth_{i:05d}.png")
        shown = np.zeros(clip.image_hw, np.uint8)
        for track, body in tracks.items():
            shown[clip.instance[i] == body] = track + 1
        indexed = Image.fromarray(shown, mode="P")
        indexed.putpalette(palette)
        name = f"instancegt_{i:05d}.png"
        indexed.save(folder / "frames/instanceSegmentation/Camera_0" / name)
    _write_cameras(folder, clip)
    _write_vehicles(folder, clip, tracks)


def _write_cameras(folder, clip):
    intrinsic, extrinsic = ["frame cameraID K[0,0] K[1,1] K[0,2] K[1,2]"], [EXTRINSIC_HEAD]
    right = np.eye(4)
    right[0, 3] = 0.532725
    for i, (lens, pose) in enumerate(zip(clip.intrinsics, clip.world_from_camera, strict=True)):
        for camera, offset in enumerate((np.eye(4), right)):
            numbers = (lens[0, 0], lens[1, 1], lens[0, 2] - 0.5, lens[1, 2] - 0.5)
            intrinsic.append(f"{i} {camera} " + " ".join(f"{x:.17g}" for x in numbers))
            from_world = np.linalg.inv(WORLD_FROM_CLIP @ pose @ offset)
            extrinsic.append(f"{i} {camera} " + " ".join(f"{x:.17g}" for x in from_world.flat))
    _write_lines(folder / "intrinsic.txt", intrinsic)
    _write_lines(folder / "extrinsic.txt", extrinsic)


def _write_vehicles(folder, clip, tracks):
    poses, boxes, info = [POSE_HEAD], [BBOX_HEAD], ["trackID label model color"]
    for track, body in tracks.items():
        info.append(f"{track} Car Hatchback Red")
        placed = world_from_vehicle(clip, body)
        moves = bool(clip.moving[clip.instance == body].any())
        for i in range(clip.frame_count):
            seen = clip.instance[i] == body
            if not seen.any():
                continue
            yxz = Rotation.from_matrix(placed[i, :3, :3]).as_euler("YXZ")
            world = " ".join(f"{x:.9g}" for x in (*placed[i, :3, 3], *yxz))
            poses.append(f"{i} 0 {track} 1.5 1.8 1.4 3.6 {world} 0 0 0 0 0 0")
            # The flag says that it moves to the next frame, so the last one's is False.
            flag = moves and i + 1 < clip.frame_count
            boxes.append(f"{i} 0 {track} 1 9 2 8 {seen.sum()} 0 0.5 {flag}")
    # As in the set: by frames, and within a frame by vehicles.
    for lines in (poses, boxes):
        lines[1:] = sorted(lines[1:], key=lambda line: int(line.split()[0]))
    _write_lines(folder / "pose.txt", poses)
    _write_lines(folder / "bbox.txt", boxes)
    _write_lines(folder / "info.txt", info)


def _write_lines(path, lines):
    path.write_text("\n".join(lines) + "\n")
