/* The vector loops, for KC_WIDTH doubles at once: see blocks.h, which includes this. */

typedef double KC(V) __attribute__((vector_size(8 * KC_WIDTH)));
typedef int64_t KC(I) __attribute__((vector_size(8 * KC_WIDTH)));
typedef KC_MASK KC(M);
typedef double KC(U) __attribute__((vector_size(8 * KC_WIDTH), aligned(8), may_alias));
#define V KC(V)
#define M KC(M)
#define FULL ((1u << KC_WIDTH) - 1)
/* The lanes there are of a block. */
#define THERE(b) ((b) + 1 == w->count ? w->tail : KC_ALL)
#define HALVES(h) for (int h = 0; h < KC_BLOCK; h += KC_WIDTH)
#define REST(h) for (int h = from; h < KC_BLOCK; h += KC_WIDTH)

KC_TARGET KC_INLINE V KC(load)(const double *p) { return *(const KC(U) *)p; }

KC_TARGET KC_INLINE void KC(store)(double *p, V v) { *(KC(U) *)p = v; }

KC_TARGET KC_INLINE V KC(all)(double x) { return x - (V){0}; }

KC_TARGET KC_INLINE V KC(pick)(M which, V yes, V no) {
    return KC_PICK(which, yes, no);
}

KC_TARGET KC_INLINE V KC(abs)(V v) { return (V)((KC(I))v & INT64_MAX); }

KC_TARGET KC_INLINE V KC(larger)(V a, V b) { return KC_LARGER(a, b); }

KC_TARGET KC_INLINE V KC(next)(V average, V value, V alpha) {
    return average + (value - average) * alpha;
}

KC_TARGET KC_INLINE V KC(true_range)(V high, V low, V previous) {
    return KC(larger)(
        high - low, KC(larger)(KC(abs)(high - previous), KC(abs)(low - previous)));
}

/* Write an output of some lanes of a vector: what a closed row gives, or a forming one. */
KC_TARGET KC_INLINE void KC(put)(double *to, V value, unsigned want, int h) {
    const M member = KC_LESS(KC(all)(0.0), KC(load)(kc_limits[want] + h));
    KC(store)(to, KC(pick)(member, value, KC(load)(to)));
}

/* The slot all lanes of a block are at; -1 if they are not at the same one. */
KC_TARGET KC_INLINE Py_ssize_t KC(beat)(const KcSweep *w, Py_ssize_t b, const double *slots) {
    unsigned equal = 0;
    HALVES(h) {
        const M same = KC_EQUAL(KC(load)(slots + h), KC(all)(slots[0]));
        equal |= KC_BITS(same) << h;
    }
    return (equal & THERE(b)) == THERE(b) ? (Py_ssize_t)slots[0] : -1;
}

/* The end, at most `last`, of a run of blocks whose lanes are all at the same slot; block b alone if
   its own are not. */
KC_TARGET static Py_ssize_t KC(alike)(const KcSweep *w, Py_ssize_t b, Py_ssize_t last) {
    if (w->slots < 0) return last;
    if (last > b + 64) last = b + 64; /* many short runs must not look far ahead each */
    const int32_t *beats = w->beats, beat = beats[b];
    int32_t differ = beat < 0;
    for (Py_ssize_t e = b; e < last; e++) differ |= beats[e] ^ beat;
    if (!differ) return last;
    for (Py_ssize_t e = b; e < last; e++) {
        if (beats[e] < 0)
            w->beats[e] = (int32_t)KC(beat)(w, e, w->blocks + e * w->size + w->slots);
        if (beats[e] < 0 || beats[e] != beats[b]) return e > b ? e : e + 1;
    }
    return last;
}

/* Ring values of lanes that are at slots of their own, `ahead` rows further. */
KC_TARGET KC_INLINE V KC(gather)(const double *ring, const double *slots, int h, int ahead) {
    V v;
    for (int k = h; k < h + KC_WIDTH; k++)
        v[k - h] = ring[((Py_ssize_t)slots[k] + ahead) * KC_BLOCK + k];
    return v;
}

