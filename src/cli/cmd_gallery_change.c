/* limn gallery tag, collect, rate, delete, undo, purge. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "cli/gallery_args.h"

enum { DAY_MS = 86400000 };

struct change_args {
    struct option_texts words, add, remove;
    const char *database, *gallery_folder, *user;
    int64_t rating, days;
};
#define AT(member) offsetof(struct change_args, member)
#define IDS .words = "ID...", .words_place = AT(words), .words_min = 1, .words_max = OPTION_TEXTS_MAX
static const char how_ids[] = "A picture is named by its id, by a range of ids as 5-9, or by the beginning of its hash (4 digits or more).";

/* Opens the gallery, finds the pictures, changes them. */
static bool change(const struct change_args *a, bool (*act)(struct store *s, const struct change_args *a, const int64_t *ids, size_t count,
                                                            struct err *e),
                   struct err *e)
{
    struct gallery_place place;
    int64_t *ids = NULL;
    size_t count;
    if (!gallery_place_open(&place, a->database, a->gallery_folder, e))
        return false;
    bool good = gallery_ids(place.store, a->user, &a->words, &ids, &count, e) && act(place.store, a, ids, count, e);
    gallery_place_close(&place);
    mem_free(ids);
    return good;
}

static bool need_labels(const struct change_args *a, struct err *e)
{
    return a->add.count || a->remove.count || err_set(e, ERR_ARG, "nothing to do: --add NAME or --remove NAME");
}

static bool act_tag(struct store *s, const struct change_args *a, const int64_t *ids, size_t count, struct err *e)
{
    return gallery_tag(s, gallery_owner(a->user), ids, count, a->add.items, (size_t)a->add.count, a->remove.items, (size_t)a->remove.count, e);
}

static bool act_collect(struct store *s, const struct change_args *a, const int64_t *ids, size_t count, struct err *e)
{
    return gallery_collect(s, gallery_owner(a->user), ids, count, a->add.items, (size_t)a->add.count, a->remove.items, (size_t)a->remove.count, e);
}

static bool act_rate(struct store *s, const struct change_args *a, const int64_t *ids, size_t count, struct err *e)
{
    return gallery_rate(s, gallery_owner(a->user), ids, count, (int)a->rating, e);
}

static bool act_delete(struct store *s, const struct change_args *a, const int64_t *ids, size_t count, struct err *e)
{
    int64_t batch;
    if (!gallery_delete(s, gallery_owner(a->user), ids, count, &batch, e))
        return false;
    printf("%zu deleted; limn gallery undo %lld brings them back\n", count, (long long)batch);
    return true;
}

static const struct option label_options[] = {
    { "add", 'a', OPTION_TEXTS, AT(add), .value = "NAME", .help = "put this on the pictures" },
    { "remove", 'r', OPTION_TEXTS, AT(remove), .value = "NAME", .help = "take this away from them" },
    OPTION_ROWS_GALLERY(struct change_args),
    OPTION_ROW_GALLERY_USER(struct change_args),
    { 0 },
};

static bool tag_run(const void *args, struct err *e)
{
    return need_labels(args, e) && change(args, act_tag, e);
}

const struct command command_gallery_tag = {
    .name = "gallery tag", .help = "Puts tags on pictures, or takes them away.", .details = how_ids, IDS,
    .options = label_options, .args_bytes = sizeof(struct change_args), .run = tag_run,
};

static bool collect_run(const void *args, struct err *e)
{
    return need_labels(args, e) && change(args, act_collect, e);
}

const struct command command_gallery_collect = {
    .name = "gallery collect", .help = "Puts pictures into collections, or takes them out.", .details = how_ids, IDS,
    .options = label_options, .args_bytes = sizeof(struct change_args), .run = collect_run,
};

static const struct option rate_options[] = {
    { "rating", 'r', OPTION_INT, AT(rating), "5", .min = 0, .max = 5, .help = "stars; 0 takes them away" },
    OPTION_ROWS_GALLERY(struct change_args),
    OPTION_ROW_GALLERY_USER(struct change_args),
    { 0 },
};

static bool rate_run(const void *args, struct err *e)
{
    return change(args, act_rate, e);
}

const struct command command_gallery_rate = {
    .name = "gallery rate", .help = "Rates pictures.", .details = how_ids, IDS,
    .options = rate_options, .args_bytes = sizeof(struct change_args), .run = rate_run,
};

static const struct option place_options[] = {
    OPTION_ROWS_GALLERY(struct change_args),
    OPTION_ROW_GALLERY_USER(struct change_args),
    { 0 },
};

static bool delete_run(const void *args, struct err *e)
{
    return change(args, act_delete, e);
}

const struct command command_gallery_delete = {
    .name = "gallery delete", .help = "Takes pictures out of the gallery; undo brings them back.",
    .details = "A picture is named by its id, by a range of ids as 5-9, or by the beginning of its hash (4 digits or more). Files stay until "
               "limn gallery purge.",
    IDS, .options = place_options, .args_bytes = sizeof(struct change_args), .run = delete_run,
};

static bool undo_run(const void *args, struct err *e)
{
    const struct change_args *a = args;
    struct gallery_place place;
    int64_t count = 0, batch = 0;
    char rest;
    if (a->words.count && (sscanf(a->words.items[0], "%lld%c", (long long *)&batch, &rest) != 1 || batch <= 0))
        return err_set(e, ERR_ARG, "%s is no number of a deletion, as limn gallery delete tells it", a->words.items[0]);
    if (!gallery_place_open(&place, a->database, a->gallery_folder, e))
        return false;
    bool good = gallery_undo(place.store, gallery_owner(a->user), batch, &count, e);
    gallery_place_close(&place);
    if (good)
        printf("%lld back\n", (long long)count);
    return good;
}

const struct command command_gallery_undo = {
    .name = "gallery undo", .help = "Brings back what the latest deletion, or the one of this number, took out.",
    .words = "NUMBER", .words_place = AT(words), .words_min = 0, .words_max = 1,
    .options = place_options, .args_bytes = sizeof(struct change_args), .run = undo_run,
};

static const struct option purge_options[] = {
    { "days", 0, OPTION_INT, AT(days), "30", .min = 0, .max = 100000, .help = "only what was deleted so long ago" },
    OPTION_ROWS_GALLERY(struct change_args),
    { 0 },
};

static bool purge_run(const void *args, struct err *e)
{
    const struct change_args *a = args;
    struct gallery_place place;
    int64_t count = 0, lost = 0, now;
    if (!gallery_place_open(&place, a->database, a->gallery_folder, e))
        return false;
    struct db *db = store_begin(place.store, STORE_READ, e);
    bool good = store_end(db, db && store_now_ms(db, &now, e), e) &&
                gallery_purge(place.store, place.folder, now - a->days * DAY_MS, &count, e) &&
                gallery_sweep(place.store, place.folder, &lost, e);
    gallery_place_close(&place);
    if (good)
        printf("%lld forgotten, %lld stray files removed\n", (long long)count, (long long)lost);
    return good;
}

const struct command command_gallery_purge = {
    .name = "gallery purge", .help = "Forgets deleted pictures for good, with their files, and removes files that belong to none.",
    .options = purge_options, .args_bytes = sizeof(struct change_args), .run = purge_run,
};
