/* The program run inside a test: from argv to exit status and what it wrote. */
#ifndef LIMN_TESTS_CLI_RUN_LIMN_H
#define LIMN_TESTS_CLI_RUN_LIMN_H

/* What the last run wrote on stdout and stderr. */
extern char said[1 << 16], complained[1 << 16];

/* Runs the program with these words (NULL ends); gives its exit status. */
int limn(const char *first, ...) __attribute__((sentinel));

#endif
