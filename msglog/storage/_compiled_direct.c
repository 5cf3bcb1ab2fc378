/* The hot paths of `DirectWriter` in C: `append`, `append_settle`, `append_copies`.

   They write the same bytes and leave the same state as the Python methods, which stand in writers.py and
   small_commit.py and say what is done and why. Here is only what nearly every call does: room in a mapped file, no
   obstacle. Where an entry of the index may be due, the writer's `make_way` sees to it before anything is built. One
   thing runs after the first store, against the rule: the cursor's own method, by which `append_settle` changes it;
   there the engine's obstacle is the same note as in Python.

   Imported by compiled.py. */

#include "_compiled_frames.h"

enum {
    EVENT_SIZE = 25,     /* a settlement: mark, cursor, first, count, next */
    LATEST_LIMIT = 4096, /* of key and value of a record that is handed over */
    FEWEST_SHARING = 3,  /* copies, with so many bytes: for less it does not pay to share a checksum */
    LEAST_SHARED = 64
};

/* What a writer lends, its own methods for all that is not done here, and what every frame has in common. */
typedef struct {
    PyObject_HEAD
    Known known;
    PyObject *state; /* the stream of events */
    PyObject *append;
    PyObject *append_settle;
    PyObject *append_copies;
    PyObject *make_way;
    Headers headers;
    long long event_cost;
    unsigned char event_mark;
} DirectWays;

static PyObject *text_id, *text_next, *text_settle, *text_wake, *text_wake_all;

/* The bytes of a frame of one record. Copies of it differ in their checksum, offset and total only. */
typedef struct {
    Py_ssize_t size;
    Py_ssize_t front; /* the bytes behind the checksum that are taken into it for each copy, */
    uint32_t power;   /* by what those before the rest are multiplied, 0 where there is no rest, */
    uint32_t rest;    /* and what that adds */
    char bytes[HEADER_SIZE + SMALL_LIMIT];
} Record;

#if defined(__x86_64__) && defined(__GNUC__)
#include <wmmintrin.h>

/* Multiply two polynomials, with bits in the order of checksums, and the product by x^32; modulo that of CRC-32C. */
__attribute__((target("sse4.2,pclmul"))) static uint32_t product(uint32_t one, uint32_t other) {
    __m128i bits = _mm_clmulepi64_si128(_mm_cvtsi64_si128(one), _mm_cvtsi64_si128(other), 0);
    return (uint32_t)_mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(bits) << 1);
}

#define PROCESSOR_MULTIPLIES (PROCESSOR_HAS_CRC && __builtin_cpu_supports("pclmul"))
#else
#define PROCESSOR_MULTIPLIES 0
#define product(one, other) 0
#endif

/* Take the checksum of what the copies share at their end once. A checksum is a polynomial, which n more bytes multiply
   by x^8n: here in `product` with x^(8n - 32), which is 1 for four bytes, and for two sizes together their product. */
static void share_rest(Record *record, Py_ssize_t copies) {
    Py_ssize_t rest = (record->size - HEADER_SIZE) & ~3;
    record->power = 0;
    if (copies < FEWEST_SHARING || rest < LEAST_SHARED || !PROCESSOR_MULTIPLIES) return;
    record->front = record->size - CRC_SIZE - rest;
    record->rest = (uint32_t)~crc_by_processor(0xFFFFFFFF, record->bytes + record->size - rest, rest);
    uint32_t square = 0x80000000; /* the polynomial 1 */
    for (Py_ssize_t fours = rest / 4; fours > 0; fours >>= 1) {
        if (fours & 1) record->power = record->power == 0 ? square : product(record->power, square);
        square = product(square, square);
    }
}

/* Where a frame goes, and all that follows from it. */
typedef struct {
    PyObject *stream;
    PyObject *segment;
    long long position, offset, total;
    unsigned long crc;
    Py_buffer map;   /* `map.obj` is NULL where there is none */
    PyObject *first; /* its offset */
    PyObject *after; /* position, offset and total behind it */
    PyObject *next_offset;
    PyObject *next_total;
} Frame;

