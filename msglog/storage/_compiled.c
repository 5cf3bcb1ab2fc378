/* The hot paths of `DirectWriter` in C: `append`, `append_settle`, `append_copies`.

   They write the same bytes and leave the same state as the Python methods of the same names, which stand in writers.py
   and small_commit.py and say what is done and why. Here is only what nearly every call does: room in a mapped file, no
   obstacle, no index entry due. Whatever else comes up is left to the Python method, before anything was changed.

   What makes it simple to be sure of: everything that can fail, or can run other Python code, comes first; from the
   first byte that is stored up to the published number nothing does, so that no signal handler and no other thread
   gets in between. The exception is the cursor that `append_settle` changes; it leaves the same note as in Python.

   Imported by compiled.py. */

#include "_compiled.h"

enum {
    HEADER_SIZE = 72, /* of a frame; its fields, by position: */
    AT_SIZE = 12,
    AT_OFFSET = 24,
    AT_TIMESTAMP = 32,
    AT_LATEST_TIMESTAMP = 40,
    AT_NUMBER = 48,
    AT_FRAMES = 60,
    AT_TOTAL = 64,
    CRC_SIZE = 4,
    KEY_SIZE = 4,         /* the length before a key */
    EVENT_SIZE = 25,      /* a settlement: mark, cursor, first, count, next */
    PAGE_COMMIT = 2,      /* the slot of the published page */
    SMALL_LIMIT = 8 << 10 /* more than that is left to Python, which knows when a map is the wrong way */
};

/* Slots */

static struct {
    Py_ssize_t commit_number, failure, obstacle, page_slots, published, release, state_cost, turns;
} engine_slot;
static struct {
    Py_ssize_t active, end, next_offset, unfinished, value_bytes, waiters;
} stream_slot;
static struct {
    Py_ssize_t before_ms, crc_seed, end_offset, limit, map, max_timestamp_ms, position, stored_position, value_total;
} segment_slot;

#define FIND(class, type, name) find_slot(type, #name, &class##_slot.name)

static int find_slots(PyTypeObject *engine, PyTypeObject *stream, PyTypeObject *segment) {
    return FIND(engine, engine, commit_number) || FIND(engine, engine, failure) || FIND(engine, engine, obstacle)
        || FIND(engine, engine, page_slots) || FIND(engine, engine, published) || FIND(engine, engine, release)
        || FIND(engine, engine, state_cost) || FIND(engine, engine, turns) || FIND(stream, stream, active)
        || FIND(stream, stream, end) || FIND(stream, stream, next_offset) || FIND(stream, stream, unfinished)
        || FIND(stream, stream, value_bytes) || FIND(stream, stream, waiters) || FIND(segment, segment, before_ms)
        || FIND(segment, segment, crc_seed) || FIND(segment, segment, end_offset) || FIND(segment, segment, limit)
        || FIND(segment, segment, map) || FIND(segment, segment, max_timestamp_ms)
        || FIND(segment, segment, position) || FIND(segment, segment, stored_position)
        || FIND(segment, segment, value_total);
}

/* Bytes */

static void put32(char *to, unsigned long long value) {
    for (int byte = 0; byte < 4; byte++) to[byte] = (char)(value >> 8 * byte);
}

static void put64(char *to, unsigned long long value) {
    for (int byte = 0; byte < 8; byte++) to[byte] = (char)(value >> 8 * byte);
}

/* What a writer lends: its engine, its own methods for all that is not done here, and what every frame has in common. */

typedef struct {
    PyObject_HEAD
    PyObject *engine;
    PyTypeObject *stream_type;
    PyTypeObject *segment_type;
    PyTypeObject *map_type;
    PyObject *state; /* the stream of events */
    PyObject *crc32c;
    PyObject *append;
    PyObject *append_settle;
    PyObject *append_copies;
    char plain[HEADER_SIZE];
    char keyed[HEADER_SIZE];
    long long event_cost;
    unsigned char event_mark;
} Ways;

static PyObject *text_id, *text_next, *text_settle, *text_tell_waiters, *text_wake;

/* One frame of one record, built, with all that follows from it. */
typedef struct {
    PyObject *stream;
    PyObject *segment;
    PyObject *rest; /* the frame behind its checksum */
    unsigned long crc;
    long long position;
    Py_buffer map; /* `map.obj` is NULL where there is none */
    PyObject *offset;
    PyObject *after; /* position, offset and total behind it */
    PyObject *next_offset;
    PyObject *total;
} Frame;

