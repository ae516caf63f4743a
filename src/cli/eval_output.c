#include "cli/eval_output.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/file.h"
#include "cli/json_line.h"

const char *eval_split_choice(int index)
{
    static const char *const names[] = { [PICTURES_ALL] = "all", [PICTURES_TRAINED] = "train", [PICTURES_HELD_OUT] = "held-out" };
    return index >= 0 && (size_t)index < sizeof names / sizeof *names ? names[index] : NULL;
}

enum picture_which eval_split(int index)
{
    return (enum picture_which)index;
}

static bool write_text(const struct findings *f, void (*tell)(const struct findings *, struct text *), const char *path, struct err *e)
{
    struct text t;
    text_init(&t, FINDINGS_MAX_BYTES);
    tell(f, &t);
    bool good = text_ok(&t, e) && file_write_whole(path, text_string(&t), t.length, e);
    text_release(&t);
    return good;
}

static bool print_table(const struct findings *f, struct err *e)
{
    struct text t;
    text_init(&t, FINDINGS_MAX_BYTES);
    findings_print(f, &t);
    bool good = text_ok(&t, e);
    fputs(text_string(&t), stdout);
    text_release(&t);
    return good;
}

static bool print_json(const struct findings *f, struct err *e)
{
    json_t *facts = findings_json(f);
    return json_line(facts, JSON_COMPACT | JSON_REAL_PRECISION(12), e);
}

bool eval_output(const struct findings *f, const struct eval_output_args *a, const char *name, struct err *e)
{
    char foot[100], now[21];
    clock_utc(now);
    snprintf(foot, sizeof foot, "limn %s, %s, %s", LIMN_VERSION, name, now);
    return findings_ok(f, e) && (!a->html || findings_page(f, a->html, foot, e)) && (!a->csv || write_text(f, findings_csv, a->csv, e)) &&
           (!a->markdown || write_text(f, findings_markdown, a->markdown, e)) &&
           (a->json ? print_json(f, e) : print_table(f, e));
}
