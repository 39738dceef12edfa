"""What the reference makes of the code: extensions of griffe, for mkdocs.yml.

Shapes are written as people read them: `Float32[np.ndarray, "frame height xyz=3"]` of the code is
`float32[frame, height, 3]` on the page, `Float[Tensor, "batch 4 4"]` is `Tensor[batch, 4, 4]`, and
`PixelTracks[np.ndarray]` is `PixelTracks`. Functions of a scene that `Reconstruction` takes over
(`track = place_answers.track`) are shown as its methods.
"""

import copy
import re
from typing import Any

import griffe

KINDS = ("Bool", "Float", "Float32", "Float64", "Int", "Int64", "UInt8")
"""jaxtyping's names that the package uses."""


class ReadableShapes(griffe.Extension):
    """Rewrites the annotations of everything that is documented."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite those of an attribute or a function."""
        if obj.is_attribute:
            obj.annotation = readable(obj.annotation)
        elif obj.is_function:
            obj.returns = readable(obj.returns)
            for parameter in obj.parameters:
                parameter.annotation = readable(parameter.annotation)


class TakenOver(griffe.Extension):
    """Shows functions that are assigned in the body of a class as methods, without `scene`."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Replace the attributes of `Reconstruction` that stand for functions."""
        owner = pkg["results.reconstruction.Reconstruction"]
        for name, member in list(owner.members.items()):
            if not (member.is_attribute and isinstance(member.value, griffe.Expr)):
                continue
            function = pkg[member.value.canonical_path.removeprefix(f"{pkg.name}.")]
            if not function.is_function:
                raise TypeError(f"Reconstruction.{name} is no function; the reference lacks it")
            method = copy.copy(function)
            method.parameters = griffe.Parameters(*list(function.parameters)[1:])
            text = re.sub(r"(?m)^    scene: .*\n", "", function.docstring.value)
            # Where the scene was the only argument nothing is left under the heading.
            text = re.sub(r"(?m)^Args:\n\n", "", text)
            method.docstring = griffe.Docstring(text, parent=method, parser="google")
            owner.set_member(name, method)


def readable(annotation: Any) -> Any:
    """An annotation with every shape in it as `dtype[side, side]`; anything else as it is."""
    if not isinstance(annotation, griffe.Expr):
        return annotation
    if isinstance(annotation, griffe.ExprSubscript) and _name(annotation.left) in KINDS:
        container, words = annotation.slice.elements
        holds = _name(annotation.left).lower() if _name(container) != "Tensor" else "Tensor"
        sides = [side.split("=")[-1] for side in str(words).strip("\"' ").split()]
        return f"{holds}[{', '.join(sides)}]" if sides else holds
    if isinstance(annotation, griffe.ExprSubscript) and _name(annotation.slice) == "ndarray":
        return annotation.left
    if isinstance(annotation, griffe.ExprSubscript):
        annotation.slice = readable(annotation.slice)
    elif isinstance(annotation, griffe.ExprTuple):
        annotation.elements = [readable(element) for element in annotation.elements]
    elif isinstance(annotation, griffe.ExprBinOp):
        annotation.left, annotation.right = readable(annotation.left), readable(annotation.right)
    return annotation


def _name(expression: Any) -> str:
    """The last name of an expression: `np.ndarray` is `ndarray`."""
    return str(expression).rpartition(".")[-1]
