#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "test.h"

enum { MOST = 400 };
static struct CMUnitTest tests[MOST];
static size_t count;
static char scratch[64];

void test_register(const char *name, void (*run)(void **))
{
    if (count == MOST)
        abort();
    tests[count++] = (struct CMUnitTest){ .name = name, .test_func = run };
}

/* Of all threads together, and not a thread's own: what each thread has lies on its stack, and some libraries start small ones. */
static char *next_path(void)
{
    static char path[64][PATH_MAX_BYTES];
    static atomic_uint turn;
    return path[atomic_fetch_add(&turn, 1) % 64];
}

const char *test_data(const char *name)
{
    char *out = next_path();
    const char *root = getenv("LIMN_TEST_DATA");
    snprintf(out, PATH_MAX_BYTES, "%s/%s", root ? root : LIMN_TEST_DATA, name);
    return out;
}

const char *test_scratch(const char *name)
{
    char *out = next_path();
    snprintf(out, PATH_MAX_BYTES, "%s/%s", scratch, name);
    return out;
}

static void remove_scratch(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf -- %s", scratch);
    if (scratch[0] && system(command) != 0)
        fprintf(stderr, "could not remove %s\n", scratch);
}

int main(int argc, char **argv)
{
    snprintf(scratch, sizeof scratch, "/tmp/limn-test-XXXXXX");
    if (!mkdtemp(scratch))
        return 1;
    atexit(remove_scratch);
    if (argc > 1) /* only the tests whose names hold this text */
        cmocka_set_test_filter(argv[1]);
    return _cmocka_run_group_tests(path_name(argv[0]), tests, count, NULL, NULL);
}
