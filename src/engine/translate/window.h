/*
 * Windows: the address spaces of a virtual processor as translated code sees them. Internal to engine/translate.
 *
 * A window stands for one pair of (address-space number c->tlb->asid, c->mmu_index) of cpu/mmu.h. Its table has an
 * entry for each 4 KiB page of the 48-bit linear space: host address minus linear address. Translated code adds the
 * entry to a linear address and accesses what comes out, with no check. So an entry that is not there must lead
 * nowhere: it holds the distance to the guard page, and parts of the table that were never filled are not mapped. What
 * entries may lead to is the guest's RAM: through mem_ram.host where reads and writes may go by, through the read-only
 * mapping mem_ram.read_only where only reads may. Whatever linear address the guest makes up, canonical or not, the sum
 * is then in one of these, in the guard, or not canonical: the last two are faults of the host, which the engine turns
 * into the slow way.
 *
 * Entries are copies of tags of the software TLB (cpu/mmu.h), which stays the only one to walk page tables, set
 * accessed and dirty bits, and know what may be written; there are more of them and they live longer. All that takes
 * tags away calls in here (struct tlb_watch).
 *
 * Kernel half (bit 47 set): the supervisor windows of a processor share one, so that a change of address space costs no
 * refill of the kernel. What is shared must not depend on the address space: pages that are not global are remembered
 * and dropped when another address space is selected. Nor on EFLAGS.AC: with SMAP on, pages that user code may access
 * are left out. A user window's kernel half is its own.
 *
 * Peers: windows of one address space know each other's bases, so that translated code can change to another privilege
 * (ring.h).
 *
 * Threads: a processor's windows belong to its owner, and to others in exclusive sections only.
 */
#ifndef ENGINE_TRANSLATE_WINDOW_H
#define ENGINE_TRANSLATE_WINDOW_H

#include "engine/translate/frame.h"

struct windows;

/* Windows for c, which must come from cpu_create; `miss_slot` and `miss_jump` are the host addresses that empty words
 * of WIN_SLOT and WIN_JUMP hold. Sets c->tlb->watch. NULL with err set if the host refuses. */
struct windows *windows_create(struct cpu *c, u64 miss_slot, u64 miss_jump, struct error *err);
void windows_destroy(struct windows *ws);
/* At most so many bytes of host memory for tables and words, before any window is selected; never less than what three
 * windows need: WINDOWS_LEAST. */
void windows_limit(struct windows *ws, u64 bytes);
#define WINDOWS_LEAST MiB(14)

/* Before guest code is entered: makes the window for the processor's present state the current one, and gs its base.
 * Cheap when nothing changed. */
void windows_select(struct windows *ws);

/* What the processor's state says has changed by translated code, which gave gs the base of a peer: as windows_select.
 */
void windows_moved(struct windows *ws);

/* After an access of `linear` was done the slow way: copies what the software TLB has for its page into the current
 * window. Nothing happens if it has no tag, or for memory that is not RAM. */
void windows_fill(struct windows *ws, u64 linear);

/* Does the current window let an access of this byte through? */
bool windows_allow(const struct windows *ws, u64 linear, bool write);

/* The host faulted at this address: true if it lies in a window's table, whose part there is mapped (and
 * empty) now. Async-signal-safe. */
bool windows_table_fault(struct windows *ws, u64 host_address);
/* The host faulted at this address: true if it is one of a window's slots (jumps), which has no memory yet and is to be
 * taken for empty. */
bool windows_slot_fault(struct windows *ws, u64 host_address);
bool windows_jump_fault(struct windows *ws, u64 host_address);
/* The host faulted at this address: true if it is right behind WIN_SPAN. */
bool windows_span_fault(struct windows *ws, u64 host_address);
/* True if the address lies in the guard page. */
bool windows_is_guard(const struct windows *ws, u64 host_address);
/* Can an access by way of an entry fault at this address of the host: the guard page, RAM? Async-signal-safe. */
bool windows_may_fault(const struct windows *ws, u64 host_address);

/* Fills word `slot` of WIN_SLOT, or the word of WIN_JUMP that belongs to `target`: `code` may be run in the current
 * window for linear address `target`, as long as the translation of target's page stands. `slot` is from the half of
 * target. */
void windows_set_slot(struct windows *ws, unsigned slot, u64 target, u64 code);
void windows_set_jump(struct windows *ws, u64 target, u64 code);
/* All slots and jumps are empty again (the code cache was dropped), in every window. */
void windows_drop_code(struct windows *ws);

/* Everything is empty again. */
void windows_drop(struct windows *ws);

/* Bytes of host memory that the windows take now. */
u64 windows_bytes(const struct windows *ws);

struct window_stats {
    u64 fills, chunks, selects, recycled, drops, pages_dropped, protects;
};
const struct window_stats *windows_stats(const struct windows *ws);

#endif
