/* See lines.h. */
#include "machine/lines.h"

#include "base/bits.h"

#define CASCADE     2
#define TIMER_INPUT 2 /* of the I/O APIC, for ISA line 0 */

/* irq_line.n: the line, and the source above it. */
#define SOURCE_SHIFT 8

static void line_set(void *opaque, unsigned n, bool level)
{
    struct board_lines *b = opaque;
    unsigned line = n & (BIT(SOURCE_SHIFT) - 1);
    u8 source = (u8)BIT(n >> SOURCE_SHIFT);

    if (level)
        b->pulled[line] |= source;
    else
        b->pulled[line] &= (u8)~source;
    level = b->pulled[line];

    if (line == CASCADE)
        return;
    if (line < LINES_ISA)
        irq_set(&b->pic[line], level);
    irq_set(&b->ioapic[line == 0 ? TIMER_INPUT : line], level);
}

struct irq_line lines_input(struct board_lines *b, enum line_source source, unsigned line)
{
    return (struct irq_line){line_set, b, (unsigned)source << SOURCE_SHIFT | line};
}