static void clear_frame(Frame *frame) {
    if (frame->map.obj != NULL) PyBuffer_Release(&frame->map);
    Py_CLEAR(frame->stream);
    Py_CLEAR(frame->segment);
    Py_CLEAR(frame->rest);
    Py_CLEAR(frame->offset);
    Py_CLEAR(frame->after);
    Py_CLEAR(frame->next_offset);
    Py_CLEAR(frame->total);
}

/* What came of trying it here. */
typedef enum { FAILED = -1, DONE, FOR_PYTHON } Outcome;

/* Take the store lock. Signal handlers may run while it is waited for, never once it is there. */
static int take_lock(Ways *self) {
    /* Held, since a handler that forks gives the engine of the child another lock. */
    PyObject *turns = Py_NewRef(SLOT(self->engine, engine_slot.turns));
    PyObject *taken = Py_TYPE(turns)->tp_iternext(turns);
    Py_DECREF(turns);
    if (taken == NULL) {
        if (!PyErr_Occurred()) PyErr_SetString(PyExc_AssertionError, "turns never end");
        return -1;
    }
    Py_DECREF(taken);
    return 0;
}

/* Let the store lock go, whatever exception is on its way. */
static int release_lock(Ways *self) {
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    PyObject *none = PyObject_CallNoArgs(SLOT(self->engine, engine_slot.release));
    if (none == NULL) {
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(trace);
        return -1;
    }
    Py_DECREF(none);
    PyErr_Restore(type, value, trace);
    return 0;
}

#if defined(__x86_64__) && defined(__GNUC__)
#include <nmmintrin.h>

/* CRC-32C by the processor. Calling the library for so few bytes takes four times as long. */
__attribute__((target("sse4.2"))) static unsigned long crc_by_processor(unsigned long seed, const char *data,
                                                                         Py_ssize_t size) {
    uint64_t crc = (uint32_t)~seed;
    for (; size >= 8; data += 8, size -= 8) {
        uint64_t word;
        memcpy(&word, data, sizeof word);
        crc = _mm_crc32_u64(crc, word);
    }
    for (; size > 0; data++, size--) crc = _mm_crc32_u8((uint32_t)crc, (unsigned char)*data);
    return (uint32_t)~crc;
}

#define PROCESSOR_HAS_CRC __builtin_cpu_supports("sse4.2")
#else
#define PROCESSOR_HAS_CRC 0
#define crc_by_processor(seed, data, size) 0
#endif

/* Take the checksum of a frame, by the processor or by the library that Python takes it with. */
static int take_crc(Ways *self, Frame *frame) {
    PyObject *seed = SLOT(frame->segment, segment_slot.crc_seed);
    if (PROCESSOR_HAS_CRC) {
        unsigned long number = PyLong_AsUnsignedLong(seed);
        if (number == (unsigned long)-1 && PyErr_Occurred()) return -1;
        frame->crc = crc_by_processor(number, PyBytes_AS_STRING(frame->rest), PyBytes_GET_SIZE(frame->rest));
        return 0;
    }
    PyObject *arguments[] = {frame->rest, seed};
    PyObject *crc = PyObject_Vectorcall(self->crc32c, arguments, 2, NULL);
    if (crc == NULL) return -1;
    frame->crc = PyLong_AsUnsignedLong(crc);
    Py_DECREF(crc);
    return frame->crc == (unsigned long)-1 && PyErr_Occurred() ? -1 : 0;
}

