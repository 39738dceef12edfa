"""One segment of Waymo's version 2 in small: Parquet files of all components that are read."""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from miniatures.rigid_boxes import BOUNDS, COLOURS, BoxScene, turn

FIRST_TIME, STEP = 1_550_083_467_346_370, 100_000
# The set's own frame lies far from where the vehicle drives.
GLOBAL_FROM_SCENE = np.eye(4)
GLOBAL_FROM_SCENE[:3, :3] = turn((0, 0, 1), 0.7)
GLOBAL_FROM_SCENE[:3, 3] = [12345.6, -6543.2, 21.0]
# Stronger than the real camera's, so that it counts in small pictures.
DISTORTION = np.array([-0.25, 0.06, 0.004, -0.003, 0.002])
OPENCV_FROM_CAMERA = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
LABEL_MARGIN = 0.05


def placed(rotation, place):
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, place
    return pose


VEHICLE_FROM_CAMERA = placed(turn((0.1, 1, 0.05), 0.16), [0.4, 0.05, 2.2])
ROOF = placed(turn((0.02, 0.01, 1), 1.3), [0.5, 0.0, 2.35])
BUMPER = placed(turn((0.01, 0.03, 1), -0.4), [0.7, 0.1, 1.9])
ROOF_INCLINATIONS = np.linspace(-0.62, 0.16, 26) + 0.004 * np.sin(np.arange(26))
BUMPER_RANGE = (-0.5, 0.1)


def scene_from_vehicle(time):
    """The vehicle drives around the boxes and looks at them."""
    around = 0.3 + 0.03 * time
    heading = around + np.pi + 0.05 * np.sin(time)
    return placed(turn((0, 0, 1), heading), [8 * np.cos(around), 8 * np.sin(around), -0.6])


def picture_time(frame):
    """Pictures are taken a little later than the frame's own time."""
    return frame + 0.3


@dataclass(frozen=True, kw_only=True, eq=False)
class Lidar:
    """What one LiDAR saw in one frame, on its own grid."""

    name: int
    ranges: np.ndarray
    in_vehicle_0: np.ndarray  # time row column xyz: where the surface is at each time
    hit: np.ndarray
    unlabelled: np.ndarray
    pixel: np.ndarray  # row column xy, of the picture as it was taken; -1 outside
    pixel_poses: np.ndarray  # row column 6


def lens(image_hw):
    height, width = image_hw
    focal = 1.05 * width
    return np.array([[focal, 0, width / 2 + 0.4], [0, focal * 1.01, height / 2 - 0.3], [0, 0, 1]])


def bent(xy, distortion):
    """OpenCV's polynomial model, at depth 1."""
    k1, k2, p1, p2, k3 = distortion
    x, y = xy[..., 0], xy[..., 1]
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    return np.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        ],
        axis=-1,
    )


def lidar(scene, frame, name, image_hw, distortion):
    """One LiDAR's sweep, by ray casting."""
    if name == 1:
        inclinations, pose, columns = ROOF_INCLINATIONS[::-1], ROOF, 420
    else:
        low, high = BUMPER_RANGE
        rows = 12
        inclinations = high - (np.arange(rows) + 0.5) / rows * (high - low)
        pose, columns = BUMPER, 300
    # Column 0 looks at +pi less the LiDAR's yaw; angles fall from there.
    azimuth = np.pi - (np.arange(columns) + 0.5) / columns * 2 * np.pi
    azimuth = azimuth - np.arctan2(pose[1, 0], pose[0, 0])
    flat = np.cos(inclinations)[:, None]
    own = np.stack(
        [
            flat * np.cos(azimuth),
            flat * np.sin(azimuth),
            np.broadcast_to(np.sin(inclinations)[:, None], (len(inclinations), columns)),
        ],
        axis=-1,
    )
    origins, directions, pixel_poses = np.zeros(own.shape), np.zeros(own.shape), []
    for column in range(columns):
        time = frame + (0.4 * (column / columns - 0.5) if name == 1 else 0)
        vehicle = scene_from_vehicle(time)
        there = vehicle @ pose
        origins[:, column] = there[:3, 3]
        directions[:, column] = own[:, column] @ there[:3, :3].T
        told = GLOBAL_FROM_SCENE @ vehicle
        pixel_poses.append([0, 0, np.arctan2(told[1, 0], told[0, 0]), *told[:3, 3]])
    ranges, hit, places_in_box = scene.cast(origins, directions, frame)
    places = origins + directions * ranges[..., None]
    vehicle_0 = np.linalg.inv(scene_from_vehicle(0))
    # Some rays come back empty.
    ranges[(hit < 0) & (places[..., 2] > 9)] = -1
    return Lidar(
        name=name,
        ranges=ranges,
        in_vehicle_0=np.array(
            [
                scene.moved(places, hit, places_in_box, time) @ vehicle_0[:3, :3].T
                + vehicle_0[:3, 3]
                for time in range(scene.frames)
            ]
        ),
        hit=hit,
        unlabelled=(hit < 0) & (places[..., 2] < -4),
        pixel=_pixels(places, frame, image_hw, distortion),
        pixel_poses=np.broadcast_to(pixel_poses, (len(inclinations), columns, 6)),
    )


