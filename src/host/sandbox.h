/*
 * The last wall: from sandbox_enter on, the kernel refuses this process every system call but the few that a machine
 * needs while it runs (the table in sandbox.c), for all its threads and for good. No file is opened, no program
 * started, no thread or process made, no connection opened, no memory made executable.
 *
 * A forbidden call ends the process: one line on standard error names the call, then the process dies of SIGSYS, which
 * a shell shows as status 159. Whoever handled SIGSYS before sandbox_enter is called first (to put a terminal back),
 * so the line is written last.
 *
 * A machine with shared folders needs more: it opens files all the time, and what the filter cannot look at, paths, is
 * for Landlock to confine (host/landlock.h), where the host has it.
 *
 * Whoever enters has made its threads and opened its files before. seccomp(2), filters by libseccomp.
 */
#ifndef HOST_SANDBOX_H
#define HOST_SANDBOX_H

#include "base/error.h"

struct sandbox_folder {
    int fd;
    bool read_only;
};

/* What the machine does beside running. */
struct sandbox_needs {
    const struct sandbox_folder *folder; /* shares of them */
    unsigned folders;
};

/*
 * For the whole process. Once. On failure nothing has changed that a machine would notice; the message says why the
 * host would not. `needs` may be NULL. If it entered, but without Landlock although there are folders, that is 1, and
 * the message says why.
 */
int sandbox_enter(const struct sandbox_needs *needs, struct error *err) MUST_CHECK;

/*
 * The same for a process that was forked for one purpose (backend/net), before its first look at what comes from a
 * guest: the NAT process has sockets of the internet, the switch the connections that it accepts, the vsock process
 * Unix streams. A forbidden call fails in the first and kills the others. `file`: what the NAT process gets when it
 * opens a file to read, whatever the name; no file is opened. SANDBOX_FILE: no more than that, and everything else is
 * allowed.
 */
enum sandbox_helper { SANDBOX_NAT, SANDBOX_SWITCH, SANDBOX_VSOCK, SANDBOX_FILE };
int sandbox_enter_helper(enum sandbox_helper kind, int file, struct error *err) MUST_CHECK;

#endif
