/* The floor: a bare C loop that sends each message to each subscriber with one send(2).
 *
 * send PORT. A WebSocket on /sub receives; a text frame on /pub goes to all of them. It has no channels, no
 * sessions, no history, no pings, no limits and no queues: what is left is what the kernel takes.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS 65536

enum state { HEAD, SUBSCRIBER, PUBLISHER };

static enum state states[CONNECTIONS];
static int subscribers[CONNECTIONS], subscriber_count;
static char kept[CONNECTIONS][512]; /* of a publisher's frame that is not whole yet; no head of ours is longer */
static size_t kept_bytes[CONNECTIONS];

/* The generator always sends the key of RFC 6455 section 1.3, so there is no SHA-1 to do. */
static const char accepted[] =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

static void give_up(const char *what) {
    perror(what);
    exit(1);
}

static void send_all(int fd, const char *data, size_t length) {
    while (length) {
        ssize_t n = send(fd, data, length, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EAGAIN) {
                struct epoll_event none;
                int waiter = epoll_create1(0);
                struct epoll_event event = {.events = EPOLLOUT};
                epoll_ctl(waiter, EPOLL_CTL_ADD, fd, &event);
                epoll_wait(waiter, &none, 1, 1000);
                close(waiter);
                continue;
            }
            return; /* The subscriber left. */
        }
        data += n;
        length -= (size_t)n;
    }
}

static size_t deliver(const unsigned char *data, size_t length) { /* of whole frames from a publisher; returns their bytes */
    size_t done = 0;
    while (length - done >= 6) {
        const unsigned char *head = data + done;
        size_t body = head[1] & 127, head_bytes = 6;
        if (body == 126) {
            if (length - done < 8) break;
            body = (size_t)head[2] << 8 | head[3];
            head_bytes = 8;
        }
        if (length - done < head_bytes + body) break;
        static char frame[65536 + 4];
        size_t at = 0;
        frame[at++] = (char)0x81;
        if (body < 126) {
            frame[at++] = (char)body;
        } else {
            frame[at++] = 126;
            frame[at++] = (char)(body >> 8);
            frame[at++] = (char)body;
        }
        const unsigned char *mask = head + head_bytes - 4, *text = head + head_bytes;
        for (size_t i = 0; i < body; i++) frame[at + i] = (char)(text[i] ^ mask[i & 3]);
        for (int i = 0; i < subscriber_count; i++) send_all(subscribers[i], frame, at + body);
        done += head_bytes + body;
    }
    return done;
}

int main(int count, char **arguments) {
    if (count != 2) return 2;
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(arguments[1])),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (struct sockaddr *)&address, sizeof address)) give_up("bind");
    if (listen(listener, 4096)) give_up("listen");
    int poller = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[256];
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    static char buffer[512 + 262144];
    for (;;) {
        int n = epoll_wait(poller, events, 256, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                int new;
                while ((new = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    setsockopt(new, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    states[new] = HEAD;
                    kept_bytes[new] = 0;
                    struct epoll_event added = {.events = EPOLLIN, .data.fd = new};
                    epoll_ctl(poller, EPOLL_CTL_ADD, new, &added);
                }
                continue;
            }
            memcpy(buffer, kept[fd], kept_bytes[fd]);
            ssize_t got = recv(fd, buffer + kept_bytes[fd], 262144, 0);
            if (got <= 0) {
                if (got < 0 && errno == EAGAIN) continue;
                for (int k = 0; k < subscriber_count; k++)
                    if (subscribers[k] == fd) subscribers[k] = subscribers[--subscriber_count];
                close(fd);
                continue;
            }
            size_t length = kept_bytes[fd] + (size_t)got, done = 0;
            if (states[fd] == HEAD) {
                const char *end = memmem(buffer, length, "\r\n\r\n", 4);
                if (end) {
                    done = (size_t)(end - buffer) + 4;
                    states[fd] = memcmp(buffer, "GET /pub", 8) ? SUBSCRIBER : PUBLISHER;
                    send_all(fd, accepted, sizeof accepted - 1);
                    if (states[fd] == SUBSCRIBER) subscribers[subscriber_count++] = fd;
                }
            }
            if (states[fd] == PUBLISHER) done += deliver((unsigned char *)buffer + done, length - done);
            if (states[fd] == SUBSCRIBER) done = length; /* nothing that a subscriber says matters */
            if (length - done > sizeof kept[fd]) {
                close(fd);
                continue;
            }
            memcpy(kept[fd], buffer + done, length - done);
            kept_bytes[fd] = length - done;
        }
    }
}
