/* Printing, checks and the end of a guest: the part of the run-time that does not depend on the mode. */
#ifndef GUEST_PRINT_H
#define GUEST_PRINT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

/* One fact. Prints the text when it is false. */
#define check(cond, ...) check_at((cond), __FILE__, __LINE__, __VA_ARGS__)
void check_at(bool ok, const char *file, int line, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

int print(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* %s %c %d %u %x with l, ll, width and 0 */
_Noreturn void finish(void);                                           /* PASS or FAIL by what check saw */
_Noreturn void debug_exit(u8 value);

static inline u8 port_in(u16 port)
{
    u8 v;
    asm volatile("inb %1,%0" : "=a"(v) : "Nd"(port));
    return v;
}

static inline void port_out(u16 port, u8 v)
{
    asm volatile("outb %0,%1" : : "a"(v), "Nd"(port));
}

#endif
