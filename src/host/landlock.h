/*
 * Landlock: from landlock_enter on, no thread of this process opens, makes, removes or renames a file that is not below
 * one of the folders, whatever path it gives. What is open stays open. It is the part of the sandbox that looks at
 * files; seccomp sees numbers alone. landlock(7).
 *
 * The kernel restricts one thread at a time, so each thread that there is gets a SIGSYS, in whose handler it restricts
 * itself; a thread that has that signal blocked makes the whole fail. What Landlock does not look at: the attributes of
 * files (stat, chmod, chown, utimes, extended ones), and reading the targets of links.
 */
#ifndef HOST_LANDLOCK_H
#define HOST_LANDLOCK_H

#include "base/error.h"
#include "host/sandbox.h"

/* -ENOTSUP if the kernel has none, or one that would keep a folder from being written to as it should (before 5.19);
 * other failures may leave some threads restricted. */
int landlock_enter(const struct sandbox_folder *folders, unsigned count, struct error *err) MUST_CHECK;

#endif
