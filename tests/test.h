/* Tests on cmocka: TEST(name) { ... } registers itself; a file of tests needs no list. The name is the claim. */
#ifndef LIMN_TESTS_TEST_H
#define LIMN_TESTS_TEST_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"

void test_register(const char *name, void (*run)(void **));

#define TEST(name)                                                                             \
    static void name(void **state);                                                            \
    __attribute__((constructor)) static void register_##name(void) { test_register(#name, name); } \
    static void name(__attribute__((unused)) void **state)

/* The call must succeed; prints e.text if not. `e` is a struct err. */
#define REQUIRE(call)                                                        \
    do {                                                                     \
        if (!(call))                                                         \
            fail_msg("%s: %s (line %d)", #call, e.text, __LINE__);           \
    } while (0)
/* The condition must hold; the rest is printf's. */
#define CHECK(condition, ...)                                                \
    do {                                                                     \
        if (!(condition)) {                                                  \
            print_error("%s:%d: not so: %s: ", __FILE__, __LINE__, #condition); \
            print_error(__VA_ARGS__);                                        \
            print_error("\n");                                               \
            fail();                                                          \
        }                                                                    \
    } while (0)
#define CHECK_NEAR(came, wanted, tolerance, ...)                             \
    do {                                                                     \
        double came_ = (came), wanted_ = (wanted);                           \
        if (!(fabs(came_ - wanted_) <= (tolerance))) {                       \
            print_error("%s:%d: came %.9g, wanted %.9g within %g: ", __FILE__, __LINE__, came_, wanted_, \
                        (double)(tolerance));                                \
            print_error(__VA_ARGS__);                                        \
            print_error("\n");                                               \
            fail();                                                          \
        }                                                                    \
    } while (0)
/* The call must fail with this code and a text that holds `part`. */
#define CHECK_FAILS(call, wanted_code, part)                                 \
    do {                                                                     \
        err_clear(&e);                                                       \
        CHECK(!(call), "it succeeded");                                      \
        CHECK(e.code == (wanted_code) && strstr(e.text, part), "code %d, text: %s", (int)e.code, e.text); \
        err_clear(&e);                                                       \
    } while (0)

/* The folder of committed test data and a fresh folder for this process's files (made, removed at the end). */
const char *test_data(const char *name);
const char *test_scratch(const char *name);

#endif
