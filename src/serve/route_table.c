#include "serve/routes.h"

#define A ROUTE_ALSO_API
#define J ROUTE_JSON
#define PLACE "type:input|output|temp|, subfolder:str"

/* In the order of lists. The last row is the page's files. */
const struct route routes[] = {
    /* method, path, handler, flags, errors, query, body, answer, other statuses, tag, help */
    { "GET", "/queue", get_queue, A, FAMILY_COMFY, NULL, NULL, "object", "", "queue", "What runs and what waits." },
    { "POST", "/queue", post_queue, A | J, FAMILY_COMFY, NULL, "clear:bool, delete:list", "object", "400", "queue", "Takes jobs that wait out of the queue." },
    { "GET", "/prompt", get_prompt, A, FAMILY_COMFY, NULL, NULL, "object", "", "queue", "How many jobs run and wait." },
    { "POST", "/prompt", post_prompt, A | J | ROUTE_WORK, FAMILY_COMFY, NULL,
      "prompt:any, client_id:str, prompt_id:str, number:num, front:bool, extra_data:obj, partial_execution_targets:list", "object", "400 429", "queue",
      "Checks a flow and puts it into the queue." },
    { "POST", "/interrupt", post_interrupt, A | J, FAMILY_COMFY, NULL, "prompt_id:str", "object", "400", "queue", "Ends the job that runs, or the one of this id if it runs." },
    { "GET", "/history", get_history, A, FAMILY_COMFY, "max_items:int, offset:int", NULL, "object", "400", "queue", "Finished jobs, the oldest first." },
    { "GET", "/history/{prompt_id}", get_history_one, A, FAMILY_COMFY, NULL, NULL, "object", "", "queue", "One finished job, or nothing." },
    { "POST", "/history", post_history, A | J, FAMILY_COMFY, NULL, "clear:bool, delete:list", "object", "400", "queue", "Forgets finished jobs." },
    { "POST", "/free", post_free, A | J, FAMILY_COMFY, NULL, "unload_models:bool, free_memory:bool", "object", "400", "queue", "Lets go of models and results after the job that runs." },
    { "GET", "/jobs", get_jobs, A, FAMILY_PLAIN,
      "status:str, workflow_id:str, sort_by:created_at|execution_duration, sort_order:asc|desc, limit:int, offset:int", NULL, "object", "400", "jobs",
      "All jobs in one list." },
    { "GET", "/jobs/{id}", get_job, A, FAMILY_PLAIN, NULL, NULL, "object", "404", "jobs", "One job with its outputs and its flow." },
    { "POST", "/jobs/{id}/cancel", post_job_cancel, A | J, FAMILY_PLAIN, NULL, NULL, "object", "400", "jobs", "Ends a job, whether it runs or waits." },
    { "POST", "/jobs/cancel", post_jobs_cancel, A | J, FAMILY_PLAIN, NULL, "job_ids:list!", "object", "400", "jobs", "Ends several jobs." },

    { "GET", "/view", get_view, A, FAMILY_COMFY, "filename:str, " PLACE ", preview:str, channel:str", NULL, "file", "206 304 400 403 404 416", "files",
      "A picture, as it is or in another form." },
    { "POST", "/upload/image", post_upload_image, A | ROUTE_FILE | ROUTE_FORM, FAMILY_COMFY, NULL, "image:file!, " PLACE ", overwrite:str", "object",
      "400 413", "files", "Puts a picture into the input folder." },
    { "POST", "/upload/mask", post_upload_mask, A | ROUTE_FILE | ROUTE_FORM, FAMILY_COMFY, NULL, "image:file!, original_ref:str!, " PLACE ", overwrite:str",
      "object", "400 403 404 413", "files", "Gives a picture the transparency of another." },
    { "GET", "/view_metadata/{folder}", get_view_metadata, A | ROUTE_ANY_USER, FAMILY_COMFY, "filename:str", NULL, "object", "404", "models", "What a safetensors file tells of itself." },
    { "GET", "/embeddings", get_embeddings, A | ROUTE_ANY_USER, FAMILY_COMFY, NULL, NULL, "array", "", "models", "Names of embeddings." },
    { "GET", "/models", get_models, A | ROUTE_ANY_USER, FAMILY_COMFY, NULL, NULL, "array", "", "models", "Kinds of models." },
    { "GET", "/models/{folder}", get_models_folder, A | ROUTE_ANY_USER, FAMILY_COMFY, NULL, NULL, "array", "404", "models", "Models of a kind." },
    { "GET", "/experiment/models", get_experiment_models, A | ROUTE_ANY_USER, FAMILY_COMFY, NULL, NULL, "array", "", "models", "Kinds of models and their folders." },
    { "GET", "/experiment/models/{folder}", get_experiment_folder, A | ROUTE_ANY_USER, FAMILY_COMFY, NULL, NULL, "array", "404", "models", "Models of a kind with size and date." },
    { "GET", "/experiment/models/preview/{folder}/{index}/{file...}", get_experiment_preview, A | ROUTE_ANY_USER, FAMILY_COMFY, NULL, NULL, "image/webp", "404", "models",
      "A picture of what a model draws." },
    { "GET", "/internal/files/{type}", get_internal_files, 0, FAMILY_COMFY, NULL, NULL, "array", "400", "files", "Files of a folder, the newest first." },
    { "GET", "/internal/folder_paths", get_folder_paths, ROUTE_ANY_USER, FAMILY_COMFY, NULL, NULL, "object", "", "models", "Folders by kind of models." },
    { "GET", "/internal/logs", get_logs, ROUTE_ANY_USER, FAMILY_COMFY, NULL, NULL, "text", "", "system", "The log as one text." },
    { "GET", "/internal/logs/raw", get_logs_raw, ROUTE_ANY_USER, FAMILY_COMFY, NULL, NULL, "object", "", "system", "The log by lines." },
    { "PATCH", "/internal/logs/subscribe", patch_logs, J | ROUTE_ANY_USER, FAMILY_COMFY, NULL, "clientId:str!, enabled:bool", "object", "400", "system", "Whether a WebSocket gets the log." },

    { "GET", "/object_info", get_object_info, A, FAMILY_COMFY, NULL, NULL, "object", "", "nodes", "All nodes, as the page's forms need them." },
    { "GET", "/object_info/{class}", get_object_info_one, A, FAMILY_COMFY, NULL, NULL, "object", "", "nodes", "One node, or {}." },
    { "GET", "/system_stats", get_system_stats, A | ROUTE_ANY_USER, FAMILY_COMFY, NULL, NULL, "object", "", "system", "Machine, memory, versions." },
    { "GET", "/features", get_features, A | ROUTE_ANY_USER, FAMILY_COMFY, NULL, NULL, "object", "", "system", "What the server's messages may be." },
    { "GET", "/extensions", get_extensions, A | ROUTE_ANY_USER, FAMILY_COMFY, NULL, NULL, "array", "", "page", "Scripts of the page's extensions." },
    { "GET", "/i18n", get_empty_object, A | ROUTE_ANY_USER, FAMILY_COMFY, NULL, NULL, "object", "", "page", "Words of plug-ins in other languages: none." },
    { "GET", "/workflow_templates", get_empty_object, A | ROUTE_ANY_USER, FAMILY_COMFY, NULL, NULL, "object", "", "page", "Flows of plug-ins: none." },
    { "GET", "/global_subgraphs", get_empty_object, A | ROUTE_ANY_USER, FAMILY_COMFY, NULL, NULL, "object", "", "page", "Subgraphs of plug-ins: none." },

    { "GET", "/users", get_users, A | ROUTE_ANY_USER, FAMILY_PLAIN, NULL, NULL, "object", "", "users", "One user, or the list of users." },
    { "POST", "/users", post_users, A | J | ROUTE_ANY_USER, FAMILY_PLAIN, NULL, "username:str!", "text", "400 413", "users", "A new user." },
    { "GET", "/settings", get_settings, A, FAMILY_COMFY, NULL, NULL, "object", "401", "users", "All settings." },
    { "POST", "/settings", post_settings, A | J, FAMILY_COMFY, NULL, NULL, "object", "400 401", "users", "Changes settings." },
    { "GET", "/settings/{id}", get_setting, A, FAMILY_COMFY, NULL, NULL, "any", "401", "users", "One setting, or null." },
    { "POST", "/settings/{id}", post_setting, A | J, FAMILY_COMFY, NULL, NULL, "object", "400 401", "users", "Changes one setting." },
    { "GET", "/userdata", get_userdata, A, FAMILY_COMFY, "dir:str, recurse:str, split:str, full_info:str", NULL, "array", "400 401 403 404", "users",
      "Files of a user's folder." },
    { "GET", "/v2/userdata", get_userdata_v2, A, FAMILY_COMFY, "path:str", NULL, "array", "400 401 403 404", "users", "Files and folders of a user's folder." },
    { "GET", "/userdata/{file}", get_userdata_file, A, FAMILY_COMFY, NULL, NULL, "file", "206 304 400 401 403 404 416", "users", "A file of the user." },
    { "POST", "/userdata/{file}", post_userdata_file, A | ROUTE_FILE, FAMILY_COMFY, "overwrite:str, full_info:str", NULL, "any", "400 401 403 409 413", "users",
      "Keeps a file of the user." },
    { "DELETE", "/userdata/{file}", delete_userdata_file, A, FAMILY_COMFY, NULL, NULL, "empty", "204 400 401 403 404", "users", "Deletes a file of the user." },
    { "POST", "/userdata/{file}/move/{dest}", move_userdata_file, A, FAMILY_COMFY, "overwrite:str, full_info:str", NULL, "any", "400 401 403 404 409",
      "users", "Gives a file of the user another name." },

    { "GET", "/limn/models", get_model_facts, ROUTE_ANY_USER, FAMILY_COMFY, NULL, NULL, "array", "", "models", "How each model is drawn with: size, steps, guidance, sampler." },
    { "GET", "/limn/similarity", get_similarity, 0, FAMILY_COMFY,
      "a:str!, a_subfolder:str, a_type:input|output|temp|, b:str!, b_subfolder:str, b_type:input|output|temp|", NULL, "object", "400 404", "evaluate",
      "How alike two pictures are: psnr, ssim and others." },
    { "GET", "/limn/datasets", get_datasets, 0, FAMILY_COMFY, NULL, NULL, "object", "", "datasets", "Data sets in the input folder." },
    { "GET", "/limn/datasets/{name}", get_dataset, 0, FAMILY_COMFY, "offset:int, limit:int", NULL, "object", "400 404", "datasets", "Pictures of a data set with what is known of them." },
    { "POST", "/limn/datasets/{name}", post_dataset, J, FAMILY_COMFY, NULL, "file_name:str!, text:str, excluded:str", "object", "400 404", "datasets",
      "A picture's caption; or why it is left out." },
    { "GET", "/limn/runs", get_runs, 0, FAMILY_COMFY, NULL, NULL, "object", "", "training", "Trainings in output/runs." },
    { "GET", "/limn/runs/{name}", get_run, 0, FAMILY_COMFY, NULL, NULL, "object", "400 404", "training", "A training's settings, numbers and samples." },
    { "GET", "/limn/runs/{name}/file", get_run_file, 0, FAMILY_COMFY, "name:str!", NULL, "file", "206 304 400 404 416", "training", "A file of a training." },

    { "GET", "/v1/models", get_v1_models, 0, FAMILY_OPENAI, NULL, NULL, "object", "", "openai", "Models, as OpenAI's API lists them." },
    { "POST", "/v1/images/generations", post_images_generations, J | ROUTE_WORK, FAMILY_OPENAI, NULL,
      "prompt:str!, model:str, n:uint, size:str, response_format:url|b64_json, output_format:png|jpeg|webp, output_compression:uint, quality:str, style:str, "
      "user:str, background:str, moderation:str, negative_prompt:str, seed:uint, steps:uint, guidance:num", "object", "400 429 500", "openai",
      "Draws pictures from words." },
    { "POST", "/v1/images/edits", post_images_edits, ROUTE_FILE | ROUTE_FORM | ROUTE_WORK, FAMILY_OPENAI, NULL,
      "image:file!, prompt:str!, mask:file, model:str, n:str, size:str, response_format:str, output_format:str, output_compression:str, seed:str, steps:str, "
      "strength:str", "object", "400 413 429 500", "openai", "Draws a picture anew, or the part of it that a mask leaves open." },

    { "POST", "/sdapi/v1/txt2img", post_txt2img, J | ROUTE_WORK, FAMILY_A1111, NULL,
      "prompt:str, negative_prompt:str, steps:num, cfg_scale:num, width:num, height:num, seed:num, sampler_name:str, sampler_index:str, scheduler:str, "
      "batch_size:num, n_iter:num, send_images:bool, override_settings:obj", "object", "400 429 500", "a1111", "Draws pictures from words." },
    { "POST", "/sdapi/v1/img2img", post_img2img, J | ROUTE_WORK, FAMILY_A1111, NULL,
      "init_images:list!, mask:str, inpainting_mask_invert:num, denoising_strength:num, prompt:str, negative_prompt:str, steps:num, cfg_scale:num, width:num, "
      "height:num, seed:num, sampler_name:str, sampler_index:str, scheduler:str, batch_size:num, n_iter:num, send_images:bool, override_settings:obj",
      "object", "400 429 500", "a1111", "Draws a picture anew." },
    { "GET", "/sdapi/v1/progress", get_sd_progress, 0, FAMILY_A1111, NULL, NULL, "object", "", "a1111", "How far the job is that runs." },
    { "POST", "/sdapi/v1/interrupt", post_sd_interrupt, J, FAMILY_A1111, NULL, NULL, "object", "400", "a1111", "Ends the job that runs." },
    { "GET", "/sdapi/v1/options", get_sd_options, 0, FAMILY_A1111, NULL, NULL, "object", "", "a1111", "Options of these routes." },
    { "POST", "/sdapi/v1/options", post_sd_options, J, FAMILY_A1111, NULL, "sd_model_checkpoint:str", "object", "400", "a1111", "Changes options of these routes." },
    { "GET", "/sdapi/v1/samplers", get_sd_samplers, ROUTE_ANY_USER, FAMILY_A1111, NULL, NULL, "array", "", "a1111", "Samplers by A1111's names." },
    { "GET", "/sdapi/v1/schedulers", get_sd_schedulers, ROUTE_ANY_USER, FAMILY_A1111, NULL, NULL, "array", "", "a1111", "Schedules by A1111's names." },
    { "GET", "/sdapi/v1/sd-models", get_sd_models, ROUTE_ANY_USER, FAMILY_A1111, NULL, NULL, "array", "", "a1111", "Models by A1111's titles." },

    { "GET", "/healthz", get_healthz, ROUTE_OPEN, FAMILY_COMFY, NULL, NULL, "object", "", "system", "Whether the server answers." },
    { "GET", "/metrics", get_metrics, ROUTE_ANY_USER, FAMILY_COMFY, NULL, NULL, "text/plain", "", "system", "Measures, in Prometheus' text format." },
    { "GET", "/openapi.json", get_openapi, ROUTE_ANY_USER, FAMILY_COMFY, NULL, NULL, "object", "", "system", "This list, for programs." },
    { "GET", "/{file...}", get_static, ROUTE_QUIET | ROUTE_ANY_USER, FAMILY_COMFY, NULL, NULL, "file", "304 404", "page", "The page's files." },
};
const size_t route_count = sizeof routes / sizeof *routes;
