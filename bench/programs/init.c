/*
 * The first process of the suite's guest: runs rows one after the other on the console and powers off. The file /rows
 * has a line `PROGRAM ROW` for each; the kernel's command line chooses: bench.rows=ROW,ROW... (preset: all) and
 * bench.scale=PERCENT.
 *
 * Around what a program prints come `BEGINS ROW TIME` and `ENDS ROW TIME STATUS`, TIME by the guest's monotonic clock:
 * who reads the console with a clock of its own sees whether the guest's is right.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static void say(const char *what, const char *row)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    printf("%s %s %lld.%06ld", what, row, (long long)t.tv_sec, t.tv_nsec / 1000);
}

static void must(int result, const char *what)
{
    if (result < 0)
        perror(what);
}

static void prepare(void)
{
    must(mount("dev", "/dev", "devtmpfs", 0, NULL), "mount /dev");
    int console = open("/dev/console", O_RDWR);
    for (int fd = 0; fd <= 2; fd++)
        must(dup2(console, fd), "console");
    struct termios quiet;
    must(tcgetattr(0, &quiet), "console");
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    must(tcsetattr(0, TCSANOW, &quiet), "console");
    must(mkdir("/proc", 0755), "/proc");
    must(mount("proc", "/proc", "proc", 0, NULL), "mount /proc");
    must(mkdir("/dev/shm", 01777), "/dev/shm");
    must(mount("shm", "/dev/shm", "tmpfs", 0, NULL), "mount /dev/shm");
}

static void run(char *program, char *row, char *scale)
{
    char *const arguments[] = {program, row, scale, NULL}, *const environment[] = {NULL};
    int status = -1;
    say("BEGINS", row);
    puts("");
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        execve(program, arguments, environment);
        perror(program);
        _exit(127);
    }
    must(child < 0 || waitpid(child, &status, 0) < 0 ? -1 : 0, "fork");
    say("ENDS", row);
    printf(" %d\n", status);
    fflush(stdout);
}

int main(void)
{
    char line[256], program[64], row[64], scale[16];
    prepare();
    puts("READY");
    fflush(stdout);
    while (fgets(line, sizeof(line), stdin) && strcmp(line, "OFF\n"))
        if (sscanf(line, "%63s %63s %15s", program, row, scale) == 3)
            run(program, row, scale);
    reboot(RB_POWER_OFF);
    return 1;
}
