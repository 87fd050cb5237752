/*
 * A function in several versions, of which the program's start chooses one by the processor's family and model, as
 * compilers make them. The model that a guest sees must not promise more than it has.
 */
#include <stdio.h>

#define VERSIONS                                                                                                       \
    "arch=nehalem", "arch=haswell", "arch=skylake-avx512", "arch=icelake-server", "arch=tigerlake",                    \
        "arch=sapphirerapids", "arch=alderlake", "arch=bonnell", "arch=znver3", "default"

__attribute__((target_clones(VERSIONS), noinline)) static double work(const unsigned *from, double *to, unsigned count)
{
    double sum = 0;
    for (unsigned n = 0; n < count; n++) {
        to[n] = from[n] * 0.5 + (double)__builtin_popcount(from[n]);
        sum += to[n];
    }
    return sum;
}

int main(void)
{
    unsigned from[64];
    double to[64];
    for (unsigned n = 0; n < 64; n++)
        from[n] = n * 0x08088405u + 1;
    printf("%.1f\n", work(from, to, 64));
    return 0;
}
