"""Draw the pictures of docs/plots.md: `python scripts/pictures.py docs`."""

import sys
from pathlib import Path

import cerebellum as cb
from cerebellum import xla

WATCHED = ("raster:mossy_fiber", "raster:granule:::8", "raster:golgi", "raster:purkinje")
SHOWN = [name.split(":")[1] for name in WATCHED]


def main(out: Path) -> None:
    """Write three pictures, light and dark, and an animation of Model B, awake, into a folder."""
    from matplotlib.figure import Figure

    preset = cb.presets.PRESETS["mouse-eglif-awake"]
    spec = preset.spec()
    circuit = cb.build(spec, 0)
    drive = cb.drive.standard(preset.protocol, spec, 0)
    _, recording = cb.simulate(
        circuit, cb.init(circuit, 1), drive, duration_ms=800, record=WATCHED, progress=False
    )
    for theme in ("light", "dark"):
        with cb.plot.style(theme):
            for draw in (cb.plot.diagram, cb.plot.projections):
                figure = cb.plot.blank()
                draw(circuit, ax=figure)
                figure.savefig(out / f"plots-{draw.__name__}-{theme}.png", dpi=80)
            figure = Figure(figsize=(11, 4.2), layout="constrained")
            left, right = figure.subfigures(1, 2, squeeze=False).flat
            windows = {"burst": (700.0, 750.0)}
            raster = cb.plot.raster(recording, windows, SHOWN, ax=left)
            raster[0].set_xlim(600, 800)
            cb.plot.weight_matrix(circuit, "golgi_granule", targets=range(200), ax=right)
            figure.savefig(out / f"plots-activity-{theme}.png", dpi=110)
    positions = cb.presets.positions(spec, 0)
    with cb.plot.style("light"):
        animation = cb.plot.animate(
            recording, positions, ["granule", "golgi", "purkinje"], span_ms=(680, 780)
        )
        animation.save(out / "plots-sheet.gif", writer="pillow", dpi=64)


if __name__ == "__main__":
    xla.one_thread()
    main(Path(sys.argv[1]))
