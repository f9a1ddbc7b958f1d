"""What the compiled part was built as: nothing in, one text out."""

BUILT_AS: str  # "@(#)fieldtap FLAVOUR, COMPILER"
