/*
 * Declared state: one field list makes a struct and the descriptors that save, restore, clone, compare and show it.
 *
 *     // in the header
 *     #define UART_STATE(F, A, S)      \
 *         F(u8, ier, 1)                \
 *         F(bool, thre_pending, 2)     \
 *         A(u8, fifo, 16, 1)           \
 *         S(counter_state, counter, 3, 1)
 *     STATE_DECLARE(uart_state, UART_STATE)      // struct uart_state { u8 ier; bool thre_pending; u8 fifo[16]; ... }
 *
 *     // in the source file
 *     STATE_DEFINE(uart_state, UART_STATE, 2)    // const struct state_class uart_state_class, newest version 2
 *
 * F(type, name, since)         one integer or bool
 * A(type, name, count, since)  an array of them
 * S(struct, name, count, since) `count` nested structs that were themselves declared with STATE_DECLARE (1 for a single
 *                              one, which is still an array of one)
 * `since` is the version of the class in which the field came in; a field that is missing in an older stream keeps the
 * value that the reset state gave it. Only what cannot be derived is declared; derived values live outside the struct
 * and are rebuilt after loading.
 *
 * Stream format (docs/state.md): little-endian, fields in order of declaration, bool as one byte 0 or 1.
 *
 * Threads: none of these lock; the owner of the state stops the machine first.
 */
#ifndef STATE_STATE_H
#define STATE_STATE_H

#include "base/error.h"
#include "base/types.h"

enum state_type {
    STATE_T_u8,
    STATE_T_u16,
    STATE_T_u32,
    STATE_T_u64,
    STATE_T_i8,
    STATE_T_i16,
    STATE_T_i32,
    STATE_T_i64,
    STATE_T_bool,
    STATE_T_struct,
};

struct state_class;

struct state_field {
    const char *name;
    u32 offset;
    u32 count;
    u16 since;
    u8 type; /* enum state_type */
    const struct state_class *nested;
};

struct state_class {
    const char *name;
    u32 version;
    u32 size; /* of the struct */
    u32 field_count;
    const struct state_field *fields;
};

#define STATE_MEMBER_F(type, name, since)               type name;
#define STATE_MEMBER_A(type, name, count, since)        type name[count];
#define STATE_MEMBER_S(struct_name, name, count, since) struct struct_name name[count];

#define STATE_DECLARE(tag, LIST)                                                                                       \
    struct tag {                                                                                                       \
        LIST(STATE_MEMBER_F, STATE_MEMBER_A, STATE_MEMBER_S)                                                           \
    };                                                                                                                 \
    extern const struct state_class tag##_class;

/* STATE_DEFINE needs to know the struct's name inside the list: a typedef of the file scope carries it. */
#define STATE_FIELD_F(type, name, since)        {#name, offsetof(state_this, name), 1, since, STATE_T_##type, NULL},
#define STATE_FIELD_A(type, name, count, since) {#name, offsetof(state_this, name), count, since, STATE_T_##type, NULL},
#define STATE_FIELD_S(struct_name, name, count, since)                                                                 \
    {#name, offsetof(state_this, name), count, since, STATE_T_struct, &struct_name##_class},

/* One STATE_DEFINE a source file. */
#define STATE_DEFINE(tag, LIST, newest)                                                                                \
    typedef struct tag state_this;                                                                                     \
    static const struct state_field tag##_fields[] = {LIST(STATE_FIELD_F, STATE_FIELD_A, STATE_FIELD_S)};              \
    const struct state_class tag##_class = {#tag, newest, sizeof(struct tag), ARRAY_SIZE(tag##_fields), tag##_fields};

/* A growing byte buffer to write to, or a fixed one to read from. Zero-initialise before writing. */
struct state_stream {
    u8 *data; /* owned and grown when writing; borrowed when reading */
    size_t size;
    size_t capacity;
    size_t pos; /* read position */
};

void state_stream_free(struct state_stream *s);

/* Appends `object` (a struct of class `cls`) with a header: name, version, byte length. -ENOMEM. */
int state_save(struct state_stream *s, const struct state_class *cls, const void *object) MUST_CHECK;

/*
 * Reads what state_save wrote. Hostile input is refused with a message: wrong name, a newer version, a short stream,
 * a bool that is neither 0 nor 1. On error the object may be half written: reset it.
 */
int state_load(struct state_stream *s, const struct state_class *cls, void *object, struct error *err) MUST_CHECK;

/* Calls emit("name=0x12") for each field, arrays as "name[3]=...", nested ones with dots. For the monitor's info. */
void state_show(const struct state_class *cls, const void *object, void (*emit)(void *opaque, const char *line),
                void *opaque);

/* Name of the first field that differs, written to `where`; false if equal. */
bool state_differs(const struct state_class *cls, const void *a, const void *b, char *where, size_t where_size);

#endif