/* Build a frame's header with room for `size` bytes behind it, of which `value_size` count; find its place. */
static Outcome begin_frame(Ways *self, Frame *frame, PyObject *stream, const char *header, Py_ssize_t size,
                           Py_ssize_t value_size, long long timestamp_ms, long long number) {
    PyObject *segment = SLOT(stream, stream_slot.active);
    if (segment == NULL || !Py_IS_TYPE(segment, self->segment_type)) return FOR_PYTHON;
    long long position = number_in(segment, segment_slot.position), limit = number_in(segment, segment_slot.limit);
    long long offset = number_in(stream, stream_slot.next_offset);
    long long total = number_in(stream, stream_slot.value_bytes);
    PyObject *map = SLOT(segment, segment_slot.map);
    long long after = position + HEADER_SIZE + size;
    if (position < 0 || offset < 0 || total < 0 || after > limit || map == NULL
        || !(Py_IS_TYPE(map, self->map_type) || PyByteArray_CheckExact(map))
        || SLOT(segment, segment_slot.crc_seed) == NULL)
        return FOR_PYTHON;
    if (PyObject_GetBuffer(map, &frame->map, PyBUF_WRITABLE) < 0) {
        frame->map.obj = NULL;
        return FAILED;
    }
    if (after > frame->map.len) return FOR_PYTHON;
    frame->stream = Py_NewRef(stream);
    frame->segment = Py_NewRef(segment);
    frame->position = position;
    frame->rest = PyBytes_FromStringAndSize(NULL, HEADER_SIZE - CRC_SIZE + size);
    frame->offset = PyLong_FromLongLong(offset);
    frame->after = PyLong_FromLongLong(after);
    frame->next_offset = PyLong_FromLongLong(offset + 1);
    frame->total = PyLong_FromLongLong(total + value_size);
    if (!frame->rest || !frame->offset || !frame->after || !frame->next_offset || !frame->total) return FAILED;
    char *rest = PyBytes_AS_STRING(frame->rest);
    memcpy(rest, header + CRC_SIZE, HEADER_SIZE - CRC_SIZE);
    char *start = rest - CRC_SIZE; /* as if the checksum stood there, so that positions are those of the frame */
    put32(start + AT_SIZE, size);
    put64(start + AT_OFFSET, offset);
    put64(start + AT_TIMESTAMP, timestamp_ms);
    put64(start + AT_LATEST_TIMESTAMP, timestamp_ms);
    put64(start + AT_NUMBER, number);
    put64(start + AT_TOTAL, total);
    return DONE;
}

/* Store a frame and advance its segment and stream. Nothing here fails or runs other code. */
static void store(Frame *frame, PyObject *timestamp, long long timestamp_ms) {
    char *place = (char *)frame->map.buf + frame->position;
    put32(place, frame->crc);
    memcpy(place + CRC_SIZE, PyBytes_AS_STRING(frame->rest), PyBytes_GET_SIZE(frame->rest));
    PyObject *segment = frame->segment, *stream = frame->stream;
    set_slot(segment, segment_slot.position, frame->after);
    set_slot(segment, segment_slot.stored_position, frame->after);
    set_slot(segment, segment_slot.end_offset, frame->next_offset);
    set_slot(stream, stream_slot.next_offset, frame->next_offset);
    set_slot(stream, stream_slot.end, frame->next_offset);
    set_slot(segment, segment_slot.value_total, frame->total);
    set_slot(stream, stream_slot.value_bytes, frame->total);
    if (timestamp_ms > number_in(segment, segment_slot.max_timestamp_ms)) {
        set_slot(segment, segment_slot.max_timestamp_ms, timestamp);
        set_slot(segment, segment_slot.before_ms, timestamp);
    }
}

/* The published page: a map on disk, a list in memory. */
typedef struct {
    Py_buffer view; /* `view.obj` is NULL for a list */
    PyObject *list;
} Page;

