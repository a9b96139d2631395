// Stands in for miniaudio, which Go's module zip of Ollama leaves out (it lay in a folder named
// `vendor`): what Ollama's image and sound reader names of it. Sound can't be decoded, and each call says so.
#pragma once

typedef int ma_result;
typedef unsigned long long ma_uint64;
typedef enum { ma_format_f32 } ma_format;
typedef struct { int unused; } ma_decoder;
typedef struct { int unused; } ma_decoder_config;

enum { MA_SUCCESS = 0, MA_NOT_IMPLEMENTED = -29 };

static inline ma_decoder_config ma_decoder_config_init(ma_format, int, int) { return {0}; }
static inline ma_result ma_decoder_init_memory(const void *, unsigned long, const ma_decoder_config *, ma_decoder *) {
    return MA_NOT_IMPLEMENTED;
}
static inline ma_result ma_decoder_get_length_in_pcm_frames(ma_decoder *, ma_uint64 *) { return MA_NOT_IMPLEMENTED; }
static inline ma_result ma_decoder_read_pcm_frames(ma_decoder *, void *, ma_uint64, ma_uint64 *) {
    return MA_NOT_IMPLEMENTED;
}
static inline void ma_decoder_uninit(ma_decoder *) {}
