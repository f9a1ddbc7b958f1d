"""A tag's `write` table in, its typed limits out."""

from agent.config.model import Table, Write
from agent.config.nodes import Node, shown
from agent.config.registers import Form, Register, raw_span, registers_of
from agent.config.values import duration, number, whole
from agent.config.walk import Key, Values, read_table
from agent.model import ValueType

WRITE = {
    "min": Key(number()),
    "max": Key(number()),
    "step": Key(number(1e-12, 1e12)),
    "rate": Key(duration("1 ms", "24 h")),
    "function": Key(whole(5, 23)),
}
MOST_IN_ONE = 121  # registers that function 23 writes, which reads them back in the same request
READ_ONLY_TABLES = (Table.INPUT, Table.DISCRETE)
F32_MOST = 3.4028234663852886e38
ROUNDING = 1e-9  # of decimals as floats; a step of any register is more
EXAMPLE = "{ min = 0, max = 10 }, the least and most to be written"


def read_write(values: Values, written: Register | None, form: Form | None) -> Write | None:
    """What a tag allows to be written; None: nothing, or a mistake that is reported."""
    node: Node | None = values.get("write")
    if node is None:
        return None
    if written and written.table in READ_ONLY_TABLES:
        values.report.mistake(values.key_place("write"), f"the {written.table} table is read-only by definition")
    if node.table is None:
        values.mistake("write", f"write is {shown(node)}; allowed: {EXAMPLE}")
        return None
    limits = read_table(node, WRITE, "write", values.report)
    least, most = _span(limits, is_bit=form is not None and form.type is ValueType.BOOL)
    _check_function(limits, written, form)
    if least is None or most is None:
        return None
    if least > most:
        limits.mistake("min", f"min is {least:g}, above max, which is {most:g}")
    elif form:
        _check_room(limits, values, form)
    return Write(
        min=least,
        max=most,
        step=limits.get("step", 0.0),
        rate_ns=limits.get("rate", 0),
        function=limits.get("function", 0),
    )


def _span(limits: Values, *, is_bit: bool) -> tuple[float | None, float | None]:
    """A bit is 0 or 1 by itself; every other tag says how far it may be turned."""
    if is_bit:
        return limits.get("min", 0.0), limits.get("max", 1.0)
    for key in ("min", "max"):
        if not limits.written(key):
            limits.report.mistake(limits.node.key_place, f"write has no '{key}', which it needs")
    return limits.get("min"), limits.get("max")


def _check_room(limits: Values, tag: Values, form: Form) -> None:
    """Limits beyond what the registers hold: such a write would be refused only when it is made."""
    scale, offset = tag.get("scale", 1.0), tag.get("offset", 0.0)
    if form.type is ValueType.F32:
        raw = (-F32_MOST, F32_MOST)
    elif form.type in (ValueType.F64, ValueType.TEXT):
        return
    else:
        span = raw_span(form.type, form.bits)
        raw = (float(span[0]), float(span[-1]))
    least, most = sorted(each * scale + offset for each in raw)
    room = ROUNDING * max(abs(least), abs(most))
    for key in ("min", "max"):
        limit = limits.get(key)
        if limit is not None and not least - room <= limit <= most + room:
            held = f"{least:.10g} to {most:.10g}"
            limits.warn(key, f"{key} is {limit:.10g}; with its type, scale and offset this tag holds {held}")


def functions_for(table: Table, form: Form) -> tuple[int, ...]:
    """The function codes that can write such a tag; the first is the usual one."""
    if table is Table.COIL:
        return 5, 15
    if form.type is ValueType.BITS:
        return 22, 6, 16
    if registers_of(form) > MOST_IN_ONE:
        return (16,)
    return (6, 16, 23) if form.type is not ValueType.TEXT and form.length == 1 else (16, 23)


def _check_function(limits: Values, written: Register | None, form: Form | None) -> None:
    function = limits.get("function")
    if function is None or written is None or form is None or written.table in READ_ONLY_TABLES:
        return
    allowed = functions_for(written.table, form)
    if function not in allowed:
        words = " or ".join(map(str, allowed))
        limits.mistake("function", f"function is {function}; this tag is written with {words}")
