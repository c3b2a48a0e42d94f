/*
 * wsload: WebSocket load from one thread, on epoll, against a server on 127.0.0.1.
 *
 *   wsload closed   -p PORT -n SOCKETS -w WARM_UP_S -d SECONDS    each socket sends, waits for the answer, sends again
 *   wsload interval -p PORT -n SOCKETS -i SECONDS_BETWEEN -d SECONDS    each socket sends every so often, evenly spread
 *   wsload storm    -p PORT -n SOCKETS    opens sockets as quickly as the server lets it
 *
 *   -P path (/ws)   -c opening at once (64)   -f first number of an id (0)   -H "Header: value"
 *   -r PREFIX   register each socket as PREFIX-00000, PREFIX-00001, ...: it counts as open with its handshake_ack
 *   -a          any answer will do; otherwise it has to repeat the heartbeat's `seq`
 *
 * Prints READY when all sockets are open, and one JSON object at the end. Build: cc -O2 -o wsload wsload.c
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BUFFER 4096
#define SAMPLES 8000000
#define OPENING_TIMEOUT 180.0

enum state { UNUSED, CONNECTING, UPGRADING, REGISTERING, OPEN, WAITING, GONE };

struct client {
    int fd;
    enum state state;
    uint32_t seq;
    double since;        /* when the opening, or the heartbeat that waits, began */
    size_t held, skip;   /* bytes in `buffer`; bytes of a large frame still to be thrown away */
    unsigned char buffer[BUFFER];
};

static const char *mode = "closed", *path = "/ws", *header = NULL, *prefix = NULL;
static int port = 8000, count = 200, opening_limit = 64, first_id = 0, any_answer = 0;
static double seconds = 3, warm_up = 1, between = 30;

static struct client *clients;
static struct sockaddr_in server;
static int poller, opening, opened, gone, repeats, is_measuring;
static uint64_t answers, wrong, late, sample_count, opening_count;
static uint32_t *samples, *opening_samples;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static double cpu_seconds(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void lose(struct client *c, const char *why) {
    if (c->state == GONE) return;
    if (gone++ < 3) fprintf(stderr, "socket %ld: %s (%s)\n", (long)(c - clients), why, strerror(errno));
    if (c->state != OPEN && c->state != WAITING) opening--;
    c->state = GONE;
    close(c->fd);
}

static void send_all(struct client *c, const void *data, size_t length) {
    if (send(c->fd, data, length, MSG_NOSIGNAL) != (ssize_t)length) lose(c, "not sent");
}

/* Send a masked frame of less than 64 KiB (RFC 6455, section 5.2). */
static void send_frame(struct client *c, int opcode, const char *payload, size_t length) {
    static const unsigned char mask[4] = {0x1f, 0x83, 0x5a, 0xc6};
    unsigned char frame[2048];
    size_t at = 0;
    frame[at++] = 0x80 | opcode;
    if (length < 126) {
        frame[at++] = 0x80 | length;
    } else {
        frame[at++] = 0x80 | 126;
        frame[at++] = length >> 8;
        frame[at++] = length & 255;
    }
    memcpy(frame + at, mask, 4);
    at += 4;
    for (size_t i = 0; i < length; i++) frame[at++] = payload[i] ^ mask[i & 3];
    send_all(c, frame, at);
}

static void beat(struct client *c) {
    char text[128];
    int length = snprintf(text, sizeof text, "{\"type\":\"i_am_alive\",\"seq\":%u}", ++c->seq);
    c->since = now();
    c->state = WAITING;
    send_frame(c, 1, text, length);
}

static void start(struct client *c) {
    int yes = 1;
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = c};
    opening++;
    c->state = CONNECTING;
    c->since = now();
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0) { lose(c, "no socket"); return; }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (connect(c->fd, (struct sockaddr *)&server, sizeof server) < 0 && errno != EINPROGRESS) { lose(c, "refused"); return; }
    epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event);
}

static void ask_for_upgrade(struct client *c) {
    char text[1024];
    int length, error = 0;
    socklen_t size = sizeof error;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) { errno = error; lose(c, "not connected"); return; }
    length = snprintf(text, sizeof text,
        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==\r\nSec-WebSocket-Version: 13\r\n%s%s\r\n",
        path, port, header ? header : "", header ? "\r\n" : "");
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event);
    c->state = UPGRADING;
    send_all(c, text, length);
}

