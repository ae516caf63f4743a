/* What a file or folder of weights is: for limn model info, and for whoever lists models. */
#ifndef LIMN_MODEL_FAMILY_MODEL_FACTS_H
#define LIMN_MODEL_FAMILY_MODEL_FACTS_H

#include "base/json.h"
#include "base/progress.h"

/* A new reference (json_decref):
 *   path, kind ("model", "part", "lora", "embedding", "unknown"), layout ("single", "folder"), format
 *   family ("sd1", "sd2", "sdxl", "sdxl-refiner", "kolors", ...; null), title (for people; null), inpaints
 *   predicts ("epsilon", "v_prediction") and predicts_how; pipeline (a folder's class)
 *   parts {name: {tensors, parameters, bytes, types {name: tensors}}}; "other" is what belongs to none
 *   tensors, parameters, bytes, types: of all of it
 *   lora (lora_names.h), metadata {key: text}
 *   hash: files [{path, bytes, sha256, short, weights_sha256}]: short is the first ten digits, as other programs show it;
 *         weights_sha256 (safetensors) leaves out the header, as trainers of LoRAs do
 * hash: whether files are read for that, with progress. Files that hold nothing known are no error: kind says so.
 * errors  those of weights_open, of JSON files, ERR_STOPPED, ERR_NOMEM. */
MUST_USE json_t *model_facts(const char *path, bool hash, const struct progress *progress, struct err *e);

#endif