KC_TARGET KC_INLINE void KC(scatter)(
    double *ring, const double *slots, int h, V value, unsigned which
) {
    for (int k = h; k < h + KC_WIDTH; k++)
        if (which >> (k - h) & 1) ring[(Py_ssize_t)slots[k] * KC_BLOCK + k] = value[k - h];
}

/* Which of them are at the ring's end. */
KC_TARGET KC_INLINE M KC(last)(const double *slots, int h, Py_ssize_t period) {
    return KC_EQUAL(KC(load)(slots + h), KC(all)((double)(period - 1)));
}

/* Write value to the ring and move the slot on, for the lanes in `ok`. Lanes out of step are not
   at the ring's end: those are left to the scalar kernel. Of a whole block `beats` moves on, once
   its run has been stepped. */
KC_TARGET KC_INLINE void KC(push)(
    double *ring, Py_ssize_t period, double *slots, Py_ssize_t beat, int h, V value, M ok, int whole
) {
    if (whole) {
        KC(store)(ring + beat * KC_BLOCK + h, value);
        return;
    }
    const V slot = KC(load)(slots + h);
    V next = slot + 1.0;
    if (beat >= 0) {
        double *row = ring + beat * KC_BLOCK + h;
        KC(store)(row, KC(pick)(ok, value, KC(load)(row)));
        if (beat + 1 == period) next = KC(all)(0.0);
    } else {
        KC(scatter)(ring, slots, h, value, KC_BITS(ok));
    }
    KC(store)(slots + h, KC(pick)(ok, next, slot));
}

/* A body steps some lanes of a block, `on`, from vector `from` on, and is compiled twice. For a
   `whole` block, as nearly all are, there are no masks; it returns where it came upon a vector that
   has not all lanes in the common case, and has stepped nothing from there on. The other one goes
   on from there, and returns the lanes of `want` that it has left. All lanes are at the slot `beat`
   of their ring, if they have one, which is the last one at a `turn`; -1: each is at its own. */
#define BODY(name) \
    KC_TARGET KC_INLINE unsigned KC(name)( \
        const KcSweep *w, const double **x, Py_ssize_t b, Py_ssize_t at, unsigned want, \
        unsigned on, int from, Py_ssize_t beat, const int turn, const int commit, \
        const int whole \
    )

#define BEGIN \
    const V nan = KC(all)(NAN), most = KC(all)(1e100); \
    const double *limit = kc_limits[on]; \
    const Py_ssize_t lane = b * KC_BLOCK; \
    double *s = w->blocks + b * w->size; \
    unsigned left = want & ~on; \
    (void)nan, (void)beat, (void)turn;

#define END return whole ? KC_BLOCK : left;

#define USABLE(v) KC_AT_MOST(KC(abs)(v), whole ? most : KC(load)(limit + h))
#define ROW(n) (s + (n) * KC_BLOCK)
#define INPUT(n) KC(load)(x[n] + at + h)
/* Before anything of a vector is written. */
#define SETTLE if (whole && KC_BITS(ok) != FULL) return h;
#define PUT(output, value) do { \
    double *const to = (commit ? w->closed : w->live)[output] + lane + h; \
    if (whole) KC(store)(to, value); \
    else KC(put)(to, KC(pick)(ok, value, nan), want, h); \
} while (0)
#define KEEP(n, value, old) KC(store)(ROW(n) + h, whole ? (value) : KC(pick)(ok, value, old))
/* Lanes that want more than the common case: not `ok`, but left. */
#define LEAVE(which) do { \
    const M those = (which) & ok; \
    left |= KC_BITS(those) << h; \
    ok &= ~those; \
} while (0)

BODY(ema) {
    const V alpha = KC(all)(w->a);
    BEGIN
    REST(h) {
        const V value = INPUT(0), before = KC(load)(ROW(0) + h);
        const M ok = USABLE(value);
        const V now = KC(next)(before, value, alpha);
        SETTLE
        if (commit) KEEP(0, now, before);
        PUT(0, now);
    }
    END
}

