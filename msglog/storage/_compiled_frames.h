/* What the compiled parts of storage share: where things stand in a frame, the slots of engines, streams and segments,
   checksums, the store lock, and the published page.

   What makes it simple to be sure of them: everything that can fail, or can run other Python code, comes first; from
   the first byte that is stored up to the published number nothing does, so that no signal handler and no other thread
   gets in between. What is not the usual case is left to the Python method, before anything was changed.

   Included by `_compiled_direct.c`, `_compiled_journal.c` and `_compiled_hands.c`. */

#ifndef MSGLOG_STORAGE_COMPILED_FRAMES_H
#define MSGLOG_STORAGE_COMPILED_FRAMES_H

#include "_compiled.h"

enum {
    HEADER_SIZE = 72, /* of a frame; its fields, by position: */
    AT_KIND = 4,
    AT_SIZE = 12,
    AT_COUNT = 16,
    AT_SPAN = 20,
    AT_OFFSET = 24,
    AT_TIMESTAMP = 32,
    AT_LATEST_TIMESTAMP = 40,
    AT_NUMBER = 48,
    AT_LIFE = 56,
    AT_FRAMES = 60,
    AT_TOTAL = 64,
    CRC_SIZE = 4,
    KEY_SIZE = 4,         /* the length before a key */
    PAGE_COMMIT = 2,      /* the slot of the published page */
    SMALL_LIMIT = 8 << 10 /* more than that is left to Python, which knows when a map is the wrong way */
};

/* Slots */

static struct {
    Py_ssize_t commit_number, durable_commit, failure, life, obstacle, page_slots, published, release, snapshot_wanted,
        state_cost, streams, turns;
} engine_slot;
static struct {
    Py_ssize_t active, end, id, latest, next_offset, segment_bytes, segment_ms, unfinished, value_bytes, waiters;
} stream_slot;
static struct {
    Py_ssize_t announced, before_ms, capacity, crc_seed, dropped, end_offset, file_id, first_timestamp_ms, index, limit,
        map, max_timestamp_ms, next_index_position, position, stored_position, value_total, zeroed_position;
} segment_slot;

#define FIND(class, type, name) find_slot(type, #name, &class##_slot.name)

static int find_slots(PyTypeObject *engine, PyTypeObject *stream, PyTypeObject *segment) {
    return FIND(engine, engine, commit_number) || FIND(engine, engine, durable_commit) || FIND(engine, engine, failure)
        || FIND(engine, engine, life) || FIND(engine, engine, obstacle) || FIND(engine, engine, page_slots)
        || FIND(engine, engine, published) || FIND(engine, engine, release) || FIND(engine, engine, snapshot_wanted)
        || FIND(engine, engine, state_cost) || FIND(engine, engine, streams) || FIND(engine, engine, turns)
        || FIND(stream, stream, active) || FIND(stream, stream, end) || FIND(stream, stream, id)
        || FIND(stream, stream, latest) || FIND(stream, stream, next_offset) || FIND(stream, stream, segment_bytes)
        || FIND(stream, stream, segment_ms) || FIND(stream, stream, unfinished) || FIND(stream, stream, value_bytes)
        || FIND(stream, stream, waiters) || FIND(segment, segment, announced) || FIND(segment, segment, before_ms)
        || FIND(segment, segment, capacity) || FIND(segment, segment, crc_seed) || FIND(segment, segment, dropped)
        || FIND(segment, segment, end_offset) || FIND(segment, segment, file_id)
        || FIND(segment, segment, first_timestamp_ms) || FIND(segment, segment, index) || FIND(segment, segment, limit)
        || FIND(segment, segment, map) || FIND(segment, segment, max_timestamp_ms)
        || FIND(segment, segment, next_index_position) || FIND(segment, segment, position)
        || FIND(segment, segment, stored_position) || FIND(segment, segment, value_total)
        || FIND(segment, segment, zeroed_position);
}

/* Bytes */

static void put32(char *to, unsigned long long value) {
    for (int byte = 0; byte < 4; byte++) to[byte] = (char)(value >> 8 * byte);
}

static void put64(char *to, unsigned long long value) {
    put32(to, value); /* in two parts, each of which a compiler makes one store of */
    put32(to + 4, value >> 32);
}

/* What a writer lends all that is compiled: its engine, and what its objects are known by. */
typedef struct {
    PyObject *engine;
    PyTypeObject *stream_type;
    PyTypeObject *segment_type;
    PyTypeObject *map_type;
    PyObject *crc32c;
} Known;