static void clear_frame(Frame *frame) {
    if (frame->map.obj != NULL) PyBuffer_Release(&frame->map);
    Py_XDECREF(frame->stream);
    Py_XDECREF(frame->segment);
    Py_XDECREF(frame->first);
    Py_XDECREF(frame->after);
    Py_XDECREF(frame->next_offset);
    Py_XDECREF(frame->next_total);
}

/* Have the writer raise a segment's limit over a frame of so many bytes, if it is too low. Other code may run. */
static Outcome make_way_for(DirectWays *self, PyObject *stream, Py_ssize_t size) {
    PyObject *segment = SLOT(stream, stream_slot.active);
    if (segment == NULL || !Py_IS_TYPE(segment, self->known.segment_type)) return FOR_PYTHON;
    long long position = number_in(segment, segment_slot.position), limit = number_in(segment, segment_slot.limit);
    if (position < 0) return FOR_PYTHON;
    if (position + size <= limit) return DONE;
    PyObject *end = PyLong_FromLongLong(position + size);
    if (end == NULL) return FAILED;
    PyObject *arguments[] = {Py_NewRef(stream), Py_NewRef(segment), NULL, end};
    arguments[2] = Py_NewRef(SLOT(segment, segment_slot.position));
    PyObject *made = PyObject_Vectorcall(self->make_way, arguments, 4, NULL);
    for (int argument = 0; argument < 4; argument++) Py_DECREF(arguments[argument]);
    if (made == NULL) return FAILED;
    Py_DECREF(made);
    return made == Py_True ? DONE : FOR_PYTHON;
}

/* Find the place of a frame of so many bytes, of which `value_size` count, and make the numbers that follow on it. They
   are those of `like`, a copy of it, where they are equal: streams that get the same records stand alike. */
static Outcome find_place(DirectWays *self, Frame *frame, PyObject *stream, Py_ssize_t size, Py_ssize_t value_size,
                          const Frame *like) {
    PyObject *segment = SLOT(stream, stream_slot.active);
    if (segment == NULL || !Py_IS_TYPE(segment, self->known.segment_type)) return FOR_PYTHON;
    long long position = number_in(segment, segment_slot.position), limit = number_in(segment, segment_slot.limit);
    long long offset = number_in(stream, stream_slot.next_offset);
    long long total = number_in(stream, stream_slot.value_bytes);
    PyObject *map = map_of(&self->known, segment);
    if (position < 0 || offset < 0 || total < 0 || position + size > limit || map == NULL
        || SLOT(segment, segment_slot.crc_seed) == NULL)
        return FOR_PYTHON;
    if (PyObject_GetBuffer(map, &frame->map, PyBUF_WRITABLE) < 0) {
        frame->map.obj = NULL;
        return FAILED;
    }
    if (position + size > frame->map.len) return FOR_PYTHON;
    frame->stream = Py_NewRef(stream);
    frame->segment = Py_NewRef(segment);
    frame->position = position;
    frame->offset = offset;
    frame->total = total;
    frame->first = Py_NewRef(SLOT(stream, stream_slot.next_offset));
    frame->after =
        like != NULL && like->position == position ? Py_NewRef(like->after) : PyLong_FromLongLong(position + size);
    frame->next_offset =
        like != NULL && like->offset == offset ? Py_NewRef(like->next_offset) : PyLong_FromLongLong(offset + 1);
    frame->next_total =
        like != NULL && like->total == total ? Py_NewRef(like->next_total) : PyLong_FromLongLong(total + value_size);
    return frame->after && frame->next_offset && frame->next_total ? DONE : FAILED;
}

/* Put into a record what its frame has for itself, and take the checksum. */
static int fit(DirectWays *self, Record *record, Frame *frame) {
    put_place(record->bytes, frame->offset, frame->total);
    PyObject *seed = SLOT(frame->segment, segment_slot.crc_seed);
    Py_ssize_t size = record->power == 0 ? record->size - CRC_SIZE : record->front;
    if (checksum(&self->known, seed, record->bytes + CRC_SIZE, size, &frame->crc) < 0) return -1;
    if (record->power != 0) frame->crc = (uint32_t)~(product((uint32_t)~frame->crc, record->power) ^ record->rest);
    return 0;
}

