/* A TensorBoard event file: numbers by step, for those who look at runs with it.
 * source  TensorFlow's core/lib/io/record_writer.h (a record is length, its checksum, data, its checksum), core/util/event.proto and
 *         core/framework/summary.proto (fields below), Castagnoli's CRC (RFC 3720, appendix B.4). */
#ifndef LIMN_TRAIN_EVENTS_H
#define LIMN_TRAIN_EVENTS_H

#include <jansson.h>
#include <stdint.h>

#include "base/text.h"

/* What such a file is called in a run's folder: TensorBoard looks for the word tfevents. */
#define EVENTS_NAME "events.out.tfevents.limn"

/* The record that begins a file. time: seconds since 1970. */
void events_begin(struct text *out, double time);
/* A record of every number in `numbers` (a JSON object) but "step". */
void events_scalars(struct text *out, double time, int64_t step, const json_t *numbers);

/* CRC-32C of bytes. */
uint32_t events_crc(const void *data, size_t bytes);

#endif