/* `others`: all of it but the engine, as a tuple. */
static int get_to_know(Known *known, PyObject *engine, PyObject *others) {
    PyObject *stream_type, *segment_type, *map_type, *crc32c;
    if (!PyArg_ParseTuple(others, "O!O!O!O", &PyType_Type, &stream_type, &PyType_Type, &segment_type, &PyType_Type,
                          &map_type, &crc32c))
        return -1;
    if (find_slots(Py_TYPE(engine), (PyTypeObject *)stream_type, (PyTypeObject *)segment_type) != 0) return -1;
    known->engine = Py_NewRef(engine);
    known->stream_type = (PyTypeObject *)Py_NewRef(stream_type);
    known->segment_type = (PyTypeObject *)Py_NewRef(segment_type);
    known->map_type = (PyTypeObject *)Py_NewRef(map_type);
    known->crc32c = Py_NewRef(crc32c);
    return 0;
}

static int visit_known(Known *known, visitproc visit, void *arg) {
    Py_VISIT(known->engine);
    Py_VISIT(known->stream_type);
    Py_VISIT(known->segment_type);
    Py_VISIT(known->map_type);
    Py_VISIT(known->crc32c);
    return 0;
}

static void forget(Known *known) {
    Py_CLEAR(known->engine);
    Py_CLEAR(known->stream_type);
    Py_CLEAR(known->segment_type);
    Py_CLEAR(known->map_type);
    Py_CLEAR(known->crc32c);
}

/* The map of a segment, NULL where it has none or another one than those known here. */
static inline PyObject *map_of(Known *known, PyObject *segment) {
    PyObject *map = SLOT(segment, segment_slot.map);
    return map != NULL && (Py_IS_TYPE(map, known->map_type) || PyByteArray_CheckExact(map)) ? map : NULL;
}

/* The store lock */

/* Take it. Signal handlers may run while it is waited for, never once it is there. */
static int take_lock(Known *known) {
    /* Held, since a handler that forks gives the engine of the child another lock. */
    PyObject *turns = Py_NewRef(SLOT(known->engine, engine_slot.turns));
    PyObject *taken = Py_TYPE(turns)->tp_iternext(turns);
    Py_DECREF(turns);
    if (taken == NULL) {
        if (!PyErr_Occurred()) PyErr_SetString(PyExc_AssertionError, "turns never end");
        return -1;
    }
    Py_DECREF(taken);
    return 0;
}

static int release_lock(Known *known) {
    return let_go(SLOT(known->engine, engine_slot.release), NULL, 0);
}

/* Checksums */

#if defined(__x86_64__) && defined(__GNUC__)
#include <nmmintrin.h>

/* CRC-32C by the processor. Calling the library for so few bytes takes four times as long. */
__attribute__((target("sse4.2"))) static unsigned long crc_by_processor(unsigned long seed, const char *data,
                                                                        Py_ssize_t size) {
    uint64_t crc = (uint32_t)~seed;
    const char *end = data + size, *words = data + (size & ~7);
    for (; data < words; data += 8) {
        uint64_t word;
        memcpy(&word, data, sizeof word);
        crc = _mm_crc32_u64(crc, word);
    }
    if (end - data >= 4) {
        uint32_t word;
        memcpy(&word, data, sizeof word);
        crc = _mm_crc32_u32((uint32_t)crc, word);
        data += 4;
    }
    for (; data < end; data++) crc = _mm_crc32_u8((uint32_t)crc, (unsigned char)*data);
    return (uint32_t)~crc;
}

#define PROCESSOR_HAS_CRC __builtin_cpu_supports("sse4.2")
#else
#define PROCESSOR_HAS_CRC 0
#define crc_by_processor(seed, data, size) 0
#endif

/* Take a checksum, by the processor or by the library that Python takes it with. */
static int checksum(Known *known, PyObject *seed, const char *data, Py_ssize_t size, unsigned long *crc) {
    long long number = number_of(seed);
    if (PROCESSOR_HAS_CRC && number >= 0) {
        *crc = crc_by_processor(number, data, size);
        return 0;
    }
    PyObject *bytes = PyBytes_FromStringAndSize(data, size);
    if (bytes == NULL) return -1;
    PyObject *arguments[] = {bytes, seed};
    PyObject *taken = PyObject_Vectorcall(known->crc32c, arguments, 2, NULL);
    Py_DECREF(bytes);
    if (taken == NULL) return -1;
    *crc = PyLong_AsUnsignedLong(taken);
    Py_DECREF(taken);
    return *crc == (unsigned long)-1 && PyErr_Occurred() ? -1 : 0;
}

/* Take the checksum of bytes that begin behind their place for it, and put it there. */
static int put_crc(Known *known, PyObject *seed, char *start, Py_ssize_t size) {
    unsigned long crc;
    if (checksum(known, seed, start + CRC_SIZE, size - CRC_SIZE, &crc) < 0) return -1;
    put32(start, crc);
    return 0;
}

