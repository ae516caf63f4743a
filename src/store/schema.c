/* The tables. A change of them is a new line of `versions`, never a change of an old one: a database is brought up step by step. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "store/driver_internal.h"

static const char version_1[] =
    "CREATE TABLE jobs ("
    "sequence $id, id TEXT $bytes NOT NULL UNIQUE, owner TEXT NOT NULL, client TEXT, number DOUBLE PRECISION NOT NULL, "
    "state INTEGER NOT NULL, workflow TEXT, prompt TEXT NOT NULL, extra TEXT NOT NULL, targets TEXT NOT NULL, "
    "created_ms BIGINT NOT NULL, started_ms BIGINT, ended_ms BIGINT, attempts INTEGER NOT NULL DEFAULT 0, worker TEXT, lease_ms BIGINT, "
    "interrupted INTEGER NOT NULL DEFAULT 0, outputs TEXT, meta TEXT, messages TEXT, error TEXT);"
    "CREATE INDEX jobs_order ON jobs (state, number, id);"
    "CREATE INDEX jobs_ended ON jobs (ended_ms, sequence);"

    "CREATE TABLE pictures ("
    "id $id, owner TEXT NOT NULL, hash TEXT $bytes NOT NULL, type TEXT NOT NULL, bytes BIGINT, width BIGINT, height BIGINT, "
    "created_ms BIGINT NOT NULL, added_ms BIGINT NOT NULL, model TEXT, model_hash TEXT $bytes, vae TEXT, sampler TEXT, schedule TEXT, "
    "steps BIGINT, clip_skip BIGINT, cfg DOUBLE PRECISION, strength DOUBLE PRECISION, seed BIGINT, look BIGINT, "
    "rating INTEGER NOT NULL DEFAULT 0, name TEXT, source TEXT, job TEXT, deleted BIGINT, deleted_ms BIGINT, UNIQUE (owner, hash));"
    "CREATE INDEX pictures_live ON pictures (owner, id) WHERE deleted IS NULL;"
    "CREATE INDEX pictures_created ON pictures (owner, created_ms, id) WHERE deleted IS NULL;"
    "CREATE INDEX pictures_rating ON pictures (owner, rating, id) WHERE deleted IS NULL;"
    "CREATE INDEX pictures_seed ON pictures (owner, seed);"
    /* one value of these, in the order of ids; other comparisons go through all (gallery_search.c) */
    "CREATE INDEX pictures_model ON pictures (owner, lower(model), id);"
    "CREATE INDEX pictures_sampler ON pictures (owner, lower(sampler), id);"
    "CREATE INDEX pictures_steps ON pictures (owner, steps, id);"
    "CREATE INDEX pictures_model_hash ON pictures (model_hash);"
    "CREATE INDEX pictures_job ON pictures (job);"
    "CREATE INDEX pictures_look ON pictures (owner, look, id) WHERE deleted IS NULL AND look IS NOT NULL;"
    "CREATE INDEX pictures_deleted ON pictures (deleted_ms) WHERE deleted IS NOT NULL;"
    "CREATE INDEX pictures_hash ON pictures (hash);"
    /* What is read for a page and what is searched; body is all of it in small letters, words its words with spaces around. */
    "CREATE TABLE picture_texts (id $key REFERENCES pictures (id) ON DELETE CASCADE, prompt TEXT, negative TEXT, "
    "body TEXT NOT NULL, words TEXT NOT NULL);"
    /* What is long and seldom read. */
    "CREATE TABLE picture_sources (id $key REFERENCES pictures (id) ON DELETE CASCADE, graph TEXT, workflow TEXT, "
    "parameters TEXT);"
    "CREATE TABLE picture_loras (picture BIGINT NOT NULL REFERENCES pictures (id) ON DELETE CASCADE, place INTEGER NOT NULL, "
    "name TEXT NOT NULL, hash TEXT $bytes, scale DOUBLE PRECISION, text_scale DOUBLE PRECISION, PRIMARY KEY (picture, place));"
    "CREATE INDEX picture_loras_name ON picture_loras (name);"
    "CREATE INDEX picture_loras_hash ON picture_loras (hash);"
    /* kind 0: tag, 1: collection */
    "CREATE TABLE picture_labels (picture BIGINT NOT NULL REFERENCES pictures (id) ON DELETE CASCADE, kind INTEGER NOT NULL, "
    "name TEXT NOT NULL, PRIMARY KEY (picture, kind, name));"
    "CREATE INDEX picture_labels_name ON picture_labels (kind, name, picture);"
    "CREATE TABLE picture_parents (picture BIGINT NOT NULL REFERENCES pictures (id) ON DELETE CASCADE, hash TEXT $bytes NOT NULL, "
    "PRIMARY KEY (picture, hash));"
    "CREATE INDEX picture_parents_hash ON picture_parents (hash);"
    "CREATE TABLE deletions (id $id, owner TEXT NOT NULL, at_ms BIGINT NOT NULL, undone_ms BIGINT);"

    "CREATE TABLE trainings (run TEXT PRIMARY KEY, kind TEXT, settings TEXT, started_ms BIGINT);"
    "CREATE TABLE training_pictures (run TEXT NOT NULL, place BIGINT NOT NULL, hash TEXT $bytes NOT NULL, name TEXT, caption TEXT, "
    "PRIMARY KEY (run, place));"
    "CREATE INDEX training_pictures_hash ON training_pictures (hash);"
    "CREATE TABLE weights (hash TEXT $bytes PRIMARY KEY, weights_hash TEXT $bytes, kind TEXT, name TEXT, path TEXT, run TEXT, step BIGINT);"
    "CREATE INDEX weights_run ON weights (run, step);"
    "CREATE INDEX weights_weights_hash ON weights (weights_hash);";

