/* Loops over planes of bits, and comparisons of 64 pairs of numbers into the bits of a word, where
 * NaN compares as false.
 *
 * The wider comparison is chosen where the processor has it; both are exact, so the bits are the
 * same. */

#ifndef KLINECORE_FILTERS_WORDS_H
#define KLINECORE_FILTERS_WORDS_H

#include <stdint.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#define WORD(NAME, NARROW, WIDE)                                                                  \
    __attribute__((target("avx2"))) static uint64_t NAME##_wide(const double *x,                  \
                                                                const double *y) {                \
        uint64_t bits = 0;                                                                        \
        for (int i = 0; i < 64; i += 4)                                                           \
            bits |= (uint64_t)_mm256_movemask_pd(_mm256_cmp_pd(                                   \
                        _mm256_loadu_pd(x + i), _mm256_loadu_pd(y + i), WIDE)) << i;              \
        return bits;                                                                              \
    }                                                                                             \
    static inline uint64_t NAME(const double *x, const double *y) {                                   \
        uint64_t bits = 0;                                                                        \
        if (__builtin_cpu_supports("avx2"))                                                       \
            return NAME##_wide(x, y);                                                             \
        for (int i = 0; i < 64; i += 2)                                                           \
            bits |= (uint64_t)_mm_movemask_pd(                                                    \
                        NARROW(_mm_loadu_pd(x + i), _mm_loadu_pd(y + i))) << i;                   \
        return bits;                                                                              \
    }

WORD(word_lt, _mm_cmplt_pd, _CMP_LT_OQ)
WORD(word_le, _mm_cmple_pd, _CMP_LE_OQ)
WORD(word_eq, _mm_cmpeq_pd, _CMP_EQ_OQ)

#else

#define WORD(NAME, RULE)                                                                          \
    static inline uint64_t NAME(const double *x, const double *y) {                                   \
        uint64_t bits = 0;                                                                        \
        for (int i = 0; i < 64; i++)                                                              \
            bits |= (uint64_t)(x[i] RULE y[i]) << i;                                              \
        return bits;                                                                              \
    }

WORD(word_lt, <)
WORD(word_le, <=)
WORD(word_eq, ==)

#endif

/* Conditions joined by `and` or `or`, where the mask is set; unknown if any of them is. */
static inline void words_join(uint64_t *restrict truth, uint64_t *restrict known,
                       const uint64_t *restrict mask, const uint64_t *const *truths,
                       const uint64_t *const *knows, int count, int every, long words) {
    for (long i = 0; i < words; i += 8) {
        uint64_t t[8], k[8];
        long size = words - i < 8 ? words - i : 8;
        for (long j = 0; j < size; j++) t[j] = truths[0][i + j], k[j] = knows[0][i + j];
        for (int arg = 1; arg < count; arg++) {
            const uint64_t *more = truths[arg] + i, *knows_more = knows[arg] + i;
            if (size == 8 && every)
                for (long j = 0; j < 8; j++) t[j] &= more[j], k[j] &= knows_more[j];
            else if (size == 8)
                for (long j = 0; j < 8; j++) t[j] |= more[j], k[j] &= knows_more[j];
            else
                for (long j = 0; j < size; j++) {
                    t[j] = every ? t[j] & more[j] : t[j] | more[j];
                    k[j] &= knows_more[j];
                }
        }
        for (long j = 0; j < size; j++) {
            uint64_t m = mask[i + j];
            known[i + j] = (known[i + j] & ~m) | (k[j] & m);
            truth[i + j] = (truth[i + j] & ~m) | (t[j] & k[j] & m);
        }
    }
}

/* Where a filter fires, into `fires`; keeps in `armed` whose last known value was false. False if
 * it fires nowhere and is known everywhere. */
static inline int words_fire(uint64_t *restrict fires, uint64_t *restrict armed,
                      const uint64_t *restrict truth, const uint64_t *restrict known,
                      const uint64_t *restrict mask, int edge, long words) {
    uint64_t any = 0, level = edge ? 0 : ~(uint64_t)0;
    for (long i = 0; i < words; i++) {
        uint64_t m = mask[i], t = truth[i] & m, k = known[i] & m;
        uint64_t fired = t & (armed[i] | level);
        fires[i] = fired;
        armed[i] = (armed[i] & ~t) | (k & ~t);
        any |= fired | (m & ~k);
    }
    return any != 0;
}

#endif
