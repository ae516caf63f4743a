/* WebSockets: who is told what, and that one who does not read delays nobody. */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "client.h"
#include "serve/sockets.h"
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