def scene_from_camera(frame):
    """With OpenCV axes."""
    pose = scene_from_vehicle(picture_time(frame)) @ VEHICLE_FROM_CAMERA
    return pose @ placed(OPENCV_FROM_CAMERA.T, [0, 0, 0])


def _pixels(places, frame, image_hw, distortion):
    camera = scene_from_camera(frame)
    local = (places - camera[:3, 3]) @ camera[:3, :3]
    slope = local[..., :2] / np.where(local[..., 2:] > 0, local[..., 2:], np.nan)
    slope[~(np.abs(slope) < 1).all(-1)] = np.nan
    matrix = lens(image_hw)
    xy = bent(slope, distortion) * matrix[[0, 1], [0, 1]] + matrix[:2, 2]
    inside = ((xy >= 0) & (xy < [image_hw[1], image_hw[0]])).all(-1)
    return np.where(inside[..., None], np.floor(np.nan_to_num(xy)), -1)


def picture(scene, frame, image_hw, distortion):
    """What the camera sees through its lens."""
    height, width = image_hw
    matrix = lens(image_hw)
    column, row = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    seen = (np.stack([column, row], -1) - matrix[:2, 2]) / matrix[[0, 1], [0, 1]]
    slope = seen.copy()
    for _ in range(60):
        slope += seen - bent(slope, distortion)
    camera = scene_from_camera(frame)
    directions = np.concatenate([slope, np.ones((height, width, 1))], -1) @ camera[:3, :3].T
    origins = np.broadcast_to(camera[:3, 3], directions.shape)
    distance, hit, own = scene.cast(origins, directions, frame)
    unit = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    cells = np.where(hit[..., None] >= 0, own, (origins + unit * distance[..., None]) / 6)
    dark = np.floor(cells + 1e-6).sum(-1) % 2
    return (COLOURS[hit + 1] * (1 - 0.4 * dark[..., None])).astype(np.uint8)


def label(scene, box, frame):
    """Centre, size and heading of a box in the vehicle of its frame; box 1 lacks the last one."""
    if box == 1 and frame == scene.frames - 1:
        return None
    pose = np.linalg.inv(scene_from_vehicle(frame)) @ scene.world_from_box(box, frame)
    centre = pose[:3, :3] @ BOUNDS[box].mean(axis=0) + pose[:3, 3]
    size = BOUNDS[box][1] - BOUNDS[box][0] + 2 * LABEL_MARGIN
    return centre, size, np.arctan2(pose[1, 0], pose[0, 0])


def write_miniature(root, clip, *, sequences=1, split="validation", distortion=DISTORTION):
    """Boxes, which labels can follow, instead of the clip's bodies; with its size and length."""
    scene = BoxScene(frames=clip.frame_count, upright=True)
    for index in range(sequences):
        name = f"1002394760240072345{index}_1120_000_1140_000"
        _write_segment(root / split, name, scene, clip.image_hw, np.asarray(distortion))


def _write_segment(folder, name, scene, image_hw, distortion):
    # Rows in no order of time.
    frames = [*range(1, scene.frames), 0]
    times = [FIRST_TIME + STEP * frame for frame in frames]
    segment = ("key.segment_context_name", pa.array([name] * len(frames)))
    at = ("key.frame_timestamp_micros", pa.array(times, pa.int64()))
    cameras = [(2, frame) for frame in frames[:1]] + [(1, frame) for frame in frames]
    write(
        folder / "camera_image" / f"{name}.parquet",
        ("key.segment_context_name", pa.array([name] * len(cameras))),
        ("key.frame_timestamp_micros", pa.array([FIRST_TIME + STEP * f for _, f in cameras])),
        ("key.camera_name", pa.array([camera for camera, _ in cameras], pa.int8())),
        (
            "[CameraImageComponent].image",
            pa.array([jpeg(picture(scene, f, image_hw, distortion)) for _, f in cameras]),
        ),
        (
            "[CameraImageComponent].pose.transform",
            matrices(
                GLOBAL_FROM_SCENE @ scene_from_vehicle(picture_time(frame) + (camera == 2))
                for camera, frame in cameras
            ),
        ),
    )
    poses = matrices(GLOBAL_FROM_SCENE @ scene_from_vehicle(frame) for frame in frames)
    write(
        folder / "vehicle_pose" / f"{name}.parquet",
        segment,
        at,
        ("[VehiclePoseComponent].world_from_vehicle.transform", poses),
    )
    _write_calibrations(folder, name, image_hw, distortion)
    _write_labels(folder, name, scene)
    _write_sweeps(folder, name, scene, frames, image_hw=image_hw, distortion=distortion)


