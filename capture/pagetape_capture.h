/* SPDX-License-Identifier: Apache-2.0 */
/* The C interface of pagetape's recorder: how engines, adapters and the simulated engine write
 * traces. Stable within a major version; no C++ types.
 *
 * Every event of the trace model can be written as a line of its text form with ptape_json; the
 * events of an engine's hot path have functions of their own, which cost a copy of their
 * arguments. What an event means, its fields' units and ranges: traces/trace.capnp, FORMAT.md.
 *
 * Threads: all functions but ptape_close may be called from any thread. The order in which calls
 * return to their callers is the order of the events in the trace: one total order.
 * Ownership: arguments are copied before a function returns.
 * Errors: functions return 0, or a negative ptape_error; ptape_last_error says it in words. Names
 * never declared and malformed events are found by the writer's thread: they are counted
 * (ptape_stats), the first is kept for ptape_last_error, and the event is left out. A recorder
 * never ends the process and never blocks its caller on the disk, but for `block` below.
 *
 * Under `pagetape record` events go through a ring in shared memory to that process, which names
 * and writes the trace: `path`, `zstd_level` and `buffer_bytes` are not used then (but a path that
 * ends in .jsonl is), and what a call returned from survives the end of this process, however it
 * ends. Otherwise a thread of this process writes the trace.
 * A child that was forked records nothing with a recorder of its parent's: it opens its own. */
#ifndef PAGETAPE_CAPTURE_H_
#define PAGETAPE_CAPTURE_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PTAPE_ABI_MAJOR 1
#define PTAPE_ABI_MINOR 11
#define PTAPE_API __attribute__((visibility("default")))

/* An optional integer argument left out. */
#define PTAPE_ABSENT INT64_MIN

typedef enum ptape_error {
  PTAPE_OK = 0,
  PTAPE_E_ARGUMENT = -1, /* A null pointer, a size out of range. */
  PTAPE_E_DROPPED = -2,  /* The buffer was full: the event was counted and left out. */
  PTAPE_E_WRITE = -3,    /* The file could not be written (see ptape_last_error). */
  PTAPE_E_EVENT = -4,    /* An event was malformed. */
  PTAPE_E_DEVICE = -5,   /* CUDA refused (see ptape_last_error). */
} ptape_error;

typedef struct ptape_recorder ptape_recorder;

/* An interned string of one recorder; 0 is none (JSON null). */
typedef uint32_t ptape_name;

typedef struct ptape_options {
  uint32_t size;         /* sizeof(ptape_options): later versions add fields at the end. */
  const char* path;      /* The .ptape to write; its folder must exist. A name that ends in .jsonl
                          * gets the text form, one event a line: larger and slower, for people
                          * and for tests. */
  int32_t zstd_level;    /* 1 to 19; 0: 3; -1: not compressed. */
  int32_t rank;          /* Written with every event; negative: none. */
  uint64_t buffer_bytes; /* Bound of what waits for the writer's thread; 0: 64 MiB. An event larger
                          * than three eighths of it is PTAPE_E_ARGUMENT. */
  int32_t block;         /* Full buffer: 0 drops and counts, 1 waits (simulators, tests); never for
                          * longer than a second for a `pagetape record` that stands still. */
  int32_t timestamps;    /* 1: stamp events that bring no `t` with CLOCK_MONOTONIC. */
} ptape_options;

/* Where an event stands; NULL: now (where timestamps are on), stream 0, the recorder's rank. */
typedef struct ptape_at {
  int64_t t; /* ns; PTAPE_ABSENT: none. */
  int32_t stream;
  int32_t rank;   /* Negative: the recorder's. */
  ptape_name src; /* Call site. */
} ptape_at;

/* As far as the writer has come: exact after ptape_flush. */
typedef struct ptape_counts {
  uint64_t events;    /* Taken from callers (a `dropped` or `end` of the recorder's is not). */
  uint64_t dropped;   /* Left out for want of room, or since the file could not be written. */
  uint64_t malformed; /* Left out by the writer's thread. */
  uint64_t bytes;     /* Written to the file. */
} ptape_counts;

PTAPE_API uint32_t ptape_abi_version(void); /* major << 16 | minor */

