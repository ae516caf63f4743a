/* A node: one operation that a user sees, described once. /object_info, forms, checks, `limn run --set` and docs/nodes.md read this
 * table; to add a node is to add a row (docs/adding-a-node.md).
 *
 *     struct flip_args {
 *         const struct datum *image;
 *         int64_t times;
 *     };
 *     #define AT(member) offsetof(struct flip_args, member)
 *     static const struct node_input flip_inputs[] = {
 *         NODE_SOCKET("image", "IMAGE", struct flip_args, image),
 *         { "times", "INT", AT(times), "1", .min = 1, .max = 4, .help = "quarter turns" },
 *         { 0 },
 *     };
 *     static bool flip_run(struct node_call *call, const void *args, struct err *e)
 *     {
 *         const struct flip_args *a = args;
 *         ...
 *         return node_give(call, 0, datum_of_object(&type_image, made, e), e);
 *     }
 *     const struct node nodes_flip[] = {
 *         { "ImageFlip", "Flip Image", "Turns a picture.", "image", flip_inputs, image_output, .args_bytes = sizeof(struct flip_args),
 *           .run = flip_run },
 *         { 0 },
 *     };
 *
 * Threads: the tables never change, any thread may read them. `run`, `lazy` and `changed` are called by the thread that runs the flow
 * (run.h), `check` by any thread, several at a time. */
#ifndef LIMN_FLOW_NODE_H
#define LIMN_FLOW_NODE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "flow/datum.h"
#include "image/image.h"
#include "model/places/places.h"

/* Where a flow finds and leaves files: those of one user. All borrowed; folders may not be there yet. */
struct flow_host {
    const struct model_places *models;
    const char *output, *input, *temp; /* folders */
    const char *user;   /* NULL: there is one. Results of nodes that read or write files are kept apart by it */
    const char *version; /* of the program, for a picture's record */
    bool test_nodes;    /* the nodes of nodes/test_nodes.c are there, too */
    bool no_metadata;   /* pictures are written without what made them */
    struct flow_names { /* so that a run that was broken off and begins anew gives its files the same names; { 0 }: it does not */
        const char *run; /* its id */
        bool again;      /* it was begun before */
        /* The path that it had taken under a key then, borrowed until the run's end; NULL: none. */
        const char *(*before)(void *self, const char *key);
        void (*taken)(void *self, const char *key, const char *path); /* notes it; what cannot be noted is lost */
        void *self;
    } names;
};

/* Bits of node_input.flags. */
enum {
    NODE_OPTIONAL = 1,          /* may be missing: the argument is then `initial`, or NULL */
    NODE_LAZY = 2,              /* computed only if node.lazy asks for it */
    NODE_RAW_LINK = 4,          /* a link comes as it is, ["3", 0], and is not followed */
    NODE_FORCE_INPUT = 8,       /* a socket even where a number or text could be typed */
    NODE_SEED = 16,             /* INT of 0 to 2^64 - 1, renewed by the page after each run: uint64_t in the arguments */
    NODE_MULTILINE = 32,
    NODE_DYNAMIC_PROMPTS = 64,
    NODE_ADVANCED = 128,        /* hidden until asked for */
    NODE_COMBO_OBJECT = 256,    /* choices are sent as "COMBO" with options, not as the array itself */
    NODE_ANY_TEXT = 512,        /* choices are proposals: any text is good */
};

/* An input. The C type of the member at `place`, by `type`: INT int64_t, FLOAT double, BOOLEAN bool, STRING and choices const char *
 * (borrowed for the call), all others const struct datum *, whose type has been checked and which is NULL where an optional
 * input is missing or a lazy one not known. With NODE_INPUT_LISTS all are const struct datum_list *. */
struct node_input {
    const char *name;      /* NULL ends a table */
    const char *type;      /* "INT", "FLOAT", "BOOLEAN", "STRING", "COMBO", or a socket's: one, several ("INT,FLOAT"), any ("*") */
    size_t place;
    const char *initial;   /* the default as a user would type it; NULL: none (COMBO: the first; STRING: "") */
    double min, max, step, round; /* INT, FLOAT: min == max: any number; step, round 0: not said */
    const char *const *choices;   /* COMBO: these, NULL at the end; */
    const char *(*choice)(int index); /* or these, NULL behind the last; */
    const char *folder;    /* or files: a kind of models ("loras", places.h), "input" or "output" for pictures of these folders, "input/" for
                            * the sub-folders of input */
    const char *folder_first; /* what stands before the files, as "[None]"; it is then the default */
    unsigned flags;
    const char *help;      /* a phrase, the page's tooltip */
    const char *more;      /* a JSON object of what else the page's form wants: "{\"display\": \"color\"}" */
};
/* An input with nothing more to say of it: of struct `args`, member `member`. */
#define NODE_SOCKET(name_, type_, args, member) { .name = name_, .type = type_, .place = offsetof(args, member) }

