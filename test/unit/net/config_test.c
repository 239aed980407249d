/* SPDX-License-Identifier: MIT */
/* The network's kernel words, addresses as text, and the list of name servers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/net/config.h"
#include "core/net/families.h"
#include "core/net/net.h"
#include "core/net/socket.h"
#include "core/options.h"
#include "fakes/check.h"

static jmp_buf failed;
static char message[256];

void options_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    longjmp(failed, 1);
}

uint64_t clock_wall(void)
{
    return 42;
}

void inet_start(void)
{
}

void unix_init(void)
{
}

void netlink_init(void)
{
}

void net_make_files(void)
{
}

/* Whether the word is taken and good. */
static bool good(const char *word)
{
    memset(&net_config, 0, sizeof(net_config));
    return setjmp(failed) == 0 && net_option(word);
}

static void test_words(void)
{
    static const char *const right[] = {
        "ip=dhcp",  "ip=none",        "ip=10.0.0.2/24",         "ip=10.0.0.2/24,10.0.0.1",
        "ip6=auto", "ip6=fd00::2/64", "ip6=fd00::2/64,fe80::1", "dns=1.2.3.4,2001:db8::1",
    };
    static const char *const wrong[] = {
        "ip=",
        "ip=10.0.0.2",
        "ip=10.0.0/24",
        "ip=10.0.0.256/24",
        "ip=1.2.3.4/33",
        "ip=1.2.3.4/0",
        "ip=1.2.3.4/24,",
        "ip=1.2.3.4/24,fd00::1",
        "ip=fd00::1/64",
        "ip6=1.2.3.4/24",
        "ip6=fd00::/129",
        "ip6=dhcp",
        "dns=",
        "dns=example.com",
        "dns=1.2.3.4,",
        "ip=1.2.3.04/24",
        "ip6=1::2::3/64",
        "ip6=:1/64",
        "dns=1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1",
    };
    for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++) {
        CHECK(good(right[i]), "%s: %s", right[i], message);
    }
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        CHECK(!good(wrong[i]), "%s was taken", wrong[i]);
    }
    CHECK(!good("ipx=1"), "a word of somebody else's");
    CHECK(good("ip=10.0.0.2/24,10.0.0.1"), "%s", message);
    CHECK(net_config.ip.prefix_length == 24 && net_config.ip.gateway.bytes[3] == 1 &&
              net_config.ip6.addressing == NET_AUTOMATIC,
          "%u", net_config.ip.prefix_length);
}

static void test_text(void)
{
    static const char *const pairs[][2] = {
        {"::", "::"},
        {"::1", "::1"},
        {"1::", "1::"},
        {"FD00:0:0:1::2", "fd00:0:0:1::2"},
        {"1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"},
        {"1:0:3:4:5:6:7:8", "1:0:3:4:5:6:7:8"},
        {"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
        {"::ffff:1.2.3.4", "::ffff:102:304"},
        {"192.168.1.255", "192.168.1.255"},
        {"0.0.0.0", "0.0.0.0"},
    };
    static const char *const wrong[] = {"",
                                        ":",
                                        ":::",
                                        "1",
                                        "1:2:3:4:5:6:7",
                                        "1:2:3:4:5:6:7:8:9",
                                        "1:2:3:4:5:6:7:8::",
                                        "12345::",
                                        "::1.2.3",
                                        "1.2.3.4.5",
                                        "1..2.3",
                                        "g::",
                                        "1:2:3:4:5:6:7:",
                                        "::%eth0"};
    char text[NET_ADDRESS_TEXT];
    struct net_address address;
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        CHECK(net_address_parse(pairs[i][0], (unsigned)strlen(pairs[i][0]), &address), "%s",
              pairs[i][0]);
        CHECK(strcmp(net_address_format(&address, text), pairs[i][1]) == 0, "%s is %s", pairs[i][0],
              text);
    }
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        CHECK(!net_address_parse(wrong[i], (unsigned)strlen(wrong[i]), &address), "\"%s\"",
              wrong[i]);
    }
}

static void test_servers(void)
{
    struct net_address servers[20] = {{AF_INET, {10, 0, 2, 3}}, {AF_INET, {10, 0, 2, 4}}}, got;
    memset(&net_config, 0, sizeof(net_config));
    CHECK(!resolver_server(0, &got), "none yet");
    resolver_update(2, AF_INET, servers, 2);
    CHECK(resolver_server(1, &got) && got.bytes[3] == 4 && resolver_changed() == 42, "two");
    struct net_address other = {AF_INET6, {0xfe}};
    resolver_update(2, AF_INET6, &other, 1);
    CHECK(resolver_server(2, &got) && got.family == AF_INET6, "both families");
    resolver_update(2, AF_INET, servers, 1);
    CHECK(resolver_server(0, &got) && got.family == AF_INET6 && !resolver_server(2, &got),
          "the lease has changed");
    resolver_update(3, AF_INET, servers, 20);
    CHECK(!resolver_server(16, &got), "no more than fit");
    good("dns=9.9.9.9");
    CHECK(resolver_server(0, &got) && got.bytes[0] == 9 && !resolver_server(1, &got),
          "the word wins");
}

int main(void)
{
    test_words();
    test_text();
    test_servers();
    return 0;
}
