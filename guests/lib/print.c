/* Printing on COM1, verdicts, the debug exit. Shared by the 64-bit and the 32-bit run-time. */
#include "lib/print.h"

static bool failed;

static void put(char ch)
{
    if (ch == '\n')
        put('\r');
    while (!(port_in(0x3fd) & 0x20))
        ;
    port_out(0x3f8, (u8)ch);
}

static int put_number(unsigned long long v, unsigned base, unsigned width, char pad)
{
    char buf[24];
    unsigned n = 0;
    do {
        unsigned long long q;
        unsigned digit;
#ifdef __x86_64__
        q = v / base, digit = v % base;
#else
        q = base == 16 ? v >> 4 : (u32)v / base, digit = base == 16 ? v & 15 : (u32)v % base;
#endif
        buf[n++] = "0123456789abcdef"[digit];
        v = q;
    } while (v);
    while (n < width && n < sizeof(buf))
        buf[n++] = pad;
    for (unsigned i = n; i--;)
        put(buf[i]);
    return (int)n;
}

static void print_string(const char *s)
{
    while (*s)
        put(*s++);
}

static void vprint(const char *fmt, va_list ap)
{
    for (; *fmt; fmt++) {
        if (*fmt != '%') {
            put(*fmt);
            continue;
        }
        char pad = ' ';
        unsigned width = 0, is_long = 0;
        fmt++;
        if (*fmt == '0')
            pad = *fmt++;
        while (*fmt >= '0' && *fmt <= '9')
            width = width * 10 + (unsigned)(*fmt++ - '0');
        while (*fmt == 'l')
            is_long++, fmt++;
        unsigned long long v = 0;
        if (*fmt == 'x' || *fmt == 'u')
            v = is_long == 2 ? va_arg(ap, unsigned long long)
                : is_long    ? va_arg(ap, unsigned long)
                             : va_arg(ap, unsigned);
        switch (*fmt) {
        case 'x':
            put_number(v, 16, width, pad);
            break;
        case 'u':
            put_number(v, 10, width, pad);
            break;
        case 'd': {
            long d = is_long ? va_arg(ap, long) : va_arg(ap, int);
            if (d < 0)
                put('-');
            put_number(d < 0 ? 0ul - (unsigned long)d : (unsigned long)d, 10, width, pad);
            break;
        }
        case 'c':
            put((char)va_arg(ap, int));
            break;
        case 's':
            print_string(va_arg(ap, const char *));
            break;
        default:
            put(*fmt);
        }
    }
}

int print(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vprint(fmt, ap);
    va_end(ap);
    return 0;
}

void check_at(bool ok, const char *file, int line, const char *fmt, ...)
{
    if (ok)
        return;
    failed = true;
    print("%s:%d: ", file, line);
    va_list ap;
    va_start(ap, fmt);
    vprint(fmt, ap);
    va_end(ap);
    print("\n");
}

_Noreturn void debug_exit(u8 value)
{
    for (;;) {
        port_out(0xf4, value);
        asm volatile("cli; hlt");
    }
}

_Noreturn void finish(void)
{
    print(failed ? "FAIL\n" : "PASS\n");
    debug_exit(failed ? 1 : 0);
}

/* The compiler may call these. */
void *memset(void *d, int c, size_t n);
void *memset(void *d, int c, size_t n)
{
    void *p = d;
    asm volatile("rep stosb" : "+D"(p), "+c"(n) : "a"(c) : "memory");
    return d;
}

void *memcpy(void *d, const void *s, size_t n);
void *memcpy(void *d, const void *s, size_t n)
{
    void *p = d;
    asm volatile("rep movsb" : "+D"(p), "+S"(s), "+c"(n) : : "memory");
    return d;
}
