/* The link of scripts/wan: two TUN devices, one here and one in a network namespace of this process's own, and every
 * packet between them held for half the round-trip time.
 *
 * The namespace has no name and the devices are not persistent, so the kernel removes all of it when this process ends,
 * however it ends. Packets go over as the kernel makes them, up to 64 KiB at once with their checksums still to be made
 * (the header of virtio_net, TUNSETOFFLOAD): to TCP the link has an MTU of 1500 all the same, and a core is not spent on
 * copying small packets.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum {
    MTU = 1500,
    LARGEST = sizeof(struct virtio_net_hdr) + 65536,
    SLOTS = 1 << 16,
    /* What may be on its way in one direction: 100 ms of 5 Gbit/s. */
    MOST_BYTES = 64 << 20,
    BATCH = 64,
};

/* RFC 2544 sets these networks aside for measurements. */
static const char NETWORK[] = "198.18.%u.%u";
static const uint64_t SECOND = 1000000000;

struct packet {
    uint64_t due;
    size_t length;
    unsigned char *bytes;
};

/* One direction. */
struct lane {
    int from, to;
    struct packet *ring;
    unsigned first, behind;
    size_t held;
    /* When the line has sent what it was given. */
    uint64_t free_at;
};

/* What is asked of the link; 0 is none. */
struct wanted {
    uint64_t one_way;
    uint64_t bits_a_second;
    int is_cut;
};

