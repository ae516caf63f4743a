#include "client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test.h"

int client_connect(int port, int seconds)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval wait = { .tv_sec = seconds };
    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    if (connect(s, (struct sockaddr *)&to, sizeof to)) {
        close(s);
        return -1;
    }
    return s;
}

bool client_send(int s, const void *data, size_t bytes)
{
    for (const char *at = data; bytes;) {
        ssize_t n = send(s, at, bytes, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        at += n;
        bytes -= (size_t)n;
    }
    return true;
}

size_t client_read_all(int s, char *out, size_t cap, bool *closed)
{
    size_t used = 0;
    *closed = false;
    while (used + 1 < cap) {
        ssize_t n = recv(s, out + used, cap - 1 - used, 0);
        if (n <= 0) {
            *closed = n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
            break;
        }
        used += (size_t)n;
    }
    out[used] = 0;
    return used;
}

/* --- HTTP --- */

void answer_release(struct answer *a)
{
    free(a->all);
    *a = (struct answer){ 0 };
}

bool answer_header(const struct answer *a, const char *name, char *out, size_t cap)
{
    size_t n = strlen(name);
    for (const char *line = a->head; line && *line; line = strstr(line, "\r\n"), line = line ? line + 2 : NULL)
        if (!strncasecmp(line, name, n) && line[n] == ':') {
            const char *value = line + n + 1 + strspn(line + n + 1, " ");
            snprintf(out, cap, "%.*s", (int)strcspn(value, "\r"), value);
            return true;
        }
    return false;
}

struct answer ask_full(int port, const char *method, const char *path, const char *headers, const void *body, size_t bytes)
{
    struct answer a = { 0 };
    char head[16384];
    size_t cap = 65536, used = 0;
    int s = client_connect(port, 120);
    if (s < 0)
        return a;
    int n = snprintf(head, sizeof head, "%s %s HTTP/1.1\r\n%sConnection: close\r\n%s", method, path,
                     strcasestr(headers, "Host:") ? "" : "Host: 127.0.0.1\r\n", headers);
    if (body)
        n += snprintf(head + n, sizeof head - (size_t)n, "Content-Length: %zu\r\n", bytes);
    n += snprintf(head + n, sizeof head - (size_t)n, "\r\n");
    client_send(s, head, (size_t)n);
    if (body)
        client_send(s, body, bytes);
    a.all = malloc(cap);
    for (;;) {
        if (used + 1 == cap)
            a.all = realloc(a.all, cap *= 2);
        ssize_t got = recv(s, a.all + used, cap - 1 - used, 0);
        if (got <= 0)
            break;
        used += (size_t)got;
    }
    close(s);
    a.all[used] = 0;
    a.head = a.all;
    char *end = strstr(a.all, "\r\n\r\n");
    if (!end || sscanf(a.all, "HTTP/1.1 %d", &a.status) != 1)
        return a;
    end[2] = 0;
    a.body = end + 4;
    a.body_bytes = used - (size_t)(a.body - a.all);
    return a;
}

static json_t *json_of(struct answer *a, const char *what, int status)
{
    CHECK(a->status == status, "%s: status %d, wanted %d: %s", what, a->status, status, a->body ? a->body : "");
    json_t *j = json_loadb(a->body, a->body_bytes, JSON_DECODE_ANY, NULL);
    if (!j) /* a seed that jansson has no room for */
        j = json_loadb(a->body, a->body_bytes, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, NULL);
    CHECK(j, "%s: no JSON: %s", what, a->body);
    answer_release(a);
    return j;
}

json_t *get_json(int port, const char *path, int status)
{
    struct answer a = ask_full(port, "GET", path, "", NULL, 0);
    return json_of(&a, path, status);
}

json_t *post_json(int port, const char *path, const char *text, int status)
{
    struct answer a = ask_full(port, "POST", path, "Content-Type: application/json\r\n", text, strlen(text));
    return json_of(&a, path, status);
}

int status_of(int port, const char *method, const char *path, const char *headers, const char *body)
{
    struct answer a = ask_full(port, method, path, headers, body, body ? strlen(body) : 0);
    int status = a.status;
    answer_release(&a);
    return status;
}

/* --- WebSocket (RFC 6455) --- */

int ws_connect(int port, const char *path, const char *headers, int *status)
{
    char head[2048], c[2048];
    size_t used = 0;
    int s = client_connect(port, 20);
    *status = 0;
    if (s < 0)
        return -1;
    int n = snprintf(head, sizeof head, "GET %s HTTP/1.1\r\n%sUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n", path, strcasestr(headers, "Host:") ? "" : "Host: 127.0.0.1\r\n", headers);
    client_send(s, head, (size_t)n);
    while (used + 1 < sizeof c && recv(s, c + used, 1, 0) == 1) { /* byte by byte: frames follow the head at once */
        c[++used] = 0;
        if (used > 4 && !memcmp(c + used - 4, "\r\n\r\n", 4))
            break;
    }
    sscanf(c, "HTTP/1.1 %d", status);
    if (*status == 101 && strstr(c, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")) /* the answer of RFC 6455, 1.3, to this key */
        return s;
    close(s);
    return -1;
}

static bool read_exactly(int s, void *out, size_t bytes)
{
    for (char *at = out; bytes;) {
        ssize_t n = recv(s, at, bytes, 0);
        if (n <= 0)
            return false;
        at += n;
        bytes -= (size_t)n;
    }
    return true;
}

bool ws_send(int s, int opcode, const char *data, size_t bytes)
{
    unsigned char head[14] = { (unsigned char)(128 | opcode) };
    static const unsigned char mask[4] = { 1, 2, 3, 4 };
    size_t n = 2;
    if (bytes < 126) {
        head[1] = (unsigned char)(128 | bytes);
    } else {
        head[1] = 128 | 127;
        for (int i = 0; i < 8; i++)
            head[n++] = (unsigned char)((uint64_t)bytes >> (56 - 8 * i));
    }
    memcpy(head + n, mask, 4);
    char *masked = malloc(bytes + 1);
    for (size_t i = 0; i < bytes; i++)
        masked[i] = (char)(data[i] ^ mask[i & 3]);
    bool good = client_send(s, head, n + 4) && client_send(s, masked, bytes);
    free(masked);
    return good;
}

int ws_read(int s, char *out, size_t cap, size_t *bytes)
{
    enum { MOST_PINGS = 3 }; /* one each 20 s: a minute of nothing else */
    for (int pings = 0; pings < MOST_PINGS;) {
        unsigned char head[2], more[8];
        errno = 0;
        if (!read_exactly(s, head, 2))
            return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : 8;
        uint64_t n = head[1] & 127;
        int longer = n == 126 ? 2 : n == 127 ? 8 : 0;
        if (longer) {
            if (!read_exactly(s, more, (size_t)longer))
                return 8;
            n = 0;
            for (int i = 0; i < longer; i++)
                n = n << 8 | more[i];
        }
        if (n >= cap) {
            print_error("a message of %llu bytes\n", (unsigned long long)n);
            return 8;
        }
        if (!read_exactly(s, out, (size_t)n))
            return 8;
        out[n] = 0;
        *bytes = (size_t)n;
        int opcode = head[0] & 15;
        if (opcode == 9)
            ws_send(s, 10, out, (size_t)n);
        else if (opcode != 10)
            return opcode;
        pings += opcode == 9;
    }
    return 0;
}

json_t *ws_wait(int s, const char *type)
{
    enum { MOST = 1 << 22 };
    char *text = malloc(MOST);
    json_t *found = NULL;
    size_t bytes;
    for (int opcode; !found && (opcode = ws_read(s, text, MOST, &bytes)) && opcode != 8;) {
        json_t *j = opcode == 1 ? json_loadb(text, bytes, 0, NULL) : NULL;
        const char *is = json_string_value(json_object_get(j, "type"));
        if (is && !strcmp(is, type))
            found = j;
        else
            json_decref(j);
    }
    free(text);
    return found;
}
