/*
 * The guest's side of the network rows (../network.py): connects to the host and does what the first byte says that it
 * is told: 's' sends, 'r' receives, 'e' echoes, until the other side ends. `net ADDRESS PORT`, one connection after the
 * other until one is told 'q'.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNK (256 << 10)

static char buffer[CHUNK];

static int dial(const char *address, const char *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((unsigned short)strtoul(port, NULL, 10))};
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    if (fd < 0 || inet_pton(AF_INET, address, &a.sin_addr) != 1 || connect(fd, (struct sockaddr *)&a, sizeof(a)))
        return -1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

static int serve(int fd)
{
    char what;
    ssize_t n;
    if (read(fd, &what, 1) != 1)
        return -1;
    switch (what) {
    case 's':
        while (send(fd, buffer, CHUNK, MSG_NOSIGNAL) > 0)
            ;
        return 0;
    case 'r':
        while (read(fd, buffer, CHUNK) > 0)
            ;
        return 0;
    case 'e':
        while ((n = read(fd, buffer, CHUNK)) > 0)
            if (write(fd, buffer, (size_t)n) != n)
                return -1;
        return 0;
    default:
        return 1;
    }
}

int main(int argc, char **argv)
{
    int end = 0;
    while (argc == 3 && !end) {
        int fd = dial(argv[1], argv[2]);
        if (fd < 0) {
            perror("net");
            return 1;
        }
        end = serve(fd);
        (void)close(fd);
    }
    return end < 0 || argc != 3;
}
