"""A device's settings and what was learned of it in, what one read of it may hold out; pure."""

from typing import NamedTuple

from agent.config.model import MAX_BITS, MAX_REGISTERS, Device, Hole, Table

BIT_TABLES = (Table.COIL, Table.DISCRETE)


class Seam(NamedTuple):
    """Two neighbours that cannot be read at once: the register or bit at `address` and the one before it."""

    table: Table
    address: int


class Learned(NamedTuple):
    """What a device's exceptions have told about it."""

    max_registers: int = MAX_REGISTERS
    max_bits: int = MAX_BITS
    holes: frozenset[Hole] = frozenset()  # gaps that it refuses to read through
    seams: frozenset[Seam] = frozenset()
    missing: frozenset[Hole] = frozenset()  # tags that it does not have
    strict: bool = False  # one missing register spoils a whole read; False: not seen, or it fills them with something


NOTHING = Learned()


def either(one: Learned, other: Learned) -> Learned:
    """All that two devices of a kind have told."""
    return Learned(
        max_registers=min(one.max_registers, other.max_registers),
        max_bits=min(one.max_bits, other.max_bits),
        holes=one.holes | other.holes,
        seams=one.seams | other.seams,
        missing=one.missing | other.missing,
        strict=one.strict or other.strict,
    )


class Limits(NamedTuple):
    """What one read may hold."""

    max_registers: int = MAX_REGISTERS
    max_bits: int = MAX_BITS
    max_gap: int = MAX_BITS
    holes: frozenset[Hole] = frozenset()
    seams: frozenset[Seam] = frozenset()
    missing: frozenset[Hole] = frozenset()  # read alone, and seldom

    def most(self, table: Table) -> int:
        """Registers or bits at once."""
        return self.max_bits if table in BIT_TABLES else self.max_registers

    def touches_hole(self, table: Table, start: int, end: int) -> bool:
        """Whether [start, end) has a register in a hole."""
        return any(hole.table is table and start <= hole.last and hole.first < end for hole in self.holes)

    def joins(self, table: Table, reach: int, start: int) -> bool:
        """Whether a read that holds everything up to `reach` may go on with what begins at `start`."""
        if start - reach > self.max_gap or self.touches_hole(table, reach, start):
            return False
        return not any(seam.table is table and reach <= seam.address <= start for seam in self.seams)


def described(learned: Learned) -> str:
    """What was learned, for people."""
    said = []
    if learned.max_registers < MAX_REGISTERS:
        said.append(f"at most {learned.max_registers} registers at once")
    if learned.max_bits < MAX_BITS:
        said.append(f"at most {learned.max_bits} bits at once")
    said += [f"it does not have {_span(hole)}" for hole in sorted(learned.missing)]
    said += [f"no read through {_span(hole)}" for hole in sorted(learned.holes)]
    said += [f"no read across {seam.table}:{seam.address}" for seam in sorted(learned.seams)]
    return "; ".join(said) or "nothing it cannot do"


def _span(hole: Hole) -> str:
    return f"{hole.table}:{hole.first}" + (f"-{hole.last}" if hole.last > hole.first else "")


def limits_of(device: Device, learned: Learned = NOTHING) -> Limits:
    """The narrower of what was configured and what was learned."""
    return Limits(
        max_registers=min(device.max_registers, learned.max_registers),
        max_bits=min(device.max_bits, learned.max_bits),
        max_gap=device.max_gap,
        holes=learned.holes.union(device.holes, learned.missing if learned.strict else ()),
        seams=learned.seams,
        missing=learned.missing,
    )
