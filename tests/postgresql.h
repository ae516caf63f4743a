/* A PostgreSQL server of the test's own: from the installed package, in a temporary folder, on a unix socket, ended with the test. */
#ifndef LIMN_TESTS_POSTGRESQL_H
#define LIMN_TESTS_POSTGRESQL_H

#include <glob.h>
#include <grp.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

static struct {
    char bin[200], folder[100];
    pid_t pid, owner;
    int databases;
} pg;

/* The server refuses to run as root. */
static void pg_drop_rights(void)
{
    struct passwd *user = getuid() == 0 ? getpwnam("postgres") : NULL;
    if (getuid() == 0 && !user)
        user = getpwnam("nobody");
    if (user && (setgroups(0, NULL) || setgid(user->pw_gid) || setuid(user->pw_uid)))
        _exit(1);
}

static pid_t pg_spawn(const char *const *argv)
{
    pid_t pid = fork();
    if (pid)
        return pid;
    char log[160];
    snprintf(log, sizeof log, "%s/log", pg.folder);
    pg_drop_rights();
    if (chdir("/") || !freopen(log, "a", stdout) || dup2(1, 2) < 0)
        _exit(1);
    execv(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
}

static void pg_wait(void)
{
    char url[200];
    snprintf(url, sizeof url, "postgresql:///postgres?host=%s&user=limn", pg.folder);
    for (int turn = 0; turn < 600; turn++) {
        PGconn *c = PQconnectdb(url);
        bool good = PQstatus(c) == CONNECTION_OK;
        PQfinish(c);
        if (good)
            return;
        usleep(50000);
    }
    fail_msg("the server in %s does not answer", pg.folder);
}

static void pg_start(void)
{
    char postgres[260], data[120];
    snprintf(postgres, sizeof postgres, "%s/postgres", pg.bin);
    snprintf(data, sizeof data, "%s/data", pg.folder);
    pg.pid = pg_spawn((const char *const[]){ postgres, "-D", data, "-k", pg.folder, "-c", "listen_addresses=", "-c", "fsync=off", "-c",
                                             "max_connections=60", NULL });
    pg_wait();
}

/* How a server ends: SIGINT at once but in order, SIGQUIT as in a crash. */
static void pg_end(int signal)
{
    int status;
    if (!pg.pid)
        return;
    kill(pg.pid, signal);
    waitpid(pg.pid, &status, 0);
    pg.pid = 0;
}

static void pg_remove(void)
{
    char command[200];
    if (getpid() != pg.owner) /* a child of the test */
        return;
    pg_end(SIGQUIT);
    snprintf(command, sizeof command, "rm -rf -- %s", pg.folder);
    if (system(command))
        fprintf(stderr, "could not remove %s\n", pg.folder);
}

/* The address of a new, empty database; the first call makes the server. NULL: the package is not installed. Borrowed until the
 * next call but seven. */
static const char *pg_database(void)
{
    static char urls[8][200];
    if (!pg.owner) {
        glob_t found;
        int status, code = glob("/usr/lib/postgresql/*/bin/initdb", 0, NULL, &found);
        if (!code) {
            snprintf(pg.bin, sizeof pg.bin, "%.*s", (int)(strrchr(found.gl_pathv[found.gl_pathc - 1], '/') - found.gl_pathv[found.gl_pathc - 1]),
                     found.gl_pathv[found.gl_pathc - 1]);
            globfree(&found);
        }
        pg.owner = getpid();
        if (code)
            return NULL;
        char initdb[260], data[120];
        snprintf(pg.folder, sizeof pg.folder, "%s/limn-pg-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
        assert_non_null(mkdtemp(pg.folder));
        assert_int_equal(chmod(pg.folder, 0777), 0);
        atexit(pg_remove);
        snprintf(initdb, sizeof initdb, "%s/initdb", pg.bin);
        snprintf(data, sizeof data, "%s/data", pg.folder);
        pid_t pid = pg_spawn((const char *const[]){ initdb, "-D", data, "-A", "trust", "-U", "limn", "-E", "UTF8", "--locale=C.UTF-8",
                                                    "--no-sync", "--no-instructions", NULL });
        waitpid(pid, &status, 0);
        CHECK(WIFEXITED(status) && !WEXITSTATUS(status), "initdb in %s", pg.folder);
        pg_start();
    }
    if (!pg.bin[0])
        return NULL;
    char url[200], sql[60];
    snprintf(url, sizeof url, "postgresql:///postgres?host=%s&user=limn", pg.folder);
    snprintf(sql, sizeof sql, "CREATE DATABASE t%d", ++pg.databases);
    PGconn *c = PQconnectdb(url);
    PGresult *r = PQexec(c, sql);
    CHECK(PQresultStatus(r) == PGRES_COMMAND_OK, "%s", PQerrorMessage(c));
    PQclear(r);
    PQfinish(c);
    char *out = urls[pg.databases % 8];
    snprintf(out, sizeof urls[0], "postgresql:///t%d?host=%s&user=limn", pg.databases, pg.folder);
    return out;
}

#endif
