/*
 * A PS/2 keyboard with nobody typing: it answers the host's commands (IBM PS/2 Hardware Interface Technical
 * Reference, keyboard section). Pure: the controller owns the state and takes the answers.
 */
#ifndef DEV_PC_KEYBOARD_H
#define DEV_PC_KEYBOARD_H

#include "state/state.h"

#define KEYBOARD_STATE(F, A, S)                                                                                        \
    F(u8, command, 1) /* that waits for its parameter, or 0 */                                                         \
    F(u8, set, 1)     /* scan code set, 1 to 3 */                                                                      \
    F(u8, leds, 1)                                                                                                     \
    F(u8, typematic, 1)                                                                                                \
    F(bool, scanning, 1)                                                                                               \
    F(u8, last_sent, 1)
STATE_DECLARE(keyboard_state, KEYBOARD_STATE)

void keyboard_reset(struct keyboard_state *k);

/* A byte from the host; answers go to `send`. */
void keyboard_receive(struct keyboard_state *k, u8 byte, void (*send)(void *opaque, u8 byte), void *opaque);

/* What the controller makes of a keyboard byte when translation to scan code set 1 is on. */
u8 keyboard_translate(u8 byte);

#endif
