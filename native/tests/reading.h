/* What was packed is read from its bytes. */
#pragma once

#include "pack.h"

static inline struct pack reading(const void *bytes, size_t count)
{
    return (struct pack){.is_reading = true, .at = bytes, .end = (const uint8_t *)bytes + count};
}

static inline struct pack again(const struct pack *written)
{
    return reading(written->out.data, written->out.len);
}
