/* Files are whole or not there, whoever is killed and whenever. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/leftovers.h"
#include "base/mem.h"
#include "test.h"

/* The program's open(): a file system without nameless files can be had by wishing. */
static bool without_nameless;
int open(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    mode_t mode = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(more, mode_t) : 0;
    va_end(more);
    if (without_nameless && (flags & O_TMPFILE) == O_TMPFILE) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return openat(AT_FDCWD, path, flags, mode);
}

static const char *inside(const char *folder, const char *name)
{
    static char path[4][PATH_MAX_BYTES];
    static int turn;
    char *out = path[turn++ % 4];
    snprintf(out, PATH_MAX_BYTES, "%s/%s", folder, name);
    return out;
}

static void write_text(const char *path, const char *text)
{
    struct err e = { 0 };
    REQUIRE(file_write_whole(path, text, strlen(text), &e));
}

static const char *text_of(const char *path)
{
    static char out[100];
    struct err e = { 0 };
    char *data;
    size_t bytes;
    if (!file_read(path, sizeof out - 1, &data, &bytes, &e))
        return "";
    memcpy(out, data, bytes + 1);
    mem_free(data);
    return out;
}

static size_t names_in(const char *folder)
{
    struct err e = { 0 };
    char **names;
    size_t count;
    REQUIRE(folder_names(folder, NULL, &names, &count, &e));
    folder_names_free(names, count);
    return count;
}

static const char *fresh_folder(const char *name)
{
    struct err e = { 0 };
    const char *folder = test_scratch(name);
    folder_remove(folder);
    REQUIRE(folder_make(folder, &e));
    return folder;
}

/* A process that has written half of `path` and waits to be killed. */
static pid_t writer_of(const char *path)
{
    int ready[2];
    char byte;
    struct err e = { 0 };
    REQUIRE(pipe(ready) == 0);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        struct file_write w;
        bool good = file_begin(&w, path, &e) && file_put(&w, "half", 4, &e) && fflush(w.f) == 0 && write(ready[1], "r", 1) == 1;
        while (good)
            pause();
        _exit(1);
    }
    close(ready[1]);
    REQUIRE(read(ready[0], &byte, 1) == 1);
    close(ready[0]);
    return child;
}

