"""`lineside explain BUNDLE IMAGE…`: what the net looked at: activation maps, filters, feature maps."""

import argparse
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of this verb."""
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="a bundle: folder or .zip")
    parser.add_argument("images", metavar="IMAGE", type=Path, nargs="+", help="pictures to explain")
    parser.add_argument(
        "-o", "--output", metavar="FOLDER", type=Path, help="where PNG files and index.html go; default: BUNDLE.explain"
    )
    parser.add_argument(
        "--class", dest="category", metavar="NAME", help="the class to explain; default: each picture's answer"
    )
    parser.add_argument(
        "--stage", metavar="NAME", help="the stage whose output is mapped; default: the last, and a finer one"
    )
    parser.add_argument("--json", action="store_true", help="print what was found as JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """Explain every picture; 0."""
    import json

    from lineside.bundle.folder import beside, outside
    from lineside.explain.explain import explain, summary
    from lineside.progress import bar
    from lineside.settings import plain

    folder = args.output or beside(args.bundle, ".explain")
    outside(args.bundle, folder)
    with bar("explain") as progress:
        written = explain(args.bundle, args.images, folder, category=args.category, stage=args.stage, progress=progress)
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
        page = {"page": str(written.page), "filters": str(written.filters), "images": rows}
        print(json.dumps(page, indent=1, ensure_ascii=False, allow_nan=False))
    else:
        for line in summary(written):
            print(line)
        print(f"page: {written.page}")
    return 0
