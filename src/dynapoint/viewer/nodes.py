"""What is on stage as nodes of a viser scene, changed in place where that can be done."""

from typing import TYPE_CHECKING, Any

from dynapoint.viewer.stage import Parts, changes

if TYPE_CHECKING:
    import viser

    from dynapoint.viewer.cameras import PicturePlane

_TRAIL_PX = 2.5
_EDGE_PX = 2.0


class Nodes:
    """The nodes, and what the browsers have been sent of them."""

    def __init__(self, server: "viser.ViserServer") -> None:
        self._server = server
        self._handles: dict[str, Any] = {}
        self._sent: Parts = {}
        self._picture: Any = None
        self._sizes = {"cloud": 0.01, "detail": 0.01, "heads": 0.01}

    def send(self, parts: Parts) -> int:
        """Show these parts and no others; returns how many bytes of arrays were sent."""
        arrays = {name: array for name, array in parts.items() if not name.endswith(".image")}
        changed = changes(self._sent, arrays)
        groups = {name.split(".")[0] for name in arrays}
        for gone in set(self._handles) - groups:
            if gone == "detail":
                # It comes back with every rest of time.
                self._handles[gone].visible = False
            else:
                self._handles.pop(gone).remove()
        sent = 0
        for group in sorted(groups):
            sent += self._send_group(group, arrays, changed)
        kept = {n: a for n, a in self._sent.items() if n.startswith("detail.")}
        self._sent = kept | arrays
        return sent

    def resize(self, group: str, point_size: float) -> None:
        """Draw a cloud's points larger or smaller (radius in units of the view)."""
        self._sizes[group] = point_size
        if group in self._handles:
            self._handles[group].point_size = point_size

    def place_picture(self, picture: Any, plane: "PicturePlane", *, visible: bool) -> None:
        """Show a picture where it is, or hide it."""
        if self._picture is None:
            self._picture = self._server.scene.add_image(
                "/picture", picture, plane.width, plane.height, jpeg_quality=85
            )
        handle = self._picture
        handle.visible = visible
        if not visible:
            return
        if handle.image is not picture:
            handle.image = picture
        handle.position, handle.wxyz = plane.middle, plane.quaternion_wxyz
        handle.render_width, handle.render_height = plane.width, plane.height

    def clear(self) -> None:
        """Remove all nodes."""
        for handle in self._handles.values():
            handle.remove()
        if self._picture is not None:
            self._picture.remove()
        self._handles, self._sent, self._picture = {}, {}, None

    def _send_group(self, group: str, arrays: Parts, changed: Parts) -> int:
        """Change a node in place, or make it anew where the number of its points has changed."""
        mine = {n: a for n, a in arrays.items() if n.split(".")[0] == group}
        same = group in self._handles and all(
            name in self._sent and self._sent[name].shape == array.shape
            for name, array in mine.items()
        )
        if not same:
            if group in self._handles:
                self._handles.pop(group).remove()
            self._handles[group] = self._add(group, mine)
            return sum(array.nbytes for array in mine.values())
        sent = 0
        self._handles[group].visible = True
        for name in mine:
            if name in changed:
                setattr(self._handles[group], name.split(".")[1], changed[name])
                sent += changed[name].nbytes
        return sent

    def _add(self, group: str, arrays: Parts) -> Any:
        """A node of the kind that its group needs."""
        scene: Any = self._server.scene
        points = arrays[f"{group}.points"]
        if group in self._sizes:
            return scene.add_point_cloud(
                f"/{group}",
                points,
                arrays[f"{group}.colors"],
                point_size=self._sizes[group],
                point_shape="circle",
                point_shading="flat",
            )
        colors, width = {
            "trails": (arrays.get("trails.colors"), _TRAIL_PX),
            "frustum": ((255, 200, 0), _EDGE_PX),
            "cameras": ((110, 120, 135), 1.0),
        }[group]
        return scene.add_line_segments(
            f"/{group}", points, colors, thickness=width, thickness_units="screen"
        )
