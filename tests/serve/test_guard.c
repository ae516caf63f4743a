/* Who is let in. */
#include "serve/guard.h"
#include "test.h"

static enum guard_verdict ask(struct guard *g, const char *host, const char *origin, const char *authorization)
{
    int wait;
    struct guard_request r = { .host = host, .origin = origin, .authorization = authorization, .method = "GET", .address = "127.0.0.1" };
    return guard_ask(g, &r, false, false, &wait);
}

TEST(a_loopback_server_is_called_by_the_loopback_only)
{
    struct err e = { 0 };
    const char *hosts[] = { "studio.lan", NULL };
    struct guard *g = guard_new(&(struct guard_options){ .loopback = true, .hosts = hosts }, &e);
    static const char *const good[] = { "127.0.0.1", "127.0.0.1:8188", "localhost:8188", "LOCALHOST", "[::1]:8188", "a.localhost", "studio.lan:1", "127.1.2.3" };
    static const char *const bad[] = { "evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "127.0.0.1x", "evillocalhost", "127.0.1", "192.168.1.1" };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        CHECK(ask(g, good[i], NULL, NULL) == GUARD_GOOD, "%s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(ask(g, bad[i], NULL, NULL) == GUARD_WRONG_HOST, "%s", bad[i]);
    guard_free(g);
}

TEST(pages_of_other_origins_are_refused)
{
    struct err e = { 0 };
    struct guard *g = guard_new(&(struct guard_options){ .loopback = true }, &e);
    CHECK(ask(g, "127.0.0.1:8188", "http://127.0.0.1:8188", NULL) == GUARD_GOOD, "its own");
    CHECK(ask(g, "127.0.0.1", "http://127.0.0.1:8188", NULL) == GUARD_GOOD, "a port counts where both have one");
    CHECK(ask(g, "127.0.0.1:8188", "http://127.0.0.1:9999", NULL) == GUARD_WRONG_ORIGIN, "another port");
    CHECK(ask(g, "127.0.0.1:8188", "https://evil.example", NULL) == GUARD_WRONG_ORIGIN, "another host");
    CHECK(ask(g, "127.0.0.1:8188", "null", NULL) == GUARD_WRONG_ORIGIN, "a page from nowhere");
    int wait;
    struct guard_request r = { .host = "127.0.0.1", .fetch_site = "cross-site", .fetch_mode = "no-cors", .method = "GET", .address = "1" };
    CHECK(guard_ask(g, &r, false, false, &wait) == GUARD_WRONG_ORIGIN, "a picture in another site's page");
    r.fetch_mode = "navigate";
    CHECK(guard_ask(g, &r, false, false, &wait) == GUARD_GOOD, "a link may be followed");
    guard_free(g);
    g = guard_new(&(struct guard_options){ .loopback = true, .cors = "https://friend.example" }, &e);
    CHECK(ask(g, "127.0.0.1", "https://friend.example", NULL) == GUARD_GOOD && ask(g, "127.0.0.1", "https://evil.example", NULL) == GUARD_WRONG_ORIGIN,
          "only the origin that --cors names");
    guard_free(g);
}

TEST(a_token_is_taken_in_three_ways)
{
    struct err e = { 0 };
    struct guard *g = guard_new(&(struct guard_options){ .token = "secret" }, &e);
    CHECK(ask(g, "any.example", NULL, NULL) == GUARD_NO_TOKEN, "none");
    CHECK(ask(g, "any.example", NULL, "Bearer secret") == GUARD_GOOD, "bearer");
    CHECK(ask(g, "any.example", NULL, "Basic bWU6c2VjcmV0") == GUARD_GOOD, "me:secret");
    static const char *const bad[] = { "Bearer secre", "Bearer secrets", "Bearer ", "Basic bWU6c2VjcmU=", "Basic !!", "secret", "Bearer secretsecret" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(ask(g, "any.example", NULL, bad[i]) == GUARD_NO_TOKEN, "%s", bad[i]);
    int wait;
    struct guard_request r = { .host = "x", .method = "GET", .address = "1", .query_token = "secret" };
    CHECK(guard_ask(g, &r, false, false, &wait) == GUARD_GOOD, "query");
    r.query_token = NULL;
    CHECK(guard_ask(g, &r, true, false, &wait) == GUARD_GOOD, "an open route");
    guard_free(g);
    char a[44], b[44];
    REQUIRE(guard_make_token(a, &e));
    REQUIRE(guard_make_token(b, &e));
    CHECK(strlen(a) == 43 && strcmp(a, b), "%s %s", a, b);
}

TEST(an_address_may_do_so_much_a_minute)
{
    struct err e = { 0 };
    struct guard *g = guard_new(&(struct guard_options){ .loopback = true, .rate = 3 }, &e);
    struct guard_request r = { .host = "localhost", .method = "POST", .address = "1.2.3.4" };
    int wait;
    for (int i = 0; i < 3; i++)
        CHECK(guard_ask(g, &r, false, true, &wait) == GUARD_GOOD, "the %d. work", i + 1);
    CHECK(guard_ask(g, &r, false, true, &wait) == GUARD_TOO_OFTEN && wait > 0 && wait <= 21, "wait %d", wait);
    CHECK(guard_ask(g, &r, false, false, &wait) == GUARD_GOOD, "looking costs nothing");
    r.address = "1.2.3.5";
    CHECK(guard_ask(g, &r, false, true, &wait) == GUARD_GOOD, "another address");
    guard_free(g);
}