/* Store a frame and advance its segment and stream. Nothing here fails or runs other code. */
static void store(const Record *record, const Frame *frame, PyObject *timestamp, long long timestamp_ms) {
    char *place = (char *)frame->map.buf + frame->position;
    memcpy(place, record->bytes, record->size);
    put32(place, frame->crc);
    put_place(place, frame->offset, frame->total);
    PyObject *segment = frame->segment, *stream = frame->stream;
    set_slot(segment, segment_slot.position, frame->after);
    set_slot(segment, segment_slot.stored_position, frame->after);
    set_slot(segment, segment_slot.end_offset, frame->next_offset);
    set_slot(stream, stream_slot.next_offset, frame->next_offset);
    set_slot(stream, stream_slot.end, frame->next_offset);
    set_slot(segment, segment_slot.value_total, frame->next_total);
    set_slot(stream, stream_slot.value_bytes, frame->next_total);
    if (timestamp_ms > number_in(segment, segment_slot.max_timestamp_ms)) {
        set_slot(segment, segment_slot.max_timestamp_ms, timestamp);
        set_slot(segment, segment_slot.before_ms, timestamp);
    }
}

/* Publish a commit. */
static void publish(DirectWays *self, Page *page, PyObject *number, long long value) {
    set_slot(self->known.engine, engine_slot.commit_number, number);
    publish_number(&self->known, page, number, value);
    set_slot(self->known.engine, engine_slot.obstacle, SLOT(self->known.engine, engine_slot.failure));
}

/* append(stream, value, timestamp_ms, key=None) */

static inline int is_waited_for(PyObject *stream) {
    PyObject *waiters = SLOT(stream, stream_slot.waiters);
    return waiters != NULL && PySet_Check(waiters) && PySet_GET_SIZE(waiters) > 0;
}