BODY(rsi) {
    const V alpha = KC(all)(w->a), flat = KC(all)(w->b), none = KC(all)(0.0);
    BEGIN
    REST(h) {
        const V value = INPUT(0), previous = KC(load)(ROW(2) + h);
        const V gain = KC(load)(ROW(0) + h), loss = KC(load)(ROW(1) + h);
        const M ok = USABLE(value);
        const V change = value - previous;
        const V up = KC(next)(gain, KC(larger)(change, none), alpha);
        const V down = KC(next)(loss, KC(larger)(-change, none), alpha);
        const V total = up + down;
        SETTLE
        if (commit) {
            KEEP(0, up, gain);
            KEEP(1, down, loss);
            KEEP(2, value, previous);
        }
        PUT(0, KC(pick)(KC_EQUAL(total, none), flat, 100.0 * (up / total)));
    }
    END
}

BODY(macd) {
    const V quick = KC(all)(w->a), slow = KC(all)(w->b), smooth = KC(all)(w->c);
    BEGIN
    REST(h) {
        const V value = INPUT(0);
        const V a = KC(load)(ROW(0) + h), b = KC(load)(ROW(1) + h), c = KC(load)(ROW(2) + h);
        const M ok = USABLE(value);
        const V fast_now = KC(next)(a, value, quick), slow_now = KC(next)(b, value, slow);
        const V line = fast_now - slow_now;
        const V signal = KC(next)(c, line, smooth);
        SETTLE
        if (commit) {
            KEEP(0, fast_now, a);
            KEEP(1, slow_now, b);
            KEEP(2, signal, c);
        }
        PUT(0, line);
        PUT(1, signal);
        PUT(2, line - signal);
    }
    END
}

BODY(atr) {
    const V alpha = KC(all)(w->a);
    BEGIN
    REST(h) {
        const V high = INPUT(0), low = INPUT(1), close = INPUT(2);
        const V average = KC(load)(ROW(0) + h), previous = KC(load)(ROW(1) + h);
        const M ok = USABLE(high) & USABLE(low) & USABLE(close);
        const V now = KC(next)(average, KC(true_range)(high, low, previous), alpha);
        SETTLE
        if (commit) {
            KEEP(0, now, average);
            KEEP(1, close, previous);
        }
        PUT(0, now);
    }
    END
}

BODY(adx) {
    const V share = KC(all)(w->a), none = KC(all)(0.0);
    BEGIN
    REST(h) {
        const V high = INPUT(0), low = INPUT(1), close = INPUT(2);
        const V before_high = KC(load)(ROW(0) + h), before_low = KC(load)(ROW(1) + h);
        const V before_close = KC(load)(ROW(2) + h), average = KC(load)(ROW(6) + h);
        const V pluses = KC(load)(ROW(3) + h), minuses = KC(load)(ROW(4) + h);
        const V ranges = KC(load)(ROW(5) + h);
        M ok = USABLE(high) & USABLE(low) & USABLE(close);
        const V up = high - before_high, down = before_low - low;
        const V plus = pluses - pluses * share
            + KC(pick)(KC_LESS(down, up), KC(larger)(up, none), none);
        const V minus = minuses - minuses * share
            + KC(pick)(KC_LESS(up, down), KC(larger)(down, none), none);
        const V range = ranges - ranges * share + KC(true_range)(high, low, before_close);
        const V plus_di = 100.0 * (plus / range), minus_di = 100.0 * (minus / range);
        const V total = plus_di + minus_di;
        LEAVE(~(KC_LESS(none, range) & KC_LESS(none, total)));
        const V now = KC(next)(average, 100.0 * (KC(abs)(plus_di - minus_di) / total), share);
        SETTLE
        if (commit) {
            KEEP(0, high, before_high);
            KEEP(1, low, before_low);
            KEEP(2, close, before_close);
            KEEP(3, plus, pluses);
            KEEP(4, minus, minuses);
            KEEP(5, range, ranges);
            KEEP(6, now, average);
            KEEP(7, plus_di, KC(load)(ROW(7) + h));
            KEEP(8, minus_di, KC(load)(ROW(8) + h));
        }
        PUT(0, now);
    }
    END
}

