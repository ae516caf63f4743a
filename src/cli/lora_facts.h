/* What a LoRA file says of its making: sd-scripts' names (ss_*), which other programs show, and ours. Nothing that would differ between
 * a run and the same run stopped and gone on: no times. */
#ifndef LIMN_CLI_LORA_FACTS_H
#define LIMN_CLI_LORA_FACTS_H

#include "train/finetune.h"
#include "train/samples.h"

enum { LORA_FACTS_MOST = 48 };
struct lora_facts_list {
    struct weights_pair pairs[LORA_FACTS_MOST];
    char *owned[LORA_FACTS_MOST]; /* the values */
    size_t count;
};
/* o: the run. samples may be NULL (a replay). settings: what was asked for, as JSON. Release with lora_facts_release, also after a
 * failure. */
MUST_USE bool lora_facts_make(struct lora_facts_list *l, const struct finetune_options *o, const struct samples *samples,
                              const json_t *settings, struct err *e);
void lora_facts_release(struct lora_facts_list *l);

#endif
