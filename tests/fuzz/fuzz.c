/* libFuzzer's entry: one program for all targets, FUZZ_TARGET in the environment says which (run.sh). */
#include <stdlib.h>

#include "fuzz/targets.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes);

static void (*run)(const char *data, size_t bytes);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const char *name = getenv("FUZZ_TARGET");
    for (size_t i = 0; name && i < sizeof fuzz_targets / sizeof *fuzz_targets; i++)
        if (!strcmp(fuzz_targets[i].name, name))
            run = fuzz_targets[i].run;
    if (!run) {
        fprintf(stderr, "FUZZ_TARGET=%s is none of the targets in tests/fuzz/targets.h\n", name ? name : "");
        exit(2);
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes)
{
    run((const char *)data, bytes);
    return 0;
}
