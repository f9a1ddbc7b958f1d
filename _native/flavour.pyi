FLAVOUR: str  # release, trace or asan
COMPILER: str
