/*
 * The guest's program of test_vsock.py:
 *
 *   vsock send PORT      connects to that port of the host, sends standard input, prints what comes back
 *   vsock echo PORT N    listens at that port, and sends what N connections bring back to them
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

static char buffer[1 << 18];

/* Until the end of `from`; -1 after an error. */
static int pump(int from, int to)
{
    ssize_t n;
    while ((n = read(from, buffer, sizeof(buffer))) > 0)
        for (ssize_t done = 0, some; done < n; done += some)
            if ((some = write(to, buffer + done, (size_t)(n - done))) < 0)
                return -1;
    return n < 0 ? -1 : 0;
}

static int send_all(int fd, const struct sockaddr_vm *a)
{
    if (connect(fd, (const struct sockaddr *)a, sizeof(*a)) || pump(STDIN_FILENO, fd) || shutdown(fd, SHUT_WR) ||
        pump(fd, STDOUT_FILENO)) {
        perror("vsock");
        return 1;
    }
    return 0;
}

static int echo(int fd, const struct sockaddr_vm *a, int times)
{
    if (bind(fd, (const struct sockaddr *)a, sizeof(*a)) || listen(fd, 16)) {
        perror("vsock");
        return 1;
    }
    printf("vsock: listens\n");
    (void)fflush(stdout);
    for (int n = 0; n < times; n++) {
        int one = accept(fd, NULL, NULL);
        if (fork() == 0)
            _exit(one < 0 || pump(one, one));
        (void)close(one);
    }
    int status, bad = 0;
    while (wait(&status) > 0)
        bad |= status;
    return bad != 0;
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    bool listens = strcmp(argv[1], "echo") == 0;
    struct sockaddr_vm a = {.svm_family = AF_VSOCK,
                            .svm_cid = listens ? VMADDR_CID_ANY : VMADDR_CID_HOST,
                            .svm_port = (unsigned)strtoul(argv[2], NULL, 10)};
    int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
    if (fd < 0) {
        perror("vsock");
        return 1;
    }
    return listens ? echo(fd, &a, argc > 3 ? (int)strtol(argv[3], NULL, 10) : 1) : send_all(fd, &a);
}