struct node_output {
    const char *type; /* NULL ends a table */
    const char *name; /* NULL: the type */
    bool list;        /* its values are run through one by one by what follows, not taken as one */
    const char *help;
};
#define NODE_OUT(type_) { .type = type_ }

/* Bits of node.flags. */
enum {
    NODE_OUTPUT = 1,        /* the end of a flow: it leaves something behind. A flow needs at least one */
    NODE_INPUT_LISTS = 2,   /* is called once with all values of each input, not once for each value */
    NODE_DEPRECATED = 4,
    NODE_EXPERIMENTAL = 8,
    NODE_NOT_IDEMPOTENT = 16, /* two such nodes of one flow are two, even if they are alike */
    NODE_FILES = 32,        /* reads or writes files of the user's: results are kept apart by flow_host.user */
    NODE_TEST = 64,         /* there only with flow_host.test_nodes */
    NODE_ANY_INPUTS = 128,  /* takes inputs that the table does not name (call_input) */
    /* Hidden inputs: what a node is told of the flow. They decide what /object_info says and whether equal nodes are one. */
    NODE_SEES_PROMPT = 256, NODE_SEES_PNG_INFO = 512, NODE_SEES_ID = 1024, NODE_SEES_DYNAMIC = 2048,
};

struct node_call;
struct node_check;

struct node {
    const char *name;     /* the class: "KSampler"; NULL ends a table */
    const char *title;    /* NULL: the name */
    const char *help;     /* one sentence or more */
    const char *category; /* "image/upscaling" */
    const struct node_input *inputs;   /* NULL: none */
    const struct node_output *outputs; /* NULL: none */
    size_t args_bytes;
    unsigned flags;
    /* Does it. args: a struct of args_bytes, filled by the table. False with e set is a failure of the flow. */
    bool (*run)(struct node_call *call, const void *args, struct err *e);
    /* Which lazy inputs are needed, as far as those that are known tell: calls node_need for each; NULL: all. */
    bool (*lazy)(struct node_call *call, const void *args, struct err *e);
    /* What the result depends on beside the inputs (a file's hash), into token[65]; args are the constants only. It may set *always:
     * the node then runs every time. NULL: nothing. */
    bool (*changed)(const struct node_check *check, const void *args, char token[65], bool *always, struct err *e);
    /* Checks inputs that are constants (linked ones are NULL or 0, see check_has): in place of range and list for those that `checks`
     * names ("image, channel"; "*": all). Returns false with a text for people in why. */
    bool (*check)(const struct node_check *check, const void *args, char why[400]);
    const char *checks;
    const char *aliases; /* words under which a search finds it, comma between them */
};

/* --- for `check` and `changed` --- */

struct node_check {
    const struct node *node;
    const struct flow_host *host;
    const json_t *inputs; /* as the flow has them */
    const char *const *received; /* types that come along the links, in the table's order; NULL: none */
};
/* Whether the flow gives this input as a constant. */
bool check_has(const struct node_check *check, const char *input);

/* --- for `run` and `lazy` --- */

const struct flow_host *call_host(const struct node_call *call);
/* The node's id in the flow, and that of the node a user sees (another one inside of what a node expanded to). */
const char *call_id(const struct node_call *call);
/* The flow in API format and extra_pnginfo (may be NULL), for a picture's record; borrowed. */
const json_t *call_prompt(const struct node_call *call);
const json_t *call_png_info(const struct node_call *call);
/* Values of an input by name, also of one that the table does not know; NULL: it is not there. */
const struct datum_list *call_input(const struct node_call *call, const char *name);
/* How the node's name, "input7", and value of the i-th input of the flow are found; false behind the last. */
bool call_input_at(const struct node_call *call, size_t i, const char **name, const struct datum_list **values);
/* A call for each index of its lists: which one this is. */
size_t call_index(const struct node_call *call);

