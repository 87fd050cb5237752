/*
 * Implements host/gs.h with WRGSBASE where the kernel allows that in user mode, else with arch_prctl(2).
 */
#include "host/gs.h"

#include <asm/prctl.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

#define HWCAP2_BIT_FSGSBASE 2u

/* What this thread's base was set to last; nobody else sets it. */
static _Thread_local u64 current;

void host_gs_set(u64 base)
{
    if (base == current)
        return;
    current = base;
    if (getauxval(AT_HWCAP2) & HWCAP2_BIT_FSGSBASE)
        __asm__ volatile("wrgsbase %0" : : "r"(base));
    else
        (void)syscall(SYS_arch_prctl, ARCH_SET_GS, base);
}