static int open_page(Ways *self, Page *page) {
    PyObject *slots = SLOT(self->engine, engine_slot.page_slots);
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

/* Publish a commit. Last of all comes the page: who sees its number in another process sees all of the commit. */
static void publish(Ways *self, Page *page, PyObject *number, long long value) {
    set_slot(self->engine, engine_slot.commit_number, number);
    set_slot(self->engine, engine_slot.published, number);
    if (page->list != NULL)
        PyList_SetItem(page->list, PAGE_COMMIT, Py_NewRef(number));
    else
        __atomic_store_n((uint64_t *)page->view.buf + PAGE_COMMIT, (uint64_t)value, __ATOMIC_RELEASE);
    set_slot(self->engine, engine_slot.obstacle, SLOT(self->engine, engine_slot.failure));
}

/* Return the number of the next commit, -1 where something stands in its way. */
static long long next_number(Ways *self) {
    if (SLOT(self->engine, engine_slot.obstacle) != Py_None) return -1;
    long long before = number_in(self->engine, engine_slot.commit_number);
    return before < 0 ? -1 : before + 1;
}

/* A timestamp, or -1 for Python to look at. */
static long long timestamp_of(PyObject *object) {
    if (!PyLong_CheckExact(object)) return -1;
    int overflow;
    long long timestamp_ms = PyLong_AsLongLongAndOverflow(object, &overflow);
    return overflow ? -1 : timestamp_ms;
}

/* append(stream, value, timestamp_ms, key=None) */

static int tell_waiters(Frame *frame, PyObject *timestamp, PyObject *key, PyObject *value, PyObject *number) {
    PyObject *waiters = SLOT(frame->stream, stream_slot.waiters);
    if (waiters == NULL || !PySet_Check(waiters) || PySet_GET_SIZE(waiters) == 0) return 0;
    long long total = PyLong_AsLongLong(frame->total) - PyBytes_GET_SIZE(value); /* before this record */
    PyObject *latest = Py_BuildValue("(OOOOOL)", frame->offset, timestamp, key, value, number, total);
    if (latest == NULL) return -1;
    PyObject *none = PyObject_CallMethodOneArg(frame->stream, text_tell_waiters, latest);
    Py_DECREF(latest);
    Py_XDECREF(none);
    return none == NULL ? -1 : 0;
}

static void put_body(PyObject *rest, PyObject *key, PyObject *value) {
    char *body = PyBytes_AS_STRING(rest) + HEADER_SIZE - CRC_SIZE;
    if (key != Py_None) {
        put32(body, PyBytes_GET_SIZE(key));
        memcpy(body + KEY_SIZE, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key));
        body += KEY_SIZE + PyBytes_GET_SIZE(key);
    }
    memcpy(body, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value));
}

static Outcome append_locked(Ways *self, Frame *frame, Page *page, PyObject *const *args, PyObject *key,
                             Py_ssize_t size) {
    PyObject *stream = args[0], *value = args[1], *timestamp = args[2];
    long long timestamp_ms = timestamp_of(timestamp), next = next_number(self);
    if (timestamp_ms < 0 || next < 0) return FOR_PYTHON;
    const char *header = key == Py_None ? self->plain : self->keyed;
    Outcome outcome = begin_frame(self, frame, stream, header, size, PyBytes_GET_SIZE(value), timestamp_ms, next);
    if (outcome != DONE) return outcome;
    put_body(frame->rest, key, value);
    PyObject *number = PyLong_FromLongLong(next);
    if (number == NULL || take_crc(self, frame) < 0 || open_page(self, page) < 0) {
        Py_XDECREF(number);
        return FAILED;
    }
    /* From here on only forward. */
    store(frame, timestamp, timestamp_ms);
    publish(self, page, number, next);
    outcome = tell_waiters(frame, timestamp, key, value, number) < 0 ? FAILED : DONE;
    Py_DECREF(number);
    return outcome;
}

static PyObject *ways_append(Ways *self, PyObject *const *args, Py_ssize_t count) {
    PyObject *key = count > 3 ? args[3] : Py_None;
    if (count < 3 || count > 4 || !Py_IS_TYPE(args[0], self->stream_type) || !PyBytes_CheckExact(args[1])
        || (key != Py_None && !PyBytes_CheckExact(key)))
        return PyObject_Vectorcall(self->append, args, count, NULL);
    Py_ssize_t size = PyBytes_GET_SIZE(args[1]) + (key == Py_None ? 0 : KEY_SIZE + PyBytes_GET_SIZE(key));
    if (size > SMALL_LIMIT) return PyObject_Vectorcall(self->append, args, count, NULL);
    Frame frame = {0};
    Page page = {0};
    if (take_lock(self) < 0) return NULL;
    Outcome outcome = append_locked(self, &frame, &page, args, key, size);
    if (release_lock(self) < 0) outcome = FAILED;
    PyObject *offset = outcome == DONE ? Py_NewRef(frame.offset) : NULL;
    close_page(&page);
    clear_frame(&frame);
    return outcome == FOR_PYTHON ? PyObject_Vectorcall(self->append, args, count, NULL) : offset;
}

/* append_settle(cursor, first, end, timestamp_ms) */

