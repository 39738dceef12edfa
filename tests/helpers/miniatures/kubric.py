"""MOVi-F in small: shards of TFRecord, written from TensorFlow's documentation of the format."""

import struct
from io import BytesIO

import cv2
import numpy as np
from PIL import Image

from miniatures.rigid_boxes import BOUNDS, box_clip, quaternion_wxyz

SHARDS = 2


def write_miniature(root, clip, *, sequences=1, split="validation"):
    """Boxes instead of the clip's bodies, which are not rigid, with its size and length."""
    write_clip(root, box_clip(clip.frame_count, clip.image_hw), sequences=sequences, split=split)


def write_clip(root, boxes, *, sequences=1, split="validation"):
    height, width = boxes.image_hw
    folder = root / "movi_f" / f"{width}x{height}" / "1.0.0"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset_info.json").write_text('{"name": "movi_f", "version": "1.0.0"}')
    data = example(features_of(boxes))
    shards = min(SHARDS, sequences)
    for shard in range(shards):
        count = len(range(shard, sequences, shards))
        path = folder / f"movi_f-{split}.tfrecord-{shard:05d}-of-{shards:05d}"
        path.write_bytes(record(data) * count)
    return folder


def features_of(boxes):
    """What a record holds: lists of bytes, of floats or of integers by name."""
    frames, (height, width) = boxes.frame_count, boxes.image_hw
    low, high = (float(np.float32(end)) for end in (boxes.distance.min(), boxes.distance.max()))
    deep = np.round((boxes.distance - low) / (high - low) * 65535).clip(0, 65535).astype(np.uint16)
    places = (boxes.coordinates * 65535).astype(np.uint16)
    scene, objects = boxes.scene, range(len(BOUNDS))
    every = [(box, frame) for box in objects for frame in range(frames)]
    return {
        "video": [png(image) for image in boxes.images],
        "segmentations": [png((hit + 1).astype(np.uint8)) for hit in boxes.instance],
        "depth": [png(one) for one in deep],
        "object_coordinates": [png(one) for one in places],
        "forward_flow": np.zeros(frames * 4, int),
        "metadata/video_name": [b"123"],
        "metadata/depth_range": np.array([low, high]),
        "metadata/num_frames": np.array([frames]),
        "metadata/num_instances": np.array([len(BOUNDS)]),
        "metadata/height": np.array([height]),
        "metadata/width": np.array([width]),
        "camera/focal_length": np.array([boxes.focal_mm]),
        "camera/sensor_width": np.array([boxes.sensor_mm]),
        "camera/positions": boxes.world_from_camera[:, :3, 3],
        "camera/quaternions": np.array([quaternion_wxyz(*one) for one in boxes.camera_axis_angle]),
        "instances/positions": np.array([scene.position(*one) for one in every]),
        "instances/quaternions": np.array(
            [quaternion_wxyz(*scene.axis_angle(*one)) for one in every]
        ),
        "instances/bboxes_3d": np.array([scene.corners(*one) for one in every]),
        "instances/is_dynamic": np.array([1, 1, 0]),
    }


def png(values):
    if values.dtype == np.uint16:
        return cv2.imencode(".png", values[..., ::-1] if values.ndim == 3 else values)[1].tobytes()
    file = BytesIO()
    Image.fromarray(values).save(file, "png")
    return file.getvalue()


def varint(number):
    parts = bytearray()
    while True:
        number, low = number >> 7, number & 0x7F
        parts.append(low | (0x80 if number else 0))
        if not number:
            return bytes(parts)


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def feature(values):
    if isinstance(values, list):
        return field(1, b"".join(field(1, value) for value in values))
    if values.dtype.kind == "f":
        return field(2, field(1, values.astype("<f4").tobytes()))
    return field(3, field(1, b"".join(varint(int(v) % (1 << 64)) for v in values.ravel())))


def example(features):
    entries = [
        field(1, field(1, name.encode()) + field(2, feature(values)))
        for name, values in features.items()
    ]
    return field(1, b"".join(entries))


def _byte_table():
    table = []
    for byte in range(256):
        register = byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
        table.append(register)
    return table


TABLE = _byte_table()


def crc32c(data):
    """Byte by byte (RFC 3720)."""
    register = 0xFFFFFFFF
    for byte in data:
        register = TABLE[(register ^ byte) & 0xFF] ^ register >> 8
    return register ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) & 0xFFFFFFFF) + 0xA282EAD8 & 0xFFFFFFFF)


def record(data):
    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)