/* The published page: a map on disk, a list in memory. */
typedef struct {
    Py_buffer view; /* `view.obj` is NULL for a list */
    PyObject *list;
} Page;

static int open_page(Known *known, Page *page) {
    PyObject *slots = SLOT(known->engine, engine_slot.page_slots);
    if (PyList_CheckExact(slots) && PyList_GET_SIZE(slots) > PAGE_COMMIT) {
        page->list = slots;
        return 0;
    }
    if (PyObject_GetBuffer(slots, &page->view, PyBUF_WRITABLE) < 0) {
        page->view.obj = NULL;
        return -1;
    }
    return 0;
}

static void close_page(Page *page) {
    if (page->view.obj != NULL) PyBuffer_Release(&page->view);
}

/* Show a commit's number. Last of all comes the page: who sees it in another process sees all of the commit. */
static void publish_number(Known *known, Page *page, PyObject *number, long long value) {
    set_slot(known->engine, engine_slot.published, number);
    if (page->list != NULL)
        PyList_SetItem(page->list, PAGE_COMMIT, Py_NewRef(number));
    else
        __atomic_store_n((uint64_t *)page->view.buf + PAGE_COMMIT, (uint64_t)value, __ATOMIC_RELEASE);
}

/* Return the number of the next commit, -1 where something stands in its way. */
static long long next_number(Known *known) {
    if (SLOT(known->engine, engine_slot.obstacle) != Py_None) return -1;
    long long before = number_in(known->engine, engine_slot.commit_number);
    return before < 0 ? -1 : before + 1;
}

/* Records */

/* The headers of frames of one record, with what all of them have in common. */
typedef struct {
    char plain[HEADER_SIZE];
    char keyed[HEADER_SIZE];
} Headers;

static int copy_headers(Headers *headers, PyObject *both) {
    PyObject *plain, *keyed;
    if (!PyArg_ParseTuple(both, "SS", &plain, &keyed)) return -1;
    if (PyBytes_GET_SIZE(plain) != HEADER_SIZE || PyBytes_GET_SIZE(keyed) != HEADER_SIZE) {
        PyErr_Format(PyExc_ValueError, "a header has %d bytes", HEADER_SIZE);
        return -1;
    }
    memcpy(headers->plain, PyBytes_AS_STRING(plain), HEADER_SIZE);
    memcpy(headers->keyed, PyBytes_AS_STRING(keyed), HEADER_SIZE);
    return 0;
}

/* Put a frame's header, without its checksum and its place. */
static void put_header(char *start, const char *header, Py_ssize_t size, long long timestamp_ms, long long number) {
    memcpy(start, header, HEADER_SIZE);
    put32(start + AT_SIZE, size);
    put64(start + AT_TIMESTAMP, timestamp_ms);
    put64(start + AT_LATEST_TIMESTAMP, timestamp_ms);
    put64(start + AT_NUMBER, number);
}

/* Put where it stands in its stream. */
static void put_place(char *start, long long offset, long long total) {
    put64(start + AT_OFFSET, offset);
    put64(start + AT_TOTAL, total);
}

/* Put what stands behind it. */
static void put_body(char *body, PyObject *key, PyObject *value) {
    if (key != Py_None) {
        put32(body, PyBytes_GET_SIZE(key));
        memcpy(body + KEY_SIZE, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key));
        body += KEY_SIZE + PyBytes_GET_SIZE(key);
    }
    memcpy(body, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value));
}

/* Return how long the body of one record is, -1 where its append is not for here. */
static Py_ssize_t size_of_one(Known *known, PyObject *const *args, Py_ssize_t count, PyObject *key) {
    if (count < 3 || count > 4 || !Py_IS_TYPE(args[0], known->stream_type) || !PyBytes_CheckExact(args[1])
        || (key != Py_None && !PyBytes_CheckExact(key)))
        return -1;
    Py_ssize_t size = PyBytes_GET_SIZE(args[1]) + (key == Py_None ? 0 : KEY_SIZE + PyBytes_GET_SIZE(key));
    return size > SMALL_LIMIT ? -1 : size;
}

/* The module of one of these parts, which has one class. */
static PyObject *make_module(PyModuleDef *definition, PyType_Spec *spec) {
    PyObject *made = PyModule_Create(definition), *type = PyType_FromSpec(spec);
    if (made == NULL || type == NULL || PyModule_AddType(made, (PyTypeObject *)type) < 0
        || PyModule_AddIntConstant(made, "SOURCE_CRC", SOURCE_CRC) < 0)
        Py_CLEAR(made);
    Py_XDECREF(type);
    return made;
}

#endif