static void kill_writer(pid_t child)
{
    struct err e = { 0 };
    REQUIRE(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
}

TEST(a_killed_writer_leaves_the_old_file_and_nothing_beside_it)
{
    const char *folder = fresh_folder("killed");
    write_text(inside(folder, "a"), "old");
    kill_writer(writer_of(inside(folder, "a")));
    kill_writer(writer_of(inside(folder, "b")));
    assert_string_equal(text_of(inside(folder, "a")), "old");
    assert_int_equal(names_in(folder), 1);
}

TEST(what_is_left_where_every_file_has_a_name_goes_once_its_writer_is_gone)
{
    struct err e = { 0 };
    char left[PATH_MAX_BYTES], name[64];
    const char *folder = fresh_folder("named");
    REQUIRE(folder_make(inside(folder, "deep/er"), &e));
    write_text(inside(folder, "deep/er/a"), "old");
    without_nameless = true;
    pid_t child = writer_of(inside(folder, "deep/er/a"));
    snprintf(name, sizeof name, "deep/er/a.part-%ld", (long)child);
    snprintf(left, sizeof left, "%s", inside(folder, name));
    leftovers_remove(folder);
    CHECK(path_exists(left), "%s is somebody's", left);
    kill_writer(child);
    assert_string_equal(text_of(left), "half");
    leftovers_remove(folder);
    without_nameless = false;
    assert_false(path_exists(left));
    assert_string_equal(text_of(inside(folder, "deep/er/a")), "old");
}

TEST(only_what_is_surely_nobodys_goes)
{
    struct err e = { 0 };
    char dead[32], made[PATH_MAX_BYTES], locked[64], living[64], lock_path[PATH_MAX_BYTES];
    const char *folder = fresh_folder("whose");
    pid_t gone = fork();
    REQUIRE(gone >= 0);
    if (gone == 0)
        _exit(0);
    REQUIRE(waitpid(gone, NULL, 0) == gone);
    snprintf(dead, sizeof dead, "part-%ld", (long)gone);
    snprintf(living, sizeof living, "a.part-%ld", (long)getpid());
    const char *const others[] = { "a.part-", "a.part-x", "a.part-0", "part-1", "a.part-99999999999", living };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        write_text(inside(folder, others[i]), "mine");
    snprintf(made, sizeof made, "%s/pictures.%s", folder, dead); /* a user's folder */
    REQUIRE(folder_make(made, &e));
    snprintf(made, sizeof made, "%s/link.%s", folder, dead);
    REQUIRE(symlink("a.part-", made) == 0);
    snprintf(made, sizeof made, "%s/a.%s.png", folder, dead);
    write_text(made, "mine");
    snprintf(locked, sizeof locked, "b.%s", dead); /* as of a process elsewhere, which holds the lock */
    snprintf(lock_path, sizeof lock_path, "%s", inside(folder, locked));
    write_text(lock_path, "theirs");
    int lock = openat(AT_FDCWD, lock_path, O_RDONLY);
    REQUIRE(lock >= 0 && flock(lock, LOCK_EX) == 0);
    size_t before = names_in(folder);
    leftovers_remove(folder);
    assert_int_equal(names_in(folder), before);
    close(lock);
    leftovers_remove(folder);
    assert_int_equal(names_in(folder), before - 1);
    assert_false(path_exists(lock_path));
    leftovers_remove("/nowhere/at/all");
}

TEST(an_unfinished_folder_goes_when_its_name_is_made_again)
{
    struct err e = { 0 };
    char mine[64], other[64];
    const char *folder = fresh_folder("folders");
    pid_t gone = fork();
    if (gone == 0)
        _exit(0);
    REQUIRE(gone > 0 && waitpid(gone, NULL, 0) == gone);
    snprintf(mine, sizeof mine, "model.part-%ld/unet", (long)gone);
    snprintf(other, sizeof other, "other-model.part-%ld/unet", (long)gone);
    REQUIRE(folder_make(inside(folder, mine), &e) && folder_make(inside(folder, other), &e));
    leftovers_remove_beside(inside(folder, "model"));
    assert_int_equal(names_in(folder), 1);
    assert_true(path_exists(inside(folder, other)));
    leftovers_remove_beside("/nowhere/at/all");
}

static void replace_claim(bool nameless)
{
    struct err e = { 0 };
    struct stat s;
    char stale[64], path[PATH_MAX_BYTES];
    without_nameless = !nameless;
    const char *folder = fresh_folder("replaced");
    mode_t mask = umask(027);
    write_text(inside(folder, "a"), "first");
    umask(mask);
    assert_int_equal(stat(inside(folder, "a"), &s), 0);
    assert_int_equal(s.st_mode & 0777, 0640);
    snprintf(stale, sizeof stale, "a.part-%ld", (long)getpid()); /* of an earlier process with our number */
    snprintf(path, sizeof path, "%s", inside(folder, stale));
    int fd = openat(AT_FDCWD, path, O_CREAT | O_WRONLY, 0600);
    REQUIRE(fd >= 0 && close(fd) == 0);
    write_text(inside(folder, "a"), "second");
    assert_string_equal(text_of(inside(folder, "a")), "second");
    assert_int_equal(names_in(folder), 1);
    REQUIRE(symlink("a", inside(folder, "link")) == 0);
    write_text(inside(folder, "link"), "third"); /* the link gives way, not what it points to */
    assert_string_equal(text_of(inside(folder, "a")), "second");
    assert_string_equal(text_of(inside(folder, "link")), "third");
    struct file_write w;
    REQUIRE(file_begin(&w, inside(folder, "b"), &e) && file_put(&w, "x", 1, &e));
    file_abandon(&w);
    assert_int_equal(names_in(folder), 2);
    CHECK_FAILS(file_write_whole(inside(folder, "none/b"), "x", 1, &e), ERR_IO, "none/b");
    REQUIRE(folder_make(inside(folder, "c"), &e));
    CHECK_FAILS(file_write_whole(inside(folder, "c"), "x", 1, &e), ERR_IO, "c");
    assert_int_equal(names_in(folder), 3);
    without_nameless = false;
}

TEST(a_file_takes_the_place_of_another_at_once)
{
    replace_claim(true);
    replace_claim(false);
}
