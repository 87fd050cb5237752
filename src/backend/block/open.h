/*
 * Block back ends by text: PATH[,key=value]...
 *
 *     format=raw|qcow2        what the file is; without it, what its first bytes show
 *     readonly=on|off         off
 *     backing=PATH            the image below; again for the one below that. Without it there is none, whatever the
 *                             header names
 *     cache=writeback|none|unsafe   with the host's page cache; without it (O_DIRECT); flushes of the guest are ignored
 *     discard=on|off          on: what the guest discards is given back to the host
 *     aio=auto|uring|threads  how requests are carried out; auto is io_uring where the host has it
 *
 * A comma inside a path is written twice.
 */
#ifndef BACKEND_BLOCK_OPEN_H
#define BACKEND_BLOCK_OPEN_H

#include "backend/block/block.h"
#include "base/log.h"

/* Only the text. Messages begin with it. */
int block_spec_check(const char *spec, struct error *err) MUST_CHECK;

/*
 * Opens and locks the files, starts threads, watches the loop; before the sandbox is entered. Machine lock not held.
 * The loop and the log outlive the block. Messages begin with the path of the file at fault.
 */
int block_open(const char *spec, struct loop *loop, const struct log *log, struct block **out,
               struct error *err) MUST_CHECK;

/*
 * A look into a disk before a machine has it: the same text, opened for reading, on the calling thread. What somebody
 * writes to is refused. `reader` is a struct block_reader, for whom a function and an opaque pointer are wanted.
 */
struct block_reader;
int block_reader_open(const char *spec, const struct log *log, struct block_reader **out, struct error *err) MUST_CHECK;
u64 block_reader_size(const struct block_reader *r);
int block_reader_read(void *reader, u64 offset, void *to, size_t length) MUST_CHECK;
void block_reader_close(struct block_reader *r);

#endif