static int wake_waiters(PyObject *stream) {
    PyObject *those = PySequence_Tuple(SLOT(stream, stream_slot.waiters));
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

/* After an error of somebody's wake, which a signal handler raised: have all look, as Python does. */
static Outcome wake_all(DirectWays *self) {
    Error error = set_aside();
    take_up(&error, PyObject_CallMethodNoArgs(self->known.engine, text_wake_all));
    return FAILED;
}

/* Wake who waits, with a small record in their hands: `Stream.tell_waiters`. */
static int tell_waiters(Frame *frame, PyObject *timestamp, PyObject *key, PyObject *value, PyObject *number) {
    if (!is_waited_for(frame->stream)) return 0;
    if (PyBytes_GET_SIZE(value) + (key == Py_None ? 0 : PyBytes_GET_SIZE(key)) <= LATEST_LIMIT) {
        PyObject *latest = Py_BuildValue("(OOOOOL)", frame->first, timestamp, key, value, number, frame->total);
        if (latest == NULL) return -1;
        Py_XSETREF(SLOT(frame->stream, stream_slot.latest), latest);
    }
    return wake_waiters(frame->stream);
}

static Outcome append_locked(DirectWays *self, Frame *frame, Page *page, PyObject *const *args, PyObject *key,
                             Py_ssize_t size) {
    PyObject *stream = args[0], *value = args[1], *timestamp = args[2];
    long long timestamp_ms = number_of(timestamp), next = next_number(&self->known);
    if (timestamp_ms < 0 || next < 0) return FOR_PYTHON;
    Outcome outcome = find_place(self, frame, stream, HEADER_SIZE + size, PyBytes_GET_SIZE(value), NULL);
    if (outcome != DONE) return outcome;
    Record record;
    const char *header = key == Py_None ? self->headers.plain : self->headers.keyed;
    record.size = HEADER_SIZE + size;
    record.power = 0;
    put_header(record.bytes, header, size, timestamp_ms, next);
    put_body(record.bytes + HEADER_SIZE, key, value);
    PyObject *number = PyLong_FromLongLong(next);
    if (number == NULL || fit(self, &record, frame) < 0 || open_page(&self->known, page) < 0) {
        Py_XDECREF(number);
        return FAILED;
    }
    /* From here on only forward. */
    store(&record, frame, timestamp, timestamp_ms);
    publish(self, page, number, next);
    outcome = tell_waiters(frame, timestamp, key, value, number) < 0 ? wake_all(self) : DONE;
    Py_DECREF(number);
    return outcome;
}

static PyObject *ways_append(DirectWays *self, PyObject *const *args, Py_ssize_t count) {
    PyObject *key = count > 3 ? args[3] : Py_None;
    Py_ssize_t size = size_of_one(&self->known, args, count, key);
    if (size < 0) return PyObject_Vectorcall(self->append, args, count, NULL);
    Frame frame = {0};
    Page page = {0};
    if (take_lock(&self->known) < 0) return NULL;
    Outcome outcome = append_locked(self, &frame, &page, args, key, size);
    if (release_lock(&self->known) < 0) outcome = FAILED;
    PyObject *offset = outcome == DONE ? Py_NewRef(frame.first) : NULL;
    close_page(&page);
    clear_frame(&frame);
    return outcome == FOR_PYTHON ? PyObject_Vectorcall(self->append, args, count, NULL) : offset;
}

/* append_settle(cursor, first, end, timestamp_ms) */

static Outcome build_event(DirectWays *self, char *event, PyObject *cursor, PyObject *const *range) {
    PyObject *id = PyObject_GetAttr(cursor, text_id);
    if (id == NULL) return FAILED;
    PyObject *next = PyObject_GetAttr(cursor, text_next);
    if (next == NULL) {
        Py_DECREF(id);
        return FAILED;
    }
    long long numbers[] = {number_of(id), number_of(range[0]), number_of(range[1]), number_of(next)};
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

static Outcome settle_locked(DirectWays *self, Frame *frame, Page *page, PyObject *const *args, PyObject **number) {
    PyObject *cursor = args[0], *timestamp = args[3];
    long long timestamp_ms = number_of(timestamp), next = next_number(&self->known);
    long long cost = number_in(self->known.engine, engine_slot.state_cost);
    if (timestamp_ms < 0 || next < 0 || cost < 0) return FOR_PYTHON;
    Outcome outcome = find_place(self, frame, self->state, HEADER_SIZE + EVENT_SIZE, EVENT_SIZE, NULL);
    if (outcome != DONE) return outcome;
    Record record;
    record.size = HEADER_SIZE + EVENT_SIZE;
    record.power = 0;
    put_header(record.bytes, self->headers.plain, EVENT_SIZE, timestamp_ms, next);
    outcome = build_event(self, record.bytes + HEADER_SIZE, cursor, args + 1);
    if (outcome != DONE) return outcome;
    if (fit(self, &record, frame) < 0 || open_page(&self->known, page) < 0) return FAILED;
    put32(record.bytes, frame->crc);
    PyObject *whole = PyBytes_FromStringAndSize(record.bytes, record.size);
    PyObject *costs = PyLong_FromLongLong(cost + self->event_cost);
    *number = PyLong_FromLongLong(next);
    if (whole == NULL || costs == NULL || *number == NULL) {
        Py_XDECREF(whole);
        Py_XDECREF(costs);
        return FAILED;
    }
    /* From here on only forward: after an interruption `redo_append` finishes it, and applies the event. */
    Py_XSETREF(SLOT(self->state, stream_slot.unfinished), whole);
    set_slot(self->known.engine, engine_slot.obstacle, self->state);
    store(&record, frame, timestamp, timestamp_ms);
    outcome = settle_cursor(cursor, args + 1) < 0 ? FAILED : DONE;
    if (outcome == DONE) {
        set_slot(self->known.engine, engine_slot.state_cost, costs);
        publish(self, page, *number, next);
    }
    Py_DECREF(costs);
    return outcome;
}

static PyObject *ways_append_settle(DirectWays *self, PyObject *const *args, Py_ssize_t count) {
    if (count != 4) return PyObject_Vectorcall(self->append_settle, args, count, NULL);
    Frame frame = {0};
    Page page = {0};
    PyObject *number = NULL;
    if (take_lock(&self->known) < 0) return NULL;
    Outcome outcome = settle_locked(self, &frame, &page, args, &number);
    if (release_lock(&self->known) < 0) outcome = FAILED;
    close_page(&page);
    clear_frame(&frame);
    if (outcome == DONE) return number;
    Py_XDECREF(number);
    return outcome == FOR_PYTHON ? PyObject_Vectorcall(self->append_settle, args, count, NULL) : NULL;
}

/* append_copies(streams, value, key, timestamp_ms) */

/* Build the record, and find a place for each of its copies. */
static Outcome build_copies(DirectWays *self, Record *record, Frame *frames, PyObject *const *args, Py_ssize_t copies,
                            long long timestamp_ms, long long next) {
    PyObject *streams = args[0], *value = args[1], *key = args[2];
    put_header(record->bytes, self->headers.keyed, record->size - HEADER_SIZE, timestamp_ms, next);
    put32(record->bytes + AT_FRAMES, copies);
    put_body(record->bytes + HEADER_SIZE, key, value);
    share_rest(record, copies);
    for (Py_ssize_t copy = 0; copy < copies; copy++) {
        /* Counted anew: where Python takes the checksum, other code may run. */
        PyObject *stream = copy < PyList_GET_SIZE(streams) ? PyList_GET_ITEM(streams, copy) : NULL;
        if (stream == NULL || !Py_IS_TYPE(stream, self->known.stream_type)) return FOR_PYTHON;
        const Frame *like = copy > 0 ? &frames[copy - 1] : NULL;
        Outcome outcome = find_place(self, &frames[copy], stream, record->size, PyBytes_GET_SIZE(value), like);
        if (outcome != DONE) return outcome;
        if (fit(self, record, &frames[copy]) < 0) return FAILED;
    }
    return DONE;
}

/* Have way made for all copies. */
static Outcome make_way_for_all(DirectWays *self, PyObject *streams, Py_ssize_t size) {
    Outcome outcome = DONE;
    for (Py_ssize_t copy = 0; outcome == DONE && copy < PyList_GET_SIZE(streams); copy++) {
        PyObject *stream = PyList_GET_ITEM(streams, copy);
        outcome = Py_IS_TYPE(stream, self->known.stream_type) ? make_way_for(self, stream, size) : FOR_PYTHON;
    }
    return outcome;
}

static Outcome copies_locked(DirectWays *self, Frame *frames, Page *page, PyObject *const *args, Py_ssize_t copies,
                             PyObject **offsets) {
    /* First of all: making a list may collect garbage, and that may run other code. */
    *offsets = PyList_New(copies);
    if (*offsets == NULL) return FAILED;
    PyObject *timestamp = args[3];
    long long timestamp_ms = number_of(timestamp), next = next_number(&self->known);
    if (timestamp_ms < 0 || next < 0) return FOR_PYTHON;
    Record record;
    record.size = HEADER_SIZE + KEY_SIZE + PyBytes_GET_SIZE(args[2]) + PyBytes_GET_SIZE(args[1]);
    Outcome outcome = build_copies(self, &record, frames, args, copies, timestamp_ms, next);
    if (outcome == FOR_PYTHON) {
        for (Py_ssize_t copy = 0; copy < copies; copy++) {
            clear_frame(&frames[copy]);
            frames[copy] = (Frame){0};
        }
        outcome = make_way_for_all(self, args[0], record.size);
        if (outcome == DONE && next_number(&self->known) != next) outcome = FOR_PYTHON;
        if (outcome == DONE) outcome = build_copies(self, &record, frames, args, copies, timestamp_ms, next);
    }
    if (outcome != DONE) return outcome;
    PyObject *number = PyLong_FromLongLong(next);
    if (number == NULL || open_page(&self->known, page) < 0) {
        Py_XDECREF(number);
        return FAILED;
    }
    /* From here on only forward. */
    for (Py_ssize_t copy = 0; copy < copies; copy++) {
        store(&record, &frames[copy], timestamp, timestamp_ms);
        PyList_SET_ITEM(*offsets, copy, Py_NewRef(frames[copy].first));
    }
    publish(self, page, number, next);
    Py_DECREF(number);
    for (Py_ssize_t copy = 0; copy < copies; copy++)
        if (is_waited_for(frames[copy].stream) && wake_waiters(frames[copy].stream) < 0) return wake_all(self);
    return DONE;
}

static PyObject *ways_append_copies(DirectWays *self, PyObject *const *args, Py_ssize_t count) {
    if (count != 4 || !PyList_CheckExact(args[0]) || !PyBytes_CheckExact(args[1]) || !PyBytes_CheckExact(args[2])
        || PyBytes_GET_SIZE(args[1]) + PyBytes_GET_SIZE(args[2]) > SMALL_LIMIT - KEY_SIZE)
        return PyObject_Vectorcall(self->append_copies, args, count, NULL);
    Page page = {0};
    PyObject *offsets = NULL;
    if (take_lock(&self->known) < 0) return NULL;
    /* Only now: while the lock was waited for, other code may have changed the list. */
    Py_ssize_t copies = PyList_GET_SIZE(args[0]);
    Frame *frames = PyMem_Calloc(copies, sizeof(Frame));
    Outcome outcome = FAILED;
    if (frames == NULL)
        PyErr_NoMemory();
    else
        outcome = copies_locked(self, frames, &page, args, copies, &offsets);
    if (release_lock(&self->known) < 0) outcome = FAILED;
    close_page(&page);
    for (Py_ssize_t copy = 0; frames != NULL && copy < copies; copy++) clear_frame(&frames[copy]);
    PyMem_Free(frames);
    if (outcome == DONE) return offsets;
    Py_XDECREF(offsets);
    return outcome == FOR_PYTHON ? PyObject_Vectorcall(self->append_copies, args, count, NULL) : NULL;
}

/* The class, and the module */

static int ways_traverse(DirectWays *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->state);
    Py_VISIT(self->append);
    Py_VISIT(self->append_settle);
    Py_VISIT(self->append_copies);
    Py_VISIT(self->make_way);
    return visit_known(&self->known, visit, arg);
}

static void ways_dealloc(DirectWays *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_XDECREF(self->state);
    Py_XDECREF(self->append);
    Py_XDECREF(self->append_settle);
    Py_XDECREF(self->append_copies);
    Py_XDECREF(self->make_way);
    forget(&self->known);
    type->tp_free(self);
    Py_DECREF(type);
}

/* DirectWays(writer, engine, what else is known, headers, state, event's mark, its cost) */
static PyObject *ways_new(PyTypeObject *type, PyObject *args, PyObject *options) {
    PyObject *writer, *engine, *known, *headers, *state;
    unsigned char event_mark;
    long long event_cost;
    if (options != NULL && PyDict_GET_SIZE(options) > 0) return PyErr_Format(PyExc_TypeError, "no keywords here");
    if (!PyArg_ParseTuple(args, "OOO!O!ObL", &writer, &engine, &PyTuple_Type, &known, &PyTuple_Type, &headers, &state,
                          &event_mark, &event_cost))
        return NULL;
    DirectWays *self = (DirectWays *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    self->state = Py_NewRef(state);
    self->event_mark = event_mark;
    self->event_cost = event_cost;
    if (get_to_know(&self->known, engine, known) < 0 || copy_headers(&self->headers, headers) < 0
        || !(self->append = PyObject_GetAttrString(writer, "append"))
        || !(self->append_settle = PyObject_GetAttrString(writer, "append_settle"))
        || !(self->append_copies = PyObject_GetAttrString(writer, "append_copies"))
        || !(self->make_way = PyObject_GetAttrString(writer, "make_way")))
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
    .name = "msglog.storage._compiled_direct.DirectWays",
    .basicsize = sizeof(DirectWays),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = ways_slots,
};

static PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "_compiled_direct", .m_size = -1};

PyMODINIT_FUNC PyInit__compiled_direct(void) {
    text_id = PyUnicode_InternFromString("id");
    text_next = PyUnicode_InternFromString("next");
    text_settle = PyUnicode_InternFromString("settle");
    text_wake = PyUnicode_InternFromString("wake");
    text_wake_all = PyUnicode_InternFromString("wake_all");
    return text_id && text_next && text_settle && text_wake && text_wake_all ? make_module(&module, &ways_spec) : NULL;
}