/* Full text: parts of three characters and more by trigrams; shorter ones by words, where a Chinese character is a word. */
static const char version_1_sqlite[] =
    "CREATE VIRTUAL TABLE picture_parts USING fts5(body, content='picture_texts', content_rowid='id', tokenize='trigram');"
    "CREATE VIRTUAL TABLE picture_words USING fts5(words, content='picture_texts', content_rowid='id', "
    "tokenize='unicode61 remove_diacritics 0', prefix='1 2');"
    "CREATE TRIGGER picture_texts_added AFTER INSERT ON picture_texts BEGIN "
    "INSERT INTO picture_parts (rowid, body) VALUES (new.id, new.body); "
    "INSERT INTO picture_words (rowid, words) VALUES (new.id, new.words); END;"
    "CREATE TRIGGER picture_texts_removed AFTER DELETE ON picture_texts BEGIN "
    "INSERT INTO picture_parts (picture_parts, rowid, body) VALUES ('delete', old.id, old.body); "
    "INSERT INTO picture_words (picture_words, rowid, words) VALUES ('delete', old.id, old.words); END;"
    "CREATE TRIGGER picture_texts_changed AFTER UPDATE OF body, words ON picture_texts "
    "WHEN old.body <> new.body OR old.words <> new.words BEGIN "
    "INSERT INTO picture_parts (picture_parts, rowid, body) VALUES ('delete', old.id, old.body); "
    "INSERT INTO picture_words (picture_words, rowid, words) VALUES ('delete', old.id, old.words); "
    "INSERT INTO picture_parts (rowid, body) VALUES (new.id, new.body); "
    "INSERT INTO picture_words (rowid, words) VALUES (new.id, new.words); END;";

/* Its trigram indexes serve both; a server whose rights or packages do not allow them searches without, only slower. */
static const char version_1_postgresql[] =
    "DO $$ BEGIN "
    "CREATE EXTENSION IF NOT EXISTS pg_trgm; "
    "CREATE INDEX picture_texts_body ON picture_texts USING gin (body gin_trgm_ops); "
    "CREATE INDEX picture_texts_words ON picture_texts USING gin (words gin_trgm_ops); "
    "EXCEPTION WHEN insufficient_privilege OR undefined_file OR undefined_object OR feature_not_supported THEN "
    "RAISE NOTICE 'limn: no pg_trgm, searching will be slower'; END $$;";

