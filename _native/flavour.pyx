"""What the compiled part was built as: nothing in, one text out, also found in the file as what(1) would find it.

`fieldtap version` reads the file: importing an extension of the limited API imports inspect, which takes longer than
all the rest of the command.
"""

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
    static const char FT_BUILT_AS[] = "@(#)fieldtap " FT_FLAVOUR ", " FT_COMPILER;
    """
    const char *FT_BUILT_AS

BUILT_AS = FT_BUILT_AS.decode()