static void is_open(struct client *c) {
    c->state = OPEN;
    opening--;
    opened++;
    opening_samples[opening_count++] = (now() - c->since) * 1e6;
}

static void upgraded(struct client *c) {
    char text[256];
    if (!prefix) { is_open(c); return; }
    int length = snprintf(text, sizeof text,
        "{\"type\":\"register\",\"orchestrator_id\":\"%s-%05ld\",\"version\":\"1.0.0\",\"capabilities\":[\"config\"]}",
        prefix, (long)(c - clients) + first_id);
    c->state = REGISTERING;
    send_frame(c, 1, text, length);
}

static int repeats_seq(const struct client *c, const unsigned char *text, size_t length) {
    const unsigned char *at = memmem(text, length, "\"seq\":", 6), *end = text + length;
    if (!at) return 0;
    uint32_t value = 0;
    for (at += 6; at < end && *at == ' '; at++) {}
    for (; at < end && *at >= '0' && *at <= '9'; at++) value = value * 10 + (*at - '0');
    return value == c->seq;
}

static void on_text(struct client *c, const unsigned char *text, size_t length) {
    if (c->state == REGISTERING) {
        if (memmem(text, length, "\"success\":true", 14)) { is_open(c); return; }
        fprintf(stderr, "%.*s\n", (int)length, text);
        lose(c, "register refused");
    } else if (c->state == WAITING && memmem(text, length, "heartbeat_ack", 13)) {
        if (!any_answer && !repeats_seq(c, text, length)) wrong++;
        if (is_measuring) {
            answers++;
            if (sample_count < SAMPLES) samples[sample_count++] = (now() - c->since) * 1e6;
        }
        c->state = OPEN;
        if (repeats) beat(c);
    } else if (memmem(text, length, "\"type\":\"error\"", 14)) {
        wrong++;
    }
}

/* Handle what is complete in the buffer; return how much of it was used. */
static size_t take_frames(struct client *c) {
    size_t at = 0;
    while (c->state != GONE && c->held - at >= 2) {
        const unsigned char *frame = c->buffer + at;
        size_t length = frame[1] & 127, start = 2;
        if (length == 126) { if (c->held - at < 4) break; length = frame[2] << 8 | frame[3]; start = 4; }
        if (length == 127) { lose(c, "a frame over 64 KiB"); break; }
        if (start + length > BUFFER) { /* a large configuration: of no interest here */
            c->skip = start + length - (c->held - at);
            return c->held;
        }
        if (c->held - at < start + length) break;
        int opcode = frame[0] & 15;
        if (opcode == 8) lose(c, "closed by the server");
        else if (opcode == 9) send_frame(c, 10, (const char *)frame + start, length);
        else if (opcode == 1) on_text(c, frame + start, length);
        at += start + length;
    }
    return at;
}

static void on_readable(struct client *c) {
    ssize_t got = recv(c->fd, c->buffer + c->held, BUFFER - c->held, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) { lose(c, got ? "broken" : "ended by the server"); return; }
    if (c->skip) {
        size_t drop = c->skip < (size_t)got ? c->skip : (size_t)got;
        c->skip -= drop;
        memmove(c->buffer, c->buffer + drop, got - drop);
        got -= drop;
    }
    c->held += got;
    size_t used = 0;
    if (c->state == UPGRADING) {
        unsigned char *end = memmem(c->buffer, c->held, "\r\n\r\n", 4);
        if (!end) return;
        if (memcmp(c->buffer + 9, "101", 3)) {
            fprintf(stderr, "%.*s\n", (int)c->held, c->buffer);
            lose(c, "upgrade refused");
            return;
        }
        used = end + 4 - c->buffer;
        memmove(c->buffer, c->buffer + used, c->held -= used);
        upgraded(c);
    }
    used = take_frames(c);
    if (c->state != GONE && used) memmove(c->buffer, c->buffer + used, c->held -= used);
}

static void turn(int wait_ms) {
    struct epoll_event events[256];
    int found = epoll_wait(poller, events, 256, wait_ms);
    for (int i = 0; i < found; i++) {
        struct client *c = events[i].data.ptr;
        if (c->state == CONNECTING) ask_for_upgrade(c);
        else if (c->state != GONE) on_readable(c);
    }
}