/* NULL on failure: then ptape_last_error(NULL) has the reason (of this thread). */
PTAPE_API ptape_recorder* ptape_open(const ptape_options* options);
/* Hands everything recorded so far to the operating system and waits for it. */
PTAPE_API int ptape_flush(ptape_recorder* recorder);
/* Writes `end`, the index, closes the file and frees the recorder. The last call. */
PTAPE_API int ptape_close(ptape_recorder* recorder);
/* "" where nothing went wrong. Valid until the next call from this thread. */
PTAPE_API const char* ptape_last_error(const ptape_recorder* recorder);
PTAPE_API ptape_counts ptape_stats(const ptape_recorder* recorder);

/* The name's id: call once and keep it. `text` is UTF-8, zero-terminated. */
PTAPE_API ptape_name ptape_intern(ptape_recorder* recorder, const char* text);
/* The name's id is used no more, by no call that has not returned yet; where the text comes again,
 * it gets another. For names that come without end, such as requests': what the recorder keeps of
 * them is given back. Since ABI 1.7. */
PTAPE_API int ptape_forget(ptape_recorder* recorder, ptape_name name);

/* One event in the text form, without the newline. */
PTAPE_API int ptape_json(ptape_recorder* recorder, const char* line, size_t bytes);

/* --- the hot path, each named for its event --- */

PTAPE_API int ptape_alloc(ptape_recorder*, const ptape_at*, ptape_name pool, ptape_name req,
                          const int32_t* pages, size_t n, int64_t first);
PTAPE_API int ptape_share(ptape_recorder*, const ptape_at*, ptape_name pool, ptape_name req,
                          const int32_t* pages, size_t n, int64_t first);
PTAPE_API int ptape_free(ptape_recorder*, const ptape_at*, ptape_name pool, ptape_name req,
                         const int32_t* pages, size_t n);
PTAPE_API int ptape_evict(ptape_recorder*, const ptape_at*, ptape_name pool, ptape_name req,
                          int64_t logical, int32_t page);
/* pairs: n pairs from, to. */
PTAPE_API int ptape_map_set(ptape_recorder*, const ptape_at*, ptape_name map, const int64_t* pairs,
                            size_t n);
PTAPE_API int ptape_map_clear(ptape_recorder*, const ptape_at*, ptape_name map, const int64_t* from,
                              size_t n);
PTAPE_API int ptape_table(ptape_recorder*, const ptape_at*, ptape_name buffer, int64_t row,
                          int64_t col, const int32_t* pages, size_t n, ptape_name req,
                          ptape_name space, ptape_name unit);
/* A `table` of each row from 0 on, in their order: row r's first counts[r] entries, which stand
 * from pages + r * stride on, for the request reqs[r]. The error is the first one's. Since ABI 1.7.
 */
PTAPE_API int ptape_table_rows(ptape_recorder*, const ptape_at*, ptape_name buffer,
                               const int32_t* pages, size_t stride, const size_t* counts,
                               const ptape_name* reqs, size_t rows, ptape_name space,
                               ptape_name unit);
PTAPE_API int ptape_lens(ptape_recorder*, const ptape_at*, ptape_name buffer, int64_t row,
                         const int64_t* values, size_t n);
PTAPE_API int ptape_slots(ptape_recorder*, const ptape_at*, ptape_name buffer, int64_t row,
                          const int64_t* values, size_t n);
PTAPE_API int ptape_refresh(ptape_recorder*, const ptape_at*, ptape_name buffer);
PTAPE_API int ptape_step(ptape_recorder*, const ptape_at*, int64_t step, ptape_name mode,
                         int64_t batch);
PTAPE_API int ptape_request(ptape_recorder*, const ptape_at*, ptape_name req, ptape_name state);
PTAPE_API int ptape_accept(ptape_recorder*, const ptape_at*, ptape_name req, int64_t drafted,
                           int64_t accepted);
PTAPE_API int ptape_rewind(ptape_recorder*, const ptape_at*, ptape_name pool, ptape_name req,
                           int64_t len);
/* n == 0 with layers == NULL: "*", all layers. set: 0 where there is none. */
PTAPE_API int ptape_pool_swap(ptape_recorder*, const ptape_at*, ptape_name backend,
                              const int32_t* layers, size_t n, ptape_name pool, ptape_name set);
PTAPE_API int ptape_swa_state(ptape_recorder*, const ptape_at*, ptape_name backend, int uses_swa,
                              ptape_name swa_pool, ptape_name derived_from);

