/* What a prompt says: words with weights, breaks, embeddings and LoRAs. Text to pieces; no tokenizer, no model, no files.
 *
 * Three ways to read one:
 *   plain   every character is a word, as diffusers has it.
 *   comfy   ComfyUI 0.3.64's CLIPTextEncode. (a) is 1.1 times the weight around it; (a:1.3) is 1.3 whatever is around it (the
 *           text behind the last colon, if it is a number as Python writes them). \( and \) are the characters; other
 *           backslashes and [] are words. What is not closed is words. embedding:NAME at the beginning of such a stretch, or
 *           behind a space or a line's end, takes the file's vectors in place; the name ends at white space. A stretch of one
 *           weight between embeddings is one piece: chunks are cut between pieces (chunk.h).
 *   a1111   stable-diffusion-webui 1.10's emphasis. (a) times 1.1, [a] divided by 1.1, (a:1.3) times 1.3: nesting multiplies,
 *           what is not closed reaches to the end; \( \) \[ \] \\ are the characters, another backslash vanishes. BREAK ends a
 *           chunk; inside of weights that are not 1 it is a word of negative weight, there as here. Embeddings are bare names
 *           among the words, which chunk.c finds. [from:to:when], [a|b] and AND change words between steps: ERR_FORMAT.
 * With comfy and a1111 <lora:NAME:WEIGHT> is taken out of the words first; with two numbers a1111 has the text encoder's, then
 * the UNet's (also te=, unet=), comfy the UNet's, then the text encoder's (as ComfyUI's extensions: its core reads none). In negative words
 * they are taken out, too, and not applied, which is said (stable-diffusion-webui leaves them in as words). */
#ifndef LIMN_GENERATE_PROMPT_H
#define LIMN_GENERATE_PROMPT_H

#include <stddef.h>

#include "base/err.h"

#define PROMPT_MAX_BYTES ((size_t)1 << 16)
#define PROMPT_MAX_NESTING 64
#define PROMPT_MAX_PIECES 4096
#define PROMPT_MAX_LORAS 64
#define PROMPT_MAX_WEIGHT 1000.0

enum prompt_syntax { PROMPT_PLAIN, PROMPT_COMFY, PROMPT_A1111, PROMPT_SYNTAX_COUNT };
extern const char *const prompt_syntax_names[PROMPT_SYNTAX_COUNT]; /* "plain", "comfy", "a1111" */

enum prompt_kind { PROMPT_WORDS, PROMPT_EMBEDDING, PROMPT_BREAK };

struct prompt_piece {
    enum prompt_kind kind;
    const char *text; /* the words, or the embedding's name */
    const char *rest; /* the words behind an embedding's name, joined by single spaces; else "" */
    double weight;
};

struct prompt_lora {
    const char *name;
    double unet, text; /* scales of the two parts */
};

/* All strings are UTF-8 and lie in `storage`. */
struct prompt {
    struct prompt_piece *pieces;
    size_t count, cap;
    struct prompt_lora *loras;
    size_t lora_count, lora_cap;
    const char *bare; /* the text without its LoRAs */
    char *storage;
};

/* text: UTF-8 of at most PROMPT_MAX_BYTES. Weights are finite and at most PROMPT_MAX_WEIGHT either way.
 * errors  ERR_FORMAT (not UTF-8; a weight that is no number; what changes between steps), ERR_LIMIT (the text names the bound),
 *         ERR_NOMEM; then out holds nothing. Release with prompt_release. */
MUST_USE bool prompt_parse(struct prompt *out, enum prompt_syntax syntax, const char *text, struct err *e);
void prompt_release(struct prompt *p);

#endif