static double open_all(void) {
    double began = now();
    for (int next = 0; opened + gone < count;) {
        while (next < count && opening < opening_limit) start(&clients[next++]);
        turn(100);
        if (now() - began > OPENING_TIMEOUT) { fprintf(stderr, "only %d of %d sockets opened\n", opened, count); break; }
    }
    return now() - began;
}

static double run_closed(double *cpu) {
    repeats = 1;
    for (int i = 0; i < count; i++) if (clients[i].state == OPEN) beat(&clients[i]);
    for (double end = now() + warm_up; now() < end;) turn(20);
    *cpu = cpu_seconds();
    is_measuring = 1;
    double began = now();
    while (now() < began + seconds && gone < count) turn(20);
    *cpu = cpu_seconds() - *cpu;
    return now() - began;
}

static double run_interval(double *cpu) {
    double began = now(), round = began;
    *cpu = cpu_seconds();
    is_measuring = 1;
    for (int next = 0; now() < began + seconds;) {
        for (; next < count && round + between * next / count <= now(); next++) {
            if (clients[next].state == OPEN) beat(&clients[next]);
            else if (clients[next].state == WAITING) late++;
        }
        if (next == count && now() >= round + between) { next = 0; round += between; }
        turn(2);
    }
    *cpu = cpu_seconds() - *cpu;
    return now() - began;
}

static int by_size(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double quantile(uint32_t *values, uint64_t length, double q) {
    return length ? values[(uint64_t)(q * (length - 1))] / 1000.0 : 0;
}

int main(int argc, char **argv) {
    struct rlimit files;
    double elapsed = 0, cpu = 0, opening_seconds;
    if (argc < 2 || argv[1][0] == '-') { fprintf(stderr, "usage: wsload closed|interval|storm -p PORT ...\n"); return 2; }
    mode = argv[1];
    optind = 2;
    for (int o; (o = getopt(argc, argv, "p:P:n:c:f:H:r:ad:w:i:")) != -1;) switch (o) {
        case 'p': port = atoi(optarg); break;
        case 'P': path = optarg; break;
        case 'n': count = atoi(optarg); break;
        case 'c': opening_limit = atoi(optarg); break;
        case 'f': first_id = atoi(optarg); break;
        case 'H': header = optarg; break;
        case 'r': prefix = optarg; break;
        case 'a': any_answer = 1; break;
        case 'd': seconds = atof(optarg); break;
        case 'w': warm_up = atof(optarg); break;
        case 'i': between = atof(optarg); break;
        default: return 2;
    }
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    server.sin_family = AF_INET;
    server.sin_port = htons(port);
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    poller = epoll_create1(0);
    clients = calloc(count, sizeof *clients);
    samples = malloc(SAMPLES * sizeof *samples);
    opening_samples = malloc(count * sizeof *opening_samples);
    opening_seconds = open_all();
    printf("READY\n");
    fflush(stdout);
    if (!strcmp(mode, "closed")) elapsed = run_closed(&cpu);
    if (!strcmp(mode, "interval")) elapsed = run_interval(&cpu);
    qsort(samples, sample_count, sizeof *samples, by_size);
    qsort(opening_samples, opening_count, sizeof *opening_samples, by_size);
    printf("{\"sockets\": %d, \"opened\": %d, \"lost\": %d, \"wrong\": %lu, \"late\": %lu, \"opening_s\": %.3f, "
           "\"opens_per_s\": %.1f, \"open_p50_ms\": %.2f, \"open_p99_ms\": %.2f, \"answers\": %lu, \"seconds\": %.3f, "
           "\"per_s\": %.1f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"generator_core\": %.2f}\n",
           count, opened, gone, wrong, late, opening_seconds, opened / opening_seconds,
           quantile(opening_samples, opening_count, 0.5), quantile(opening_samples, opening_count, 0.99),
           answers, elapsed, elapsed ? answers / elapsed : 0, quantile(samples, sample_count, 0.5),
           quantile(samples, sample_count, 0.99), elapsed ? cpu / elapsed : 0);
    return 0;
}