/* A lane. Integers may be PTAPE_ABSENT, arrays NULL. req 0: padding. */
typedef struct ptape_row {
  ptape_name req;
  uint32_t reserved; /* 0 */
  int64_t len, row, q_len, q_pos, first, n;
  const int32_t* pages; /* n_pages table entries, inline. */
  size_t n_pages;
  const int64_t* slots; /* n_slots slots of a store. */
  size_t n_slots;
} ptape_row;

/* Lanes by column, as engines hold them: entry i of each column is lane i's, with the meaning it
 * has in a ptape_row. A column left out (NULL) is absent in all lanes; without `req` all are
 * padding. One copy a column, where a ptape_row costs a copy of its 88 bytes. Since ABI 1.1. */
typedef struct ptape_lanes {
  uint32_t size;     /* sizeof(ptape_lanes) */
  uint32_t reserved; /* 0 */
  size_t n_lanes;
  const ptape_name* req;
  const int64_t *len, *row, *q_len, *q_pos, *first, *n;
} ptape_lanes;

/* Of a tensor: so many sizes, and as many strides, in elements. */
typedef struct ptape_tensor {
  uint32_t size; /* sizeof(ptape_tensor) */
  uint32_t n_dims;
  const int64_t *shape, *stride;
} ptape_tensor;

/* An attention or a store. Layers are numbers; more than one are written as `layers`. */
typedef struct ptape_launch {
  uint32_t size; /* sizeof(ptape_launch) */
  ptape_name backend;
  const int32_t* layers;
  size_t n_layers;
  const ptape_row* rows;
  size_t n_rows;
  ptape_name mode, space, unit;
  ptape_name table, lens; /* Buffers of an attention. */
  ptape_name slots;       /* The buffer of a store. */
  ptape_name kernel;
  ptape_name bound_pool; /* The tensor really passed; 0: not known. */
  int64_t bound_pages, bound_ptr;
  int64_t window, page_size, table_rows, table_cols;
  const ptape_lanes* lanes;  /* Its lanes by column, in the place of `rows`; NULL: by row. Since
                              * ABI 1.6, and read where `size` reaches beyond it. */
  const ptape_tensor* bound; /* The tensor really passed, or NULL. Since ABI 1.7, likewise. */
} ptape_launch;

/* Sets every field before `lanes` to absent, and `size` to that of this part: who uses more sets
 * the others, and `size`. */
PTAPE_API void ptape_launch_init(ptape_launch* launch);
PTAPE_API void ptape_row_init(ptape_row* row);
PTAPE_API int ptape_attention(ptape_recorder*, const ptape_at*, const ptape_launch* launch);
PTAPE_API int ptape_store(ptape_recorder*, const ptape_at*, const ptape_launch* launch);

typedef struct ptape_layer_launch {
  const ptape_launch* launch; /* Its `layers` and `bound_ptr` are not looked at. */
  uint32_t store;             /* 1: a store, 0: an attention. */
  uint32_t reserved;          /* 0 */
} ptape_layer_launch;

/* The launches of one layer in their order, with one time. What the layers of a model have in
 * common is filled in once; `bound_ptr` is the layer's. All are tried; the error is the first
 * one's. Since ABI 1.6. */
PTAPE_API int ptape_layer(ptape_recorder*, const ptape_at*, int32_t layer, int64_t bound_ptr,
                          const ptape_layer_launch* launches, size_t n);
/* The same of a layer that has no number. Since ABI 1.7. */
PTAPE_API int ptape_layer_named(ptape_recorder*, const ptape_at*, ptape_name layer,
                                int64_t bound_ptr, const ptape_layer_launch* launches, size_t n);
/* A launch of one layer: which of some that layers have in common. */
typedef struct ptape_layer_part {
  int64_t bound_ptr;
  int32_t layer;
  ptape_name name; /* Of a layer that has no number, else 0. */
  uint32_t launch; /* Index in `launches`; where none is there, the part is left out. */
  uint32_t reserved;
} ptape_layer_part;
/* As ptape_layer, of all layers in one call and with one time: what a graph launches. Since ABI
 * 1.11. */
PTAPE_API int ptape_layers(ptape_recorder*, const ptape_at*, const ptape_layer_launch* launches,
                           size_t n, const ptape_layer_part* parts, size_t n_parts);
/* rows NULL: the captured lanes as they are. */
PTAPE_API int ptape_graph_launch(ptape_recorder*, const ptape_at*, ptape_name graph,
                                 const ptape_row* rows, size_t n_rows);

PTAPE_API int ptape_graph_launch_lanes(ptape_recorder*, const ptape_at*, ptape_name graph,
                                       const ptape_lanes* lanes);

