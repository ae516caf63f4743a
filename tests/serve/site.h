/* A server inside the test, on a free port, with fresh folders. */
#ifndef LIMN_TESTS_SERVE_SITE_H
#define LIMN_TESTS_SERVE_SITE_H

#include <stdio.h>
#include <sys/types.h>

#include "serve/server.h"

/* The options that site_start begins with: change them before. It draws with limn-emoji and has the test nodes only if asked. Folders are BASE/input and so on, below the scratch folder. */
extern struct serve_options site_options;
extern int site_port;

void site_defaults(void);
void site_start(void);
void site_stop(void);
struct server *site_server(void);
/* A file below the site's folder: site_path("input/a.png"). */
const char *site_path(const char *name);
void site_write(const char *name, const void *data, size_t bytes);
/* Starts build/limn with arguments behind its name, NULL at the end; *out: what it prints, to be closed. */
pid_t site_program(const char *const *arguments, FILE **out);

#endif
