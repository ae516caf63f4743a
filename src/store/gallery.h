/* The gallery: what is known of every picture, found again by any of it.
 *
 * A picture is a file, named after its content (picture_files.h), and a row here. The same content of the same owner is in the
 * gallery once, however often it is added. Ids are positive, grow, and are never given twice.
 * Any thread may call these functions; those that take a struct db run in the caller's transaction (the queue adds a job's pictures
 * in the transaction that ends the job), those that take a struct store in one of their own.
 * `owner` is a user's name, "" where there are no users: nobody sees or changes another's pictures. */
#ifndef LIMN_STORE_GALLERY_H
#define LIMN_STORE_GALLERY_H

#include <jansson.h>
#include <stddef.h>

#include "store/sql.h"

enum { GALLERY_HASH_BYTES = 65, GALLERY_MOST_LORAS = 64, GALLERY_MOST_TERMS = 32, GALLERY_MOST_FILTERS = 32 };

struct picture_lora {
    const char *name;       /* without folder and ending */
    const char *hash;       /* hexadecimal digits, whole (64) or their beginning, of the file or of its weights; or NULL */
    double scale, text_scale;
};

/* What is known of a picture when it is added. Everything is borrowed until the call returns; NULL, 0 and has_... = false mean
 * unknown. gallery_columns says which members can be searched and by which name. */
struct gallery_facts {
    const char *owner, *hash; /* hash: SHA-256 of the file, 64 digits: required */
    const char *type;         /* the file's ending: "png" */
    int64_t bytes, width, height;
    int64_t created_ms;       /* when it was made; 0: now */
    const char *prompt, *negative, *model, *model_hash, *vae, *sampler, *schedule;
    int64_t steps, clip_skip;
    double cfg, strength;     /* strength: of a drawing over a picture; 0: none */
    uint64_t seed;
    bool has_seed, has_look;
    uint64_t look;            /* perceptual hash (image/phash.h) */
    const char *name;         /* the file's name where it came from */
    const char *source;       /* "generate", "job", "import" */
    const char *job;          /* the job that made it */
    const char *graph, *workflow, *parameters; /* flow as ComfyUI's API has it, as its editor has it, the A1111 text */
    struct picture_lora loras[GALLERY_MOST_LORAS];
    size_t lora_count;
    const char *parents[GALLERY_MOST_LORAS]; /* hashes of pictures it was drawn over */
    size_t parent_count;
};

/* One line for each fact that can be searched and is told: the one table from which filters, answers and exports are made. */
enum gallery_value { GALLERY_WHOLE, GALLERY_REAL, GALLERY_TEXT, GALLERY_TIME, GALLERY_SEED, GALLERY_LABEL };
struct gallery_column {
    const char *name;   /* in filters and JSON */
    enum gallery_value value; /* TIME: JSON has ms since 1970, filters take dates; SEED: above 2^63 - 1 JSON has its digits as text; LABEL: tag,
                                 collection and lora, of which a picture has several */
    const char *help;
    const char *sql;
};
extern const struct gallery_column gallery_columns[]; /* ends with a NULL name */

/* Adds a picture, or finds the one of this content that is there (then *added is false, and only what was unknown of it is filled
 * in; a deleted one comes back). The file must be in its place before: a row never names a file that is not there.
 * errors  ERR_ARG for a hash that is none, and those of sql_run. */
MUST_USE bool gallery_add(struct db *db, const struct gallery_facts *facts, int64_t *id, bool *added, struct err *e);

/* What a search wants. Zeros are the first 60 of all pictures, the latest first. */
enum gallery_sort { GALLERY_LATEST, GALLERY_OLDEST, GALLERY_CREATED, GALLERY_RATING, GALLERY_SORTS };
extern const char *const gallery_sort_names[]; /* by enum, NULL behind the last */
struct gallery_query {
    const char *owner;
    /* Words: each must be in the picture's text (words, negative words, model, LoRAs, sampler, tags, name), as a part of it,
     * in any case; one or two Latin letters stand for the beginning of a word, one or two Chinese characters are found anywhere.
     * "in quotes": these whole words behind each other; -word: must not be there. NULL: all. */
    const char *words;
    /* Filters, all must hold: "steps>=20", "sampler=euler", "model~emoji" (contains), "seed!=7", "tag=cat", "collection=best",
     * "lora=style", "created>=2026-01-31". Names are those of gallery_columns; text is compared without case. */
    const char *filters[GALLERY_MOST_FILTERS];
    size_t filter_count;
    bool deleted;             /* only those that were deleted, else only those that were not */
    enum gallery_sort sort;
    int64_t before;           /* GALLERY_LATEST and OLDEST: go on behind the picture with this id (the last of the page before) */
    int64_t offset, limit;    /* limit 0: 60; at most 1000 */
};
/* A page: a JSON array of objects with the columns, "id", "hash", "file" (its path below the gallery's folder), "tags", "collections"
 * and "loras"; without the long texts. The caller owns *page.
 * errors  ERR_ARG for a filter that cannot be read (the text says what can), and those of sql. */