/* --- write-ahead: a launch is recorded before it runs, its completion after. A launch that has no
 * completion when the run ends is a suspect. Since ABI 1.2. --- */

/* The launch that this thread recorded last; 0: none, or it was dropped. */
typedef uint64_t ptape_ticket;
PTAPE_API ptape_ticket ptape_last_launch(const ptape_recorder*);
/* It has completed, and with it what its stream was given before. Nothing where the ticket is 0.
 * Of the last 65,536 launches. */
PTAPE_API int ptape_launch_done(ptape_recorder*, const ptape_at*, ptape_ticket ticket);

/* --- tables in a GPU's memory. Since ABI 1.4. ---
 *
 * A compare runs on the engine's own stream, behind what fills the table and before what reads it:
 * it writes the cells that changed since the last one into memory of the host, and what they are is
 * told in the trace where ptape_table_compare was called. The first one tells of all cells. It
 * waits for nothing and takes no memory. Changes for which there is no room are told by `dropped`,
 * and the next compare tells of all cells again; so does the next one after events were dropped, or
 * after a line of the recorder's said `gap`.
 * One thread and one stream at a time a table.
 *
 * In CUDA graphs: what is captured runs at each launch of the graph, so the trace is told by
 * ptape_table_replayed, before the graph's launch is recorded. A table that is filled within a
 * graph may as well be compared behind each launch, on the same stream. */

typedef struct ptape_device_table ptape_device_table;

/* MAP, OWNERS and NAMES are an allocator's state on the device, and give events of their own (since
 * ABI 1.8, NAMES since 1.11). The buffer of a MAP is the map: cell i is the page that its page i
 * maps to, 0 or less where it maps to none; what changed is told as map_set and map_clear. The
 * buffer of OWNERS is a pool: in row 0 each page has the name of the request that holds it (a
 * ptape_name), -1 where it is free again and -2 where it left the window, 0 before it was ever
 * held; in row 1 its logical page there, or -1. What changed is told as alloc, free and evict;
 * `lens` is the name of who holds what nobody is known to hold. Requests that share pages with
 * others, as a cache of prefixes has them do, are not in there: those are told by
 * ptape_pages_named, of a table NAMES of the same pool, a row of as many pages as a request may be
 * found, and by ptape_pages_moved. A page that is free again, or left the window, is that of all
 * that held it. */
enum ptape_table_kind {
  PTAPE_PAGES = 0,
  PTAPE_LENS = 1,
  PTAPE_SLOTS = 2,
  PTAPE_MAP = 3,
  PTAPE_OWNERS = 4,
  PTAPE_NAMES = 5
};

/* A tensor of integers, or a slice of one, in memory of the GPU that is current. With `starts`, a
 * list of index lists: row r is cells[starts[r] .. starts[r + 1]), up to `cols` of it are told, and
 * `starts` is never believed beyond `capacity` cells. Lengths, slots, maps and names are one row.
 */
typedef struct ptape_table_view {
  uint32_t size;       /* sizeof(ptape_table_view) */
  uint32_t cell_bytes; /* 4 or 8. An id beyond 32 bits is told as the nearest within. */
  const void* cells;
  uint32_t rows, cols;  /* Both positive. */
  int64_t row_stride;   /* In cells; with `starts` of no account. */
  int64_t col_stride;   /* With `starts`, 1. */
  const void* starts;   /* rows + 1 integers; NULL: a plain table. */
  uint32_t start_bytes; /* 4 or 8. */
  uint32_t on_host; /* 1: it all is in memory of the host, and compared by the caller's thread. */
  int64_t capacity; /* With `starts`: cells there are. */
  const void* lens; /* Without: tokens of each row, behind which nothing is looked at; NULL: all
                     * is. Since ABI 1.8, and read where `size` reaches beyond `len_unit`. */
  uint32_t len_bytes, len_unit; /* 4 or 8; tokens of a cell. */
} ptape_table_view;

/* `lens` (or 0) is the buffer that gets the lengths of index lists. NULL on failure: then
 * ptape_last_error(NULL) has the reason (no GPU, built without CUDA, no room in /dev/shm). Takes
 * three times the table's size in memory; waits for the GPU. */
PTAPE_API ptape_device_table* ptape_table_open(ptape_recorder*, const ptape_table_view* view,
                                               enum ptape_table_kind kind, ptape_name buffer,
                                               ptape_name lens, ptape_name space, ptape_name unit);
