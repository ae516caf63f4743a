/* WebSockets: who is told what, and that one who does not read delays nobody. */
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "client.h"
#include "serve/server_internal.h"
#include "site.h"
#include "test.h"

TEST(the_first_message_tells_the_id)
{
    int status;
    site_defaults();
    site_start();
    int s = ws_connect(site_port, "/ws?clientId=a%22b", "", &status);
    json_t *j = ws_wait(s, "status"), *data = json_object_get(j, "data");
    CHECK(j && !strcmp(json_string_value(json_object_get(data, "sid")), "a\"b"), "sid");
    CHECK(json_is_integer(json_object_get(json_object_get(json_object_get(data, "status"), "exec_info"), "queue_remaining")), "queue_remaining");
    json_decref(j);
    close(s);
    s = ws_connect(site_port, "/api/ws", "", &status);
    j = ws_wait(s, "status");
    CHECK(j && strlen(json_string_value(json_object_get(json_object_get(j, "data"), "sid"))) == 32, "an id is made");
    json_decref(j);
    const char flags[] = "{\"type\":\"feature_flags\",\"data\":{\"supports_preview_metadata\":true}}";
    ws_send(s, 1, flags, strlen(flags));
    j = ws_wait(s, "feature_flags");
    CHECK(j && json_is_true(json_object_get(json_object_get(j, "data"), "supports_preview_metadata")), "flags");
    json_decref(j);
    char text[100];
    size_t bytes;
    ws_send(s, 9, "ping", 4);
    ws_send(s, 8, "\x03\xe8", 2);
    int opcode = ws_read(s, text, sizeof text, &bytes);
    CHECK(opcode == 8 && bytes == 2, "a close is answered: %d", opcode);
    close(s);
    CHECK(status_of(site_port, "GET", "/ws", "", NULL) == 426, "no upgrade");
    site_stop();
}

TEST(the_log_goes_to_those_who_asked)
{
    int status;
    site_defaults();
    site_start();
    json_decref(get_json(site_port, "/internal/logs", 200));
    int s = ws_connect(site_port, "/ws?clientId=me", "", &status);
    CHECK(status_of(site_port, "PATCH", "/internal/logs/subscribe", "", "{\"clientId\": \"me\", \"enabled\": true}") == 200, "subscribe");
    CHECK(status_of(site_port, "PATCH", "/internal/logs/subscribe", "", "{\"clientId\": 3, \"enabled\": true}") == 400, "a wrong type");
    close(s);
    site_stop();
}

TEST(the_end_of_the_server_is_told)
{
    int status;
    char text[200];
    size_t bytes;
    site_defaults();
    site_start();
    int s = ws_connect(site_port, "/ws", "", &status);
    json_decref(ws_wait(s, "status"));
    double start = clock_seconds();
    site_stop();
    int opcode = ws_read(s, text, sizeof text, &bytes);
    CHECK(opcode == 8 && bytes == 2 && !memcmp(text, "\x03\xe9", 2), "opcode %d", opcode);
    CHECK(clock_seconds() - start < 8, "it took %.1f s", clock_seconds() - start);
    close(s);
}

/* Straight to the list of sockets: two megabytes to everybody, again and again, while one client never reads. */
TEST(a_socket_that_lets_too_much_lie_is_cut_off_and_the_other_gets_everything)
{
    enum { TIMES = 45, BYTES = 2 << 20 };
    int status, heard = 0;
    site_defaults();
    site_start();
    struct sockets *sockets = site_server()->sockets;
    int deaf = ws_connect(site_port, "/ws?clientId=deaf", "", &status), good = ws_connect(site_port, "/ws?clientId=good", "", &status);
    json_decref(ws_wait(good, "status"));
    char *big = malloc(BYTES + 1);
    memset(big, 'a', BYTES);
    big[BYTES] = 0;
    json_t *data = json_pack("{s:s}", "text", big);
    free(big);
    double longest = 0;
    for (int i = 0; i < TIMES; i++) {
        double start = clock_seconds();
        sockets_send(sockets, (struct audience){ 0 }, "weight", data, false);
        longest = clock_seconds() - start > longest ? clock_seconds() - start : longest;
        json_t *j = ws_wait(good, "weight");
        heard += j != NULL;
        json_decref(j);
    }
    json_decref(data);
    CHECK(heard == TIMES, "%d of %d heard", heard, TIMES);
    CHECK(longest < 1, "a sender waited %.1f s", longest);
    char text[1000];
    bool closed = false;
    for (double until = clock_seconds() + 20; !closed && clock_seconds() < until;)
        client_read_all(deaf, text, sizeof text, &closed);
    CHECK(closed, "its connection is still open");
    close(deaf);
    close(good);
    site_stop();
}

TEST(progress_that_piles_up_is_dropped_and_what_counts_is_not)
{
    enum { TIMES = 2000 };
    int status, kept = 0, spare = 0;
    size_t cut, dropped, bytes;
    site_defaults();
    site_start();
    struct sockets *sockets = site_server()->sockets;
    int s = ws_connect(site_port, "/ws?clientId=slow", "", &status);
    json_decref(ws_wait(s, "status"));
    char *big = malloc(1 << 16);
    memset(big, 'a', (1 << 15) - 1);
    big[(1 << 15) - 1] = 0;
    json_t *small = json_object(), *data = json_pack("{s:s}", "text", big);
    for (int i = 0; i < TIMES; i++) {
        sockets_send(sockets, (struct audience){ .client = "slow" }, "progress", data, true);
        if (i % 100 == 0)
            sockets_send(sockets, (struct audience){ .client = "slow" }, "executed", small, false);
    }
    sockets_losses(sockets, &cut, &dropped);
    CHECK(dropped > 0 && cut == 0, "%zu dropped, %zu cut", dropped, cut);
    while (kept < TIMES / 100 && ws_read(s, big, 1 << 16, &bytes) == 1) {
        kept += strstr(big, "\"executed\"") != NULL;
        spare += strstr(big, "\"progress\"") != NULL;
    }
    CHECK(kept == TIMES / 100 && spare >= SOCKET_MOST_SPARE, "%d kept, %d spare", kept, spare);
    json_decref(small);
    json_decref(data);
    free(big);
    close(s);
    site_stop();
}
