/*
 * cmocka takes SIGSEGV and its relatives for itself around each test. Translated code needs the handlers of
 * host/trap.c, which are installed once: a test keeps them before cmocka begins, and puts them back inside.
 */
#ifndef TESTS_UNIT_OWN_SIGNALS_H
#define TESTS_UNIT_OWN_SIGNALS_H

void own_signals_keep(void);
void own_signals_put(void);

#endif
