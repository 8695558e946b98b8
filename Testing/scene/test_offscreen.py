"""Whether pictures can be drawn is found out for every kind of window: without a display, and with one of X."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mrml import needs_opengl

ROOT = Path(__file__).resolve().parents[2]
DRAW = (
    "import slicer, vtk; vtk.vtkObject.GlobalWarningDisplayOff();"
    "from ProtoSegBrainScene.context import contextForCore;"
    "from ProtoSegBrainScene.offscreen import ThreeDView, canRender;"
    "can = canRender(); kind = vtk.vtkRenderWindow().GetClassName();"
    "pixels = ThreeDView(contextForCore(slicer.vtkMRMLScene()), '1', 20, 20).pixels() if can else None;"
    "print(kind, can, pixels is not None and bool(pixels.any()))"
)


def answer(*, before: tuple[str, ...] = (), **changes: str | None) -> list[str]:
    """Kind of window, whether it can draw, whether it has: of a process of its own, with other variables."""
    environment = {key: value for key, value in {**os.environ, **changes}.items() if value is not None}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "ProtoSegBrain")])
    done = subprocess.run(
        [*before, sys.executable, "-c", DRAW], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@needs_opengl
def test_it_draws_without_a_display():
    kind, *drawn = answer(DISPLAY=None)
    assert kind != "vtkXOpenGLRenderWindow"
    assert drawn == ["True", "True"]


@needs_opengl
@pytest.mark.skipif(not shutil.which("xvfb-run"), reason="needs xvfb (apt-get install xvfb)")
def test_it_draws_with_a_display():
    assert answer(before=("xvfb-run", "-a")) == ["vtkXOpenGLRenderWindow", "True", "True"]


@needs_opengl
def test_a_display_that_does_not_answer_is_no_end():
    assert answer(DISPLAY=":9999")[1:] == ["True", "True"]


@pytest.mark.skipif(sys.platform != "linux", reason="these variables are Mesa's and GLVND's")
def test_without_a_driver_it_says_no_and_goes_on():
    nowhere = "/nonexistent"
    drivers = {"LIBGL_DRIVERS_PATH": nowhere, "GBM_BACKENDS_PATH": nowhere, "__EGL_VENDOR_LIBRARY_DIRS": nowhere}
    kind, *drawn = answer(DISPLAY=None, **drivers)
    assert drawn in (["False", "False"], ["True", "True"]), kind  # OSMesa needs no driver
