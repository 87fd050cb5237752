/*
 * One message of the guest and its reply.
 *
 * The guest may change its memory while we look: what has to be understood is copied once into `head`, and only the
 * copy is read. Reading past its end, or a string that does not fit, marks the message as bad and gives zeroes; a
 * handler looks at message_bad when it has read all. Data of Tread, Treaddir and Twrite stays in guest memory.
 *
 * The reply is collected in `reply` and written at the end; it is bounded by what one message can be answered with.
 */
#ifndef BACKEND_SHARE_MESSAGE_H
#define BACKEND_SHARE_MESSAGE_H

#include "backend/share/p9.h"
#include "backend/share/share.h"
#include "base/types.h"

#define MESSAGE_HEAD  8704 /* two strings of P9_TEXT_MAX and some numbers; 16 names of 255 bytes are less */
#define MESSAGE_REPLY 4352 /* a link's target; 16 qids, or the attributes of a file, are less */
#define MESSAGE_IOVS  256

struct message {
    const struct share_request *r;
    u8 type;
    u16 tag;
    bool changes;  /* the message would change something */
    bool may_wait; /* else whatever may wait for the host's disk ends with -EAGAIN */
    bool bad;
    u32 head_len, pos;
    u32 reply_len;
    u32 data; /* bytes behind the reply that are in their place already */
    u8 head[MESSAGE_HEAD];
    u8 reply[MESSAGE_REPLY];
};

/* A string inside the head, not terminated. */
struct message_text {
    const char *bytes;
    u16 len;
};

/* Copies what there is of the message; false if it has no whole header, or says that it is longer than it is. */
bool message_take(struct message *m, const struct share_request *r);

/* To be read from its beginning. */
void message_again(struct message *m);

u8 message_u8(struct message *m);
u16 message_u16(struct message *m);
u32 message_u32(struct message *m);
u64 message_u64(struct message *m);
struct message_text message_text(struct message *m);

static inline bool message_bad(const struct message *m)
{
    return m->bad;
}

/* A name of one folder entry, terminated: 0, or -errno if it is empty, too long, ".", "..", or has '/' or NUL in it. */
int message_name(struct message_text text, char name[P9_NAME_MAX + 1]) MUST_CHECK;
/* Any text without NUL. */
int message_copy(struct message_text text, char *out, size_t size) MUST_CHECK;

void reply_u8(struct message *m, u8 v);
void reply_u16(struct message *m, u16 v);
void reply_u32(struct message *m, u32 v);
void reply_u64(struct message *m, u64 v);
void reply_bytes(struct message *m, const void *bytes, u32 len);
void reply_text(struct message *m, const char *text, size_t len);

/* Room for data behind the P9_DATA bytes of Rread and Rreaddir, at most `count` bytes of it; what there is. */
u32 reply_room(const struct message *m, u32 count);
/* That room as a vector, and what a write brings. */
unsigned reply_vector(const struct message *m, struct iovec *iov, u32 count);
unsigned data_vector(const struct message *m, struct iovec *iov, u32 count);
/* Copies bytes to that room, from byte `at` of it. */
void reply_data(const struct message *m, u32 at, const void *bytes, u32 len);

/* The reply, or an error where status is not 0, to guest memory; its length. */
u32 message_end(struct message *m, int status);
u32 message_error(const struct share_request *r, u16 tag, int status);

#endif
