"""A C program of the tests and the units of _native/core that it drives, in; what it said, out."""

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

C_TESTS = Path(__file__).parent / "native" / "c"
NATIVE = Path(__file__).parents[1] / "_native"
CORE = sorted(file.stem for file in (NATIVE / "core").glob("*.c"))
THREAD_SANITIZER = (
    "-O1",
    "-g",
    "-fsanitize=thread",
    "-no-pie",
    "-Wno-tsan",
)  # it overlooks fences: only atomics pass them
ADDRESS_SANITIZER = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")
COMPILE_S, RUN_S = 120, 300  # far more than a loaded machine takes

# `make asan` preloads a sanitizer of its own.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}


def build(name: str, into: Path, flags: Iterable[str], units: Iterable[str] = CORE) -> Path:
    """Compile the program `name` with these units, or all."""
    program = into / name
    sources = [C_TESTS / f"{name}.c", *(NATIVE / "core" / f"{unit}.c" for unit in units)]
    compiler = ["gcc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-pthread", f"-I{NATIVE}"]
    subprocess.run([*compiler, *flags, *sources, "-o", program, "-lm"], check=True, timeout=COMPILE_S, env=ENVIRONMENT)
    return program


def complaints(program: Path, *arguments: str) -> str:
    """Run it; what it said if it failed, else nothing."""
    run = subprocess.run(
        [program, *arguments], capture_output=True, text=True, timeout=RUN_S, check=False, env=ENVIRONMENT
    )
    return f"{run.returncode}: {run.stdout}{run.stderr}" if run.returncode else ""