static Outcome build_event(Ways *self, PyObject *rest, PyObject *cursor, PyObject *const *range) {
    char *event = PyBytes_AS_STRING(rest) + HEADER_SIZE - CRC_SIZE;
    PyObject *id = PyObject_GetAttr(cursor, text_id);
    if (id == NULL) return FAILED;
    PyObject *next = PyObject_GetAttr(cursor, text_next);
    if (next == NULL) {
        Py_DECREF(id);
        return FAILED;
    }
    long long numbers[] = {timestamp_of(id), timestamp_of(range[0]), timestamp_of(range[1]), timestamp_of(next)};
    Py_DECREF(id);
    Py_DECREF(next);
    long long settled = numbers[2] - numbers[1], most = 0xFFFFFFFFLL;
    if (numbers[0] < 0 || numbers[0] > most || numbers[1] < 0 || settled < 0 || settled > most || numbers[3] < 0)
        return FOR_PYTHON;
    event[0] = (char)self->event_mark;
    put32(event + 1, numbers[0]);
    put64(event + 5, numbers[1]);
    put32(event + 13, settled);
    put64(event + 17, numbers[3]);
    return DONE;
}

/* Change the cursor, by its own method: here other code may come in between. */
static int settle_cursor(PyObject *cursor, PyObject *const *range) {
    PyObject *arguments[] = {cursor, range[0], range[1]};
    PyObject *none = PyObject_VectorcallMethod(text_settle, arguments, 3, NULL);
    Py_XDECREF(none);
    return none == NULL ? -1 : 0;
}

static PyObject *whole_frame(Frame *frame) {
    PyObject *whole = PyBytes_FromStringAndSize(NULL, CRC_SIZE + PyBytes_GET_SIZE(frame->rest));
    if (whole == NULL) return NULL;
    put32(PyBytes_AS_STRING(whole), frame->crc);
    memcpy(PyBytes_AS_STRING(whole) + CRC_SIZE, PyBytes_AS_STRING(frame->rest), PyBytes_GET_SIZE(frame->rest));
    return whole;
}

static Outcome settle_locked(Ways *self, Frame *frame, Page *page, PyObject *const *args, PyObject **number) {
    PyObject *cursor = args[0], *timestamp = args[3];
    long long timestamp_ms = timestamp_of(timestamp), next = next_number(self);
    long long cost = number_in(self->engine, engine_slot.state_cost);
    if (timestamp_ms < 0 || next < 0 || cost < 0) return FOR_PYTHON;
    Outcome outcome = begin_frame(self, frame, self->state, self->plain, EVENT_SIZE, EVENT_SIZE, timestamp_ms, next);
    if (outcome == DONE) outcome = build_event(self, frame->rest, cursor, args + 1);
    if (outcome != DONE) return outcome;
    if (take_crc(self, frame) < 0 || open_page(self, page) < 0) return FAILED;
    PyObject *whole = whole_frame(frame), *costs = PyLong_FromLongLong(cost + self->event_cost);
    *number = PyLong_FromLongLong(next);
    if (whole == NULL || costs == NULL || *number == NULL) {
        Py_XDECREF(whole);
        Py_XDECREF(costs);
        return FAILED;
    }
    /* From here on only forward: after an interruption `redo_append` finishes it, and applies the event. */
    Py_XSETREF(SLOT(self->state, stream_slot.unfinished), whole);
    set_slot(self->engine, engine_slot.obstacle, self->state);
    store(frame, timestamp, timestamp_ms);
    outcome = settle_cursor(cursor, args + 1) < 0 ? FAILED : DONE;
    if (outcome == DONE) {
        set_slot(self->engine, engine_slot.state_cost, costs);
        publish(self, page, *number, next);
    }
    Py_DECREF(costs);
    return outcome;
}

static PyObject *ways_append_settle(Ways *self, PyObject *const *args, Py_ssize_t count) {
    if (count != 4) return PyObject_Vectorcall(self->append_settle, args, count, NULL);
    Frame frame = {0};
    Page page = {0};
    PyObject *number = NULL;
    if (take_lock(self) < 0) return NULL;
    Outcome outcome = settle_locked(self, &frame, &page, args, &number);
    if (release_lock(self) < 0) outcome = FAILED;
    close_page(&page);
    clear_frame(&frame);
    if (outcome == DONE) return number;
    Py_XDECREF(number);
    return outcome == FOR_PYTHON ? PyObject_Vectorcall(self->append_settle, args, count, NULL) : NULL;
}

/* append_copies(streams, value, key, timestamp_ms) */