/* A step of a sum over a ring; lanes that want more than the common case are added to `rare`. */
KC_TARGET KC_INLINE V KC(slide)(
    const double *ring, Py_ssize_t period, const double *slots, Py_ssize_t beat, int turn, int h,
    V sum, V value, M *rare
) {
    if (turn) {
        V total = KC(all)(0.0);
        for (Py_ssize_t i = 0; i < beat; i++) total += KC(load)(ring + i * KC_BLOCK + h);
        return total + value;
    }
    const V gone = beat >= 0 ? KC(load)(ring + beat * KC_BLOCK + h) : KC(gather)(ring, slots, h, 0);
    const V now = sum + (value - gone);
    *rare |= KC_LESS(KC(abs)(now) * 1024.0, KC(abs)(gone));
    if (beat < 0) *rare |= KC(last)(slots, h, period);
    return now;
}

/* The largest of a window, not yet of the lanes that end a block of it out of step. */
KC_TARGET KC_INLINE V KC(top)(
    const double *ring, Py_ssize_t period, const double *slots, Py_ssize_t beat, int h, V prefix,
    M *rare
) {
    if (beat < 0) *rare |= KC(last)(slots, h, period);
    return KC(larger)(
        prefix,
        beat >= 0 ? KC(load)(ring + (beat + 1) * KC_BLOCK + h) : KC(gather)(ring, slots, h, 1));
}

/* Keep a value for the largest of a window; its new prefix. */
KC_TARGET KC_INLINE V KC(keep_top)(
    double *ring, Py_ssize_t period, double *slots, Py_ssize_t beat, int turn, int h, V prefix,
    V value, M ok, int whole
) {
    if (turn) {
        V suffix = value;
        prefix = KC(all)(-INFINITY);
        for (Py_ssize_t i = beat - 1; i >= 0; i--) {
            double *row = ring + i * KC_BLOCK + h;
            suffix = KC(larger)(suffix, KC(load)(row));
            KC(store)(row, KC(pick)(ok, suffix, KC(load)(row)));
        }
    }
    KC(push)(ring, period, slots, beat, h, value, ok, whole);
    return prefix;
}

/* Windows: rows of fields, then slot and count, then the ring. */

BODY(sma) {
    BEGIN
    double *slots = ROW(1), *ring = ROW(3);
    REST(h) {
        const V value = INPUT(0), sum = KC(load)(ROW(0) + h);
        M ok = USABLE(value), rare = {0};
        const V now = KC(slide)(ring, w->period[0], slots, beat, turn, h, sum, value, &rare);
        LEAVE(rare);
        SETTLE
        if (commit) {
            KEEP(0, now, sum);
            KC(push)(ring, w->period[0], slots, beat, h, value, ok, whole);
        }
        PUT(0, now / (double)w->period[0]);
    }
    END
}

BODY(wma) {
    const double loss = 1024.0;
    BEGIN
    double *slots = ROW(2), *ring = ROW(4);
    REST(h) {
        const V value = INPUT(0), sum = KC(load)(ROW(0) + h), weighted = KC(load)(ROW(1) + h);
        M ok = USABLE(value);
        V total, weight;
        if (turn) {
            total = weight = KC(all)(0.0);
            for (Py_ssize_t i = 0; i < beat; i++) {
                const V one = KC(load)(ring + i * KC_BLOCK + h);
                total += one;
                weight += one * (double)(i + 1);
            }
            total += value;
            weight += value * (double)w->period[0];
        } else {
            const V gone = beat >= 0 ? KC(load)(ring + beat * KC_BLOCK + h)
                : KC(gather)(ring, slots, h, 0);
            weight = weighted + (value * (double)w->period[0] - sum);
            total = sum + (value - gone);
            M rare = KC_LESS(KC(abs)(total) * loss, KC(abs)(gone));
            if (beat < 0) rare |= KC(last)(slots, h, w->period[0]);
            LEAVE(rare);
        }
        SETTLE
        if (commit) {
            KEEP(0, total, sum);
            KEEP(1, weight, weighted);
            KC(push)(ring, w->period[0], slots, beat, h, value, ok, whole);
        }
        PUT(0, weight / w->a);
    }
    END
}

