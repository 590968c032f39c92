/* The layouts of cidr and the questions asked of them millions of times a second.
 *
 * C because Cython has no word for restrict, always_inline and target: each bulk question is written once, without
 * intrinsics, and compiled twice, for any machine ("plain") and for those with AVX-512 ("wide", where the compiler
 * makes gathers of the same loops). What builds the layouts is Cython: cidr_set4.pxd, cidr_edges.pxd, cidr_lpm.pxd.
 */
#ifndef CIDR_LOOKUP_H
#define CIDR_LOOKUP_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef unsigned __int128 u128;
typedef uint32_t loose32 __attribute__((aligned(1))); /* in a caller's array, which may begin at any byte */

#define BODY static inline __attribute__((always_inline))
#if defined(__x86_64__) && defined(__GNUC__)
#define WIDE __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,bmi2,popcnt")))
#define HAVE_WIDE (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") \
                   && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") \
                   && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt"))
#else
#define WIDE
#define HAVE_WIDE 0
#endif

/* Queries a pass: enough for their loads to overlap, few enough for the passes' arrays to stay in the L1 cache. */
#define BLOCK 128

/* ---- IPv4 set: root -> line -> leaf. No data-dependent branch before the leaf; most questions need no leaf. */

typedef struct {
    uint32_t first;         /* the line's first leaf */
    uint8_t before[16];     /* how many leaves of the line come before those of each code word */
} Place4;

typedef struct {
    uint32_t *root;         /* [65536] number of a line, by the upper 16 bits. Line 0 is none, line 1 is all */
    uint32_t *codes;        /* [16 * lines] by the third byte, two bits each, low first: 0 none, 1 all, 2 in a leaf */
    Place4 *places;         /* [lines] */
    uint64_t *leaves;       /* [4 * leaf_count] by the last byte, one bit each */
    uint32_t lines;
    uint32_t leaf_count;
} Set4;

static uint32_t empty_root[65536];
static uint32_t empty_codes[32] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0x55555555, 0x55555555, 0x55555555, 0x55555555, 0x55555555, 0x55555555, 0x55555555, 0x55555555,
    0x55555555, 0x55555555, 0x55555555, 0x55555555, 0x55555555, 0x55555555, 0x55555555, 0x55555555,
};
static Place4 empty_places[2];
static const Set4 EMPTY4 = {empty_root, empty_codes, empty_places, 0, 2, 0};

/* How many of the codes are 2; code 3 does not occur. */
BODY uint32_t count_leaves(uint32_t codes)
{
    uint32_t x = codes >> 1 & 0x55555555;
    x = (x & 0x33333333) + (x >> 2 & 0x33333333);
    x = (x + (x >> 4)) & 0x0F0F0F0F;
    return x * 0x01010101 >> 24;
}

BODY uint32_t code_word(const uint32_t *root, uint32_t address)
{
    return root[address >> 16] * 16 + (address >> 12 & 15);
}

BODY uint32_t leaf_word(const Set4 *set, uint32_t word, uint32_t address)
{
    const Place4 *place = &set->places[word >> 4];
    uint32_t below = set->codes[word] & ((1u << (address >> 7 & 30)) - 1);
    return (place->first + place->before[word & 15] + count_leaves(below)) * 4 + (address >> 6 & 3);
}

BODY int set4_has(const Set4 *set, uint32_t address)
{
    uint32_t word = code_word(set->root, address);
    uint32_t code = set->codes[word] >> (address >> 7 & 30) & 3;
    if (code < 2)
        return (int)code;
    return set->leaves[leaf_word(set, word, address)] >> (address & 63) & 1;
}

/* Three passes: line, code, and the leaves of those that need one. What leads on to an index is kept in arrays of our
 * own: another thread may write to out. */
