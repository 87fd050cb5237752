/*
 * Memory for machine code that the program makes while it runs. The same pages are mapped twice: a view to write
 * through and a view to run from. No page is ever writable and executable in one view.
 *
 * A bump allocator: pieces are added until the area is full, then the owner forgets all of them at once with
 * code_reset.
 *
 * Threads: none of these lock. One thread adds; who runs a piece must have got its address from that thread in an
 * ordered way.
 */
#ifndef HOST_CODE_H
#define HOST_CODE_H

#include "base/error.h"
#include "base/types.h"

struct code_area;

/* `size` is rounded up to pages; pages cost memory once they are used. NULL with `err` filled where the host refuses.
 */
struct code_area *code_create(size_t size, struct error *err);
void code_destroy(struct code_area *a);

/* Copies `len` bytes of code to an address that is a multiple of 32 and returns that address in the view to run from;
 * NULL if the area is full. */
const void *code_add(struct code_area *a, const u8 *bytes, size_t len);

/* Where the next piece will run. */
const void *code_next(const struct code_area *a);

/* Is the address one of the view to run from? */
bool code_holds(const struct code_area *a, u64 address);

/* Changes up to 8 bytes of a piece that was added, in one store if they lie in one aligned word of 8 bytes. If they do
 * not, the caller sees to it that nobody runs them meanwhile. */
void code_patch(struct code_area *a, const void *at, const void *bytes, size_t len);

/* Forgets all pieces but those in the first `keep` bytes: code_used of when they were all. */
void code_reset(struct code_area *a, size_t keep);

size_t code_used(const struct code_area *a);

#endif