BODY(bb) {
    const V share = KC(all)(w->a), deviations = KC(all)(w->b), none = KC(all)(0.0);
    const double loss = 64.0;
    BEGIN
    double *slots = ROW(4), *ring = ROW(6);
    const double period = w->period[0];
    REST(h) {
        const V value = INPUT(0);
        const V base = KC(load)(ROW(0) + h), average = KC(load)(ROW(1) + h);
        const V spread = KC(load)(ROW(2) + h), top = KC(load)(ROW(3) + h);
        M ok = USABLE(value);
        V origin, mean, squares, peak;
        if (turn) {
            V total = none, rest = none, off;
            squares = none;
            origin = value;
            for (Py_ssize_t i = 0; i < beat; i++)
                total += KC(load)(ring + i * KC_BLOCK + h) - value;
            mean = total / period;
            for (Py_ssize_t i = 0; i < beat; i++) {
                off = KC(load)(ring + i * KC_BLOCK + h) - value - mean;
                rest += off;
                squares += off * off;
            }
            off = none - mean;
            rest += off;
            squares += off * off;
            squares -= rest * rest / period;
            squares = KC(larger)(squares, none);
            peak = squares;
        } else {
            const V now = value - base;
            const V gone = (beat >= 0 ? KC(load)(ring + beat * KC_BLOCK + h)
                : KC(gather)(ring, slots, h, 0)) - base;
            origin = base;
            mean = average + (now - gone) * share;
            squares = spread + (now - gone) * ((now - mean) + (gone - average));
            peak = KC(larger)(top, squares);
            M rare = ~KC_AT_MOST(peak, squares * loss);
            if (beat < 0) rare |= KC(last)(slots, h, w->period[0]);
            LEAVE(rare);
        }
        SETTLE
        if (commit) {
            if (turn) KEEP(0, origin, base);
            KEEP(1, mean, average);
            KEEP(2, squares, spread);
            KEEP(3, peak, top);
            KC(push)(ring, w->period[0], slots, beat, h, value, ok, whole);
        }
        const V variance = squares * share;
        const V reach = deviations * KC_ROOT(variance), middle = origin + mean;
        PUT(0, middle + reach);
        PUT(1, middle);
        PUT(2, middle - reach);
        PUT(3, KC(pick)(KC_EQUAL(middle, none), nan, 2.0 * reach / middle));
    }
    END
}

/* Largest of the window; `sign` -1 makes it the smallest, of what has its sign turned. */
KC_TARGET KC_INLINE unsigned KC(extreme)(
    const KcSweep *w, const double **x, Py_ssize_t b, Py_ssize_t at, unsigned want,
    unsigned on, int from, Py_ssize_t beat, const int turn, const int commit, const int whole,
    const int smallest
) {
    BEGIN
    double *slots = ROW(1), *ring = ROW(3);
    REST(h) {
        const V given = INPUT(0), before = KC(load)(ROW(0) + h);
        M ok = USABLE(given), rare = {0};
        const V value = smallest ? -given : given;
        const V prefix = KC(larger)(before, value);
        const V best = KC(top)(ring, w->period[0], slots, beat, h, prefix, &rare);
        LEAVE(rare);
        SETTLE
        if (commit) {
            const V now = KC(keep_top)(
                ring, w->period[0], slots, beat, turn, h, prefix, value, ok, whole);
            KEEP(0, now, before);
        }
        PUT(0, smallest ? -best : best);
    }
    END
}

BODY(highest) {
    return KC(extreme)(w, x, b, at, want, on, from, beat, turn, commit, whole, 0);
}

BODY(lowest) {
    return KC(extreme)(w, x, b, at, want, on, from, beat, turn, commit, whole, 1);
}

