"""The process in which ITK and GDCM read files, so that a fault of theirs ends it and not imaseg.

It is a script of its own that imports nothing of imaseg: it starts quickly, and needs no main module that can be
imported again. A line of JSON comes in for each file, a line of JSON and the voxels go out.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any, BinaryIO

import numpy as np
import SimpleITK


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    for line in iter(requests.readline, b""):
        request = json.loads(line)
        # Should the other process be gone, nobody else ends a read that hangs.
        if hasattr(signal, "alarm"):
            signal.alarm(int(request["seconds"]) + 5)
        told, voxels, image = _answer(request)
        if hasattr(signal, "alarm"):
            signal.alarm(0)
        answers.write(json.dumps(told).encode() + b"\n")
        answers.write(voxels.reshape(-1).view(np.uint8).data)
        answers.flush()
        del voxels, image  # so that the next image does not lie beside it


def _answer(request: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray, SimpleITK.Image | None]:
    """What to tell of a file, its voxels, and the image that owns their memory."""
    try:
        image = _image(request)
        voxels = np.ascontiguousarray(SimpleITK.GetArrayViewFromImage(image))
    except Exception as error:  # whatever it is, the other process words it
        return {"error": _last_line(error)}, np.zeros(0, np.uint8), None
    told = {
        "shape": voxels.shape,
        "dtype": voxels.dtype.str,
        "components": image.GetNumberOfComponentsPerPixel(),
        "origin": image.GetOrigin(),
        "spacing": image.GetSpacing(),
        "direction": image.GetDirection(),
    }
    return told, voxels, image


def _image(request: dict[str, Any]) -> SimpleITK.Image:
    if request["reader"] == "series":
        series = SimpleITK.ImageSeriesReader()
        # The first slice would choose the type, and in PET every slice has a slope of its own.
        series.SetOutputPixelType(SimpleITK.sitkFloat32)
        series.SetFileNames(request["files"])
        return series.Execute()
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO(request["reader"])
    reader.SetFileName(request["files"][0])
    return reader.Execute()


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__


if __name__ == "__main__":
    # What a library prints must not mix with the answers.
    own = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _serve(sys.stdin.buffer, own)
