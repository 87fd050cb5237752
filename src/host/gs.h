/*
 * The base of the GS segment of the calling thread. The library's own code never uses GS.
 */
#ifndef HOST_GS_H
#define HOST_GS_H

#include "base/types.h"

/* Below 2^47. Cheap where the thread has this base already. */
void host_gs_set(u64 base);
/* May user code set it with WRGSBASE? Who does so calls host_gs_forget before host_gs_set is called again. */
bool host_gs_is_direct(void);
void host_gs_forget(void);

#endif