BODY(stoch) {
    const V still = KC(all)(w->a), none = KC(all)(0.0);
    BEGIN
    beat = KC(beat)(w, b, ROW(4));
    if (whole && beat < 0) return 0;
    const Py_ssize_t k_beat = KC(beat)(w, b, ROW(6)), d_beat = KC(beat)(w, b, ROW(7));
    if (whole && (k_beat < 0 || d_beat < 0)) return 0;
    const int end = beat + 1 == w->period[0];
    const int k_end = k_beat + 1 == w->period[2], d_end = d_beat + 1 == w->period[3];
    double *tops = ROW(w->ring[0]), *bottoms = ROW(w->ring[1]);
    double *k_ring = ROW(w->ring[2]), *d_ring = ROW(w->ring[3]);
    REST(h) {
        const V high = INPUT(0), low = INPUT(1), close = INPUT(2), below = -low;
        const V high_before = KC(load)(ROW(0) + h), low_before = KC(load)(ROW(1) + h);
        const V k_before = KC(load)(ROW(2) + h), d_before = KC(load)(ROW(3) + h);
        M ok = USABLE(high) & USABLE(low) & USABLE(close), rare = {0};
        const V high_prefix = KC(larger)(high_before, high);
        const V low_prefix = KC(larger)(low_before, below);
        const V top = KC(top)(tops, w->period[0], ROW(4), beat, h, high_prefix, &rare);
        const V bottom = -KC(top)(bottoms, w->period[1], ROW(5), beat, h, low_prefix, &rare);
        const V raw = KC(pick)(
            KC_LESS(still, top - bottom), 100.0 * ((close - bottom) / (top - bottom)), none);
        const V k_sum = KC(slide)(
            k_ring, w->period[2], ROW(6), k_beat, k_end, h, k_before, raw, &rare);
        const V k = k_sum / (double)w->period[2];
        const V d_sum = KC(slide)(
            d_ring, w->period[3], ROW(7), d_beat, d_end, h, d_before, k, &rare);
        LEAVE(rare);
        SETTLE
        if (commit) {
            const V high_now = KC(keep_top)(
                tops, w->period[0], ROW(4), beat, end, h, high_prefix, high, ok, whole);
            const V low_now = KC(keep_top)(
                bottoms, w->period[1], ROW(5), beat, end, h, low_prefix, below, ok, whole);
            KEEP(0, high_now, high_before);
            KEEP(1, low_now, low_before);
            KEEP(2, k_sum, k_before);
            KEEP(3, d_sum, d_before);
            KC(push)(k_ring, w->period[2], ROW(6), k_beat, h, raw, ok, whole);
            KC(push)(d_ring, w->period[3], ROW(7), d_beat, h, k, ok, whole);
            if (whole) { /* `beats` has room for one ring */
                KC(store)(ROW(4) + h, KC(all)(end ? 0.0 : (double)(beat + 1)));
                KC(store)(ROW(5) + h, KC(all)(end ? 0.0 : (double)(beat + 1)));
                KC(store)(ROW(6) + h, KC(all)(k_end ? 0.0 : (double)(k_beat + 1)));
                KC(store)(ROW(7) + h, KC(all)(d_end ? 0.0 : (double)(d_beat + 1)));
            }
        }
        PUT(0, k);
        PUT(1, d_sum / (double)w->period[3]);
    }
    END
}

/* A run: whole blocks from b on, up to `last` or to the first one that has not all lanes in the
   common case; which one, `from` which vector. It calls nothing, so constants stay in registers. */
#define RUN(name, inputs, rings, commit) \
    KC_TARGET __attribute__((noinline)) static Py_ssize_t KC(name##_run_##commit)( \
        const KcSweep *sweep, const double **columns, Py_ssize_t first, Py_ssize_t b, \
        Py_ssize_t last, Py_ssize_t beat, int *from \
    ) { \
        const KcSweep w = *sweep; /* which no store can change, */ \
        const double *x[inputs];  /* nor these */ \
        for (int k = 0; k < inputs; k++) x[k] = columns[k]; \
        unsigned done = KC_BLOCK; \
        if (rings && beat + 1 == w.period[0]) EACH(name, 1, commit) \
        else EACH(name, 0, commit) \
        *from = (int)done; \
        return b; \
    }