static void fail(const char *what)
{
    fprintf(stderr, "scripts/wan: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
}

/* The kernel puts a number where the name has %d. */
static int open_device(char name[IFNAMSIZ])
{
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
    int device = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (device < 0) fail("/dev/net/tun (a container needs --device /dev/net/tun and --cap-add NET_ADMIN)");
    memcpy(request.ifr_name, name, IFNAMSIZ);
    if (ioctl(device, TUNSETIFF, &request) < 0) fail("cannot make a TUN device");
    if (ioctl(device, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4) < 0) fail("TUNSETOFFLOAD");
    memcpy(name, request.ifr_name, IFNAMSIZ);
    return device;
}

static void ask(int socket, unsigned long what, struct ifreq *request, const char *says)
{
    if (ioctl(socket, what, request) < 0) fail(says);
}

/* Gives the device its address in a network of two, and switches it on. */
static void set_up(const char *name, const char *address)
{
    struct ifreq request = {0};
    struct sockaddr_in in = {.sin_family = AF_INET};
    int socket_ = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (socket_ < 0) fail("socket");
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    inet_pton(AF_INET, address, &in.sin_addr);
    memcpy(&request.ifr_addr, &in, sizeof in);
    ask(socket_, SIOCSIFADDR, &request, "cannot set the address");
    inet_pton(AF_INET, "255.255.255.252", &in.sin_addr);
    memcpy(&request.ifr_netmask, &in, sizeof in);
    ask(socket_, SIOCSIFNETMASK, &request, "cannot set the netmask");
    request.ifr_mtu = MTU;
    ask(socket_, SIOCSIFMTU, &request, "cannot set the MTU");
    request.ifr_qlen = 10000;
    ask(socket_, SIOCSIFTXQLEN, &request, "cannot set the queue's length");
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    ask(socket_, SIOCSIFFLAGS, &request, "cannot switch the device on");
    close(socket_);
}

static void switch_loopback_on(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int socket_ = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (socket_ < 0) fail("socket");
    ask(socket_, SIOCSIFFLAGS, &request, "cannot switch lo on");
    close(socket_);
}

/* Takes what waits at the lane's beginning. What does not fit is lost, as in a router. */
static void take(struct lane *lane, const struct wanted *wanted)
{
    static unsigned char bytes[LARGEST];
    for (int taken = 0; taken < BATCH; taken++) {
        ssize_t length = read(lane->from, bytes, sizeof bytes);
        if (length <= 0) return;
        unsigned next = (lane->behind + 1) % SLOTS;
        if (wanted->is_cut || next == lane->first || lane->held + (size_t)length > MOST_BYTES) continue;
        uint64_t sent = now();
        if (wanted->bits_a_second) {
            /* Its queue holds a round trip, and a tenth of a second at least. */
            if (lane->free_at > sent + 2 * wanted->one_way + SECOND / 10) continue;
            if (lane->free_at > sent) sent = lane->free_at;
            sent += (uint64_t)length * 8 * SECOND / wanted->bits_a_second;
            lane->free_at = sent;
        }
        unsigned char *copy = malloc((size_t)length);
        if (!copy) continue;
        memcpy(copy, bytes, (size_t)length);
        lane->ring[lane->behind] = (struct packet){sent + wanted->one_way, (size_t)length, copy};
        lane->behind = next;
        lane->held += (size_t)length;
    }
}

/* Hands over what is due; when the next packet is. */
static uint64_t hand_over(struct lane *lane)
{
    while (lane->first != lane->behind) {
        struct packet *packet = &lane->ring[lane->first];
        if (packet->due > now()) return packet->due;
        /* A refused packet is a lost one. */
        if (write(lane->to, packet->bytes, packet->length) < 0 && errno == EBADFD) fail("the device is gone");
        free(packet->bytes);
        lane->held -= packet->length;
        lane->first = (lane->first + 1) % SLOTS;
    }
    return UINT64_MAX;
}

static int obey_word(const char *line, struct wanted *wanted)
{
    double number;
    if (sscanf(line, "rtt=%lf", &number) == 1 && number >= 0 && number <= 10000) {
        wanted->one_way = (uint64_t)(number * 1e6 / 2);
    } else if (sscanf(line, "rate=%lf", &number) == 1 && number >= 0 && number <= 100000) {
        wanted->bits_a_second = (uint64_t)(number * 1e6);
    } else if (!strcmp(line, "cut")) {
        wanted->is_cut = 1;
    } else if (!strcmp(line, "heal")) {
        wanted->is_cut = 0;
    } else {
        return 0;
    }
    return 1;
}

static void obey(char *line, struct wanted *wanted)
{
    if (obey_word(line, wanted)) return;
    fprintf(stderr, "scripts/wan: %s: not one of rtt=MS (up to 10000), rate=MBIT, cut, heal\n", line);
    exit(2);
}

/* Does what standard input says and answers with the same; whether there will be more. */
static int listen_to(int input, struct wanted *wanted)
{
    static char line[256];
    static size_t length;
    ssize_t got = read(input, line + length, sizeof line - 1 - length);
    if (got <= 0) return 0;
    length += (size_t)got;
    line[length] = 0;
    for (char *end; (end = strchr(line, '\n'));) {
        *end = 0;
        obey(line, wanted);
        puts(line);
        fflush(stdout);
        length -= (size_t)(end + 1 - line);
        memmove(line, end + 1, length + 1);
    }
    return length < sizeof line - 1;
}

static struct lane make_lane(int from, int to)
{
    struct lane lane = {.from = from, .to = to, .ring = calloc(SLOTS, sizeof *lane.ring)};
    if (!lane.ring) fail("memory");
    return lane;
}

static void carry(int here, int there, struct wanted *wanted)
{
    struct lane lanes[] = {make_lane(here, there), make_lane(there, here)};
    struct pollfd watched[] = {{here, POLLIN, 0}, {there, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
    for (;;) {
        uint64_t next = UINT64_MAX;
        for (int number = 0; number < 2; number++) {
            take(&lanes[number], wanted);
            uint64_t due = hand_over(&lanes[number]);
            if (due < next) next = due;
        }
        uint64_t time = now(), left = next > time ? next - time : 0;
        struct timespec wait = {.tv_sec = (time_t)(left / SECOND), .tv_nsec = (long)(left % SECOND)};
        ppoll(watched, 3, next == UINT64_MAX ? NULL : &wait, NULL);
        if (watched[2].revents && !listen_to(STDIN_FILENO, wanted)) return;
    }
}

/* On a busy machine, too. Where that is refused the link is as punctual as the machine lets it be. */
static void be_punctual(void)
{
    struct sched_param first = {.sched_priority = 1};
    if (sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &first) < 0) setpriority(PRIO_PROCESS, 0, -20);
    /* A timer's usual slack of 50 us would be on every packet. */
    prctl(PR_SET_TIMERSLACK, 1);
}

int main(int count, char **words)
{
    struct wanted wanted = {0};
    char name[IFNAMSIZ] = "ftpfs-wan%d", near[INET_ADDRSTRLEN], far[INET_ADDRSTRLEN];
    unsigned number = 0;
    for (int word = 1; word < count; word++) obey(words[word], &wanted);
    be_punctual();
    int here = open_device(name);
    sscanf(name, "ftpfs-wan%u", &number);
    if (number > 255) {
        fprintf(stderr, "scripts/wan: there are more than 255 links already\n");
        return 1;
    }
    snprintf(near, sizeof near, NETWORK, number, 1);
    snprintf(far, sizeof far, NETWORK, number, 2);
    set_up(name, near);
    if (unshare(CLONE_NEWNET) < 0) fail("cannot make a network namespace");
    int there = open_device(name);
    switch_loopback_on();
    set_up(name, far);
    printf("{\"address\": \"%s\", \"near\": \"%s\", \"pid\": %d}\n", far, near, (int)getpid());
    fflush(stdout);
    carry(here, there, &wanted);
    return 0;
}