BODY void set4_block(const Set4 *set, const loose32 *restrict addresses, uint8_t *restrict out)
{
    const uint32_t *restrict root = set->root;
    const uint32_t *restrict codes = set->codes;
    uint32_t words[BLOCK], leaf[BLOCK], part = 0;
    uint8_t answers[BLOCK], waiting[BLOCK];
    for (int i = 0; i < BLOCK; i++)
        words[i] = code_word(root, addresses[i]);
    for (int i = 0; i < BLOCK; i++)
        answers[i] = (uint8_t)(codes[words[i]] >> (addresses[i] >> 7 & 30) & 3);
    memcpy(out, answers, BLOCK);
    for (int i = 0; i < BLOCK; i++) {
        waiting[part] = (uint8_t)i;
        part += answers[i] >> 1;
    }
    for (uint32_t j = 0; j < part; j++) {
        leaf[j] = leaf_word(set, words[waiting[j]], addresses[waiting[j]]);
        __builtin_prefetch(&set->leaves[leaf[j]]);
    }
    for (uint32_t j = 0; j < part; j++)
        out[waiting[j]] = (uint8_t)(set->leaves[leaf[j]] >> (addresses[waiting[j]] & 63) & 1);
}

/* ---- Either family: sorted edges. */

typedef struct {
    u128 *at;               /* [count + 1] ascending; the last is a sentinel that no answer needs but a search may read */
    uint64_t *high;         /* [count + 1] the upper halves of at */
    uint32_t *root;         /* by the upper 16 bits of an IPv6 address less the lowest drop: how many edges lie below */
    uint32_t count;
    uint32_t drop;          /* 0, or 16 for a root of one entry: few edges, or IPv4 */
} Edges;

static u128 empty_at[1];
static uint32_t empty_edges_root[2];
static uint64_t empty_high[1];
static const Edges EMPTY_EDGES = {empty_at, empty_high, empty_edges_root, 0, 16};

BODY uint32_t edges_root(const Edges *edges, u128 address)
{
    return (uint32_t)(address >> 112) >> edges->drop;
}

/* How many edges are at or below the address: odd means inside. */
BODY uint32_t edges_below(const Edges *edges, u128 address)
{
    uint32_t below = edges->root[edges_root(edges, address)];
    uint32_t rest = edges->root[edges_root(edges, address) + 1] - below;
    for (; rest > 1; rest -= rest >> 1)
        below += rest >> 1 & -(uint32_t)(edges->at[below + (rest >> 1)] <= address);
    return below + (rest & (edges->at[below] <= address));
}

BODY u128 load6(const uint8_t *packed)
{
    uint64_t high, low;
    memcpy(&high, packed, 8);
    memcpy(&low, packed + 8, 8);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    high = __builtin_bswap64(high);
    low = __builtin_bswap64(low);
#endif
    return (u128)high << 64 | low;
}

/* The same for a block: one step of every search, then the next, so that their loads overlap. By upper halves, which
 * decide nearly always; the others are asked again. */
BODY void edges_block(const Edges *edges, const uint8_t *packed, uint32_t *restrict below)
{
    const uint64_t *restrict high = edges->high;
    const uint32_t *restrict root = edges->root;
    uint64_t key[BLOCK];
    uint32_t rest[BLOCK], longest = 0;
    for (int i = 0; i < BLOCK; i++) {
        key[i] = load6(packed + 16 * i) >> 64;
        below[i] = root[(uint32_t)(key[i] >> 48) >> edges->drop];
        rest[i] = root[((uint32_t)(key[i] >> 48) >> edges->drop) + 1] - below[i];
    }
    for (int i = 0; i < BLOCK; i++)
        longest = rest[i] > longest ? rest[i] : longest;
    for (; longest > 1; longest -= longest >> 1)
        for (int i = 0; i < BLOCK; i++) {
            uint32_t half = rest[i] >> 1;
            below[i] += half & -(uint32_t)(high[below[i] + half] <= key[i]);
            rest[i] -= half;
        }
    for (int i = 0; i < BLOCK; i++)
        below[i] += rest[i] & (high[below[i]] <= key[i]);
    for (int i = 0; i < BLOCK; i++)
        if (below[i] && high[below[i] - 1] == key[i] && (uint64_t)edges->at[below[i] - 1])
            below[i] = edges_below(edges, load6(packed + 16 * i));
}