def _write_calibrations(folder, name, image_hw, distortion):
    matrix = lens(image_hw)
    numbers = [matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2], *distortion]
    keys = ("f_u", "f_v", "c_u", "c_v", "k1", "k2", "p1", "p2", "k3")
    write(
        folder / "camera_calibration" / f"{name}.parquet",
        ("key.camera_name", pa.array([2, 1], pa.int8())),
        *(
            (f"[CameraCalibrationComponent].intrinsic.{key}", pa.array([1.0, number]))
            for key, number in zip(keys, numbers, strict=True)
        ),
        (
            "[CameraCalibrationComponent].extrinsic.transform",
            matrices([np.eye(4), VEHICLE_FROM_CAMERA]),
        ),
        ("[CameraCalibrationComponent].width", pa.array([9, image_hw[1]], pa.int32())),
        ("[CameraCalibrationComponent].height", pa.array([9, image_hw[0]], pa.int32())),
    )
    inclination = "[LiDARCalibrationComponent].beam_inclination."
    write(
        folder / "lidar_calibration" / f"{name}.parquet",
        ("key.laser_name", pa.array([1, 2], pa.int8())),
        ("[LiDARCalibrationComponent].extrinsic.transform", matrices([ROOF, BUMPER])),
        (inclination + "min", pa.array([ROOF_INCLINATIONS[0], BUMPER_RANGE[0]])),
        (inclination + "max", pa.array([ROOF_INCLINATIONS[-1], BUMPER_RANGE[1]])),
        (inclination + "values", pa.array([ROOF_INCLINATIONS.tolist(), None])),
    )


def _write_labels(folder, name, scene):
    labelled = [
        (box, frame, label(scene, box, frame))
        for box in range(len(BOUNDS))
        for frame in range(scene.frames)
    ]
    labelled = [one for one in labelled if one[2] is not None]
    # Labels of a time at which the front camera took no picture.
    labelled.append((0, 0.5, (np.full(3, 50.0), np.ones(3), 2.0)))
    numbers = np.array([[*centre, *size, heading] for _, _, (centre, size, heading) in labelled])
    keys = [f"{part}.{axis}" for part in ("center", "size") for axis in "xyz"]
    write(
        folder / "lidar_box" / f"{name}.parquet",
        (
            "key.frame_timestamp_micros",
            pa.array([int(FIRST_TIME + STEP * frame) for _, frame, _ in labelled], pa.int64()),
        ),
        ("key.laser_object_id", pa.array([f"id-{box}" for box, _, _ in labelled])),
        *(
            (f"[LiDARBoxComponent].box.{key}", pa.array(numbers[:, index]))
            for index, key in enumerate([*keys, "heading"])
        ),
    )


def _write_sweeps(folder, name, scene, frames, **camera):
    rows = {"lidar": [], "lidar_camera_projection": [], "lidar_pose": []}
    for frame in frames:
        for laser in (2, 1):
            seen = lidar(scene, frame, laser, **camera)
            key = (FIRST_TIME + STEP * frame, laser)
            zone = np.where(seen.unlabelled, 1.0, -1.0)
            other = np.zeros_like(seen.ranges)
            rows["lidar"].append((*key, np.stack([seen.ranges, other, other, zone], axis=-1)))
            rows["lidar_camera_projection"].append((*key, _projection(seen.pixel)))
            if laser == 1:
                rows["lidar_pose"].append((*key, seen.pixel_poses))
    components = {
        "lidar": "LiDARComponent",
        "lidar_camera_projection": "LiDARCameraProjectionComponent",
        "lidar_pose": "LiDARPoseComponent",
    }
    for part, component in components.items():
        images = [image.astype(np.float32) for _, _, image in rows[part]]
        prefix = f"[{component}].range_image_return1."
        write(
            folder / part / f"{name}.parquet",
            ("key.frame_timestamp_micros", pa.array([row[0] for row in rows[part]], pa.int64())),
            ("key.laser_name", pa.array([row[1] for row in rows[part]], pa.int8())),
            (
                prefix + "values",
                pa.array([image.ravel().tolist() for image in images], pa.list_(pa.float32())),
            ),
            (
                prefix + "shape",
                pa.array([list(image.shape) for image in images], pa.list_(pa.int32(), 3)),
            ),
        )


def _projection(pixel):
    """Every third column is seen by FRONT_LEFT first and by FRONT second."""
    inside = pixel[..., 0] >= 0
    first = np.where(inside, 1, 0)
    result = np.stack([first, *np.moveaxis(pixel, -1, 0), *[np.zeros(inside.shape)] * 3], axis=-1)
    result[~inside] = 0
    both = inside & (np.arange(pixel.shape[1]) % 3 == 0)
    result[both] = np.roll(result[both], 3, axis=-1)
    result[both, 0] = 2
    return result


def write(path, *columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    # Few rows in a group, as files of this size have.
    pq.write_table(pa.table(dict(columns)), path, row_group_size=3)


def matrices(poses):
    return pa.array([pose.ravel().tolist() for pose in poses], pa.list_(pa.float64(), 16))


def jpeg(image):
    file = BytesIO()
    Image.fromarray(image).save(file, "jpeg", quality=97, subsampling=0)
    return file.getvalue()