#define EACH(name, turn, commit) \
    for (; b < last; b++) { \
        done = __builtin_expect(w.warm[b] != KC_ALL, 0) ? 0 : KC(name)( \
            &w, x, b, (b - first) * KC_BLOCK, KC_ALL, KC_ALL, 0, beat, turn, commit, 1); \
        if (__builtin_expect(done != KC_BLOCK, 0)) break; \
    }
/* Some lanes of one block, from vector `from` on. */
#define SOME(name, rings, commit) \
    KC_TARGET __attribute__((noinline)) static unsigned KC(name##_some_##commit)( \
        const KcSweep *w, const double **x, Py_ssize_t b, Py_ssize_t at, unsigned want, int from, \
        Py_ssize_t beat \
    ) { \
        if (commit) kc_write_slots(w, b, from); \
        return w->left[b] = KC(name)( \
            w, x, b, at, want, want & w->warm[b], from, beat, \
            rings && beat + 1 == w->period[0], commit, 0); \
    }
#define LOOP(name, inputs, rings, commit) \
    RUN(name, inputs, rings, commit) \
    SOME(name, rings, commit) \
    KC_TARGET static unsigned KC(name##_##commit)( \
        const KcSweep *w, const double **x, Py_ssize_t first, Py_ssize_t last, unsigned want \
    ) { \
        unsigned left = 0; \
        for (Py_ssize_t b = first; b < last;) { \
            int from = 0; \
            const Py_ssize_t end = KC(alike)(w, b, last), beat = rings ? w->beats[b] : -1; \
            if (want != KC_ALL) /* some lanes of one block */ \
                return KC(name##_some_##commit)(w, x, first, 0, want, 0, beat); \
            const Py_ssize_t stop = rings && beat < 0 ? b \
                : KC(name##_run_##commit)(w, x, first, b, end, beat, &from); \
            if (rings && commit) \
                for (; b < stop; b++) w->beats[b] = beat + 1 == w->period[0] ? 0 : beat + 1; \
            b = stop; \
            if (b == end) continue; \
            left |= KC(name##_some_##commit)(w, x, b, (b - first) * KC_BLOCK, THERE(b), from, \
                beat); \
            b++; \
        } \
        return left; \
    }
#define PAIR(name, inputs, rings) \
    LOOP(name, inputs, rings, 0) \
    LOOP(name, inputs, rings, 1)

PAIR(ema, 1, 0)
PAIR(rsi, 1, 0)
PAIR(macd, 1, 0)
PAIR(atr, 3, 0)
PAIR(adx, 3, 0)
PAIR(sma, 1, 1)
PAIR(wma, 1, 1)
PAIR(bb, 1, 1)
PAIR(highest, 1, 1)
PAIR(lowest, 1, 1)
PAIR(stoch, 3, 0)

/* In the order of the shapes in blocks.pyx. */
static const KcLoop KC(table)[][2] = {
    {KC(sma_0), KC(sma_1)},
    {KC(ema_0), KC(ema_1)},
    {KC(wma_0), KC(wma_1)},
    {KC(rsi_0), KC(rsi_1)},
    {KC(macd_0), KC(macd_1)},
    {KC(bb_0), KC(bb_1)},
    {KC(atr_0), KC(atr_1)},
    {KC(adx_0), KC(adx_1)},
    {KC(highest_0), KC(highest_1)},
    {KC(lowest_0), KC(lowest_1)},
    {KC(stoch_0), KC(stoch_1)},
};

#undef V
#undef M
#undef HALVES
#undef REST
#undef LOOP
#undef BODY
#undef BEGIN
#undef END
#undef USABLE
#undef ROW
#undef INPUT
#undef PUT
#undef SETTLE
#undef THERE
#undef EACH
#undef RUN
#undef SOME
#undef FULL
#undef KEEP
#undef LEAVE
#undef PAIR
