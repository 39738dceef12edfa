"""Makes this scene in Blender (4.2 or newer): camera, pictures behind it, and points.

Run it with `blender --python make_scene.py`, or open it in Blender's text editor and press Run.
The files that lie beside it are read: points become part of the .blend file, pictures do not.
"""

import json
from pathlib import Path
from typing import Any

import bpy
import numpy as np

FACTS = "scene.json"


def own_folder() -> Path:
    """Where this file lies; Blender's text editor says so only of the text itself."""
    texts = [Path(bpy.path.abspath(text.filepath)) for text in bpy.data.texts if text.filepath]
    for path in [Path(__file__), *texts]:
        if (path.parent / FACTS).is_file():
            return path.parent
    raise FileNotFoundError(f"{FACTS} does not lie beside this script; save the text there first")


def make_scene(folder: Path) -> None:
    """Make everything."""
    about = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    scene = bpy.context.scene
    scene.render.fps, scene.render.fps_base = about["fps"], about["fps_base"]
    scene.frame_start, scene.frame_end = about["frame_start"], about["frame_end"]
    scene.render.resolution_x, scene.render.resolution_y = about["resolution"]
    scene.render.resolution_percentage = 100
    # Or greys would not be those of the pictures.
    scene.view_settings.view_transform = "Standard"
    system = "METRIC" if about["units"] == "metres" else "NONE"
    scene.unit_settings.system = system
    collection = bpy.data.collections.new(about["name"])
    scene.collection.children.link(collection)
    add_camera(collection, about, folder)
    add_points(collection, about, folder)
    scene.frame_set(about["frame_start"])


def animate(owner: Any, name: str, values: list[Any], frames: list[float], *, held: bool) -> None:
    """Give a property a value at each frame, held until the next or going there evenly."""
    setattr(owner, name, values[0])
    if all(value == values[0] for value in values):
        return
    keys = bpy.context.preferences.edit
    usual, keys.keyframe_new_interpolation_type = (
        keys.keyframe_new_interpolation_type,
        "CONSTANT" if held else "LINEAR",
    )
    for value, frame in zip(values, frames, strict=True):
        setattr(owner, name, value)
        owner.keyframe_insert(name, frame=frame)
    keys.keyframe_new_interpolation_type = usual


def add_camera(collection: Any, about: dict[str, Any], folder: Path) -> None:
    """Add the camera that took the frames, with its pictures behind the scene."""
    lens, frames = about["camera"], about["frames"]
    data = bpy.data.cameras.new("camera")
    camera = bpy.data.objects.new("camera", data)
    collection.objects.link(camera)
    bpy.context.scene.camera = camera
    camera.rotation_mode = "QUATERNION"
    data.sensor_fit = lens["sensor_fit"]
    data.sensor_width = data.sensor_height = lens["sensor"]
    data.clip_start, data.clip_end = lens["clip"]
    data.display_size = lens["display_size"]
    for name in ("location", "rotation_quaternion"):
        animate(camera, name, lens[name], frames, held=False)
    for name in ("lens", "shift_x", "shift_y"):
        animate(data, name, lens[name], frames, held=False)
    render = bpy.context.scene.render
    render.pixel_aspect_x, render.pixel_aspect_y = lens["pixel_aspect"]
    add_pictures(data, about, folder)


def add_pictures(camera: Any, about: dict[str, Any], folder: Path) -> None:
    """Show the frames behind the scene: one sequence, or one after another if times are uneven."""
    camera.show_background_images = True
    names, frames = about["pictures"], about["frames"]
    for index, name in enumerate(names[:1] if about["even"] else names):
        shown = camera.background_images.new()
        shown.image = bpy.data.images.load(str(folder / name), check_existing=True)
        shown.alpha, shown.frame_method = 1.0, "FIT"
        if about["even"] and len(names) > 1:
            shown.image.source = "SEQUENCE"
            user = shown.image_user
            user.frame_start, user.frame_duration = about["frame_start"], len(names)
            user.use_auto_refresh = True
        elif len(names) > 1:
            shares = [float(other == index) for other in range(len(names))]
            animate(shown, "alpha", shares, frames, held=True)


def add_points(collection: Any, about: dict[str, Any], folder: Path) -> None:
    """Add what stands still, and for each time what moves or what its frame sees."""
    material = glowing()
    held = np.load(folder / about["points"])
    for index in range(-1, len(about["frames"])):
        key = "still" if index < 0 else f"time_{index:04d}"
        if not len(held[f"{key}_points"]):
            continue
        points = bpy.data.meshes.new(key)
        places = held[f"{key}_points"]
        points.vertices.add(len(places))
        points.vertices.foreach_set("co", places.ravel())
        # Cycles 5.0 finds no attribute of points that is called "color".
        color = points.attributes.new("paint", "FLOAT_COLOR", "POINT")
        color.data.foreach_set("color", held[f"{key}_colors"].ravel())
        radius = points.attributes.new("radius", "FLOAT", "POINT")
        radius.data.foreach_set("value", held[f"{key}_radius"])
        points.update()
        shown = bpy.data.objects.new(key, points)
        collection.objects.link(shown)
        shown.modifiers.new("points", "NODES").node_group = points_of(material)
        if index >= 0 and len(about["frames"]) > 1:
            hidden = [other != index for other in range(len(about["frames"]))]
            for name in ("hide_viewport", "hide_render"):
                animate(shown, name, hidden, about["frames"], held=True)


def glowing() -> Any:
    """A material of the points' own colours, whatever the light."""
    material = bpy.data.materials.get("dynapoint") or bpy.data.materials.new("dynapoint")
    material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    nodes.clear()
    color, light = nodes.new("ShaderNodeAttribute"), nodes.new("ShaderNodeEmission")
    color.attribute_name = "paint"
    links.new(color.outputs["Color"], light.inputs["Color"])
    out = nodes.new("ShaderNodeOutputMaterial")
    links.new(light.outputs["Emission"], out.inputs["Surface"])
    return material


def points_of(material: Any) -> Any:
    """Geometry nodes that make a point of every vertex, as large as it says."""
    found = bpy.data.node_groups.get("dynapoint points")
    if found is not None:
        return found
    tree = bpy.data.node_groups.new("dynapoint points", "GeometryNodeTree")
    for side in ("INPUT", "OUTPUT"):
        tree.interface.new_socket("Geometry", in_out=side, socket_type="NodeSocketGeometry")
    nodes, links = tree.nodes, tree.links
    start, end = nodes.new("NodeGroupInput"), nodes.new("NodeGroupOutput")
    radius = nodes.new("GeometryNodeInputNamedAttribute")
    points = nodes.new("GeometryNodeMeshToPoints")
    radius.data_type = "FLOAT"
    radius.inputs["Name"].default_value = "radius"
    paint = nodes.new("GeometryNodeSetMaterial")
    paint.inputs["Material"].default_value = material
    links.new(start.outputs["Geometry"], points.inputs["Mesh"])
    links.new(radius.outputs["Attribute"], points.inputs["Radius"])
    links.new(points.outputs["Points"], paint.inputs["Geometry"])
    links.new(paint.outputs["Geometry"], end.inputs["Geometry"])
    return tree


make_scene(own_folder())