/* `stream` is a cudaStream_t. */
PTAPE_API int ptape_table_compare(ptape_device_table*, const ptape_at*, void* stream);
/* The same of what the table is in another view, of cells as wide, no more rows and columns than
 * the table has, and index lists where it has them: engines that make a tensor for each step need
 * no table for each. Since ABI 1.8. */
PTAPE_API int ptape_table_compare_at(ptape_device_table*, const ptape_table_view* view,
                                     const ptape_at*, void* stream);
typedef struct ptape_table_part {
  ptape_device_table* table;
  const ptape_table_view* view; /* As in ptape_table_compare_at; NULL: as the table was opened. */
} ptape_table_part;
/* The same of several tables, each once: those of one GPU, up to eight, cost as few launches as one
 * table. They are told in their order; the error is the first one's. Since ABI 1.8. */
PTAPE_API int ptape_tables_compare(const ptape_table_part* parts, size_t n, const ptape_at*,
                                   void* stream);
/* A row of the engine's names the pages in `view`, one row of the table NAMES or less: they are
 * read as by ptape_table_compare_at, and told as `share` of those which `request` does not hold,
 * the first at its logical page `first`. What is 0 or less is no page. Since ABI 1.11. */
PTAPE_API int ptape_pages_named(ptape_device_table* names, const ptape_table_view* view,
                                ptape_name request, int64_t first, const ptape_at*, void* stream);
/* What `from` holds, by the compares of this table OWNERS and by ptape_pages_named, `to` does from
 * here on: `share` and `free`. With `keeps` 1 at the same logical pages, for a request that takes
 * another one's place; with 0 at none, for a cache that keeps what a request leaves. Reads nothing
 * of the device's. Since ABI 1.11. */
PTAPE_API int ptape_pages_moved(ptape_device_table* owners, ptape_name from, ptape_name to,
                                int keeps, const ptape_at*);
/* A graph is launched that has so many compares of this table in it. */
PTAPE_API int ptape_table_replayed(ptape_device_table*, const ptape_at*, uint32_t compares);
/* 1 while what compares told of the table is known; 0: the next one has to tell of all cells, which
 * one in a graph does not: compare behind it. Since ABI 1.10. */
PTAPE_API int ptape_table_stands(const ptape_device_table*);
/* After the last compare has run, before ptape_close. What it captured must not run again. */
PTAPE_API int ptape_table_close(ptape_device_table*);

/* --- the guard. Since ABI 1.4. ---
 *
 * Before each launch a check compares the entries that it reads with the bound of its pool. In the
 * modes raise and clamp the launch is given a copy of the table in which bad entries are the
 * reserved page, so that it cannot fault; log changes nothing. The first bad entry of a launch
 * comes to memory of the host, where ptape_guard_poll finds it: at the engine's next hook, at the
 * latest at the end of its step, behind the stream. What `raise` throws is the caller's. The check
 * runs on the engine's own stream, waits for nothing, takes no memory and may be captured. */

typedef struct ptape_guard ptape_guard;
typedef struct ptape_guarded ptape_guarded; /* A table of a guard's. */

enum ptape_guard_mode { PTAPE_GUARD_LOG = 0, PTAPE_GUARD_RAISE = 1, PTAPE_GUARD_CLAMP = 2 };

/* Entries are what the table holds: pages, or slots with a page_size of 1. */
typedef struct ptape_guard_launch {
  uint32_t size; /* sizeof(ptape_guard_launch) */
  int32_t layer;
  int64_t bound;      /* Good entries lie in [0, bound). */
  int64_t page_size;  /* Tokens of an entry. */
  int64_t window;     /* Tokens, as the model has it; 0: full. */
  int64_t q_len;      /* New tokens of a row. */
  const void* lens;   /* Of each row, where the table is; NULL: all columns are read. */
  uint32_t len_bytes; /* 4 or 8. */
  uint32_t reserved;  /* 0 */
} ptape_guard_launch;

typedef struct ptape_guard_finding {
  int64_t id, bound;
  uint64_t bad; /* Entries of that launch; this is the first by row and column. */
  uint32_t row, col;
  int32_t layer;
  uint32_t reserved;
} ptape_guard_finding;

/* NULL on failure: then ptape_last_error(NULL) has the reason. Findings are noted in the trace of
 * `recorder`, which may be NULL. `on_host`: tables are in memory of the host. */