static Outcome build_copies(Ways *self, Frame *frames, PyObject *const *args, Py_ssize_t copies, long long next) {
    PyObject *value = args[1], *key = args[2];
    long long timestamp_ms = timestamp_of(args[3]);
    if (timestamp_ms < 0 || next < 0) return FOR_PYTHON;
    Py_ssize_t value_size = PyBytes_GET_SIZE(value), size = KEY_SIZE + PyBytes_GET_SIZE(key) + value_size;
    for (Py_ssize_t copy = 0; copy < copies; copy++) {
        PyObject *stream = PyList_GET_ITEM(args[0], copy);
        if (!Py_IS_TYPE(stream, self->stream_type)) return FOR_PYTHON;
        Frame *frame = &frames[copy];
        Outcome outcome = begin_frame(self, frame, stream, self->keyed, size, value_size, timestamp_ms, next);
        if (outcome != DONE) return outcome;
        put32(PyBytes_AS_STRING(frame->rest) + AT_FRAMES - CRC_SIZE, copies);
        put_body(frame->rest, key, value);
        if (take_crc(self, frame) < 0) return FAILED;
    }
    return DONE;
}

static int wake_waiters(PyObject *stream) {
    PyObject *waiters = SLOT(stream, stream_slot.waiters);
    if (waiters == NULL || !PySet_Check(waiters) || PySet_GET_SIZE(waiters) == 0) return 0;
    PyObject *those = PySequence_Tuple(waiters);
    if (those == NULL) return -1;
    int failed = 0;
    for (Py_ssize_t place = 0; !failed && place < PyTuple_GET_SIZE(those); place++) {
        PyObject *none = PyObject_CallMethodNoArgs(PyTuple_GET_ITEM(those, place), text_wake);
        failed = none == NULL;
        Py_XDECREF(none);
    }
    Py_DECREF(those);
    return failed ? -1 : 0;
}

static Outcome copies_locked(Ways *self, Frame *frames, Page *page, PyObject *const *args, Py_ssize_t copies,
                             PyObject **offsets) {
    long long next = next_number(self);
    Outcome outcome = build_copies(self, frames, args, copies, next);
    if (outcome != DONE) return outcome;
    PyObject *number = PyLong_FromLongLong(next);
    *offsets = PyList_New(copies);
    if (number == NULL || *offsets == NULL || open_page(self, page) < 0) {
        Py_XDECREF(number);
        return FAILED;
    }
    /* From here on only forward. */
    for (Py_ssize_t copy = 0; copy < copies; copy++) {
        store(&frames[copy], args[3], timestamp_of(args[3]));
        PyList_SET_ITEM(*offsets, copy, Py_NewRef(frames[copy].offset));
    }
    publish(self, page, number, next);
    Py_DECREF(number);
    for (Py_ssize_t copy = 0; copy < copies; copy++)
        if (wake_waiters(frames[copy].stream) < 0) return FAILED;
    return DONE;
}

static PyObject *ways_append_copies(Ways *self, PyObject *const *args, Py_ssize_t count) {
    if (count != 4 || !PyList_CheckExact(args[0]) || !PyBytes_CheckExact(args[1]) || !PyBytes_CheckExact(args[2])
        || PyBytes_GET_SIZE(args[1]) + PyBytes_GET_SIZE(args[2]) > SMALL_LIMIT - KEY_SIZE)
        return PyObject_Vectorcall(self->append_copies, args, count, NULL);
    Page page = {0};
    PyObject *offsets = NULL;
    if (take_lock(self) < 0) return NULL;
    /* Only now: while the lock was waited for, other code may have changed the list. */
    Py_ssize_t copies = PyList_GET_SIZE(args[0]);
    Frame *frames = PyMem_Calloc(copies, sizeof(Frame));
    Outcome outcome = FAILED;
    if (frames == NULL)
        PyErr_NoMemory();
    else
        outcome = copies_locked(self, frames, &page, args, copies, &offsets);
    if (release_lock(self) < 0) outcome = FAILED;
    close_page(&page);
    for (Py_ssize_t copy = 0; frames != NULL && copy < copies; copy++) clear_frame(&frames[copy]);
    PyMem_Free(frames);
    if (outcome == DONE) return offsets;
    Py_XDECREF(offsets);
    return outcome == FOR_PYTHON ? PyObject_Vectorcall(self->append_copies, args, count, NULL) : NULL;
}

/* The type, and the module */

static int ways_traverse(Ways *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->engine);
    Py_VISIT(self->stream_type);
    Py_VISIT(self->segment_type);
    Py_VISIT(self->map_type);
    Py_VISIT(self->state);
    Py_VISIT(self->crc32c);
    Py_VISIT(self->append);
    Py_VISIT(self->append_settle);
    Py_VISIT(self->append_copies);
    return 0;
}

