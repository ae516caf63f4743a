/* The table of routes: what there is, who may, how much may be sent, and what it does. The dispatcher, the checks of queries and
 * bodies, OPTIONS, /openapi.json and docs/api.md's list read it; a new route is a row in route_table.c and its handler. */
#ifndef LIMN_SERVE_ROUTES_H
#define LIMN_SERVE_ROUTES_H

#include "serve/http.h"

/* Bits of route.flags. */
enum {
    ROUTE_ALSO_API = 1, /* /x is also /api/x: ComfyUI's rule */
    ROUTE_OPEN = 2,     /* needs no token: tells nothing */
    ROUTE_JSON = 4,     /* the body is read as JSON, whatever its type says; an empty one is {} */
    ROUTE_FILE = 8,     /* the body is a file: its limit is --max-upload; the handler reads it */
    ROUTE_QUIET = 16,   /* not in /openapi.json: pages and their parts */
    ROUTE_WORK = 32,    /* counts against --rate */
    ROUTE_FORM = 64,    /* the body is a form with files (multipart/form-data) */
    ROUTE_ANY_USER = 128, /* no user need be named; models are then those of all */
};

/* How errors look. */
enum route_family {
    FAMILY_COMFY,  /* {"error": {"type", "message", "details", "extra_info"}, "node_errors": {}} */
    FAMILY_PLAIN,  /* {"error": text} */
    FAMILY_OPENAI, /* {"error": {"message", "type", "param", "code"}} */
    FAMILY_A1111,  /* {"detail": text} */
};

/* A list of values in one text, read by values.c: "limit:int, status:str, sort_order:asc|desc, tags:list". A '!' behind a name: must
 * be there. Types: str, int, uint (not negative), num, bool, obj, list, any, or names with '|' between them. */
typedef const char *route_values;

struct route {
    const char *method;
    const char *path; /* "/history/{prompt_id}"; "/extensions/{file...}" takes the rest with its slashes */
    bool (*run)(struct exchange *x, struct err *e); /* false with e set: answer_failure */
    unsigned flags;
    enum route_family family;
    route_values query;
    route_values body;  /* of a JSON body's object, or of a form ("image:file!"); NULL: none, or another thing */
    const char *answer; /* what comes with 200: "object", "array", "text", "image/png", "empty" ... */
    const char *codes;  /* other statuses: "400 404" */
    const char *tag, *help;
};
extern const struct route routes[];
extern const size_t route_count;

/* The route of a method and a path as it was sent (without query). NULL with *status 404, 405 (then `allow` lists methods) or 400.
 * params[EXCHANGE_PARAMS] get the decoded parts, base/mem.h. */
const struct route *route_find(const char *method, const char *path, char **params, char allow[64], int *status, struct err *e);

/* Reads the next value of a list; false at its end. */
struct route_value {
    char name[48], type[160];
    bool needed;
};
bool route_value_next(route_values *at, struct route_value *out);
/* Checks a query and an object against the route's lists. ERR_ARG names what is wrong. Unknown names are left alone, null is as
 * if it were not there. */
MUST_USE bool route_check_query(const struct route *r, const char *query, struct err *e);
MUST_USE bool route_check_body(const struct route *r, const json_t *body, struct err *e);

/* The handlers, by file. */
#define HANDLER(name) bool name(struct exchange *x, struct err *e)
/* api_system.c */
HANDLER(get_healthz);
HANDLER(get_metrics);
HANDLER(get_openapi);
HANDLER(get_system_stats);
HANDLER(get_features);
HANDLER(get_logs);
HANDLER(get_logs_raw);
HANDLER(patch_logs);
/* api_prompt.c */
HANDLER(post_prompt);
HANDLER(get_prompt);
HANDLER(get_queue);
HANDLER(post_queue);
HANDLER(post_interrupt);
HANDLER(get_history);
HANDLER(get_history_one);
HANDLER(post_history);
HANDLER(post_free);
HANDLER(get_object_info);
HANDLER(get_object_info_one);
/* api_jobs.c */
HANDLER(get_jobs);
HANDLER(get_job);
HANDLER(post_job_cancel);
HANDLER(post_jobs_cancel);
/* api_files.c */
HANDLER(get_view);
HANDLER(post_upload_image);
HANDLER(post_upload_mask);
HANDLER(get_internal_files);
/* api_models.c */
HANDLER(get_embeddings);
HANDLER(get_models);
HANDLER(get_models_folder);
HANDLER(get_experiment_models);
HANDLER(get_experiment_folder);
HANDLER(get_experiment_preview);
HANDLER(get_view_metadata);
HANDLER(get_folder_paths);
/* api_user.c */
HANDLER(get_users);
HANDLER(post_users);
HANDLER(get_settings);
HANDLER(post_settings);
HANDLER(get_setting);
HANDLER(post_setting);
HANDLER(get_userdata);
HANDLER(get_userdata_v2);
HANDLER(get_userdata_file);
HANDLER(post_userdata_file);
HANDLER(delete_userdata_file);
HANDLER(move_userdata_file);
/* api_facts.c */
HANDLER(get_model_facts);
HANDLER(get_similarity);
/* api_datasets.c */
HANDLER(get_datasets);
HANDLER(get_dataset);
HANDLER(post_dataset);
/* api_dataset_work.c */
HANDLER(post_dataset_files);
HANDLER(post_dataset_captions);
HANDLER(post_dataset_undo);
HANDLER(get_dataset_crops);
/* api_runs.c */
HANDLER(get_runs);
HANDLER(get_run);
HANDLER(get_run_file);
/* api_reports.c */
HANDLER(get_reports);
HANDLER(get_report);
/* api_openai.c */
HANDLER(get_v1_models);
HANDLER(post_images_generations);
HANDLER(post_images_edits);
/* api_a1111.c */
HANDLER(post_txt2img);
HANDLER(post_img2img);
HANDLER(get_sd_progress);
HANDLER(post_sd_interrupt);
HANDLER(get_sd_options);
HANDLER(post_sd_options);
HANDLER(get_sd_samplers);
HANDLER(get_sd_schedulers);
HANDLER(get_sd_models);
/* api_gallery.c */
HANDLER(get_gallery);
HANDLER(get_gallery_ids);
HANDLER(get_gallery_names);
HANDLER(get_gallery_picture);
HANDLER(get_gallery_file);
HANDLER(get_gallery_similar);
HANDLER(get_gallery_lineage);
HANDLER(post_told);
HANDLER(post_gallery_delete);
HANDLER(post_gallery_undo);
HANDLER(post_gallery_rate);
HANDLER(post_gallery_tag);
/* api_front.c */
HANDLER(get_extensions);
HANDLER(get_empty_object);
HANDLER(get_static);

#endif
