"""The command ``export``: a finished run for torch, ONNX, timm or a hub, and stored adversarial images for people."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sslkuramoto.errors import UserError
from sslkuramoto.files import at_home

KINDS = ("torch", "onnx", "timm", "hub-folder", "images")


def add_export(commands: Any) -> None:
    """Add the command to a parser.

    Args:
        commands: what ``add_subparsers`` returned.
    """
    command = commands.add_parser("export", help="write a run for torch, ONNX, timm or a hub; adversarial images")
    command.add_argument("run", type=at_home)
    command.add_argument("--to", required=True, choices=KINDS)
    command.add_argument(
        "--out", type=at_home, metavar="DIR", help="folder (default RUN/export/KIND, for images RUN/export/images/NAME)"
    )
    command.add_argument("--weights", choices=("ema", "raw"), default="ema")
    command.add_argument("--size", type=int, metavar="PIXELS", help="side of the images, where the data are not here")
    command.add_argument("--push", metavar="OWNER/NAME", help="hub-folder: push to this repository")
    command.add_argument("--result", metavar="NAME", help="images: the result whose stored images are written")
    command.set_defaults(act=_export)


def _export(arguments: argparse.Namespace) -> None:
    kind = arguments.to
    for option, owner in (("push", "hub-folder"), ("result", "images")):
        if getattr(arguments, option) is not None and kind != owner:
            raise UserError(f"--{option}: belongs to --to {owner}, not to --to {kind}")
    from sslkuramoto.interop.card import check_folder

    default = arguments.run / "export" / kind
    out = arguments.out or (default / arguments.result if arguments.result else default)
    if out.exists() and not out.is_dir():
        raise UserError(f"--out={out}: is no folder")
    if arguments.out:  # the default folder lies in the run
        check_folder(out, kind)
    print("\n".join(_exported(kind, arguments, out)))


def _exported(kind: str, arguments: argparse.Namespace, out: Path) -> Sequence[str]:
    if kind == "images":
        from sslkuramoto.interop.export_images import export_images

        if arguments.result is None:
            raise UserError("--to images: name the result with --result NAME")
        return export_images(arguments.run, arguments.result, out)

    from sslkuramoto.interop.trained import trained

    model = trained(arguments.run, arguments.weights, arguments.size)
    if kind == "onnx":
        from sslkuramoto.interop.export_onnx import export_onnx

        return export_onnx(model, out)
    if kind == "hub-folder":
        from sslkuramoto.interop.export_hub import export_hub_folder

        return export_hub_folder(model, out, push=arguments.push)
    from sslkuramoto.interop.export_folder import export_timm, export_torch

    return export_timm(model, out) if kind == "timm" else export_torch(model, out)
