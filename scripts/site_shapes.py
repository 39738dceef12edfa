"""Shapes as people read them in the reference: an extension of griffe, for mkdocs.yml.

`Float32[np.ndarray, "frame height width xyz=3"]` of the code becomes `float32[frame, height, width,
3]` on the page, and `Float[Tensor, "batch 4 4"]` becomes `Tensor[batch, 4, 4]`.
"""

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


def readable(annotation: Any) -> Any:
    """An annotation with every shape in it as `dtype[side, side]`; anything else as it is."""
    if not isinstance(annotation, griffe.Expr):
        return annotation
    if isinstance(annotation, griffe.ExprSubscript) and _name(annotation.left) in KINDS:
        container, words = annotation.slice.elements
        holds = _name(annotation.left).lower() if _name(container) != "Tensor" else "Tensor"
        sides = [side.split("=")[-1] for side in str(words).strip("\"' ").split()]
        return f"{holds}[{', '.join(sides)}]" if sides else holds
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
