/* The few functions of libsentencepiece that are used, as C functions. The only C++ of the house: the library has no C door. */
#include <sentencepiece_processor.h>

#include <cstdio>
#include <memory>
#include <new>
#include <vector>

#include "tokenizer/sentencepiece_internal.h"

struct piece_model {
    sentencepiece::SentencePieceProcessor processor;
};

static void tell(struct sentencepiece_cause *cause, const char *text)
{
    std::snprintf(cause->text, sizeof cause->text, "%s", text);
}

struct piece_model *sentencepiece_load(const void *model, size_t bytes, struct sentencepiece_cause *cause)
{
    tell(cause, "");
    try {
        auto s = std::make_unique<struct piece_model>();
        auto status = s->processor.LoadFromSerializedProto({ static_cast<const char *>(model), bytes });
        if (status.ok())
            return s.release();
        tell(cause, status.error_message());
    } catch (const std::bad_alloc &) {
    } catch (const std::exception &x) {
        tell(cause, x.what());
    } catch (...) {
        tell(cause, "libsentencepiece threw something");
    }
    return nullptr;
}

void sentencepiece_free(struct piece_model *s)
{
    delete s;
}

int sentencepiece_encode(const struct piece_model *s, const char *text, size_t bytes, int32_t *ids, size_t max,
                         size_t *count, struct sentencepiece_cause *cause)
{
    tell(cause, "");
    *count = 0;
    try {
        std::vector<int> found;
        auto status = s->processor.Encode({ text, bytes }, &found);
        if (status.ok()) {
            *count = found.size();
            for (size_t i = 0; i < found.size() && i < max; i++)
                ids[i] = found[i];
            return 1;
        }
        tell(cause, status.error_message());
    } catch (const std::bad_alloc &) {
    } catch (const std::exception &x) {
        tell(cause, x.what());
    } catch (...) {
        tell(cause, "libsentencepiece threw something");
    }
    return 0;
}

int32_t sentencepiece_size(const struct piece_model *s)
{
    return s->processor.GetPieceSize();
}

int32_t sentencepiece_unknown(const struct piece_model *s)
{
    return s->processor.unk_id();
}

const char *sentencepiece_piece(const struct piece_model *s, int32_t id)
{
    return s->processor.IdToPiece(id).c_str();
}
