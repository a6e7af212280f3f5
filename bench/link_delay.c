/* A line of a given length between two network namespaces that exist for as long as this runs.
 *
 *     link_delay ONE_WAY_US [MBIT [QUEUE_BYTES]]
 *
 * Makes both namespaces, in each a tun device with an address (near 10.77.0.1, far 10.77.0.2), and
 * carries packets from one to the other after ONE_WAY_US. MBIT limits each direction; what waits for
 * its turn there beyond QUEUE_BYTES is dropped, as a router drops it. Without a limit the kernel's
 * large segments are carried whole, which keeps this program out of the measurement.
 *
 * Standard output: `ready NEAR_FD FAR_FD` once, the namespaces being /proc/PID/fd/N, then one line for
 * each line of standard input:
 *     cut | mend          drop every packet from now on, or carry again
 *     delay ONE_WAY_US    for what is sent from now on
 *     rate MBIT           likewise, 0 for no limit (the devices stay as they were made)
 *     count               -> `count PACKETS_UP BYTES_UP PACKETS_DOWN BYTES_DOWN DROPPED`
 * The end of standard input ends it, and with it both namespaces.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LARGEST (65536 + 64) /* a large segment and the header that tells how to cut it */
#define UNLIMITED_QUEUE (512LL << 20)
#define AT_ONCE 64

typedef struct packet {
    struct packet *next;
    int64_t due;
    int size;
    unsigned char data[];
} packet;

typedef struct { /* one direction */
    packet *first, *last;
    int64_t free_at; /* when the limited line has sent what it was given */
    int64_t waiting; /* bytes in the queue */
    long long packets, bytes;
} direction;