PTAPE_API ptape_guard* ptape_guard_open(ptape_recorder* recorder, enum ptape_guard_mode mode,
                                        int on_host);
/* `reserved_page` takes the place of bad entries. Waits for the GPU. */
PTAPE_API ptape_guarded* ptape_guard_table(ptape_guard*, const ptape_table_view* view,
                                           int64_t reserved_page);
/* What the launch reads in the place of the view's cells. In the modes raise and clamp a copy: rows
 * of `cols` entries without gaps, of index lists the list. */
PTAPE_API void* ptape_guarded_cells(ptape_guarded*);
/* `stream` is a cudaStream_t; the launch follows on it. */
PTAPE_API int ptape_guard_check(ptape_guarded*, const ptape_guard_launch* launch, void* stream);
/* The same of another table, with cells as wide and no more of them than the view has that
 * `guarded` was made for: engines that make a table for each step need no guard for each. The copy
 * is given in its place until the next check. Since ABI 1.7. */
PTAPE_API int ptape_guard_check_at(ptape_guarded*, const ptape_table_view* view,
                                   const ptape_guard_launch* launch, void* stream);
/* 1: `finding` is the next launch with bad entries; 0: there is none (yet). Of the last 64. */
PTAPE_API int ptape_guard_poll(ptape_guard*, ptape_guard_finding* finding);
/* When what was captured or put on a stream will not run again; tables before their guard. */
PTAPE_API int ptape_guarded_close(ptape_guarded*);
PTAPE_API int ptape_guard_close(ptape_guard*);

/* --- several sources in one process, such as hooks and CUPTI. Since ABI 1.5. ---
 *
 * They write to one recorder, so that there is one trace and one order. */

/* The recorder that this process opened last and has not closed; NULL: there is none. `number`, if
 * not NULL, gets which one it is of those the process opened, from 1: names and tickets are one
 * recorder's. Until it is given back, by the same thread and soon, ptape_close waits. */
PTAPE_API ptape_recorder* ptape_borrow(uint32_t* number);
PTAPE_API void ptape_give_back(ptape_recorder*);

/* What events call a CUDA stream (a cudaStream_t or CUstream; NULL: the legacy default stream, of
 * all devices): the same for all sources of the process, 2 and up; 0 after the first 4,000. */
PTAPE_API int32_t ptape_stream(const void* cuda_stream);

/* A kernel is launched: blocks of the grid and threads of a block in x, y, z. */
PTAPE_API int ptape_kernel(ptape_recorder*, const ptape_at*, ptape_name name,
                           const uint32_t grid[3], const uint32_t block[3], int64_t correlation);
/* The stream of `at` waits for what was given to stream `on`. */
PTAPE_API int ptape_stream_wait(ptape_recorder*, const ptape_at*, int64_t on);
/* So many bytes from that address on are written by a copy: `refresh` of each buffer whose table
 * was opened with this recorder (ptape_table_open) and has one of them. */
PTAPE_API int ptape_copied(ptape_recorder*, const ptape_at*, uint64_t address, uint64_t bytes);

/* --- for CPython: functions of this interface as it calls its own. Since ABI 1.9. ---
 *
 * ctypes prepares each call anew, by code and objects that an engine's work between two calls has
 * pushed out of the processor's caches: that costs several times what the function itself does. */

/* Addresses of PyLong_AsLongLong, PyLong_FromLongLong and PyErr_Occurred. */
typedef struct ptape_python {
  const void *as_number, *of_number, *error;
} ptape_python;
typedef struct ptape_python_called {
  const void* function; /* One of the above that takes at most ten whole numbers and addresses. */
  uint32_t wide;        /* 1: it returns 64 bits; 0: an int. */
  uint32_t borrow;      /* 1: its first argument is borrowed (ptape_borrow) for the call, so that no
                         * thread closes it meanwhile. Where it is not the process's recorder, or no
                         * more, nothing is called, and 1 is returned. */
} ptape_python_called;
/* Once, before the first such call. */
PTAPE_API void ptape_python_api(const ptape_python* api);
/* The function of a PyMethodDef with METH_FASTCALL; `self` is an int, the address of a
 * ptape_python_called. Arguments are ints, as many as the function has. */
PTAPE_API void* ptape_python_call(void* self, void* const* arguments, ptrdiff_t n);

#ifdef __cplusplus
}
#endif

#endif /* PAGETAPE_CAPTURE_H_ */
