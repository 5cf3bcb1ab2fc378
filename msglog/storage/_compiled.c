/* The hot paths of the writers in C: `append`, `append_settle`, `append_copies` of `DirectWriter`; of `JournalWriter`
   single records, `append_journaled`, `append_unwaited`, and `show_singles` after the sync; and of both of them the
   loops over the frames of commits by hand (`Hands`).

   They write the same bytes and leave the same state as the Python methods, which stand in writers.py, small_commit.py
   and small_entry.py and say what is done and why. Here is only what nearly every call does: room in a mapped file, no
   obstacle, no index entry due. Whatever else comes up is left to the Python method, before anything was changed.

   What makes it simple to be sure of: everything that can fail, or can run other Python code, comes first; from the
   first byte that is stored up to the published number nothing does, so that no signal handler and no other thread
   gets in between. The exceptions are the cursor that `append_settle` changes, and the dict and the deque that get what
   is journaled; there the engine's obstacle is the same note as in Python.

   Imported by compiled.py. */

#include "_compiled.h"
#include <limits.h>

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
    ENTRY_MAGIC = 0x454D4C4D,
    ENTRY_VERSION = 1,
    BEFORE_FRAME_SIZE = 72, /* of an entry in the journal before its frame's header: its own header and one place */
    ENTRY_ALIGNMENT = 8,
    LATEST_LIMIT = 4096,  /* of key and value of a record that is handed over */
    SMALL_LIMIT = 8 << 10 /* more than that is left to Python, which knows when a map is the wrong way */
};

/* Slots */

static struct {
    Py_ssize_t commit_number, durable_commit, failure, obstacle, page_slots, published, release, snapshot_wanted,
        state_cost, streams, turns;
} engine_slot;
static struct {
    Py_ssize_t active, end, id, latest, next_offset, segment_bytes, segment_ms, unfinished, value_bytes, waiters;
} stream_slot;
static struct {
    Py_ssize_t announced, before_ms, capacity, crc_seed, dropped, end_offset, file_id, first_timestamp_ms, index, limit,
        map, max_timestamp_ms, next_index_position, position, stored_position, value_total, zeroed_position;
} segment_slot;
static struct {
    Py_ssize_t _active, _areas;
} journal_slot;
static struct {
    Py_ssize_t crc_seed, last_commit, position, size, unwritten;
} area_slot;

#define FIND(class, type, name) find_slot(type, #name, &class##_slot.name)

static int find_slots(PyTypeObject *engine, PyTypeObject *stream, PyTypeObject *segment) {
    return FIND(engine, engine, commit_number) || FIND(engine, engine, durable_commit)
        || FIND(engine, engine, failure) || FIND(engine, engine, obstacle) || FIND(engine, engine, page_slots)
        || FIND(engine, engine, published) || FIND(engine, engine, release) || FIND(engine, engine, snapshot_wanted)
        || FIND(engine, engine, state_cost) || FIND(engine, engine, streams) || FIND(engine, engine, turns)
        || FIND(stream, stream, active) || FIND(stream, stream, end) || FIND(stream, stream, id)
        || FIND(stream, stream, latest) || FIND(stream, stream, next_offset) || FIND(stream, stream, segment_bytes)
        || FIND(stream, stream, segment_ms) || FIND(stream, stream, unfinished) || FIND(stream, stream, value_bytes)
        || FIND(stream, stream, waiters) || FIND(segment, segment, announced) || FIND(segment, segment, before_ms)
        || FIND(segment, segment, capacity) || FIND(segment, segment, crc_seed) || FIND(segment, segment, dropped)
        || FIND(segment, segment, end_offset) || FIND(segment, segment, file_id)
        || FIND(segment, segment, first_timestamp_ms) || FIND(segment, segment, index)
        || FIND(segment, segment, limit) || FIND(segment, segment, map) || FIND(segment, segment, max_timestamp_ms)
        || FIND(segment, segment, next_index_position) || FIND(segment, segment, position)
        || FIND(segment, segment, stored_position) || FIND(segment, segment, value_total)
        || FIND(segment, segment, zeroed_position);
}

static int find_journal_slots(PyTypeObject *journal, PyTypeObject *area) {
    return FIND(journal, journal, _active) || FIND(journal, journal, _areas) || FIND(area, area, crc_seed)
        || FIND(area, area, last_commit) || FIND(area, area, position) || FIND(area, area, size)
        || FIND(area, area, unwritten);
}

/* Bytes */

static void put32(char *to, unsigned long long value) {
    for (int byte = 0; byte < 4; byte++) to[byte] = (char)(value >> 8 * byte);
}

static void put64(char *to, unsigned long long value) {
    put32(to, value); /* in two parts, each of which a compiler makes one store of */
    put32(to + 4, value >> 32);
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
    /* For a `JournalWriter` only: */
    PyObject *journal;
    PyTypeObject *area_type;
    PyTypeObject *single_type;
    PyObject *pending;            /* its deque of commits that are not shown yet */
    PyObject *append_unwaited;    /* its own methods */
    PyObject *wait;
    PyObject *request_checkpoint;
    long long life;
    long long most_commits;       /* and bytes of events, before a checkpoint may be due */
    long long most_state_cost;
} Ways;

static PyObject *text_append, *text_id, *text_next, *text_popleft, *text_settle, *text_wake;

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

/* Take a checksum, by the processor or by the library that Python takes it with. */
static int checksum(Ways *self, PyObject *seed, const char *data, Py_ssize_t size, unsigned long *crc) {
    if (PROCESSOR_HAS_CRC) {
        unsigned long number = PyLong_AsUnsignedLong(seed);
        if (number == (unsigned long)-1 && PyErr_Occurred()) return -1;
        *crc = crc_by_processor(number, data, size);
        return 0;
    }
    PyObject *bytes = PyBytes_FromStringAndSize(data, size);
    if (bytes == NULL) return -1;
    PyObject *arguments[] = {bytes, seed};
    PyObject *taken = PyObject_Vectorcall(self->crc32c, arguments, 2, NULL);
    Py_DECREF(bytes);
    if (taken == NULL) return -1;
    *crc = PyLong_AsUnsignedLong(taken);
    Py_DECREF(taken);
    return *crc == (unsigned long)-1 && PyErr_Occurred() ? -1 : 0;
}

/* Take the checksum of a frame. */
static int take_crc(Ways *self, Frame *frame) {
    PyObject *seed = SLOT(frame->segment, segment_slot.crc_seed);
    return checksum(self, seed, PyBytes_AS_STRING(frame->rest), PyBytes_GET_SIZE(frame->rest), &frame->crc);
}

