"""Builds the extensions of agent._native from _native/*.pyx and the C units they link."""

import os
import sys
from copy import copy
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
CORE = "_native/core"

# Extension -> the C units of _native/core it links.
MODULES: dict[str, list[str]] = {
    "flavour": [],
    "samples": [],
    "codec": ["ascii", "crc", "modbus", "master", "decode", "encode"],
    "ring": ["ring"],
    "busloop": [
        "busloop",
        "lineport",
        "wishes",
        "trace",
        "unmark",
        "ascii",
        "bus",
        "ending",
        "detour",
        "errand",
        "guard",
        "variant",
        "patience",
        "silence",
        "busplan",
        "rhythm",
        "inherit",
        "gap",
        "histogram",
        "mishap",
        "master",
        "modbus",
        "crc",
        "decode",
        "ring",
    ],
    "linkloop": [
        *["linkloop", "link", "linkdetour", "linkturn", "linkplan", "linkwait", "width", "flights", "errand"],
        *["schedule", "silence", "patience", "busplan", "inherit"],
        *["variant", "guard", "histogram", "mishap", "trace", "ascii", "modbus", "crc", "decode", "ring"],
    ],
    "parts": ["histogram", "trace", "wishes", "unmark"],
    "server": [
        *["server", "job", "services", "diary", "nameplate", "requests", "ascii", "bank", "signal"],
        *["simbus", "simloop", "modbus", "crc", "encode"],
    ],
    "filter": ["filter"],
    "columns": [
        "columns",
        "columns_read",
        "columns_tables",
        "columns_streams",
        "columns_plain",
        "decimals",
        "envelope",
        "mpack",
    ],
    "page": ["page", "crc32c"],
}

FLAVOURS = {
    "release": ["-O3", "-g0"],
    "trace": ["-O0", "-g", "-DCYTHON_TRACE_NOGIL=1", "-DCYTHON_USE_SYS_MONITORING=0"],
    "asan": ["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"],
}
FLAVOUR = os.environ.get("FIELDTAP_BUILD", "release")
if FLAVOUR not in FLAVOURS:
    sys.exit(f"FIELDTAP_BUILD={FLAVOUR}: choose one of {', '.join(FLAVOURS)}")
LIMITED_API = "0x030B0000"  # CPython 3.11: the first whose stable ABI has the buffer protocol
ABI3 = FLAVOUR == "release"  # line tracing does not compile against the limited API

# Cython's own output is not clean under -Wconversion; `make check-c` compiles _native/core with the full set.
WARNINGS = ["-Wall", "-Wextra", "-Wsign-compare", "-Wno-unused-const-variable", "-Werror"]
DIRECTIVES = {
    "language_level": 3,
    "auto_pickle": False,
    "boundscheck": FLAVOUR != "release",
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
    "embedsignature": False,
    "linetrace": FLAVOUR == "trace",
}


def link_into_package(folder: str) -> None:
    """Make agent/<folder> -> ../<folder>, so that Cython, mypy and imports agree on one qualified name."""
    link = ROOT / "agent" / folder
    if not link.is_symlink():
        link.symlink_to(Path("..", folder), target_is_directory=True)


class FlavouredBuild(build_ext):
    """build_ext that leaves nothing of another flavour behind, and keeps extensions out of one another's way."""

    def finalize_options(self) -> None:
        """Use every core, also in an editable install, which resets the options given to setup()."""
        super().finalize_options()
        self.parallel = os.cpu_count()

    def run(self) -> None:
        """Build; from nothing when the last build was another flavour, whose files would look fresh and be kept."""
        stamp = ROOT / "build" / "flavour"
        if not stamp.exists() or stamp.read_text() != FLAVOUR:
            remove_built_files()
            self.force = True
        super().run()
        stamp.parent.mkdir(exist_ok=True)
        stamp.write_text(FLAVOUR)

    def build_extension(self, ext: Extension) -> None:
        """Build one extension with object files of its own: several link the same C unit and are built in parallel."""
        own = copy(self)
        own.build_temp = str(Path(self.build_temp, ext.name))
        super(FlavouredBuild, own).build_extension(ext)


def remove_built_files() -> None:
    """Remove extensions and generated C: all that would otherwise be found, look fresh and be kept."""
    generated = [source.with_suffix(".c") for source in (ROOT / "_native").glob("*.pyx")]
    built = [*(ROOT / "_native").glob("*.so"), *(ROOT / "build").glob("lib.*/agent/_native/*.so")]
    for path in [*generated, *built]:
        path.unlink(missing_ok=True)


def extension(name: str, units: list[str]) -> Extension:
    """One extension from its .pyx and C units, rebuilt when any header or .pxd changes."""
    headers = [*(ROOT / "_native").glob("*.pxd"), *(ROOT / CORE).glob("*.h")]
    sanitize = [flag for flag in FLAVOURS[FLAVOUR] if flag.startswith("-fsanitize")]
    built = Extension(
        f"agent._native.{name}",
        [f"_native/{name}.pyx", *(f"{CORE}/{unit}.c" for unit in units)],
        include_dirs=["_native"],
        depends=["setup.py", *sorted(str(path.relative_to(ROOT)) for path in headers)],
        define_macros=[("FT_FLAVOUR", f'"{FLAVOUR}"'), *([("Py_LIMITED_API", LIMITED_API)] if ABI3 else [])],
        py_limited_api=ABI3,
        extra_compile_args=["-std=gnu11", "-fvisibility=hidden", *WARNINGS, *FLAVOURS[FLAVOUR]],
        extra_link_args=sanitize,
    )
    built.cython_directives = DIRECTIVES
    return built


link_into_package("_native")
link_into_package("firmware_profiles")
setup(
    cmdclass={"build_ext": FlavouredBuild},
    ext_modules=[extension(*module) for module in MODULES.items() if (ROOT / "_native" / f"{module[0]}.pyx").exists()],
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if ABI3 else {},
)
