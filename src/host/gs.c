/*
 * Implements host/gs.h with WRGSBASE where the kernel allows that in user mode, else with arch_prctl(2).
 */
#include "host/gs.h"

#include <asm/prctl.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

#define HWCAP2_BIT_FSGSBASE 2u

#define UNKNOWN (~0ull)

/* What this thread's base was set to last; nobody else sets it unless we are told. */
static _Thread_local u64 current;

bool host_gs_is_direct(void)
{
    return getauxval(AT_HWCAP2) & HWCAP2_BIT_FSGSBASE;
}

void host_gs_forget(void)
{
    current = UNKNOWN;
}

void host_gs_set(u64 base)
{
    if (base == current)
        return;
    current = base;
    if (host_gs_is_direct())
        __asm__ volatile("wrgsbase %0" : : "r"(base));
    else
        (void)syscall(SYS_arch_prctl, ARCH_SET_GS, base);
}
