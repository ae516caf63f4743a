/* libFuzzer's entry: the target is chosen when it is built, -DTARGET=name (run.sh). */
#include "fuzz/targets.h"

#define NAME_(name) #name
#define NAME(name) NAME_(name)

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes);

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes)
{
    for (size_t i = 0; i < sizeof fuzz_targets / sizeof *fuzz_targets; i++)
        if (!strcmp(fuzz_targets[i].name, NAME(TARGET)))
            fuzz_targets[i].run((const char *)data, bytes);
    return 0;
}