static void ways_dealloc(Ways *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_XDECREF(self->engine);
    Py_XDECREF(self->stream_type);
    Py_XDECREF(self->segment_type);
    Py_XDECREF(self->map_type);
    Py_XDECREF(self->state);
    Py_XDECREF(self->crc32c);
    Py_XDECREF(self->append);
    Py_XDECREF(self->append_settle);
    Py_XDECREF(self->append_copies);
    type->tp_free(self);
    Py_DECREF(type);
}

/* Ways(writer, engine, state, segment type, map type, crc32c, plain header, keyed header, event's mark, its cost) */
static PyObject *ways_new(PyTypeObject *type, PyObject *args, PyObject *options) {
    PyObject *writer, *engine, *state, *segment_type, *map_type, *crc32c;
    const char *plain, *keyed;
    Py_ssize_t plain_size, keyed_size;
    unsigned char event_mark;
    long long event_cost;
    if (options != NULL && PyDict_GET_SIZE(options) > 0) return PyErr_Format(PyExc_TypeError, "no keywords here");
    if (!PyArg_ParseTuple(args, "OOOO!O!Oy#y#bL", &writer, &engine, &state, &PyType_Type, &segment_type, &PyType_Type,
                          &map_type, &crc32c, &plain, &plain_size, &keyed, &keyed_size, &event_mark, &event_cost))
        return NULL;
    if (plain_size != HEADER_SIZE || keyed_size != HEADER_SIZE)
        return PyErr_Format(PyExc_ValueError, "a header has %d bytes", HEADER_SIZE);
    if (find_slots(Py_TYPE(engine), Py_TYPE(state), (PyTypeObject *)segment_type) != 0) return NULL;
    Ways *self = (Ways *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    self->engine = Py_NewRef(engine);
    self->state = Py_NewRef(state);
    self->stream_type = (PyTypeObject *)Py_NewRef((PyObject *)Py_TYPE(state));
    self->segment_type = (PyTypeObject *)Py_NewRef(segment_type);
    self->map_type = (PyTypeObject *)Py_NewRef(map_type);
    self->crc32c = Py_NewRef(crc32c);
    memcpy(self->plain, plain, HEADER_SIZE);
    memcpy(self->keyed, keyed, HEADER_SIZE);
    self->event_mark = event_mark;
    self->event_cost = event_cost;
    if (!(self->append = PyObject_GetAttrString(writer, "append"))
        || !(self->append_settle = PyObject_GetAttrString(writer, "append_settle"))
        || !(self->append_copies = PyObject_GetAttrString(writer, "append_copies")))
        Py_CLEAR(self);
    return (PyObject *)self;
}

static PyMethodDef ways_methods[] = {
    {"append", (PyCFunction)(void (*)(void))ways_append, METH_FASTCALL, NULL},
    {"append_settle", (PyCFunction)(void (*)(void))ways_append_settle, METH_FASTCALL, NULL},
    {"append_copies", (PyCFunction)(void (*)(void))ways_append_copies, METH_FASTCALL, NULL},
    {NULL},
};

static PyType_Slot ways_slots[] = {
    {Py_tp_new, ways_new},
    {Py_tp_dealloc, ways_dealloc},
    {Py_tp_traverse, ways_traverse},
    {Py_tp_methods, ways_methods},
    {0, NULL},
};

static PyType_Spec ways_spec = {
    .name = "msglog.storage._compiled.Ways",
    .basicsize = sizeof(Ways),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = ways_slots,
};

static PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "_compiled", .m_size = -1};

PyMODINIT_FUNC PyInit__compiled(void) {
    text_id = PyUnicode_InternFromString("id");
    text_next = PyUnicode_InternFromString("next");
    text_settle = PyUnicode_InternFromString("settle");
    text_tell_waiters = PyUnicode_InternFromString("tell_waiters");
    text_wake = PyUnicode_InternFromString("wake");
    PyObject *made = PyModule_Create(&module), *type = PyType_FromSpec(&ways_spec);
    if (!text_id || !text_next || !text_settle || !text_tell_waiters || !text_wake || !made || !type
        || PyModule_AddObjectRef(made, "Ways", type) < 0 || PyModule_AddIntConstant(made, "SOURCE_CRC", SOURCE_CRC) < 0)
        Py_CLEAR(made);
    Py_XDECREF(type);
    return made;
}