/* ---- IPv4 map: root -> line -> line. An entry is a line (bit 31 and its number) or 1 + an index; 0 is none. */

typedef struct {
    uint32_t starts;        /* bit i: slot i of these 32 differs from the slot before */
    uint32_t before;        /* number of the run that slot 0 is in or, when it starts one, of the run before */
} Slots;

typedef struct {
    uint32_t *root;         /* [65536] entries by the upper 16 bits */
    Slots *lines;           /* [8 * line_count] by the next byte; slot 0 of a line always starts a run */
    uint32_t *runs;         /* [run_count] entries: equal neighbours are kept once */
    uint32_t line_count;
    uint32_t run_count;
} Trie4;

static const uint32_t LINE = 0x80000000u;

/* The compiler makes one instruction of it where there is one. */
BODY uint32_t count_ones(uint32_t x)
{
    x = x - (x >> 1 & 0x55555555);
    x = (x & 0x33333333) + (x >> 2 & 0x33333333);
    x = (x + (x >> 4)) & 0x0F0F0F0F;
    return x * 0x01010101 >> 24;
}

BODY uint32_t run_of(Slots slots, uint32_t byte)
{
    return slots.before + count_ones(slots.starts & ((2u << (byte & 31)) - 1));
}

BODY uint32_t slots_of(uint32_t entry, uint32_t byte)
{
    return (entry & ~LINE) * 8 + (byte >> 5);
}

/* 1 + the index of the longest prefix that holds the address, or 0. */
BODY uint32_t trie4_find(const Trie4 *trie, uint32_t address)
{
    uint32_t entry = trie->root[address >> 16];
    for (int shift = 8; shift >= 0 && entry & LINE; shift -= 8) {
        uint32_t byte = address >> shift & 255;
        entry = trie->runs[run_of(trie->lines[slots_of(entry, byte)], byte)];
    }
    return entry;
}

/* A pass for each of the loads of each level. */
BODY void trie4_block(const Trie4 *trie, const loose32 *restrict addresses, loose32 *restrict out)
{
    uint32_t entries[BLOCK], at[BLOCK];
    uint8_t waiting[BLOCK];
    for (int i = 0; i < BLOCK; i++)
        entries[i] = trie->root[addresses[i] >> 16];
    for (int shift = 8; shift >= 0; shift -= 8) {
        uint32_t count = 0;
        for (int i = 0; i < BLOCK; i++) {
            waiting[count] = (uint8_t)i;
            count += entries[i] >> 31;
        }
        for (uint32_t j = 0; j < count; j++) {
            at[j] = slots_of(entries[waiting[j]], addresses[waiting[j]] >> shift & 255);
            __builtin_prefetch(&trie->lines[at[j]]);
        }
        for (uint32_t j = 0; j < count; j++) {
            at[j] = run_of(trie->lines[at[j]], addresses[waiting[j]] >> shift & 255);
            __builtin_prefetch(&trie->runs[at[j]]);
        }
        for (uint32_t j = 0; j < count; j++)
            entries[waiting[j]] = trie->runs[at[j]];
    }
    for (int i = 0; i < BLOCK; i++)
        out[i] = entries[i] - 1;
}

/* ---- Whole arrays: blocks, and the rest in a block of its own. */

BODY void put_bits(const uint8_t *restrict bytes, uint8_t *restrict bits)
{
    for (int i = 0; i < BLOCK / 8; i++) {
        uint32_t byte = 0;
        for (int j = 0; j < 8; j++)
            byte |= (uint32_t)bytes[8 * i + j] << j;
        bits[i] = (uint8_t)byte;
    }
}