/* Put a frame's header, without the checksum before it. */
static void put_header(char *rest, const char *header, Py_ssize_t size, long long offset, long long timestamp_ms,
                       long long number, long long total) {
    memcpy(rest, header + CRC_SIZE, HEADER_SIZE - CRC_SIZE);
    char *start = rest - CRC_SIZE; /* as if the checksum stood there, so that positions are those of the frame */
    put32(start + AT_SIZE, size);
    put64(start + AT_OFFSET, offset);
    put64(start + AT_TIMESTAMP, timestamp_ms);
    put64(start + AT_LATEST_TIMESTAMP, timestamp_ms);
    put64(start + AT_NUMBER, number);
    put64(start + AT_TOTAL, total);
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
    put_header(PyBytes_AS_STRING(frame->rest), header, size, offset, timestamp_ms, number, total);
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

/* Show a commit's number. Last of all comes the page: who sees it in another process sees all of the commit. */
static void publish_number(Ways *self, Page *page, PyObject *number, long long value) {
    set_slot(self->engine, engine_slot.published, number);
    if (page->list != NULL)
        PyList_SetItem(page->list, PAGE_COMMIT, Py_NewRef(number));
    else
        __atomic_store_n((uint64_t *)page->view.buf + PAGE_COMMIT, (uint64_t)value, __ATOMIC_RELEASE);
}

/* Publish a commit. */
static void publish(Ways *self, Page *page, PyObject *number, long long value) {
    set_slot(self->engine, engine_slot.commit_number, number);
    publish_number(self, page, number, value);
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

/* Wake who waits, with a small record in their hands: `Stream.tell_waiters`. */
static int tell_waiters(Frame *frame, PyObject *timestamp, PyObject *key, PyObject *value, PyObject *number) {
    PyObject *waiters = SLOT(frame->stream, stream_slot.waiters);
    if (waiters == NULL || !PySet_Check(waiters) || PySet_GET_SIZE(waiters) == 0) return 0;
    if (PyBytes_GET_SIZE(value) + (key == Py_None ? 0 : PyBytes_GET_SIZE(key)) <= LATEST_LIMIT) {
        long long total = PyLong_AsLongLong(frame->total) - PyBytes_GET_SIZE(value); /* before this record */
        PyObject *latest = Py_BuildValue("(OOOOOL)", frame->offset, timestamp, key, value, number, total);
        if (latest == NULL) return -1;
        Py_XSETREF(SLOT(frame->stream, stream_slot.latest), latest);
    }
    return wake_waiters(frame->stream);
}

static void put_body(char *body, PyObject *key, PyObject *value) {
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
    put_body(PyBytes_AS_STRING(frame->rest) + HEADER_SIZE - CRC_SIZE, key, value);
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

/* Return how long the body of one record is, -1 where its append is not for here. */
static Py_ssize_t size_of_one(Ways *self, PyObject *const *args, Py_ssize_t count, PyObject *key) {
    if (count < 3 || count > 4 || !Py_IS_TYPE(args[0], self->stream_type) || !PyBytes_CheckExact(args[1])
        || (key != Py_None && !PyBytes_CheckExact(key)))
        return -1;
    Py_ssize_t size = PyBytes_GET_SIZE(args[1]) + (key == Py_None ? 0 : KEY_SIZE + PyBytes_GET_SIZE(key));
    return size > SMALL_LIMIT ? -1 : size;
}

static PyObject *ways_append(Ways *self, PyObject *const *args, Py_ssize_t count) {
    PyObject *key = count > 3 ? args[3] : Py_None;
    Py_ssize_t size = size_of_one(self, args, count, key);
    if (size < 0) return PyObject_Vectorcall(self->append, args, count, NULL);
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

/* append_journaled(stream, value, timestamp_ms, key=None): by an entry in the journal, as `JournalWriter.append` */

/* The parts of a `Single`, by place. */
enum {
    S_NUMBER,
    S_STREAM,
    S_SEGMENT,
    S_POSITION,
    S_END,
    S_OFFSET,
    S_TIMESTAMP,
    S_TOTAL,
    S_FRAME,
    S_ENTRY,
    S_ENTRY_POSITION,
    S_PARTS
};

/* One record's commit, built, with what follows from it. */
typedef struct {
    PyObject *single;
    PyObject *area;
    PyObject *area_after; /* the position behind the entry */
    PyObject *next_offset;
} Entry;

static void clear_entry(Entry *entry) {
    Py_CLEAR(entry->single);
    Py_CLEAR(entry->area);
    Py_CLEAR(entry->area_after);
    Py_CLEAR(entry->next_offset);
}

#define PART(single, place) PyTuple_GET_ITEM(single, place)

static PyObject *active_area(Ways *self) {
    PyObject *areas = SLOT(self->journal, journal_slot._areas);
    long long active = number_in(self->journal, journal_slot._active);
    if (areas == NULL || !PyList_CheckExact(areas) || active < 0 || active >= PyList_GET_SIZE(areas)) return NULL;
    PyObject *area = PyList_GET_ITEM(areas, active);
    return Py_IS_TYPE(area, self->area_type) ? area : NULL;
}

/* Whether nothing but a frame up to `end` is due: what `single` asks, and that the map is one of those for here. */
static int has_room_for_one(Ways *self, PyObject *stream, PyObject *segment, long long end) {
    PyObject *map = SLOT(segment, segment_slot.map), *streams = SLOT(self->engine, engine_slot.streams);
    PyObject *id = SLOT(stream, stream_slot.id);
    if (map == NULL || !(Py_IS_TYPE(map, self->map_type) || PyByteArray_CheckExact(map)) || id == NULL
        || SLOT(stream, stream_slot.segment_ms) != Py_None || SLOT(segment, segment_slot.announced) != Py_True
        || end > number_in(segment, segment_slot.capacity) || end > number_in(stream, stream_slot.segment_bytes)
        || streams == NULL || !PyDict_CheckExact(streams))
        return 0;
    PyObject *known = PyDict_GetItemWithError(streams, id);
    return known == NULL && PyErr_Occurred() ? -1 : known == stream;
}

static PyObject *frame_of(Ways *self, PyObject *segment, PyObject *const *args, PyObject *key, Py_ssize_t size,
                          long long offset, long long number, long long total) {
    PyObject *frame = PyBytes_FromStringAndSize(NULL, HEADER_SIZE + size);
    if (frame == NULL) return NULL;
    char *data = PyBytes_AS_STRING(frame);
    const char *header = key == Py_None ? self->plain : self->keyed;
    put_header(data + CRC_SIZE, header, size, offset, timestamp_of(args[2]), number, total);
    put_body(data + HEADER_SIZE, key, args[1]);
    unsigned long crc;
    PyObject *seed = SLOT(segment, segment_slot.crc_seed);
    if (checksum(self, seed, data + CRC_SIZE, HEADER_SIZE - CRC_SIZE + size, &crc) < 0) Py_CLEAR(frame);
    if (frame != NULL) put32(data, crc);
    return frame;
}

static PyObject *entry_of(Ways *self, PyObject *area, PyObject *frame, long long number, long long synced,
                          long long file_id, long long position) {
    Py_ssize_t size = PyBytes_GET_SIZE(frame), length = BEFORE_FRAME_SIZE + KEY_SIZE + size;
    Py_ssize_t padded = (length + ENTRY_ALIGNMENT - 1) / ENTRY_ALIGNMENT * ENTRY_ALIGNMENT;
    PyObject *entry = PyBytes_FromStringAndSize(NULL, padded);
    if (entry == NULL) return NULL;
    char *data = PyBytes_AS_STRING(entry);
    memset(data, 0, BEFORE_FRAME_SIZE);
    memset(data + length, 0, padded - length);
    put32(data + 4, ENTRY_MAGIC);
    put32(data + 8, length);
    put32(data + 12, self->life);
    put64(data + 16, number);
    put64(data + 24, synced);
    put32(data + 32, 1); /* frame */
    put32(data + 36, 1); /* body */
    put32(data + 44, ENTRY_VERSION);
    put64(data + 48, file_id);
    put64(data + 56, position);
    char *header = data + BEFORE_FRAME_SIZE, *body = header + HEADER_SIZE + KEY_SIZE;
    memcpy(header, PyBytes_AS_STRING(frame), HEADER_SIZE);
    put32(header + HEADER_SIZE, size - HEADER_SIZE);
    memcpy(body, PyBytes_AS_STRING(frame) + HEADER_SIZE, size - HEADER_SIZE);
    unsigned long crc;
    PyObject *seed = SLOT(area, area_slot.crc_seed);
    if (checksum(self, seed, data + CRC_SIZE, length - CRC_SIZE, &crc) < 0) Py_CLEAR(entry);
    if (entry != NULL) put32(data, crc);
    return entry;
}

/* Give one record its place, as `SmallEntries.single` does. */
static Outcome begin_entry(Ways *self, Entry *entry, PyObject *const *args, PyObject *key, Py_ssize_t size) {
    PyObject *stream = args[0], *segment = SLOT(stream, stream_slot.active), *area = active_area(self);
    if (segment == NULL || area == NULL || !Py_IS_TYPE(segment, self->segment_type)) return FOR_PYTHON;
    long long number = next_number(self), synced = number_in(self->engine, engine_slot.published);
    long long position = number_in(segment, segment_slot.position), file_id = number_in(segment, segment_slot.file_id);
    long long offset = number_in(stream, stream_slot.next_offset);
    long long total = number_in(stream, stream_slot.value_bytes), end = position + HEADER_SIZE + size;
    long long area_position = number_in(area, area_slot.position);
    Py_ssize_t entry_size = BEFORE_FRAME_SIZE + HEADER_SIZE + KEY_SIZE + size + ENTRY_ALIGNMENT;
    if (number < 0 || synced < 0 || position < 0 || file_id < 0 || offset < 0 || total < 0 || area_position < 0
        || timestamp_of(args[2]) < 0 || SLOT(segment, segment_slot.crc_seed) == NULL
        || SLOT(area, area_slot.crc_seed) == NULL || SLOT(area, area_slot.unwritten) == NULL
        || !PyDict_CheckExact(SLOT(area, area_slot.unwritten))
        || area_position + entry_size > number_in(area, area_slot.size))
        return FOR_PYTHON;
    int room = has_room_for_one(self, stream, segment, end);
    if (room <= 0) return room < 0 ? FAILED : FOR_PYTHON;
    entry->area = Py_NewRef(area);
    PyObject *single = entry->single = self->single_type->tp_alloc(self->single_type, S_PARTS);
    if (single == NULL) return FAILED;
    PyTuple_SET_ITEM(single, S_STREAM, Py_NewRef(stream));
    PyTuple_SET_ITEM(single, S_SEGMENT, Py_NewRef(segment));
    PyTuple_SET_ITEM(single, S_POSITION, Py_NewRef(SLOT(segment, segment_slot.position)));
    PyTuple_SET_ITEM(single, S_OFFSET, Py_NewRef(SLOT(stream, stream_slot.next_offset)));
    PyTuple_SET_ITEM(single, S_TIMESTAMP, Py_NewRef(args[2]));
    PyTuple_SET_ITEM(single, S_ENTRY_POSITION, Py_NewRef(SLOT(area, area_slot.position)));
    PyTuple_SET_ITEM(single, S_NUMBER, PyLong_FromLongLong(number));
    PyTuple_SET_ITEM(single, S_END, PyLong_FromLongLong(end));
    PyTuple_SET_ITEM(single, S_TOTAL, PyLong_FromLongLong(total + PyBytes_GET_SIZE(args[1])));
    PyObject *frame = frame_of(self, segment, args, key, size, offset, number, total);
    PyTuple_SET_ITEM(single, S_FRAME, frame);
    if (frame == NULL) return FAILED;
    PyObject *packed = entry_of(self, area, frame, number, synced, file_id, position);
    PyTuple_SET_ITEM(single, S_ENTRY, packed);
    if (packed == NULL) return FAILED;
    entry->area_after = PyLong_FromLongLong(area_position + PyBytes_GET_SIZE(packed));
    entry->next_offset = PyLong_FromLongLong(offset + 1);
    return PART(single, S_NUMBER) == NULL || PART(single, S_END) == NULL || PART(single, S_TOTAL) == NULL
            || entry->area_after == NULL || entry->next_offset == NULL
        ? FAILED
        : DONE;
}

/* Write the entry and advance the assigned state, as `redo_single`; what fails here is done by that later. */
static Outcome write_entry(Ways *self, Entry *entry) {
    PyObject *single = entry->single, *area = entry->area, *timestamp = PART(single, S_TIMESTAMP);
    PyObject *stream = PART(single, S_STREAM), *segment = PART(single, S_SEGMENT);
    set_slot(self->engine, engine_slot.obstacle, single);
    PyObject *unwritten = SLOT(area, area_slot.unwritten);
    if (PyDict_SetItem(unwritten, PART(single, S_ENTRY_POSITION), PART(single, S_ENTRY)) < 0) return FAILED;
    set_slot(area, area_slot.position, entry->area_after);
    set_slot(area, area_slot.last_commit, PART(single, S_NUMBER));
    if (number_in(segment, segment_slot.first_timestamp_ms) == LLONG_MIN)
        set_slot(segment, segment_slot.first_timestamp_ms, timestamp);
    if (timestamp_of(timestamp) > number_in(segment, segment_slot.max_timestamp_ms))
        set_slot(segment, segment_slot.max_timestamp_ms, timestamp);
    set_slot(segment, segment_slot.end_offset, entry->next_offset);
    set_slot(segment, segment_slot.position, PART(single, S_END));
    set_slot(segment, segment_slot.value_total, PART(single, S_TOTAL));
    set_slot(stream, stream_slot.value_bytes, PART(single, S_TOTAL));
    set_slot(stream, stream_slot.next_offset, entry->next_offset);
    set_slot(self->engine, engine_slot.commit_number, PART(single, S_NUMBER));
    PyObject *none = PyObject_CallMethodOneArg(self->pending, text_append, single);
    if (none == NULL) return FAILED;
    Py_DECREF(none);
    set_slot(self->engine, engine_slot.obstacle, SLOT(self->engine, engine_slot.failure));
    return DONE;
}

/* Let Python see whether a checkpoint is due, where it may be. */
static Outcome look_at_checkpoint(Ways *self, Entry *entry) {
    PyObject *number = PART(entry->single, S_NUMBER);
    long long behind = PyLong_AsLongLong(number) - number_in(self->engine, engine_slot.durable_commit);
    if (behind < self->most_commits
        && number_in(entry->area, area_slot.position) * 2 <= number_in(entry->area, area_slot.size)
        && number_in(self->engine, engine_slot.state_cost) < self->most_state_cost
        && SLOT(self->engine, engine_slot.snapshot_wanted) == Py_False)
        return DONE;
    PyObject *none = PyObject_CallOneArg(self->request_checkpoint, number);
    if (none == NULL) return FAILED;
    Py_DECREF(none);
    return DONE;
}

static PyObject *append_by_journal(Ways *self, PyObject *const *args, Py_ssize_t count, PyObject *python, int waits) {
    PyObject *key = count > 3 ? args[3] : Py_None;
    Py_ssize_t size = size_of_one(self, args, count, key);
    if (size < 0) return PyObject_Vectorcall(python, args, count, NULL);
    Entry entry = {0};
    if (take_lock(self) < 0) return NULL;
    Outcome outcome = begin_entry(self, &entry, args, key, size);
    if (outcome == DONE) outcome = write_entry(self, &entry);
    if (outcome == DONE) outcome = look_at_checkpoint(self, &entry);
    if (release_lock(self) < 0) outcome = FAILED;
    PyObject *offset = NULL;
    if (outcome == DONE) {
        PyObject *none = waits ? PyObject_CallOneArg(self->wait, PART(entry.single, S_NUMBER)) : Py_NewRef(Py_None);
        if (none != NULL) offset = Py_NewRef(PART(entry.single, S_OFFSET));
        Py_XDECREF(none);
    }
    clear_entry(&entry);
    return outcome == FOR_PYTHON ? PyObject_Vectorcall(python, args, count, NULL) : offset;
}

static PyObject *ways_append_journaled(Ways *self, PyObject *const *args, Py_ssize_t count) {
    if (self->journal == NULL) return PyErr_Format(PyExc_ValueError, "no journal");
    return append_by_journal(self, args, count, self->append, 1);
}

/* append_unwaited(stream, value, timestamp_ms, key=None): the same, without waiting for the sync */
static PyObject *ways_append_unwaited(Ways *self, PyObject *const *args, Py_ssize_t count) {
    if (self->journal == NULL) return PyErr_Format(PyExc_ValueError, "no journal");
    return append_by_journal(self, args, count, self->append_unwaited, 0);
}

/* show_singles(commit): store and show what is synced, as `_publish_up_to` does, as far as it is single records */

/* Set what `note_frame_at` sets where no entry of the index is due. */
static int set_limit(PyObject *segment) {
    Py_ssize_t places[] = {segment_slot.capacity, segment_slot.next_index_position, segment_slot.zeroed_position};
    Py_ssize_t least = places[0];
    for (int place = 1; place < 3; place++)
        if (number_in(segment, places[place]) < number_in(segment, least)) least = places[place];
    set_slot(segment, segment_slot.limit, SLOT(segment, least));
    return 0;
}

static Outcome show_single(Ways *self, PyObject *single, long long number) {
    PyObject *stream = PART(single, S_STREAM), *segment = PART(single, S_SEGMENT), *frame = PART(single, S_FRAME);
    PyObject *map = SLOT(segment, segment_slot.map), *waiters = SLOT(stream, stream_slot.waiters);
    long long position = PyLong_AsLongLong(PART(single, S_POSITION)), end = PyLong_AsLongLong(PART(single, S_END));
    if (SLOT(segment, segment_slot.dropped) != Py_False || map == NULL
        || !(Py_IS_TYPE(map, self->map_type) || PyByteArray_CheckExact(map))
        || end > number_in(segment, segment_slot.zeroed_position) || number_in(segment, segment_slot.capacity) < 0
        || (position >= number_in(segment, segment_slot.next_index_position)
            && SLOT(segment, segment_slot.index) != Py_None)
        || waiters == NULL || !PySet_CheckExact(waiters) || PySet_GET_SIZE(waiters) > 0)
        return FOR_PYTHON;
    Page page = {0};
    Py_buffer view;
    PyObject *after = PyLong_FromLongLong(PyLong_AsLongLong(PART(single, S_OFFSET)) + 1);
    if (after == NULL) return FAILED;
    if (PyObject_GetBuffer(map, &view, PyBUF_WRITABLE) < 0) {
        Py_DECREF(after);
        return FAILED;
    }
    Outcome outcome = end > view.len ? FOR_PYTHON : open_page(self, &page) < 0 ? FAILED : DONE;
    if (outcome == DONE) {
        memcpy((char *)view.buf + position, PyBytes_AS_STRING(frame), PyBytes_GET_SIZE(frame));
        set_limit(segment);
        if (timestamp_of(PART(single, S_TIMESTAMP)) > number_in(segment, segment_slot.before_ms))
            set_slot(segment, segment_slot.before_ms, PART(single, S_TIMESTAMP));
        set_slot(segment, segment_slot.stored_position, PART(single, S_END));
        set_slot(stream, stream_slot.end, after);
        publish_number(self, &page, PART(single, S_NUMBER), number);
        close_page(&page);
    }
    PyBuffer_Release(&view);
    Py_DECREF(after);
    return outcome;
}

static PyObject *ways_show_singles(Ways *self, PyObject *commit) {
    long long target = PyLong_AsLongLong(commit);
    if (target == -1 && PyErr_Occurred()) return NULL;
    Py_ssize_t shown = 0, waiting;
    while (self->pending != NULL && (waiting = PyObject_Size(self->pending)) > 0) {
        PyObject *single = PySequence_GetItem(self->pending, 0);
        if (single == NULL) return NULL;
        Outcome outcome = FOR_PYTHON;
        if (Py_IS_TYPE(single, self->single_type)) {
            long long number = PyLong_AsLongLong(PART(single, S_NUMBER));
            if (number <= target) outcome = show_single(self, single, number);
        }
        Py_DECREF(single);
        if (outcome == FAILED) return NULL;
        if (outcome == FOR_PYTHON) break;
        PyObject *popped = PyObject_CallMethodNoArgs(self->pending, text_popleft);
        if (popped == NULL) return NULL;
        Py_DECREF(popped);
        shown++;
    }
    return PyLong_FromSsize_t(shown);
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
        put_body(PyBytes_AS_STRING(frame->rest) + HEADER_SIZE - CRC_SIZE, key, value);
        if (take_crc(self, frame) < 0) return FAILED;
    }
    return DONE;
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
    Py_VISIT(self->journal);
    Py_VISIT(self->area_type);
    Py_VISIT(self->single_type);
    Py_VISIT(self->pending);
    Py_VISIT(self->append_unwaited);
    Py_VISIT(self->wait);
    Py_VISIT(self->request_checkpoint);
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
    Py_XDECREF(self->journal);
    Py_XDECREF(self->area_type);
    Py_XDECREF(self->single_type);
    Py_XDECREF(self->pending);
    Py_XDECREF(self->append_unwaited);
    Py_XDECREF(self->wait);
    Py_XDECREF(self->request_checkpoint);
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

/* use_journal(journal, area type, single type, pending, append_unwaited, wait, request_checkpoint, life, most commits,
   most cost) */
static PyObject *ways_use_journal(Ways *self, PyObject *args) {
    PyObject *journal, *area_type, *single_type, *pending, *append_unwaited, *wait, *request_checkpoint;
    long long life, most_commits, most_state_cost;
    if (!PyArg_ParseTuple(args, "OO!O!OOOOLLL", &journal, &PyType_Type, &area_type, &PyType_Type, &single_type,
                          &pending, &append_unwaited, &wait, &request_checkpoint, &life, &most_commits,
                          &most_state_cost))
        return NULL;
    if (self->journal != NULL || !PyType_IsSubtype((PyTypeObject *)single_type, &PyTuple_Type)
        || ((PyTypeObject *)single_type)->tp_basicsize != PyTuple_Type.tp_basicsize)
        return PyErr_Format(PyExc_ValueError, "one journal, and tuples for its commits");
    if (find_journal_slots(Py_TYPE(journal), (PyTypeObject *)area_type) != 0) return NULL;
    self->area_type = (PyTypeObject *)Py_NewRef(area_type);
    self->single_type = (PyTypeObject *)Py_NewRef(single_type);
    self->pending = Py_NewRef(pending);
    self->append_unwaited = Py_NewRef(append_unwaited);
    self->wait = Py_NewRef(wait);
    self->request_checkpoint = Py_NewRef(request_checkpoint);
    self->life = life;
    self->most_commits = most_commits;
    self->most_state_cost = most_state_cost;
    self->journal = Py_NewRef(journal);
    Py_RETURN_NONE;
}

static PyMethodDef ways_methods[] = {
    {"append", (PyCFunction)(void (*)(void))ways_append, METH_FASTCALL, NULL},
    {"append_journaled", (PyCFunction)(void (*)(void))ways_append_journaled, METH_FASTCALL, NULL},
    {"append_unwaited", (PyCFunction)(void (*)(void))ways_append_unwaited, METH_FASTCALL, NULL},
    {"show_singles", (PyCFunction)ways_show_singles, METH_O, NULL},
    {"use_journal", (PyCFunction)ways_use_journal, METH_VARARGS, NULL},
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

/* The loops over frames of commits by hand: `place_by_hand`, `pack_frames`, `assign_frames`, `show_frames`,
   `store_frames`. They stand in several.py, small_entry.py and small_commit.py, and run under the store lock, which the
   caller holds. Frames are tuples as there; what they were checked for once stays, since nothing changes a tuple. */

enum {
    STREAM, SEGMENT, POSITION, END, OFFSET, END_OFFSET, STAMP, LATEST, TOTAL, FRAME, BODY, FIELDS, /* of a SmallFrame */
    ENTRY_SIZE = 48,      /* the header of an entry; its fields, by position: */
    AT_ENTRY_MAGIC = 4,
    AT_ENTRY_LENGTH = 8,
    AT_ENTRY_LIFE = 12,
    AT_ENTRY_NUMBER = 16,
    AT_ENTRY_SYNCED = 24,
    AT_ENTRY_FRAMES = 32,
    AT_ENTRY_BODIES = 36,
    AT_ENTRY_VERSION = 44,
    PLACE_SIZE = 24,      /* file id, position, body */
    LENGTH_SIZE = 4,
    ALIGNMENT = 8,
    AT_KIND = 4,          /* of a frame, beside those above */
    AT_COUNT = 16,
    AT_SPAN = 20,
    AT_LIFE = 56,
    MOST_FRAMES = 64
};

static struct {
    Py_ssize_t life, streams;
} engine_by_hand_slot;
static struct {
    Py_ssize_t id, segment_bytes, segment_ms;
} stream_by_hand_slot;
static struct {
    Py_ssize_t announced, capacity, dropped, file_id, first_timestamp_ms, next_index_position, zeroed_position;
} segment_by_hand_slot;
static struct {
    Py_ssize_t count, data, kind, max_timestamp_ms, span, timestamp_ms, value_bytes;
} body_slot;

static int find_slots_by_hand(PyTypeObject *engine, PyTypeObject *stream, PyTypeObject *segment, PyTypeObject *body) {
    return find_slots(engine, stream, segment) || FIND(engine_by_hand, engine, life)
        || FIND(engine_by_hand, engine, streams) || FIND(stream_by_hand, stream, id)
        || FIND(stream_by_hand, stream, segment_bytes) || FIND(stream_by_hand, stream, segment_ms)
        || FIND(segment_by_hand, segment, announced) || FIND(segment_by_hand, segment, capacity)
        || FIND(segment_by_hand, segment, dropped) || FIND(segment_by_hand, segment, file_id)
        || FIND(segment_by_hand, segment, first_timestamp_ms) || FIND(segment_by_hand, segment, next_index_position)
        || FIND(segment_by_hand, segment, zeroed_position) || FIND(body, body, count) || FIND(body, body, data)
        || FIND(body, body, kind) || FIND(body, body, max_timestamp_ms) || FIND(body, body, span)
        || FIND(body, body, timestamp_ms) || FIND(body, body, value_bytes);
}

/* Methods of the writer: for both kinds, for the one with a journal, for the one without. */
enum {
    HAS_ROOM, PLACE_BY_HAND,
    PACK_FRAMES, ASSIGN_FRAMES, SHOW_FRAMES, SHOW_FRAME,
    STORE_FRAMES, STORE_FRAME,
    METHODS
};

static const char *const method_names[METHODS] = {"has_room",    "place_by_hand", "pack_frames",  "assign_frames",
                                                  "show_frames", "show_frame",    "store_frames", "store_frame"};

/* The writer's own methods, and what is needed to know its objects. */
typedef struct {
    PyObject_HEAD
    PyObject *engine;
    PyTypeObject *stream_type;
    PyTypeObject *segment_type;
    PyTypeObject *body_type;
    PyTypeObject *map_type;
    PyObject *crc32c;
    PyObject *methods[METHODS]; /* NULL where this kind of writer has none */
    long long magic; /* of an entry */
    long long version;
    int journaled;
} Hands;

/* Leave a call to the writer. */
static PyObject *leave(Hands *self, int method, PyObject *const *args, Py_ssize_t count) {
    if (self->methods[method] == NULL)
        return PyErr_Format(PyExc_TypeError, "this writer has no %s", method_names[method]);
    return PyObject_Vectorcall(self->methods[method], args, count, NULL);
}

/* Read a slot's number, whatever it is. Returns 0 if it is none. */
static int read_number(PyObject *object, Py_ssize_t place, long long *number) {
    PyObject *value = SLOT(object, place);
    if (value == NULL || !PyLong_CheckExact(value)) return 0;
    int overflow;
    *number = PyLong_AsLongLongAndOverflow(value, &overflow);
    return !overflow;
}

/* The map of a segment, NULL where it has none or another one than those known here. */
static PyObject *map_of(Hands *self, PyObject *segment) {
    PyObject *map = SLOT(segment, segment_slot.map);
    return map != NULL && (Py_IS_TYPE(map, self->map_type) || PyByteArray_CheckExact(map)) ? map : NULL;
}

/* Whether this is a frame as `place_by_hand` returns it. */
static int is_frame(Hands *self, PyObject *frame) {
    if (!PyTuple_CheckExact(frame) || PyTuple_GET_SIZE(frame) != FIELDS
        || !Py_IS_TYPE(PyTuple_GET_ITEM(frame, STREAM), self->stream_type)
        || !Py_IS_TYPE(PyTuple_GET_ITEM(frame, SEGMENT), self->segment_type)
        || !PyBytes_CheckExact(PyTuple_GET_ITEM(frame, FRAME)) || !PyBytes_CheckExact(PyTuple_GET_ITEM(frame, BODY)))
        return 0;
    for (int field = POSITION; field <= TOTAL; field++)
        if (timestamp_of(PyTuple_GET_ITEM(frame, field)) < 0) return 0;
    return 1;
}

/* Whether its segment is one that can be dealt with here. */
static int is_usual(Hands *self, PyObject *frame) {
    PyObject *segment = PyTuple_GET_ITEM(frame, SEGMENT);
    long long number;
    return map_of(self, segment) != NULL && read_number(segment, segment_by_hand_slot.first_timestamp_ms, &number)
        && read_number(segment, segment_slot.max_timestamp_ms, &number)
        && read_number(segment, segment_slot.before_ms, &number);
}

/* Whether these are frames, all of them usual if that is asked for. */
static int are_frames(Hands *self, PyObject *frames, int usual) {
    if (!PyTuple_CheckExact(frames)) return 0;
    for (Py_ssize_t place = 0; place < PyTuple_GET_SIZE(frames); place++) {
        PyObject *frame = PyTuple_GET_ITEM(frames, place);
        if (!is_frame(self, frame) || (usual && !is_usual(self, frame))) return 0;
    }
    return 1;
}

static long long field_of(PyObject *frame, int field) { return PyLong_AsLongLong(PyTuple_GET_ITEM(frame, field)); }

/* Take the checksum of some bytes that begin behind their place for it, and put it there. */
static int put_crc(Hands *self, PyObject *seed, char *start, Py_ssize_t size) {
    unsigned long crc = PyLong_AsUnsignedLong(seed);
    if (crc == (unsigned long)-1 && PyErr_Occurred()) return -1;
    if (PROCESSOR_HAS_CRC) {
        put32(start, crc_by_processor(crc, start + CRC_SIZE, size - CRC_SIZE));
        return 0;
    }
    PyObject *arguments[] = {PyBytes_FromStringAndSize(start + CRC_SIZE, size - CRC_SIZE), seed};
    if (arguments[0] == NULL) return -1;
    PyObject *taken = PyObject_Vectorcall(self->crc32c, arguments, 2, NULL);
    Py_DECREF(arguments[0]);
    if (taken == NULL) return -1;
    crc = PyLong_AsUnsignedLong(taken);
    Py_DECREF(taken);
    if (crc == (unsigned long)-1 && PyErr_Occurred()) return -1;
    put32(start, crc);
    return 0;
}

/* place_by_hand(bodies) */

/* Whether a frame needs nothing but its bytes; -1 when asking for it failed. */
static int has_room(Hands *self, PyObject *stream, PyObject *segment, PyObject *position, PyObject *end) {
    long long from = PyLong_AsLongLong(position), to = PyLong_AsLongLong(end);
    if (self->journaled)
        return to <= number_in(segment, segment_by_hand_slot.capacity)
            && to <= number_in(stream, stream_by_hand_slot.segment_bytes)
            && SLOT(stream, stream_by_hand_slot.segment_ms) == Py_None
            && SLOT(segment, segment_by_hand_slot.announced) == Py_True && to - from <= SMALL_LIMIT;
    if (to - from <= SMALL_LIMIT && to <= number_in(segment, segment_slot.limit)) return 1;
    PyObject *arguments[] = {stream, segment, position, end};
    PyObject *answer = leave(self, HAS_ROOM, arguments, 4);
    if (answer == NULL) return -1;
    int room = PyObject_IsTrue(answer);
    Py_DECREF(answer);
    return room;
}

/* What a frame follows: where it goes, and from which offset and total on its stream counts. */
typedef struct {
    PyObject *position, *offset, *total; /* borrowed */
} Start;

/* Find it, behind those of the same commit that stand in `frames` already. Returns DONE without a position for a stream
   that was removed. */
static Outcome find_start(Hands *self, PyObject *stream, PyObject *segment, PyObject *frames, Py_ssize_t place,
                          Start *start) {
    while (place > 0) {
        PyObject *frame = PyTuple_GET_ITEM(frames, --place);
        if (PyTuple_GET_ITEM(frame, STREAM) != stream) continue;
        start->position = PyTuple_GET_ITEM(frame, END);
        start->offset = PyTuple_GET_ITEM(frame, END_OFFSET);
        start->total = PyTuple_GET_ITEM(frame, TOTAL);
        return DONE;
    }
    PyObject *streams = SLOT(self->engine, engine_by_hand_slot.streams);
    if (streams == NULL || !PyDict_CheckExact(streams) || number_in(stream, stream_by_hand_slot.id) < 0)
        return FOR_PYTHON;
    PyObject *known = PyDict_GetItemWithError(streams, SLOT(stream, stream_by_hand_slot.id));
    if (known != stream) return PyErr_Occurred() ? FAILED : DONE;
    if (number_in(segment, segment_slot.position) < 0 || number_in(stream, stream_slot.next_offset) < 0
        || number_in(stream, stream_slot.value_bytes) < 0)
        return FOR_PYTHON;
    start->position = SLOT(segment, segment_slot.position);
    start->offset = SLOT(stream, stream_slot.next_offset);
    start->total = SLOT(stream, stream_slot.value_bytes);
    return DONE;
}

static Outcome build_small(Hands *self, PyObject *made, const Start *before, PyObject *body, long long number,
                           Py_ssize_t frames) {
    PyObject *stamp = SLOT(body, body_slot.timestamp_ms), *latest = SLOT(body, body_slot.max_timestamp_ms);
    PyObject *data = SLOT(body, body_slot.data);
    long long kind = number_in(body, body_slot.kind), count = number_in(body, body_slot.count);
    long long span = number_in(body, body_slot.span), value_bytes = number_in(body, body_slot.value_bytes);
    long long life = number_in(self->engine, engine_by_hand_slot.life), most = 0xFFFFFFFFLL;
    if (data == NULL || !PyBytes_CheckExact(data) || number_in(body, body_slot.timestamp_ms) < 0
        || number_in(body, body_slot.max_timestamp_ms) < 0 || kind < 0 || count < 0 || count > most || span < 0
        || span > most || value_bytes < 0 || life < 0 || life > most)
        return FOR_PYTHON;
    Py_ssize_t size = PyBytes_GET_SIZE(data);
    long long position = PyLong_AsLongLong(before->position), offset = PyLong_AsLongLong(before->offset);
    long long total = PyLong_AsLongLong(before->total);
    PyTuple_SET_ITEM(made, POSITION, Py_NewRef(before->position));
    PyTuple_SET_ITEM(made, OFFSET, Py_NewRef(before->offset));
    PyTuple_SET_ITEM(made, STAMP, Py_NewRef(stamp));
    PyTuple_SET_ITEM(made, LATEST, Py_NewRef(latest));
    PyTuple_SET_ITEM(made, BODY, Py_NewRef(data));
    PyObject *end = PyLong_FromLongLong(position + HEADER_SIZE + size);
    PyObject *end_offset = PyLong_FromLongLong(offset + span);
    PyObject *end_total = PyLong_FromLongLong(total + value_bytes);
    PyObject *frame = PyBytes_FromStringAndSize(NULL, HEADER_SIZE + size);
    PyTuple_SET_ITEM(made, END, end);
    PyTuple_SET_ITEM(made, END_OFFSET, end_offset);
    PyTuple_SET_ITEM(made, TOTAL, end_total);
    PyTuple_SET_ITEM(made, FRAME, frame);
    if (!end || !end_offset || !end_total || !frame) return FAILED;
    char *start = PyBytes_AS_STRING(frame);
    put64(start + AT_KIND, kind);
    put32(start + AT_SIZE, size);
    put32(start + AT_COUNT, count);
    put32(start + AT_SPAN, span);
    put64(start + AT_OFFSET, offset);
    put64(start + AT_TIMESTAMP, timestamp_of(stamp));
    put64(start + AT_LATEST_TIMESTAMP, timestamp_of(latest));
    put64(start + AT_NUMBER, number);
    put32(start + AT_LIFE, life);
    put32(start + AT_FRAMES, frames);
    put64(start + AT_TOTAL, total);
    memcpy(start + HEADER_SIZE, PyBytes_AS_STRING(data), size);
    return DONE;
}

/* Build a frame with its place. `*room` becomes 0 where there is none for it. */
static Outcome place_one(Hands *self, PyObject *pair, PyObject *frames, Py_ssize_t place, long long number, int *room) {
    if (!PyTuple_CheckExact(pair) || PyTuple_GET_SIZE(pair) != 2) return FOR_PYTHON;
    PyObject *stream = PyTuple_GET_ITEM(pair, 0), *body = PyTuple_GET_ITEM(pair, 1);
    if (!Py_IS_TYPE(stream, self->stream_type) || !Py_IS_TYPE(body, self->body_type)) return FOR_PYTHON;
    /* First of all: making a tuple may collect garbage, and that may run other code. */
    PyObject *made = PyTuple_New(FIELDS), *segment = SLOT(stream, stream_slot.active);
    if (made == NULL) return FAILED;
    PyTuple_SET_ITEM(frames, place, made);
    if (segment == NULL || !Py_IS_TYPE(segment, self->segment_type) || map_of(self, segment) == NULL) return FOR_PYTHON;
    PyObject *seed = SLOT(segment, segment_slot.crc_seed);
    if (seed == NULL || !PyLong_CheckExact(seed)) return FOR_PYTHON;
    PyTuple_SET_ITEM(made, STREAM, Py_NewRef(stream));
    PyTuple_SET_ITEM(made, SEGMENT, Py_NewRef(segment));
    Start start = {0};
    Outcome outcome = find_start(self, stream, segment, frames, place, &start);
    *room = start.position != NULL;
    if (outcome == DONE && *room) outcome = build_small(self, made, &start, body, number, PyTuple_GET_SIZE(frames));
    if (outcome != DONE || !*room) return outcome;
    PyObject *frame = PyTuple_GET_ITEM(made, FRAME);
    if (put_crc(self, seed, PyBytes_AS_STRING(frame), PyBytes_GET_SIZE(frame)) < 0) return FAILED;
    *room = has_room(self, stream, segment, PyTuple_GET_ITEM(made, POSITION), PyTuple_GET_ITEM(made, END));
    return *room < 0 ? FAILED : DONE;
}

static PyObject *hands_place_by_hand(Hands *self, PyObject *bodies) {
    long long before = number_in(self->engine, engine_slot.commit_number);
    if (!PyList_CheckExact(bodies) || PyList_GET_SIZE(bodies) > MOST_FRAMES || before < 0)
        return leave(self, PLACE_BY_HAND, &bodies, 1);
    PyObject *frames = PyTuple_New(PyList_GET_SIZE(bodies));
    if (frames == NULL) return NULL;
    Outcome outcome = DONE;
    int room = 1;
    for (Py_ssize_t place = 0; outcome == DONE && room && place < PyTuple_GET_SIZE(frames); place++) {
        /* Held, and counted anew: asking for room may run other code. */
        PyObject *pair = place < PyList_GET_SIZE(bodies) ? Py_NewRef(PyList_GET_ITEM(bodies, place)) : NULL;
        outcome = pair == NULL ? FOR_PYTHON : place_one(self, pair, frames, place, before + 1, &room);
        Py_XDECREF(pair);
    }
    if (outcome == DONE && room) return frames;
    Py_DECREF(frames);
    if (outcome == FOR_PYTHON) return leave(self, PLACE_BY_HAND, &bodies, 1);
    return outcome == DONE ? Py_NewRef(Py_None) : NULL;
}

/* pack_frames(seed, number, frames) */

static PyObject *pack(Hands *self, PyObject *seed, long long number, PyObject *frames, long long life,
                      long long synced) {
    Py_ssize_t count = PyTuple_GET_SIZE(frames), bodies = 0, size = ENTRY_SIZE;
    PyObject *last = NULL;
    for (Py_ssize_t place = 0; place < count; place++) {
        PyObject *body = PyTuple_GET_ITEM(PyTuple_GET_ITEM(frames, place), BODY);
        size += PLACE_SIZE + HEADER_SIZE;
        if (body != last) { /* copies are known as one body where they follow each other */
            bodies++;
            size += LENGTH_SIZE + PyBytes_GET_SIZE(body);
        }
        last = body;
    }
    Py_ssize_t padding = -size & (ALIGNMENT - 1);
    PyObject *entry = PyBytes_FromStringAndSize(NULL, size + padding);
    if (entry == NULL) return NULL;
    char *start = PyBytes_AS_STRING(entry), *at = start + ENTRY_SIZE;
    memset(start, 0, ENTRY_SIZE);
    memset(start + size, 0, padding);
    put32(start + AT_ENTRY_MAGIC, self->magic);
    put32(start + AT_ENTRY_LENGTH, size);
    put32(start + AT_ENTRY_LIFE, life);
    put64(start + AT_ENTRY_NUMBER, number);
    put64(start + AT_ENTRY_SYNCED, synced);
    put32(start + AT_ENTRY_FRAMES, count);
    put32(start + AT_ENTRY_BODIES, bodies);
    put32(start + AT_ENTRY_VERSION, self->version);
    char *length = at + count * (PLACE_SIZE + HEADER_SIZE), *data = length + bodies * LENGTH_SIZE;
    bodies = -1;
    last = NULL;
    for (Py_ssize_t place = 0; place < count; place++) {
        PyObject *frame = PyTuple_GET_ITEM(frames, place), *body = PyTuple_GET_ITEM(frame, BODY);
        if (body != last) {
            bodies++;
            put32(length, PyBytes_GET_SIZE(body));
            memcpy(data, PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body));
            length += LENGTH_SIZE;
            data += PyBytes_GET_SIZE(body);
        }
        last = body;
        put64(at, number_in(PyTuple_GET_ITEM(frame, SEGMENT), segment_by_hand_slot.file_id));
        put64(at + 8, field_of(frame, POSITION));
        put64(at + 16, bodies); /* and four bytes of zeros */
        memcpy(at + PLACE_SIZE, PyBytes_AS_STRING(PyTuple_GET_ITEM(frame, FRAME)), HEADER_SIZE);
        at += PLACE_SIZE + HEADER_SIZE;
    }
    if (put_crc(self, seed, start, size) < 0) Py_CLEAR(entry);
    return entry;
}

static PyObject *hands_pack_frames(Hands *self, PyObject *const *args, Py_ssize_t count) {
    if (count == 3 && PyLong_CheckExact(args[0]) && are_frames(self, args[2], 1)) {
        long long number = timestamp_of(args[1]), life = number_in(self->engine, engine_by_hand_slot.life);
        long long synced = number_in(self->engine, engine_slot.published);
        int usual = number >= 0 && life >= 0 && life <= 0xFFFFFFFFLL && synced >= 0;
        for (Py_ssize_t place = 0; usual && place < PyTuple_GET_SIZE(args[2]); place++) {
            PyObject *frame = PyTuple_GET_ITEM(args[2], place);
            usual = PyBytes_GET_SIZE(PyTuple_GET_ITEM(frame, FRAME)) >= HEADER_SIZE
                && number_in(PyTuple_GET_ITEM(frame, SEGMENT), segment_by_hand_slot.file_id) >= 0;
        }
        if (usual) return pack(self, args[0], number, args[2], life, synced);
    }
    return leave(self, PACK_FRAMES, args, count);
}

/* assign_frames(frames), show_frames(frames), store_frames(frames) */

/* Advance the assigned state over a frame. Nothing here fails or runs other code. */
static void assign(PyObject *frame) {
    PyObject *stream = PyTuple_GET_ITEM(frame, STREAM), *segment = PyTuple_GET_ITEM(frame, SEGMENT);
    long long first = 0, latest = 0;
    read_number(segment, segment_by_hand_slot.first_timestamp_ms, &first);
    read_number(segment, segment_slot.max_timestamp_ms, &latest);
    if (first == LLONG_MIN) set_slot(segment, segment_by_hand_slot.first_timestamp_ms, PyTuple_GET_ITEM(frame, STAMP));
    if (field_of(frame, LATEST) > latest)
        set_slot(segment, segment_slot.max_timestamp_ms, PyTuple_GET_ITEM(frame, LATEST));
    set_slot(segment, segment_slot.end_offset, PyTuple_GET_ITEM(frame, END_OFFSET));
    set_slot(stream, stream_slot.next_offset, PyTuple_GET_ITEM(frame, END_OFFSET));
    set_slot(segment, segment_slot.position, PyTuple_GET_ITEM(frame, END));
    set_slot(segment, segment_slot.value_total, PyTuple_GET_ITEM(frame, TOTAL));
    set_slot(stream, stream_slot.value_bytes, PyTuple_GET_ITEM(frame, TOTAL));
}

/* Copy a frame into its segment's map. */
static Outcome copy_frame(Hands *self, PyObject *frame) {
    PyObject *map = map_of(self, PyTuple_GET_ITEM(frame, SEGMENT)), *bytes = PyTuple_GET_ITEM(frame, FRAME);
    long long position = field_of(frame, POSITION), end = field_of(frame, END);
    Py_buffer view;
    if (map == NULL || PyBytes_GET_SIZE(bytes) != end - position) return FOR_PYTHON;
    if (PyObject_GetBuffer(map, &view, PyBUF_WRITABLE) < 0) return FAILED;
    Outcome outcome = end > view.len ? FOR_PYTHON : DONE;
    if (outcome == DONE) memcpy((char *)view.buf + position, PyBytes_AS_STRING(bytes), end - position);
    PyBuffer_Release(&view);
    return outcome;
}

/* What `show_frame` does, where neither zeros nor an entry of the index are due. */
static Outcome show(Hands *self, PyObject *frame) {
    PyObject *segment = PyTuple_GET_ITEM(frame, SEGMENT);
    if (SLOT(segment, segment_by_hand_slot.dropped) == Py_True) return DONE;
    if (SLOT(segment, segment_by_hand_slot.dropped) != Py_False
        || field_of(frame, END) > number_in(segment, segment_by_hand_slot.zeroed_position)
        || field_of(frame, POSITION) >= number_in(segment, segment_by_hand_slot.next_index_position))
        return FOR_PYTHON;
    Outcome outcome = copy_frame(self, frame);
    if (outcome != DONE) return outcome;
    long long before = 0;
    read_number(segment, segment_slot.before_ms, &before);
    if (field_of(frame, LATEST) > before) set_slot(segment, segment_slot.before_ms, PyTuple_GET_ITEM(frame, LATEST));
    set_slot(segment, segment_slot.stored_position, PyTuple_GET_ITEM(frame, END));
    return DONE;
}

/* What `store_frame` does. */
static Outcome store_and_assign(Hands *self, PyObject *frame) {
    PyObject *segment = PyTuple_GET_ITEM(frame, SEGMENT);
    if (SLOT(segment, segment_by_hand_slot.dropped) == Py_True) return DONE;
    if (SLOT(segment, segment_by_hand_slot.dropped) != Py_False) return FOR_PYTHON;
    Outcome outcome = copy_frame(self, frame);
    if (outcome != DONE) return outcome;
    assign(frame);
    set_slot(segment, segment_slot.before_ms, SLOT(segment, segment_slot.max_timestamp_ms));
    set_slot(segment, segment_slot.stored_position, PyTuple_GET_ITEM(frame, END));
    set_slot(PyTuple_GET_ITEM(frame, STREAM), stream_slot.end, PyTuple_GET_ITEM(frame, END_OFFSET));
    return DONE;
}

/* Do something with each frame, here or by a method of the writer. What was left to that may have changed something,
   so each is looked at when its turn comes. */
static int each_frame(Hands *self, PyObject *frames, Outcome (*do_one)(Hands *, PyObject *), int method) {
    for (Py_ssize_t place = 0; place < PyTuple_GET_SIZE(frames); place++) {
        PyObject *frame = PyTuple_GET_ITEM(frames, place);
        Outcome outcome = is_usual(self, frame) ? do_one(self, frame) : FOR_PYTHON;
        if (outcome == FAILED) return -1;
        if (outcome == DONE) continue;
        PyObject *none = leave(self, method, &frame, 1);
        if (none == NULL) return -1;
        Py_DECREF(none);
    }
    return 0;
}

static PyObject *hands_assign_frames(Hands *self, PyObject *frames) {
    if (!are_frames(self, frames, 1)) return leave(self, ASSIGN_FRAMES, &frames, 1);
    for (Py_ssize_t place = 0; place < PyTuple_GET_SIZE(frames); place++) assign(PyTuple_GET_ITEM(frames, place));
    Py_RETURN_NONE;
}

static PyObject *hands_show_frames(Hands *self, PyObject *frames) {
    if (!are_frames(self, frames, 0)) return leave(self, SHOW_FRAMES, &frames, 1);
    if (each_frame(self, frames, show, SHOW_FRAME) < 0) return NULL;
    int watched = 0;
    for (Py_ssize_t place = 0; place < PyTuple_GET_SIZE(frames); place++) {
        PyObject *frame = PyTuple_GET_ITEM(frames, place), *stream = PyTuple_GET_ITEM(frame, STREAM);
        PyObject *waiters = SLOT(stream, stream_slot.waiters);
        set_slot(stream, stream_slot.end, PyTuple_GET_ITEM(frame, END_OFFSET));
        watched |= waiters == NULL || !PySet_Check(waiters) || PySet_GET_SIZE(waiters) > 0;
    }
    return PyBool_FromLong(watched);
}

static PyObject *hands_store_frames(Hands *self, PyObject *frames) {
    if (!are_frames(self, frames, 0)) return leave(self, STORE_FRAMES, &frames, 1);
    return each_frame(self, frames, store_and_assign, STORE_FRAME) < 0 ? NULL : Py_NewRef(Py_None);
}

/* The type */

static int hands_traverse(Hands *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->engine);
    Py_VISIT(self->stream_type);
    Py_VISIT(self->segment_type);
    Py_VISIT(self->body_type);
    Py_VISIT(self->map_type);
    Py_VISIT(self->crc32c);
    for (int method = 0; method < METHODS; method++) Py_VISIT(self->methods[method]);
    return 0;
}

static void hands_dealloc(Hands *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_XDECREF(self->engine);
    Py_XDECREF(self->stream_type);
    Py_XDECREF(self->segment_type);
    Py_XDECREF(self->body_type);
    Py_XDECREF(self->map_type);
    Py_XDECREF(self->crc32c);
    for (int method = 0; method < METHODS; method++) Py_XDECREF(self->methods[method]);
    type->tp_free(self);
    Py_DECREF(type);
}

/* Hands(writer, engine, stream type, segment type, body type, map type, crc32c, an entry's magic, its version,
   whether it has a journal) */
static PyObject *hands_new(PyTypeObject *type, PyObject *args, PyObject *options) {
    PyObject *writer, *engine, *stream_type, *segment_type, *body_type, *map_type, *crc32c;
    long long magic, version;
    int journaled;
    if (options != NULL && PyDict_GET_SIZE(options) > 0) return PyErr_Format(PyExc_TypeError, "no keywords here");
    if (!PyArg_ParseTuple(args, "OOO!O!O!O!OLLp", &writer, &engine, &PyType_Type, &stream_type, &PyType_Type,
                          &segment_type, &PyType_Type, &body_type, &PyType_Type, &map_type, &crc32c, &magic, &version,
                          &journaled))
        return NULL;
    if (find_slots_by_hand(Py_TYPE(engine), (PyTypeObject *)stream_type, (PyTypeObject *)segment_type,
                           (PyTypeObject *)body_type)
        != 0)
        return NULL;
    Hands *self = (Hands *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    self->engine = Py_NewRef(engine);
    self->stream_type = (PyTypeObject *)Py_NewRef(stream_type);
    self->segment_type = (PyTypeObject *)Py_NewRef(segment_type);
    self->body_type = (PyTypeObject *)Py_NewRef(body_type);
    self->map_type = (PyTypeObject *)Py_NewRef(map_type);
    self->crc32c = Py_NewRef(crc32c);
    self->magic = magic;
    self->version = version;
    self->journaled = journaled;
    for (int method = 0; method < METHODS; method++) {
        if (method >= PACK_FRAMES && journaled != (method < STORE_FRAMES)) continue;
        self->methods[method] = PyObject_GetAttrString(writer, method_names[method]);
        if (self->methods[method] != NULL) continue;
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static PyMethodDef hands_methods[] = {
    {"place_by_hand", (PyCFunction)hands_place_by_hand, METH_O, NULL},
    {"pack_frames", (PyCFunction)(void (*)(void))hands_pack_frames, METH_FASTCALL, NULL},
    {"assign_frames", (PyCFunction)hands_assign_frames, METH_O, NULL},
    {"show_frames", (PyCFunction)hands_show_frames, METH_O, NULL},
    {"store_frames", (PyCFunction)hands_store_frames, METH_O, NULL},
    {NULL},
};

static PyType_Slot hands_slots[] = {
    {Py_tp_new, hands_new},
    {Py_tp_dealloc, hands_dealloc},
    {Py_tp_traverse, hands_traverse},
    {Py_tp_methods, hands_methods},
    {0, NULL},
};

static PyType_Spec hands_spec = {
    .name = "msglog.storage._compiled.Hands",
    .basicsize = sizeof(Hands),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = hands_slots,
};

static PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "_compiled", .m_size = -1};

PyMODINIT_FUNC PyInit__compiled(void) {
    text_append = PyUnicode_InternFromString("append");
    text_id = PyUnicode_InternFromString("id");
    text_next = PyUnicode_InternFromString("next");
    text_popleft = PyUnicode_InternFromString("popleft");
    text_settle = PyUnicode_InternFromString("settle");
    text_wake = PyUnicode_InternFromString("wake");
    PyObject *made = PyModule_Create(&module), *type = PyType_FromSpec(&ways_spec);
    PyObject *hands = PyType_FromSpec(&hands_spec);
    if (!text_append || !text_id || !text_next || !text_popleft || !text_settle || !text_wake || !made || !type || !hands
        || PyModule_AddObjectRef(made, "Ways", type) < 0 || PyModule_AddObjectRef(made, "Hands", hands) < 0
        || PyModule_AddIntConstant(made, "SOURCE_CRC", SOURCE_CRC) < 0)
        Py_CLEAR(made);
    Py_XDECREF(type);
    Py_XDECREF(hands);
    return made;
}
