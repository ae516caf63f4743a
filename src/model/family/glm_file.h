/* ChatGLM3 in a file of its own or inside a model's file, as people share Kolors' text encoder: one safetensors of its own names in
 * 16 bit, the same packed by ChatGLM's own quantisation (8 or 4 bit with a scale for each row), or a GGUF of llama.cpp.
 *
 * source  names: diffusers' ChatGLMModel and the gguf package's table for "chatglm"; packing: THUDM/chatglm3-6b, quantization.py */
#ifndef LIMN_MODEL_FAMILY_GLM_FILE_H
#define LIMN_MODEL_FAMILY_GLM_FILE_H

#include "base/json.h"
#include "weights/weights.h"

/* A tensor that every such file has, by who wrote it. */
#define GLM_WITNESS "encoder.layers.0.self_attention.query_key_value.weight"
#define GLM_GGML_WITNESS "blk.0.attn_qkv.weight"
/* The bytes of tokenizer.model as a tensor of u8 or i8, as ComfyUI calls it. */
#define GLM_PIECES "spiece_model"

/* A view of the tensors behind `prefix` under ChatGLMModel's names, packed ones as blocks of ggml (a copy). Free with weights_free,
 * before the file. */
MUST_USE struct weights *glm_view(const struct weights *file, const char *prefix, bool ggml, struct err *e);
/* Fills a config.json (ChatGLMConfig) with what the shapes of such a view say; heads are 128 wide in every ChatGLM.
 * errors  ERR_MISSING, ERR_SHAPE, ERR_TYPE (sizes of another model: --config). */
MUST_USE bool glm_config(json_t *config, const struct weights *view, struct err *e);

#endif
