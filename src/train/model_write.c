#include "train/model_write.h"

struct writing {
    const struct train_state *state;
    enum state_kind kind;
};

/* Called for every tensor of every part: those that were learnt from it are laid over it. */
static bool change(void *self, const char *part, const struct weight *t, float *numbers, struct err *e)
{
    const struct writing *w = self;
    size_t length = strlen(part);
    (void)e;
    for (size_t i = 0; i < w->state->params.count; i++) {
        const struct param *p = &w->state->params.at[i];
        if (p->stored && !strncmp(p->name, part, length) && p->name[length] == '/' && !strcmp(p->stored->name, t->name)) {
            memcpy(numbers, state_tensor(w->state, w->kind, i).data, (size_t)shape_count(p->shape) * sizeof *numbers);
            return true;
        }
    }
    return true;
}

bool model_write(const struct train_state *s, enum state_kind kind, const struct model_files *files, enum dtype type,
                 const char *folder, struct err *e)
{
    struct writing writing = { s, kind };
    struct convert convert = { .files = *files, .output = folder, .type = type, .layout = CONVERT_FOLDER, .replace = true,
                               .change = change, .self = &writing };
    return model_convert(&convert, NULL, e);
}
