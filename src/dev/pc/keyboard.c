/* See keyboard.h. */
#include "dev/pc/keyboard.h"

STATE_DEFINE(keyboard_state, KEYBOARD_STATE, 1)

#define ACK              0xfa
#define RESEND           0xfe
#define ECHO             0xee
#define SELF_TEST_PASSED 0xaa

enum {
    CMD_SET_LEDS = 0xed,
    CMD_ECHO = 0xee,
    CMD_SCAN_SET = 0xf0,
    CMD_IDENTIFY = 0xf2,
    CMD_TYPEMATIC = 0xf3,
    CMD_ENABLE = 0xf4,
    CMD_DEFAULT_DISABLE = 0xf5,
    CMD_DEFAULT = 0xf6,
    CMD_ALL_FIRST = 0xf7, /* key types for all keys, set 3: f7 to fa */
    CMD_ALL_LAST = 0xfa,
    CMD_KEY_FIRST = 0xfb, /* and for single keys: fb to fd, with a parameter */
    CMD_KEY_LAST = 0xfd,
    CMD_RESEND = 0xfe,
    CMD_RESET = 0xff,
};

#define TYPEMATIC_DEFAULT 0x2b /* 10.9 characters a second after 500 ms */

struct reply {
    struct keyboard_state *k;
    void (*send)(void *opaque, u8 byte);
    void *opaque;
};

static void send(const struct reply *r, u8 byte)
{
    r->k->last_sent = byte;
    r->send(r->opaque, byte);
}

static void set_defaults(struct keyboard_state *k, bool scanning)
{
    u8 last = k->last_sent;

    *k = (struct keyboard_state){.set = 2, .typematic = TYPEMATIC_DEFAULT, .scanning = scanning, .last_sent = last};
}

void keyboard_reset(struct keyboard_state *k)
{
    set_defaults(k, true);
    k->last_sent = SELF_TEST_PASSED;
}

static void scan_set(const struct reply *r, u8 set)
{
    if (set > 3) {
        send(r, RESEND);
        return;
    }
    send(r, ACK);
    if (set == 0)
        send(r, r->k->set);
    else
        r->k->set = set;
}

/* The second byte of a command. A byte that looks like a command is one, and the first is forgotten. */
static bool parameter(const struct reply *r, u8 command, u8 byte)
{
    if (byte >= CMD_SET_LEDS)
        return false;
    switch (command) {
    case CMD_SET_LEDS:
        r->k->leds = byte & 7;
        send(r, ACK);
        break;
    case CMD_TYPEMATIC:
        r->k->typematic = byte & 0x7f;
        send(r, ACK);
        break;
    case CMD_SCAN_SET:
        scan_set(r, byte);
        break;
    default: /* key types: every key is make, break and typematic here */
        send(r, ACK);
        break;
    }
    return true;
}

static void command(const struct reply *r, u8 byte)
{
    struct keyboard_state *k = r->k;

    switch (byte) {
    case CMD_SET_LEDS:
    case CMD_SCAN_SET:
    case CMD_TYPEMATIC:
    case CMD_KEY_FIRST ... CMD_KEY_LAST:
        k->command = byte;
        send(r, ACK);
        break;
    case CMD_ECHO:
        send(r, ECHO);
        break;
    case CMD_IDENTIFY:
        send(r, ACK);
        send(r, 0xab);
        send(r, 0x83);
        break;
    case CMD_ENABLE:
        k->scanning = true;
        send(r, ACK);
        break;
    case CMD_DEFAULT_DISABLE:
    case CMD_DEFAULT:
        set_defaults(k, byte == CMD_DEFAULT);
        send(r, ACK);
        break;
    case CMD_ALL_FIRST ... CMD_ALL_LAST:
        send(r, ACK);
        break;
    case CMD_RESEND:
        r->send(r->opaque, k->last_sent);
        break;
    case CMD_RESET:
        set_defaults(k, true);
        send(r, ACK);
        send(r, SELF_TEST_PASSED);
        break;
    default:
        send(r, RESEND);
        break;
    }
}

void keyboard_receive(struct keyboard_state *k, u8 byte, void (*send_byte)(void *opaque, u8 byte), void *opaque)
{
    const struct reply r = {k, send_byte, opaque};
    u8 waiting = k->command;

    k->command = 0;
    if (!waiting || !parameter(&r, waiting, byte))
        command(&r, byte);
}

/*
 * Bytes 0 to 0x7f are key positions of set 2 and have positions in set 1; 0x83 (F7) and 0x84 (Alt-SysRq) too. The rest,
 * answers to commands among them, pass as they are.
 */
u8 keyboard_translate(u8 byte)
{
    static const u8 set1[0x85] = {
        0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59, /* 00 */
        0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b, /* 10 */
        0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d, /* 20 */
        0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f, /* 30 */
        0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61, /* 40 */
        0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76, /* 50 */
        0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f, /* 60 */
        0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54, /* 70 */
        0x80, 0x81, 0x82, 0x41, 0x54,                                                                   /* 80 */
    };

    return byte < ARRAY_SIZE(set1) ? set1[byte] : byte;
}
