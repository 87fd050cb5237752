#include "volume/version.h"

#include <stdbool.h>
#include <string.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static size_t digits(const char *s)
{
    size_t n = 0;
    while (is_digit(s[n]))
        n++;
    return n;
}

/* Leaves both behind their numbers, which may be of any length. */
static int compare_numbers(const char **a, const char **b)
{
    while (**a == '0')
        ++*a;
    while (**b == '0')
        ++*b;
    size_t na = digits(*a), nb = digits(*b);
    if (na != nb)
        return na < nb ? -1 : 1;
    int order = strncmp(*a, *b, na);
    *a += na;
    *b += nb;
    return order;
}

static int rank(char c)
{
    return c == '~' ? -1 : (unsigned char)c;
}

int version_compare(const char *a, const char *b)
{
    int order = 0;
    while (!order && (*a || *b)) {
        if (is_digit(*a) && is_digit(*b)) {
            order = compare_numbers(&a, &b);
            continue;
        }
        order = rank(*a) - rank(*b);
        if (!order) {
            a++;
            b++;
        }
    }
    return order;
}