static int64_t delay_ns, queue_limit = UNLIMITED_QUEUE;
static double mbit;
static int is_cut;
static long long dropped;

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void fail(const char *what) {
    fprintf(stderr, "link_delay: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void set(int sock, unsigned long request, struct ifreq *asked, const char *what) {
    if (ioctl(sock, request, asked) < 0) fail(what);
}

static void address(struct ifreq *asked, const char *text) {
    struct sockaddr_in *in = (struct sockaddr_in *)&asked->ifr_addr;
    memset(in, 0, sizeof *in);
    in->sin_family = AF_INET;
    inet_pton(AF_INET, text, &in->sin_addr);
}

/* A fresh namespace with loopback and a tun device; returns the device, *space the namespace. */
static int side(const char *own, int large, int *space) {
    struct ifreq asked;
    if (unshare(CLONE_NEWNET) < 0) fail("unshare");
    if ((*space = open("/proc/self/ns/net", O_RDONLY)) < 0) fail("/proc/self/ns/net");
    int device = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    if (device < 0) fail("/dev/net/tun");
    memset(&asked, 0, sizeof asked);
    asked.ifr_flags = IFF_TUN | IFF_NO_PI | (large ? IFF_VNET_HDR : 0);
    strcpy(asked.ifr_name, "line");
    set(device, TUNSETIFF, &asked, "tun device");
    if (large && ioctl(device, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4) < 0) fail("offload");
    int sock = socket(AF_INET, SOCK_DGRAM, 0);
    if (sock < 0) fail("socket");
    address(&asked, own);
    set(sock, SIOCSIFADDR, &asked, "address");
    address(&asked, "255.255.255.0");
    set(sock, SIOCSIFNETMASK, &asked, "netmask");
    asked.ifr_qlen = 10000;
    set(sock, SIOCSIFTXQLEN, &asked, "queue length");
    asked.ifr_flags = IFF_UP | IFF_RUNNING;
    set(sock, SIOCSIFFLAGS, &asked, "up");
    strcpy(asked.ifr_name, "lo");
    asked.ifr_flags = IFF_UP | IFF_RUNNING;
    set(sock, SIOCSIFFLAGS, &asked, "loopback up");
    close(sock);
    return device;
}

static void take(int device, direction *way) {
    static unsigned char room[LARGEST];
    for (int i = 0; i < AT_ONCE; i++) {
        int size = read(device, room, sizeof room);
        if (size <= 0) return;
        if (is_cut || way->waiting + size > queue_limit) {
            dropped++;
            continue;
        }
        packet *one = malloc(sizeof *one + size);
        if (!one) fail("memory");
        int64_t sent = now();
        if (mbit > 0) {
            if (way->free_at < sent) way->free_at = sent;
            sent = way->free_at += (int64_t)(size * 8000.0 / mbit);
        }
        one->next = NULL;
        one->due = sent + delay_ns;
        one->size = size;
        memcpy(one->data, room, size);
        if (way->first) way->last->next = one;
        else way->first = one;
        way->last = one;
        way->waiting += size;
        way->packets++;
        way->bytes += size;
    }
}

/* Deliver what is due; the moment of the next one. */
static int64_t deliver(int device, direction *way) {
    int64_t moment = now();
    while (way->first && way->first->due <= moment) {
        packet *one = way->first;
        if (write(device, one->data, one->size) < 0 && errno != EAGAIN) dropped++;
        way->first = one->next;
        way->waiting -= one->size;
        free(one);
    }
    return way->first ? way->first->due : INT64_MAX;
}

static void obey(char *line, direction *ways) {
    if (!strcmp(line, "cut")) is_cut = 1;
    else if (!strcmp(line, "mend")) is_cut = 0;
    else if (!strncmp(line, "delay ", 6)) delay_ns = atoll(line + 6) * 1000;
    else if (!strncmp(line, "rate ", 5)) mbit = atof(line + 5);
    else if (!strcmp(line, "count")) {
        printf("count %lld %lld %lld %lld %lld\n", ways[0].packets, ways[0].bytes, ways[1].packets,
               ways[1].bytes, dropped);
        return;
    } else {
        puts("unknown");
        return;
    }
    puts("done");
}

static void listen_to(direction *ways) {
    static char held[4096];
    static size_t length;
    ssize_t size = read(0, held + length, sizeof held - 1 - length);
    if (size <= 0) exit(0);
    held[length += size] = 0;
    char *end;
    while ((end = strchr(held, '\n'))) {
        *end = 0;
        obey(held, ways);
        length -= end + 1 - held;
        memmove(held, end + 1, length + 1);
    }
    fflush(stdout);
}

int main(int count, char **words) {
    if (count < 2) return 2;
    delay_ns = atoll(words[1]) * 1000;
    if (count > 2) mbit = atof(words[2]);
    if (count > 3 && mbit > 0) queue_limit = atoll(words[3]);
    prctl(PR_SET_TIMERSLACK, 1);
    int spaces[2], devices[2], large = mbit <= 0;
    devices[0] = side("10.77.0.1", large, &spaces[0]);
    devices[1] = side("10.77.0.2", large, &spaces[1]);
    direction ways[2];
    memset(ways, 0, sizeof ways);
    printf("ready %d %d\n", spaces[0], spaces[1]);
    fflush(stdout);
    for (;;) {
        int64_t next = INT64_MAX;
        for (int i = 0; i < 2; i++) {
            int64_t due = deliver(devices[1 - i], &ways[i]);
            if (due < next) next = due;
        }
        struct timespec wait, *limit = NULL;
        if (next != INT64_MAX) {
            int64_t left = next - now();
            if (left < 0) left = 0;
            wait.tv_sec = left / 1000000000;
            wait.tv_nsec = left % 1000000000;
            limit = &wait;
        }
        struct pollfd ready[3] = {{devices[0], POLLIN, 0}, {devices[1], POLLIN, 0}, {0, POLLIN, 0}};
        if (ppoll(ready, 3, limit, NULL) < 0 && errno != EINTR) fail("poll");
        for (int i = 0; i < 2; i++)
            if (ready[i].revents & POLLIN) take(devices[i], &ways[i]);
        if (ready[2].revents) listen_to(ways);
    }
}