BODY void set4_many_body(const Set4 *set, const loose32 *addresses, size_t count, uint8_t *out, int bits)
{
    uint32_t last[BLOCK] = {0};
    uint8_t answers[BLOCK], packed[BLOCK / 8];
    for (; count >= BLOCK; count -= BLOCK, addresses += BLOCK) {
        if (bits) {
            set4_block(set, addresses, answers);
            put_bits(answers, out);
            out += BLOCK / 8;
        } else {
            set4_block(set, addresses, out);
            out += BLOCK;
        }
    }
    memcpy(last, addresses, count * 4);
    set4_block(set, last, answers);
    memset(answers + count, 0, BLOCK - count);
    put_bits(answers, packed);
    memcpy(out, bits ? packed : answers, bits ? (count + 7) / 8 : count);
}

BODY void edges_many_body(const Edges *edges, const uint8_t *addresses, size_t count, uint8_t *out, int bits)
{
    uint8_t last[16 * BLOCK] = {0}, answers[BLOCK], packed[BLOCK / 8];
    uint32_t below[BLOCK];
    size_t some;
    for (; count; count -= some, addresses += 16 * some) {
        some = count < BLOCK ? count : BLOCK;
        if (some < BLOCK)
            memcpy(last, addresses, 16 * some);
        edges_block(edges, some < BLOCK ? last : addresses, below);
        for (int i = 0; i < BLOCK; i++)
            answers[i] = below[i] & 1 & ((size_t)i < some);
        put_bits(answers, packed);
        memcpy(out, bits ? packed : answers, bits ? (some + 7) / 8 : some);
        out += bits ? BLOCK / 8 : BLOCK;
    }
}

/* Indices; a miss is ~0. */
BODY void trie4_many_body(const Trie4 *trie, const loose32 *addresses, size_t count, loose32 *out)
{
    uint32_t last[BLOCK] = {0}, answers[BLOCK];
    for (; count >= BLOCK; count -= BLOCK, addresses += BLOCK, out += BLOCK)
        trie4_block(trie, addresses, out);
    memcpy(last, addresses, count * 4);
    trie4_block(trie, last, answers);
    memcpy(out, answers, count * 4);
}

/* Indices: rulers holds one for each edge, offset is added to all but a miss, which is ~0. */
BODY void rulers_many_body(const Edges *edges, const uint32_t *rulers, uint32_t offset, const uint8_t *addresses,
                      size_t count, loose32 *out)
{
    uint8_t last[16 * BLOCK] = {0};
    uint32_t below[BLOCK];
    size_t some;
    for (; count; count -= some, addresses += 16 * some, out += some) {
        some = count < BLOCK ? count : BLOCK;
        if (some < BLOCK)
            memcpy(last, addresses, 16 * some);
        edges_block(edges, some < BLOCK ? last : addresses, below);
        for (size_t i = 0; i < some; i++) {
            uint32_t ruler = below[i] ? rulers[below[i] - 1] : ~0u;
            out[i] = ruler == ~0u ? ruler : ruler + offset;
        }
    }
}

static int use_wide; /* set when the module is imported, and by tests */

static inline int choose_wide(int wanted)
{
    return use_wide = wanted && HAVE_WIDE;
}

#define BOTH(name, parameters, arguments) \
    static void name##_plain parameters { name##_body arguments; } \
    WIDE static void name##_wide parameters { name##_body arguments; } \
    static inline void name parameters { (use_wide ? name##_wide : name##_plain) arguments; }

BOTH(set4_many, (const Set4 *set, const loose32 *addresses, size_t count, uint8_t *out, int bits),
     (set, addresses, count, out, bits))
BOTH(edges_many, (const Edges *edges, const uint8_t *addresses, size_t count, uint8_t *out, int bits),
     (edges, addresses, count, out, bits))
BOTH(trie4_many, (const Trie4 *trie, const loose32 *addresses, size_t count, loose32 *out),
     (trie, addresses, count, out))
BOTH(rulers_many, (const Edges *edges, const uint32_t *rulers, uint32_t offset, const uint8_t *addresses,
                   size_t count, loose32 *out),
     (edges, rulers, offset, addresses, count, out))

#endif