MUST_USE bool gallery_search(struct store *s, const struct gallery_query *query, json_t **page, struct err *e);
/* The ids of all that the query finds, in its order, as a JSON array of at most GALLERY_MOST_IDS; before, offset and limit do not count. */
enum { GALLERY_MOST_IDS = 1000000 };
MUST_USE bool gallery_all(struct store *s, const struct gallery_query *query, json_t **ids, struct err *e);
/* How many the query would find. */
MUST_USE bool gallery_count(struct store *s, const struct gallery_query *query, int64_t *count, struct err *e);
/* Calls `take` for each picture that the query finds, in its order, at most `limit` of them (0: all); picture is an object of a page, borrowed.
 * No transaction is open meanwhile: what is added or deleted while it goes on may be seen or not. errors  those of the search, of take. */
MUST_USE bool gallery_each(struct store *s, const struct gallery_query *query,
                           bool (*take)(void *self, const json_t *picture, struct err *e), void *self, struct err *e);
/* One picture with everything: also "graph", "workflow", "parameters", "parents". `which`: its id, or its hash or the beginning of
 * it (4 digits or more). errors  ERR_MISSING, ERR_ARG if several begin so. */
MUST_USE bool gallery_get(struct store *s, const char *owner, const char *which, json_t **picture, struct err *e);
/* The id behind such a name; deleted pictures are found too. */
MUST_USE bool gallery_find(struct db *db, const char *owner, const char *which, int64_t *id, struct err *e);
/* Those that look like this: [{..., "distance": 3}], the likest first; `look` is compared bit by bit, distance is how many of 64
 * differ, at most most_distance. */
MUST_USE bool gallery_similar(struct store *s, const char *owner, uint64_t look, int most_distance, int64_t limit, json_t **page,
                              struct err *e);
/* Values of a column, of "tag", "collection" or "lora", with how many pictures have each: [{"name", "count"}], the most frequent first,
 * at most limit. */
MUST_USE bool gallery_names(struct store *s, const char *owner, const char *column, int64_t limit, json_t **names, struct err *e);

/* Changes. Each picture of ids must be the owner's, else ERR_MISSING and nothing is changed. */
MUST_USE bool gallery_rate(struct store *s, const char *owner, const int64_t *ids, size_t count, int rating, struct err *e); /* 0 to 5 */
/* Tags are 1 to 100 bytes of UTF-8 without commas; those that are there, or not there, already are fine. */
MUST_USE bool gallery_tag(struct store *s, const char *owner, const int64_t *ids, size_t count, const char *const *add, size_t adds,
                          const char *const *remove, size_t removes, struct err *e);
/* The same for collections. */
MUST_USE bool gallery_collect(struct store *s, const char *owner, const int64_t *ids, size_t count, const char *const *add,
                              size_t adds, const char *const *remove, size_t removes, struct err *e);
/* Deleted pictures are hidden, and come back with gallery_undo: batch as gallery_delete gave it, 0: the latest deletion that has not
 * come back. *count: how many pictures. ERR_MISSING if there is none. */
MUST_USE bool gallery_delete(struct store *s, const char *owner, const int64_t *ids, size_t count, int64_t *batch, struct err *e);
MUST_USE bool gallery_undo(struct store *s, const char *owner, int64_t batch, int64_t *count, struct err *e);
/* Forgets for good what was deleted at before_ms or earlier, of all owners: rows first, then files in `folder` that no row names any
 * more. */
MUST_USE bool gallery_purge(struct store *s, const char *folder, int64_t before_ms, int64_t *count, struct err *e);

/* Removes files of `folder` that no row names: of programs that were killed between a file and its row. Files of the last day stay, whatever
 * they are, and so does everything whose name is not one of ours. *count: how many went. */
MUST_USE bool gallery_sweep(struct store *s, const char *folder, int64_t *count, struct err *e);

/* --- lineage: picture <- model or LoRA <- training run and step <- training pictures --- */

struct weights_facts {
    const char *hash;         /* SHA-256 of the file, 64 digits: required */
    const char *weights_hash; /* of what is behind the header: what LoRA trainers call its hash; or NULL */
    const char *kind;         /* "lora", "model" */
    const char *name, *path;
    const char *run;          /* the run that made it, or NULL */
    int64_t step;
};
struct training_facts {
    const char *run;          /* its id: the absolute path of its folder */
    const char *kind;         /* "lora", "base", ... */
    const char *settings;     /* JSON text, or NULL */
    int64_t started_ms;
};
struct training_picture {
    const char *hash;         /* SHA-256 of the file, 64 digits */
    const char *name, *caption;
};
/* Each replaces what was known under the same hash or run. */
MUST_USE bool gallery_add_weights(struct db *db, const struct weights_facts *facts, struct err *e);
MUST_USE bool gallery_add_training(struct db *db, const struct training_facts *facts, struct err *e);
MUST_USE bool gallery_add_training_pictures(struct db *db, const char *run, const struct training_picture *pictures, size_t count,
                                            struct err *e);
/* Where a thing comes from and what came of it, as far as it is known. `which`: "picture:ID or hash", "weights:hash", "run:id",
 * "training:hash" (a training picture); without a prefix a picture. Answers
 *     {"what": {...}, "from": [...], "to": [...]}: objects with "kind" ("picture", "weights", "run", "training"), what is
 * known of each, and in "from" their own "from" in turn, in "to" their own "to"; at most 200 at one place, then {"more": n}. An owner who
 * is not "" sees his own pictures, and only the runs and paths that have a folder of his name above them. */
MUST_USE bool gallery_lineage(struct store *s, const char *owner, const char *which, json_t **lineage, struct err *e);

#endif
