/*
 * A host file or block device that holds an image: whole reads and writes, durability, space, locks.
 *
 * Any thread may use a file; nothing here is guarded but what needs to be. Every function that may fail returns 0 or
 * -errno. Reads beyond the end of the file give zeroes; writes make it longer.
 *
 * Durability. Once the host failed to make data durable, the data may be lost while the host counts it as written: a
 * later sync would succeed without it. So every sync after a failed one fails, until the file is opened again.
 */
#ifndef BACKEND_BLOCK_FILE_H
#define BACKEND_BLOCK_FILE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "backend/block/vec.h"
#include "base/error.h"
#include "base/types.h"

struct file;

/* How the host is reached; tests put their own in its place. Each returns as the system call does, errors as -errno. */
struct file_ops {
    ssize_t (*preadv)(struct file *f, const struct iovec *iov, unsigned iovs, u64 offset);
    ssize_t (*pwritev)(struct file *f, const struct iovec *iov, unsigned iovs, u64 offset);
    int (*sync)(struct file *f);
    int (*allocate)(struct file *f, int mode, u64 offset, u64 length);
};

struct file {
    const struct file_ops *ops;
    int fd;
    int lock_fd; /* an opening of its own (file_lock), -1: none */
    bool read_only;
    bool device;          /* a block device */
    u32 align;            /* of offset, length and memory, where the page cache is gone round (O_DIRECT); otherwise 0 */
    u64 size;             /* bytes, when it was opened */
    dev_t dev;            /* which file it is */
    ino_t ino;            /* likewise */
    atomic_int lost;      /* what the first failed sync returned; 0 */
    atomic_bool no_zero;  /* the host cannot zero a range */
    atomic_bool no_punch; /* the host cannot give space back */
    pthread_rwlock_t edge; /* held for writing by a write that has to read around itself first (align) */
};

enum {
    FILE_WRITE = 1,
    FILE_DIRECT = 2, /* without the host's page cache */
};

/* Opens what is there and takes the locks of an image (below). Messages begin with the path. */
int file_open(const char *path, unsigned flags, struct file **out, struct error *err) MUST_CHECK;
/* Takes a descriptor over, without locks: a new file that nobody else knows, or a test's. NULL when out of memory: then
 * the descriptor stays the caller's. */
struct file *file_adopt(int fd, bool read_only);
/* Frees it. Also the locks go. */
void file_close(struct file *f);

int file_read(struct file *f, u64 offset, u64 length, struct vec v) MUST_CHECK;
int file_write(struct file *f, u64 offset, u64 length, struct vec v) MUST_CHECK;
int file_read_at(struct file *f, u64 offset, void *to, size_t length) MUST_CHECK;
int file_write_at(struct file *f, u64 offset, const void *from, size_t length) MUST_CHECK;
int file_sync(struct file *f) MUST_CHECK;
/* The range reads as zeroes. `unmap`: its space may be given back. Quickly where the host can, else by writing. */
int file_zero(struct file *f, u64 offset, u64 length, bool unmap) MUST_CHECK;
/* Gives space back where the host can; a hint. */
void file_punch(struct file *f, u64 offset, u64 length);
/* A regular file gets another size; what is new reads as zeroes. */
int file_resize(struct file *f, u64 size) MUST_CHECK;
/* The size that it has now, 0 if that cannot be told. */
u64 file_size_now(const struct file *f);
/* Where a hole begins or ends: the bytes from `offset` on that are alike, at most `length`, and whether it is a hole.
 */
u64 file_run(const struct file *f, u64 offset, u64 length, bool *hole);

/*
 * The locks of an image, on the bytes that QEMU uses: byte 100 + n says "I do n", byte 200 + n says "nobody else may do
 * n", both by a shared lock of the open file (F_OFD_SETLK). Who writes has the image alone; who reads shares it with
 * other readers. Called by file_open; for writers that open by themselves.
 *
 * `fd` is an opening that is used for nothing else: where a descriptor was given to io_uring, its open file lives on
 * for a while after the process is gone, and so would the locks.
 */
int file_lock(int fd, const char *path, bool write, struct error *err) MUST_CHECK;

#endif
