"""`lineside export BUNDLE`: another engine or precision, a signature, an archive."""

import argparse
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of this verb."""
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="a bundle, folder or .zip")
    parser.add_argument("--engine", choices=("onnxruntime", "openvino"), help="prove parity of this engine and add it")
    precision = parser.add_mutually_exclusive_group()
    precision.add_argument(
        "--precision", choices=("float32", "bfloat16", "int8"), default="float32", help="of --engine"
    )
    precision.add_argument("--int8", dest="precision", action="store_const", const="int8", help="--precision int8")
    parser.add_argument("--data", metavar="DATA", help="where the calibrate pictures are now, if they were moved")
    parser.add_argument("--sign", metavar="KEY", type=Path, help="sign with this Ed25519 private key (PEM)")
    parser.add_argument("-o", "--output", metavar="OUT", type=Path, help="write there (a name in .zip: an archive)")


def run(args: argparse.Namespace) -> int:
    """Export; the exit code."""
    import sys

    from lineside.bundle import folder, parity, serve, signature
    from lineside.errors import SettingsError
    from lineside.progress import bar
    from lineside.tasks.classify.decode import verdicts

    if args.precision == "bfloat16" and args.engine != "openvino":
        raise SettingsError("--precision bfloat16 is for --engine openvino: onnxruntime has none on CPUs")
    if args.precision == "int8" and not args.engine:
        raise SettingsError("--precision int8 is of an engine: add --engine onnxruntime or --engine openvino")
    if args.data and not args.engine:
        raise SettingsError("--data is where parity finds the calibrate pictures: add --engine")
    if not (args.engine or args.sign or args.output):
        raise SettingsError("nothing to do: give --engine, --sign or -o")
    key = signature.load_private(args.sign) if args.sign else None
    sign = (lambda manifest: signature.sign(manifest, key)) if key else None
    was_signed = folder.open_bundle(args.bundle).signature() is not None
    if args.engine:
        with bar(f"{args.engine} {args.precision}") as progress:
            outcome = serve.serve(
                args.bundle,
                args.engine,
                args.precision,
                lambda m: verdicts(m.classes, m.accept, m.operating_point),
                data=args.data,
                target=args.output,
                sign=sign,
                progress=progress,
            )
        print(parity.table([outcome.row]))
        print(outcome.sentence)
        if outcome.first and outcome.manifest.metrics:
            print(f"the bundle's metrics were measured before: lineside evaluate {args.output or args.bundle} DATA")
        if was_signed and not sign:
            what = f"{args.output} is not signed" if args.output else "the bundle has changed and lost its signature"
            print(f"{what}: sign it with --sign KEY", file=sys.stderr)
    elif sign:
        folder.replace(args.bundle, {}, lambda manifest: manifest, sign, args.output)
    else:
        folder.pack(args.bundle, args.output)
    if key:
        print(f"signed by {signature.fingerprint(key.public_key())}")
    print(f"bundle: {args.output or args.bundle}")
    return 0
