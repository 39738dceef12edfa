"""Folders as Kubric's worker scripts write them, in small."""

import json

import numpy as np
from PIL import Image

from miniatures.kubric import png
from miniatures.rigid_boxes import BOUNDS, box_clip, quaternion_wxyz


def write_miniature(root, clip, *, sequences=1, split="test"):
    """Boxes instead of the clip's bodies, which are not rigid, with its size and length."""
    boxes = box_clip(clip.frame_count, clip.image_hw)
    for index in range(sequences):
        write_scene(root / split / f"{index:04d}", boxes)


def write_scene(folder, boxes):
    folder.mkdir(parents=True)
    for frame in range(boxes.frame_count):
        alpha = np.full((*boxes.image_hw, 1), 255, np.uint8)
        rgba = Image.fromarray(np.concatenate([boxes.images[frame], alpha], axis=-1))
        rgba.save(folder / f"rgba_{frame:05d}.png")
        deep = Image.fromarray(boxes.distance[frame].astype(np.float32))
        deep.save(folder / f"depth_{frame:05d}.tiff")
        indices = Image.fromarray((boxes.instance[frame] + 1).astype(np.uint8), mode="L")
        # Colours in an order that is not that of the indices.
        indices.putpalette([0, 0, 0, 250, 60, 60, 60, 90, 250, 20, 250, 60])
        indices.save(folder / f"segmentation_{frame:05d}.png")
        places = (boxes.coordinates[frame] * 65535).astype(np.uint16)
        (folder / f"object_coordinates_{frame:05d}.png").write_bytes(png(places))
    (folder / "data_ranges.json").write_text('{"forward_flow": {"min": -1.0, "max": 1.0}}')
    (folder / "events.json").write_text('{"collisions": []}')
    (folder / "metadata.json").write_text(json.dumps(metadata(boxes)))


def metadata(boxes):
    scene, frames = boxes.scene, range(boxes.frame_count)
    return {
        "flags": {},
        "metadata": {
            "resolution": [boxes.image_hw[1], boxes.image_hw[0]],
            "num_frames": len(frames),
            "num_instances": len(BOUNDS),
        },
        "camera": {
            "focal_length": boxes.focal_mm,
            "sensor_width": boxes.sensor_mm,
            "positions": boxes.world_from_camera[:, :3, 3].tolist(),
            "quaternions": [quaternion_wxyz(*one).tolist() for one in boxes.camera_axis_angle],
        },
        "instances": [
            {
                "positions": [scene.position(box, frame).tolist() for frame in frames],
                "quaternions": [
                    quaternion_wxyz(*scene.axis_angle(box, frame)).tolist() for frame in frames
                ],
                "bboxes_3d": [scene.corners(box, frame).tolist() for frame in frames],
                "is_dynamic": box < 2,
            }
            for box in range(len(BOUNDS))
        ],
    }
