/*
 * The monitor: a small command line on the machine's terminal (Ctrl-a c) to look at the guest and to steer it.
 *
 * Keys are taken on the event loop's thread with the machine lock held; commands run on the dispatcher's thread
 * (vm_post), most of them while the processors stand still.
 */
#ifndef DEBUG_MONITOR_H
#define DEBUG_MONITOR_H

struct monitor;
struct vm;

/* Attaches to the terminal if the machine has one. NULL when out of memory. Destroy it before the vm, after vm_run. */
struct monitor *monitor_create(struct vm *vm);
void monitor_destroy(struct monitor *m);

#endif