/* What workers tell of their jobs to servers in other processes (jobs/others.c); a few minutes' worth. */
static const char version_2[] =
    "CREATE TABLE job_events (id $id, origin TEXT NOT NULL, job TEXT, client TEXT, type TEXT NOT NULL, data TEXT, bytes TEXT, "
    "at_ms BIGINT NOT NULL);"
    "CREATE INDEX job_events_at ON job_events (at_ms);";

/* Files that a job which runs has made, under which of its nodes: if it begins anew they get the same names. And whose job is told of. */
static const char version_3[] =
    "CREATE TABLE job_files (job BIGINT NOT NULL REFERENCES jobs (sequence) ON DELETE CASCADE, key TEXT NOT NULL, path TEXT NOT NULL, "
    "PRIMARY KEY (job, key));"
    "ALTER TABLE job_events ADD COLUMN owner TEXT;";

static const struct version {
    const char *both, *sqlite, *postgresql;
} versions[] = {
    { version_1, version_1_sqlite, version_1_postgresql },
    { version_2, NULL, NULL },
    { version_3, NULL, NULL },
};
enum { VERSIONS = sizeof versions / sizeof *versions };

char *dialect_text(const struct driver *d, const char *text, struct err *e)
{
    const struct {
        const char *word, *becomes;
    } words[] = { { "$now", d->now_text }, { "$id", d->identity_text }, { "$key", d->key_text }, { "$bytes", d->bytes_text } };
    struct text out;
    text_init(&out, 1 << 20);
    for (const char *at = text; *at;) {
        size_t i = 0, plain = strcspn(at + 1, "$") + 1;
        while (i < sizeof words / sizeof *words && strncmp(at, words[i].word, strlen(words[i].word)))
            i++;
        if (i < sizeof words / sizeof *words) {
            text_add(&out, words[i].becomes);
            at += strlen(words[i].word);
        } else {
            text_add_bytes(&out, at, plain);
            at += plain;
        }
    }
    if (text_ok(&out, e))
        return out.s;
    text_release(&out);
    return NULL;
}

static bool run_script(const struct driver *d, void *connection, const char *text, struct err *e)
{
    char *own = dialect_text(d, text, e);
    bool good = own && d->script(connection, own, e);
    mem_free(own);
    return good;
}

/* The version that the database has: 0 for an empty one. */
static bool version_of(const struct driver *d, void *connection, int64_t *version, struct err *e)
{
    void *c = d->query(connection, "SELECT version FROM limn", false, NULL, 0, e);
    *version = c && d->next(c, e) ? d->whole(c, 0) : 0;
    if (c)
        d->close_cursor(c);
    return e->code == ERR_NONE;
}

bool schema_update(const struct driver *d, void *connection, const char *where, struct err *e)
{
    int64_t version;
    /* two programs may come at once: SQLite's writers wait for each other, PostgreSQL's must be told */
    if (d->postgresql && !d->script(connection, "SELECT pg_advisory_xact_lock(1818848622)", e))
        return false;
    if (!d->script(connection, "CREATE TABLE IF NOT EXISTS limn (version INTEGER NOT NULL)", e) ||
        !version_of(d, connection, &version, e))
        return false;
    if (version > VERSIONS)
        return err_set(e, ERR_FORMAT, "the database %s was written by a newer limn (its tables have version %lld, this one knows %d): use "
                       "that limn, or another --database", where, (long long)version, VERSIONS);
    for (int64_t v = version; v < VERSIONS; v++) {
        const char *more = d->postgresql ? versions[v].postgresql : versions[v].sqlite;
        if (!run_script(d, connection, versions[v].both, e) || (more && !run_script(d, connection, more, e)))
            return err_add(e, "bringing the database %s to version %d", where, (int)v + 1);
    }
    char text[80];
    snprintf(text, sizeof text, "DELETE FROM limn; INSERT INTO limn VALUES (%d)", VERSIONS);
    return version == VERSIONS || d->script(connection, text, e);
}