/* Asks for a lazy input (in `lazy`). */
MUST_USE bool node_need(struct node_call *call, const char *input, struct err *e);
/* Gives output `index` a value, which it takes; once, or for a list as often as there are values. NULL is a failure that e has. */
MUST_USE bool node_give(struct node_call *call, int index, struct datum *value, struct err *e);
/* Adds to what the page shows of the node: key "images", a list of objects, which is taken. NULL is a failure. */
MUST_USE bool node_show(struct node_call *call, const char *key, json_t *list, struct err *e);
/* In place of outputs: nodes that run now, inside of this one. node_expand adds one (display_id: the node that a user sees as working; NULL:
 * this one), the others give it inputs; a link may go to any node of the run, also to one that comes later. An output given by
 * node_give_link is then that of a node. Ids are unique by node_new_id: from the node's own id and a name of the caller's, so the
 * same in every run. */
enum { NODE_ID_BYTES = 256 };
void node_new_id(const struct node_call *call, const char *name, char *out, size_t bytes);
MUST_USE bool node_expand(struct node_call *call, const char *id, const char *class, const char *display_id, struct err *e);
MUST_USE bool node_expand_json(struct node_call *call, const char *id, const char *input, json_t *value, struct err *e); /* takes it */
MUST_USE bool node_expand_datum(struct node_call *call, const char *id, const char *input, struct datum *value, struct err *e); /* takes it */
MUST_USE bool node_expand_link(struct node_call *call, const char *id, const char *input, const char *from, int output, struct err *e);
/* The same input as that of another node of the run, but for a link. */
MUST_USE bool node_expand_copy(struct node_call *call, const char *id, const char *input, const char *from, struct err *e);
MUST_USE bool node_give_link(struct node_call *call, int index, const char *id, int output, struct err *e);
/* {"class_type", "inputs"} of any node of the run, borrowed; NULL: there is none. */
const json_t *call_node(const struct node_call *call, const char *id);

/* Progress in steps, with a picture (may be NULL: none, or nobody looks at them). Cheap enough for each step. False with ERR_STOPPED if
 * the run was cancelled; long work inside must itself ask stop_check (base/progress.h), which knows of the cancel, too. */
MUST_USE bool node_progress(struct node_call *call, int64_t done, int64_t total, const struct image *preview, struct err *e);
/* Whether previews are looked at, and how large. 0: not at all. */
int call_preview_side(const struct node_call *call);
/* A whole picture for the socket that started the run, as it is, PNG: SaveImageWebsocket. */
MUST_USE bool node_send_picture(struct node_call *call, const struct image *image, int64_t done, int64_t total, struct err *e);
/* Asks to be called again, from the beginning, in so many seconds; others run meanwhile. Outputs are then given by the last call. */
void node_again(struct node_call *call, double seconds);
/* Seconds since the first call. */
double call_waited(const struct node_call *call);
/* For functions that tell progress in their own way: steps become node_progress, lines node_tell. Borrowed for the call. */
const struct progress *call_progress(struct node_call *call);
/* A line for people: progress_line of the run. */
void node_tell(struct node_call *call, const char *format, ...) PRINTF_LIKE(2, 3);

struct flow_engine;
struct flow_engine *call_engine(const struct node_call *call);

/* --- the table --- */

/* The i-th node, in the order of the table; NULL behind the last. */
const struct node *node_at(size_t i, bool test_nodes);
/* NULL: there is none. */
const struct node *node_find(const char *name, bool test_nodes);
const struct node_input *node_input_find(const struct node *n, const char *name);
size_t node_output_count(const struct node *n);
/* Whether an output of type `from` may be linked to an input of type `to`: equal, one of several, or "*". */
bool node_types_meet(const char *from, const char *to);
/* What a COMBO offers now: a new array of texts. Reads folders. */
MUST_USE json_t *node_choices(const struct node_input *input, const struct flow_host *host, struct err *e);
/* Calls enter for every folder that node_choices may look into, of whatever input, also for those that are not there: while none of them
 * has changed the answers are the same. ERR_LIMIT, ERR_NOMEM, ERR_STOPPED, and what enter sets. */
MUST_USE bool node_choice_folders(const struct flow_host *host, bool (*enter)(void *self, const char *folder, struct err *e), void *self,
                                  struct err *e);

#endif
