"""What a user does with a reconstruction as a whole: look at it, save it, hand it on.

What lies above this room (exports, the viewer) is reached by the package's public names.
"""

import base64
import html
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import dynapoint

if TYPE_CHECKING:
    from PIL.Image import Image

    from dynapoint.results.reconstruction import Reconstruction

# Contact sheets in notebooks are drawn this wide at most.
_NOTEBOOK_WIDTH_PX = 1100


class FrontDoor:
    """Methods of a `Reconstruction` for its way out."""

    def save(self, path: Path | str, *, overwrite: bool = False) -> Path:
        """Save the whole scene as a folder: arrays, contact sheet, self-check and network.

        `dynapoint.open(path)` is the same reconstruction again, without the video.

        Args:
            path: The folder; missing folders above it are made.
            overwrite: Replace a scene that is there already. Anything else is never replaced.

        Returns:
            The folder.

        Raises:
            OutputError: `path` exists or cannot be written; nothing is left behind.
        """
        from dynapoint.results.saving import save  # noqa: PLC0415 - draws and checks.

        save(self._whole, path, overwrite=overwrite)
        return Path(path)

    def export(
        self,
        path: Path | str,
        *,
        to: str | None = None,
        time: int | None = None,
        max_points: int | None = None,
        confidence_percentile: float = 0.0,
        hide_pixels: Literal["none", "black", "white"] = "none",
        fps: float | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Write the scene in another program's format.

        Args:
            path: The file or folder to write.
            to: The format: ply, glb, usd, blender, nuke, colmap, nerfstudio, rerun, tum, tapvid3d,
                depth, depth-exr, html, mp4 or sheet. None takes it from the suffix of `path`.
            time: Only this time; None for all.
            max_points: At most this many points in a cloud; None leaves it to the format.
            confidence_percentile: This share of a cloud's points is left out, in percent: those of
                least confidence.
            hide_pixels: Leave out points whose pixel is nearly black, or nearly white.
            fps: Times per second in animations; None plays them as the source did.
            overwrite: Replace an earlier export.

        Returns:
            The file or folder written.

        Raises:
            ConfigError: The format is unknown, or the suffix is that of none.
            InputError: `time` is no index of a frame used.
            OutputError: `path` exists or cannot be written, or a library is missing.
        """
        return dynapoint.export(
            self._whole,
            path,
            to=to,
            time=time,
            max_points=max_points,
            confidence_percentile=confidence_percentile,
            hide_pixels=hide_pixels,
            fps=fps,
            overwrite=overwrite,
        )

    def show(self, *, port: int = 0, open_browser: bool = True) -> Any:
        """Serve the scene to this machine's browsers until the answer's `close`.

        In a notebook the answer shows the viewer in its cell.

        Args:
            port: The port; 0 takes any that is free.
            open_browser: Also open the page in the usual browser, where there is one.

        Returns:
            A `viewer.showing.Shown`: its `address`, and `close()`.

        Raises:
            ConfigError: The port cannot be had.
        """
        return dynapoint.view(self._whole, port=port, open_browser=open_browser)

    def contact_sheet(self) -> "Image":
        """One picture of the scene that a person can judge."""
        from dynapoint.results import contact_sheet  # noqa: PLC0415

        return contact_sheet.draw(self._whole)

    def __repr__(self) -> str:
        """Three lines: what it is of, what was found, and what to do with it."""
        from dynapoint.results.summary import summarize  # noqa: PLC0415

        facts = summarize(self._whole)
        height, width = facts.image_hw
        rows, columns = facts.map_hw
        return (
            f"Reconstruction of {facts.name}: {facts.frames} frames of {width}x{height}, maps of "
            f"{columns}x{rows}, by {facts.model}\n"
            f"  {facts.lens_words}; {facts.camera_words}\n"
            "  ask query, track, motion, fuse, ...; then show(), save(path), export(path)"
        )

    def _repr_html_(self) -> str:
        """The same with the contact sheet, for notebooks."""
        sheet, buffer = self.contact_sheet(), BytesIO()
        sheet.thumbnail((_NOTEBOOK_WIDTH_PX, 10 * _NOTEBOOK_WIDTH_PX))
        sheet.save(buffer, format="PNG")
        picture = base64.b64encode(buffer.getvalue()).decode()
        words = html.escape(repr(self))
        return f'<pre>{words}</pre><img src="data:image/png;base64,{picture}">'

    @property
    def _whole(self) -> "Reconstruction":
        """The reconstruction that this is a part of."""
        whole: Any = self
        return whole
