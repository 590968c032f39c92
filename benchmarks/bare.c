/* The floor that benchmarks/sweep.py measures against: socket, connect, close and nothing else. */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

static int begin(uint32_t address, uint16_t port)
{
    struct sockaddr_in target = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(address)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&target, sizeof target) != 0 && errno == EADDRNOTAVAIL) {
        close(fd);
        return -1;
    }
    return fd;
}

/* To count addresses from the first on, the same port; closed at once. Returns how many were begun. */
int one_by_one(uint32_t address, int step, uint16_t port, int count)
{
    int good = 0;
    for (int i = 0; i < count; i++) {
        int fd = begin(address + i * step, port);
        if (fd < 0)
            continue;
        good++;
        close(fd);
    }
    return good;
}

/* The same, but all are open together before the first is closed. */
int all_at_once(uint32_t address, uint16_t port, int count, int *fds)
{
    int good = 0;
    for (int i = 0; i < count; i++)
        if ((fds[good] = begin(address + i, port)) >= 0)
            good++;
    for (int i = 0; i < good; i++)
        close(fds[i]);
    return good;
}
