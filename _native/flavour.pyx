"""What the compiled part was built as: nothing in, two constants out."""

cdef extern from *:
    """
    #ifndef FT_FLAVOUR
    #define FT_FLAVOUR "unknown"
    #endif
    #ifdef __clang__
    #define FT_COMPILER "clang " __clang_version__
    #else
    #define FT_COMPILER "gcc " __VERSION__
    #endif
    """
    const char *FT_FLAVOUR
    const char *FT_COMPILER

FLAVOUR = FT_FLAVOUR.decode()
COMPILER = FT_COMPILER.decode()
