"""Writes requirements-jupyter.txt: what JupyterLab, nbclient, nbconvert and papermill need, pinned by hash.

Usage: uv run --with packaging scripts/lock_jupyter.py > requirements-jupyter.txt   (uv comes from PyPI)

Left out is what nothing here uses: the Python kernel, and the HTTP client that papermill names for Python 3.12 only. The
hashes are those of wheels for CPython on Linux x86_64, one a Python version at most.
"""

import pathlib
import subprocess
import tempfile
import tomllib

from packaging import markers, tags, utils

WANTED = ["jupyterlab>=4,<5", "nbclient", "nbconvert", "papermill"]
BUILD = ["flit-core"]  # builds kernel/papermill
UNUSED = ["ipykernel", "aiohttp"]
PYTHONS = [(3, 10), (3, 11), (3, 12), (3, 13)]
WHEELS = [f"manylinux_2_{minor}_x86_64" for minor in range(28, 4, -1)]  # glibc 2.28 or older
PLATFORM = 'platform_system == "Linux" and platform_machine == "x86_64"'

PROJECT = f"""
[project]
name = "jupyter"
version = "0"
requires-python = ">=3.{PYTHONS[0][1]},<3.{PYTHONS[-1][1] + 1}"
dependencies = {WANTED + BUILD}
[tool.uv]
environments = ["sys_platform == 'linux' and platform_machine == 'x86_64' and implementation_name == 'cpython'"]
override-dependencies = {[name + " ; sys_platform == 'never'" for name in UNUSED]}
"""


def locked():
    """The packages that uv resolves, for all Python versions at once."""
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "pyproject.toml").write_text(PROJECT)
        subprocess.run(["uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.10", "--only-binary", ":all:",
                        "-o", "pylock.toml", "pyproject.toml"], cwd=folder, stdout=subprocess.DEVNULL, check=True)
        return tomllib.loads(pathlib.Path(folder, "pylock.toml").read_text())["packages"]


def fitting(package):
    """The hash of the best wheel for each Python version that the package is for; the same wheel often serves several."""
    wheels = {}
    for wheel in package["wheels"]:
        for tag in utils.parse_wheel_filename(wheel["url"].rsplit("/", 1)[1])[3]:
            wheels[tag] = wheel["hashes"]["sha256"]
    found = []
    for python in PYTHONS:
        version = ".".join(map(str, python))
        environment = {"python_version": version, "python_full_version": version + ".99", "sys_platform": "linux",
                       "platform_machine": "x86_64", "implementation_name": "cpython"}
        if not markers.Marker(package["marker"]).evaluate(environment):
            continue
        supported = [*tags.cpython_tags(python, platforms=WHEELS), *tags.compatible_tags(python, f"cp{version.replace('.', '')}", WHEELS)]
        best = next(wheels[tag] for tag in supported if tag in wheels)
        if best not in found:
            found.append(best)
    return found


print("# JupyterLab and what runs notebooks without it, installed into .venv by `make setup` with --require-hashes --no-deps.")
print(f"# Written by scripts/lock_jupyter.py for {', '.join(WANTED)}; {', '.join(BUILD)} builds kernel/papermill.")
for package in locked():
    python = [part for part in package["marker"].split(" and ") if "python_full_version" in part and ">= '3.10'" not in part]
    lines = [f"{package['name']}=={package['version']} ; " + " and ".join([PLATFORM, *python]).replace("'", '"')]
    lines += [f"    --hash=sha256:{digest}" for digest in fitting(package)]
    print(" \\\n".join(lines))
