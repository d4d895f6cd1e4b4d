"""`lineside explain BUNDLE|NET [IMAGE…]`: what the net looked at: activation maps, feature maps, its first layer.

Without pictures: only the first layer's filters, or a linear classifier's templates."""

import argparse
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of this verb."""
    parser.add_argument("what", metavar="BUNDLE|NET", help="a bundle (folder or .zip), or a net with published weights")
    parser.add_argument(
        "images", metavar="IMAGE", type=Path, nargs="*", help="pictures to explain; none: only the first layer is drawn"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FOLDER",
        type=Path,
        help="where PNG files and index.html go; default: BUNDLE.explain or NET.explain",
    )
    parser.add_argument(
        "--class", dest="category", metavar="NAME", help="the class to explain; default: each picture's answer"
    )
    parser.add_argument(
        "--stage", metavar="NAME", help="the stage whose output is mapped; default: the last, and a finer one"
    )
    parser.add_argument("--json", action="store_true", help="print what was found as JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """Draw the first layer and explain every picture; DataError at the end where some could not be."""
    import json
    from contextlib import nullcontext

    from lineside.bundle.folder import beside, outside
    from lineside.data.finding import many
    from lineside.errors import DataError
    from lineside.explain.explain import explain, summary
    from lineside.explain.subject import is_net, subject
    from lineside.progress import bar, silent
    from lineside.settings import plain
    from lineside.terminal import shown

    path = Path(args.what)
    folder = args.output or beside(path, ".explain")
    if not is_net(path):
        outside(path, folder)
    one = subject(path)
    with bar("explain") if args.images else nullcontext(silent) as progress:
        written = explain(one, args.images, folder, category=args.category, stage=args.stage, progress=progress)
    if args.json:
        rows = [
            {
                "image": str(one.path),
                "scores": dict(one.scores),
                "class": one.category,
                "maps": [
                    {
                        "stage": m.stage,
                        "exact": m.exact,
                        "share": proof.share,
                        "whole": plain(proof.whole),
                        "blurred": plain(proof.blurred),
                        "elsewhere": plain(proof.elsewhere),
                    }
                    for m, _, proof in one.maps
                ],
                "files": [str(path) for path in files],
            }
            for one, files in written.pictures
        ]
        page = {
            "page": str(written.page),
            "first_layer": str(written.first),
            "images": rows,
            "refused": written.refused,
        }
        print(json.dumps(page, indent=1, ensure_ascii=False, allow_nan=False))
    else:
        for line in summary(written):
            print(shown(line))
        print(f"first layer: {written.first}")
        print(f"page: {written.page}")
    if written.refused:
        listed = "\n  ".join(written.refused)
        raise DataError(f"{len(written.refused)} of {many(len(args.images), 'picture')} not explained:\n  {listed}")
    return 0
